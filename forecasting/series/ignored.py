"""Periods that nothing learns from: their rows stay observations, and their grid points become gaps."""

from collections.abc import Iterator

import polars as pl

from forecasting.schemas import ds_dtype
from forecasting.spec.frequency import Clock
from forecasting.spec.ignore import Period
from forecasting.spec.source import Source


def is_ignored(source: Source | None, clock: Clock) -> pl.Expr:
    """Return whether a row, or a grid point, lies in a period that the source ignores; needs unique_id and ds."""
    periods = () if source is None else source.ignore
    return pl.any_horizontal(pl.lit(False), *(_lies_in(period, clock) for period in periods)).fill_null(False)


def mask_ignored(features: pl.DataFrame, source: Source, clock: Clock) -> pl.DataFrame:
    """Make grid points in ignored periods gaps.

    Args:
        features: The series on their grids: unique_id, ds, y and is_observed, among other columns.
        source: The source, with `ignore`.
        clock: Whether times are timestamps or integer steps.

    Returns:
        The same rows; in ignored periods, `y` is null and `is_observed` false.
    """
    if not source.ignore:
        return features
    is_used = ~is_ignored(source, clock)
    return features.with_columns(y=pl.when(is_used).then("y"), is_observed=pl.col("is_observed") & is_used)


def describe_unused(observations: pl.LazyFrame, source: Source, clock: Clock) -> str | None:
    """Return a sentence about ignored periods in which no row lies; None if each has one.

    Args:
        observations: Accepted rows.
        source: The source, with `ignore`.
        clock: Whether times are timestamps or integer steps.

    Returns:
        The sentence.
    """
    unused = list(_unused(observations, source, clock))
    if not unused:
        return None
    which = ", ".join(map(str, unused))
    return f"source.ignore (--ignore) names periods and series without an accepted row: {which}"


def _unused(observations: pl.LazyFrame, source: Source, clock: Clock) -> Iterator[Period]:
    for period in source.ignore:
        rows = observations.filter(_lies_in(period, clock)).select(pl.col("unique_id").unique())
        names = set(rows.collect(engine="streaming")["unique_id"])
        if not names or (period.series is not None and not set(period.series) <= names):
            yield period


def _lies_in(period: Period, clock: Clock) -> pl.Expr:
    begin, end = (pl.lit(each, ds_dtype(clock)) for each in period.bounds(clock))
    lies = (pl.col("ds") >= begin) & (pl.col("ds") < end)
    return lies if period.series is None else lies & pl.col("unique_id").is_in(list(period.series))
