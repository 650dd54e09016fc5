"""Find the series whose measurements fail a check, all at once: one pass over the grid points of all series."""

from functools import singledispatch
from typing import Any

import polars as pl

from forecasting.series.verdicts import FINDINGS
from forecasting.spec.checks import FlatlineCheck, MissingShareCheck, MonotoneCheck, RangeCheck

_IS_SAME_SERIES = pl.col("unique_id").shift(1) == pl.col("unique_id")


def find_failing(check: Any, points: pl.LazyFrame) -> pl.DataFrame:
    """Return the series that fail a check of their measurements.

    Args:
        check: The check.
        points: Grid points sorted by series and time: unique_id, ds, y and is_observed; from_end, 1 for the newest of
            a series, where the check needs it.

    Returns:
        One row per series that fails, in the columns of `FINDINGS`.
    """
    num_points = getattr(check, "points", None)
    if num_points is not None:
        points = points.filter(pl.col("from_end") <= num_points)
    found = _find(check, points).select(FINDINGS.names()).collect(engine="streaming")
    return found.cast(FINDINGS)


def write_time(time: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Write a time of `ds` as text."""
    return time.cast(pl.String) if dtype.is_integer() else time.dt.to_string("%Y-%m-%d %H:%M:%S")


def write_number(column: str) -> pl.Expr:
    """Write the numbers of a column as text, whole ones without decimals."""
    value = pl.col(column)
    is_whole = (value == value.round()) & (value.abs() < 1e15)
    return (
        pl.when(is_whole)
        .then(value.cast(pl.Int64, strict=False).cast(pl.String))
        .otherwise(value.round_sig_figs(8).cast(pl.String))
    )


@singledispatch
def _find(check: Any, points: pl.LazyFrame) -> pl.LazyFrame:
    raise TypeError(f"{type(check).__name__} is not a check of measurements")


@_find.register
def _(check: RangeCheck, points: pl.LazyFrame) -> pl.LazyFrame:
    """A measurement lies outside of the bounds; that which lies farthest outside is shown."""
    low, high = (pl.lit(bound, pl.Float64) for bound in (check.min, check.max))
    below, above = (low - pl.col("y")).fill_null(0.0), (pl.col("y") - high).fill_null(0.0)
    is_below = below > above
    outside = points.filter("is_observed", (below > 0) | (above > 0)).with_columns(
        by=pl.max_horizontal(below, above), is_below=is_below, bound=pl.when(is_below).then(low).otherwise(high)
    )
    worst = _worst(outside, "by", "y", "ds", "is_below", "bound")
    side = pl.when("is_below").then(pl.lit("below min")).otherwise(pl.lit("above max"))
    return worst.select(
        "unique_id",
        "bound",
        found="y",
        message=pl.format("y is {} at {}, {} = {}", write_number("y"), _time(points), side, write_number("bound")),
    )


@_find.register
def _(check: MonotoneCheck, points: pl.LazyFrame) -> pl.LazyFrame:
    """A measurement is below the one before it (or above it); gaps between them do not matter."""
    step = pl.col("y").shift(1) - pl.col("y") if check.direction == "up" else pl.col("y") - pl.col("y").shift(1)
    measured = points.filter("is_observed")
    steps = measured.with_columns(by=pl.when(_IS_SAME_SERIES).then(step), before=pl.col("y").shift(1))
    worst = _worst(steps.filter(pl.col("by") > check.max), "by", "y", "ds", "before")
    verb = "falls" if check.direction == "up" else "rises"
    limit = f", more than max = {check.max:g}" if check.max else ""
    return worst.select(
        "unique_id",
        found="by",
        bound=pl.lit(check.max),
        message=pl.format(
            f"y {verb} from {{}} to {{}} at {{}}{limit}", write_number("before"), write_number("y"), _time(points)
        ),
    )


@_find.register
def _(check: MissingShareCheck, points: pl.LazyFrame) -> pl.LazyFrame:
    """Too many grid points have no value."""
    counted = points.group_by("unique_id").agg(num_points=pl.len(), num_gaps=pl.col("y").null_count())
    shares = counted.with_columns(found=pl.col("num_gaps") / pl.col("num_points")).filter(pl.col("found") > check.max)
    which = "newest " if check.points is not None else ""
    return shares.select(
        "unique_id",
        "found",
        bound=pl.lit(check.max),
        message=pl.format(
            f"{{}} of its {{}} {which}grid points are gaps, more than max = {check.max:g}", "num_gaps", "num_points"
        ),
    )


@_find.register
def _(check: FlatlineCheck, points: pl.LazyFrame) -> pl.LazyFrame:
    """Too many of the newest measurements are equal; gaps between them do not matter."""
    measured = points.filter("is_observed").with_row_index("place")
    begins = ~(_IS_SAME_SERIES & (pl.col("y") == pl.col("y").shift(1))).fill_null(False)
    runs = measured.with_columns(begin=pl.when(begins).then("place"))
    newest = runs.group_by("unique_id").agg(
        found=pl.col("place").max().cast(pl.Int64) - pl.col("begin").max().cast(pl.Int64) + 1,
        y=pl.col("y").last(),
    )
    return newest.filter(pl.col("found") > check.max).select(
        "unique_id",
        "found",
        bound=pl.lit(float(check.max)),
        message=pl.format(f"its {{}} newest measurements are all {{}}; max = {check.max}", "found", write_number("y")),
    )


def _worst(rows: pl.LazyFrame, by: str, *columns: str) -> pl.LazyFrame:
    """Return the row of each series with the largest value, the earliest of several."""
    place = pl.col(by).arg_max()
    return rows.group_by("unique_id").agg(pl.col(by).max(), *(pl.col(name).get(place) for name in columns))


def _time(points: pl.LazyFrame) -> pl.Expr:
    return write_time(pl.col("ds"), points.collect_schema()["ds"])
