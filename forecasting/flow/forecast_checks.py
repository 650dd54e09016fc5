"""Check the forecasts of a run without a store, mark those that fail, and warn of those that may be misread."""

import warnings

import polars as pl

from forecasting.errors import DataWarning
from forecasting.evaluate.forecast_checks import check_forecasts
from forecasting.evaluate.zero_medians import describe_zero_medians
from forecasting.series.budget import mark_unserved
from forecasting.series.verdicts import describe_warnings, find_held, refuse_failed
from forecasting.spec.spec import Spec


def mark_failing(
    forecasts: pl.DataFrame, features: pl.DataFrame, spec: Spec, *, stacklevel: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Warn of forecasts that fail a check or are zero at every step, and mark those that a store would hold.

    Args:
        forecasts: Rows of the table `forecasts`.
        features: Grid points up to the cutoff: unique_id and y.
        spec: The spec, with its checks.
        stacklevel: Calls from this function to the one that warnings are of.

    Returns:
        The same rows, and the verdicts.

    Raises:
        CheckFailed: A check fails that stops the run.
    """
    served = forecasts.lazy().filter("is_champion")
    verdicts = check_forecasts(served, features.lazy(), spec, earlier=None)
    refuse_failed(verdicts)
    zeros = describe_zero_medians(served, spec.quantile_columns, has_paths=bool(spec.paths))
    for note in (*describe_warnings(verdicts), *([zeros] if zeros else [])):
        warnings.warn(note, DataWarning, stacklevel=stacklevel + 1)
    reasons = {name: why.removeprefix("held: ") for name, why in find_held(verdicts).items()}
    return mark_unserved(forecasts, reasons), verdicts
