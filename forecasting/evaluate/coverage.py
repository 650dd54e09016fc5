"""Record for each step of a forecast whether its intervals covered the actual."""

from collections.abc import Sequence

import polars as pl

from forecasting.evaluate.metrics import INTERVALS
from forecasting.spec.quantiles import quantile_column


def coverage_by_step(comparison: pl.DataFrame, *, quantiles: Sequence[float], by: Sequence[str] = ()) -> pl.DataFrame:
    """Mark, for every forecast, the steps whose actual lies within the intervals, bounds included.

    A list takes one bit per step; separate rows would be a horizon times as many.

    Args:
        comparison: One row per series, model, group of `by` and step: `unique_id, model, ds, y`, the columns of `by`
            and of `quantiles`.
        quantiles: The quantiles that it has columns for.
        by: Further columns that separate forecasts, such as `origin`.

    Returns:
        One row per forecast: `unique_id, model`, `by`, `covered_80_by_step` and `covered_95_by_step`. These are lists
        of Booleans in the order of `ds`, null where the actual is null or NaN. The whole list is null where `quantiles`
        lacks a bound.
    """
    covered = (_covered(level, bounds, quantiles) for level, bounds in INTERVALS.items())
    return comparison.group_by("unique_id", "model", *by).agg(covered)


def _covered(level: int, bounds: tuple[float, float], quantiles: Sequence[float]) -> pl.Expr:
    name = f"covered_{level}_by_step"
    if not set(bounds) <= set(quantiles):
        return pl.lit(None, pl.List(pl.Boolean)).alias(name)
    low, high = map(quantile_column, bounds)
    is_covered = pl.when(pl.col("y").is_not_nan()).then(pl.col("y").is_between(low, high))
    return is_covered.sort_by("ds").alias(name)
