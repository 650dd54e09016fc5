"""Keep forecasts within what a spec allows, as arrays or, calibrated, as rows; the module does not import torch."""

# S series · F horizon steps · Q quantiles

import math

import numpy as np
import polars as pl

from forecasting.classical.combination import Quantiles
from forecasting.evaluate import conformal
from forecasting.spec.spec import Spec


def admissible(values: Quantiles, spec: Spec) -> Quantiles:
    """Round values, of any shape, to whole numbers where y counts things, and move them within the spec's bounds."""
    if spec.integer_valued:
        values = np.rint(values)
    least, most = _bounds(spec)
    if least is not None:
        values = np.maximum(values, least)
    return values if most is None else np.minimum(values, most)


def calibrate(forecasts: pl.DataFrame, factors: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Stretch every model's intervals about the median, and keep them within what the spec allows.

    Args:
        forecasts: Rows of `predict_shard`.
        factors: Rows of the table `calibrations`, from the fleet's backtests (`evaluate.conformal`).
        spec: Has the quantiles, the bounds, and whether y is a whole number.

    Returns:
        `forecasts` with calibrated quantiles.
    """
    stretched = conformal.calibrate(forecasts, factors, quantiles=spec.quantiles)
    admissible = [pl.col(name) for name in spec.quantile_columns]
    if spec.integer_valued:
        admissible = [column.round() for column in admissible]
    least, most = _bounds(spec)
    if least is not None or most is not None:
        admissible = [column.clip(least, most) for column in admissible]
    return stretched.with_columns(admissible)


def _bounds(spec: Spec) -> tuple[float | None, float | None]:
    """Return the least and the largest value that a forecast may have; whole numbers where y counts things."""
    least, most = spec.lower_bound, spec.upper_bound
    if not spec.integer_valued:
        return least, most
    return None if least is None else math.ceil(least), None if most is None else math.floor(most)
