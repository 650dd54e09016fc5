"""Keep forecasts within what a spec allows, as arrays or, calibrated, as rows; the module does not import torch."""

# S series · F horizon steps · Q quantiles

import math

import numpy as np
import polars as pl

from forecasting.classical.combination import Quantiles
from forecasting.evaluate import conformal
from forecasting.spec.spec import Spec


def admissible(values: Quantiles, spec: Spec) -> Quantiles:
    """Round values, of any shape, to whole numbers where y counts things, and raise them to the spec's lower bound."""
    if spec.integer_valued:
        values = np.rint(values)
    if spec.lower_bound is None:
        return values
    return np.maximum(values, np.ceil(spec.lower_bound) if spec.integer_valued else spec.lower_bound)


def calibrate(forecasts: pl.DataFrame, factors: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Stretch every model's intervals about the median, and keep them within what the spec allows.

    Args:
        forecasts: Rows of `predict_shard`.
        factors: Rows of the table `calibrations`, from the fleet's backtests (`evaluate.conformal`).
        spec: Has the quantiles, the lower bound, and whether y is a whole number.

    Returns:
        `forecasts` with calibrated quantiles.
    """
    stretched = conformal.calibrate(forecasts, factors, quantiles=spec.quantiles)
    admissible = [pl.col(name) for name in spec.quantile_columns]
    if spec.integer_valued:
        admissible = [column.round() for column in admissible]
    if spec.lower_bound is not None:
        least = math.ceil(spec.lower_bound) if spec.integer_valued else spec.lower_bound
        admissible = [column.clip(lower_bound=least) for column in admissible]
    return stretched.with_columns(admissible)
