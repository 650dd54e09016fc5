"""Forecasts beside their actuals go in; whether each step of the horizon lay within its intervals comes out."""

from collections.abc import Sequence

import polars as pl

from forecasting.evaluate.metrics import INTERVALS
from forecasting.spec.quantiles import quantile_column


def coverage_by_step(comparison: pl.DataFrame, *, quantiles: Sequence[float], by: Sequence[str] = ()) -> pl.DataFrame:
    """Tell for every forecast which steps its intervals covered, bounds included.

    `comparison` has one row per series, model, group of `by` and step: `unique_id, model, ds, y`, the columns of `by`
    and of `quantiles`. Returns `unique_id, model`, `by`, `covered_80_by_step` and `covered_95_by_step`: lists of
    Booleans in the order of `ds`, null where the actual is null or NaN; no list where the quantiles have not its
    bounds. A list takes a bit per step: rows of their own would be a horizon times as many.
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
