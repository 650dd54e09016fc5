"""Put accepted observations on the even grids of their series, with gaps as null."""

from datetime import datetime

import polars as pl

from forecasting.schemas import STEP, TIMESTAMP
from forecasting.series.columns import categories_of
from forecasting.series.grid import EvenGrid, MonthGrid, anchor_series, make_grid


def regularise(
    observations: pl.LazyFrame, *, freq: str | int, until: datetime | int | None = None, reach: int = 0
) -> pl.LazyFrame:
    """Put each series on an even grid from its first to its last timestamp.

    Args:
        observations: Rows that `validate` accepts: one per (unique_id, ds), on the grid, none far from the others.
        freq: The frequency of the grid.
        until: The time up to which grids continue, not before the last timestamp; None continues none.
        reach: The most periods that may follow a series' last measurement for its grid to continue. That of a series
            without any measurement continues.

    Returns:
        unique_id, ds, y, is_observed and, if the observations have them, categories; sorted. A grid point without a
        measurement has a null `y` and a false `is_observed`. A series has the newest value of each category.
    """
    grid = make_grid(freq)
    categories = categories_of(observations)
    ends = [pl.col("ds").min().alias("first"), pl.col("ds").max().alias("last")]
    if until is not None:
        ends.append(pl.col("ds").filter(pl.col("y").is_not_null()).max().alias("measured"))
    spans = observations.group_by("unique_id").agg(ends)
    if categories:
        spans = spans.join(newest_categories(observations), on="unique_id", how="left")
    points = (
        spans.join(anchor_series(observations, freq=freq), on="unique_id", how="left")
        .sort("unique_id")
        .with_columns(begin=grid.number(pl.col("first")), end=grid_end(grid, until, reach))
        .with_columns(number=pl.int_ranges("begin", pl.col("end") + 1, dtype=pl.Int64))
        .explode("number")
        .select("unique_id", *categories, ds=grid.ds(pl.col("number")))
    )
    return points.join(
        observations.select("unique_id", "ds", "y"), on=["unique_id", "ds"], how="left", maintain_order="left"
    ).select("unique_id", "ds", "y", pl.col("y").is_not_null().alias("is_observed"), *categories)


def number_at(grid: EvenGrid | MonthGrid, time: datetime | int) -> pl.Expr:
    """Return the number of the last grid point at or before a time."""
    until = time_literal(time)
    number = grid.number(until)
    return number - (grid.ds(number) > until).cast(pl.Int64)  # the point of a month may follow in it


def time_literal(time: datetime | int) -> pl.Expr:
    """Return a time of either clock as an expression."""
    return pl.lit(time, TIMESTAMP if isinstance(time, datetime) else STEP)


def is_live(grid: EvenGrid | MonthGrid, measured: pl.Expr, *, until: datetime | int, reach: int) -> pl.Expr:
    """Return whether at most `reach` periods follow a last measurement; null without one."""
    return grid.period(time_literal(until)) - grid.period(measured) <= reach


def grid_end(grid: EvenGrid | MonthGrid, until: datetime | int | None, reach: int) -> pl.Expr:
    """Return the number of the last point of each grid; needs `last` and, with `until`, `measured`, the newest times.

    Args:
        grid: The grid of the frequency.
        until: The time up to which grids continue; None continues none.
        reach: The most periods that may follow a series' last measurement for its grid to continue.

    Returns:
        A number.
    """
    last = grid.number(pl.col("last"))
    if until is None:
        return last
    continues = is_live(grid, pl.col("measured"), until=until, reach=reach).fill_null(True)
    return pl.when(continues).then(pl.max_horizontal(last, number_at(grid, until))).otherwise(last)


def newest_categories(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Return unique_id and categories: the newest value of each name that is not null, sorted by name."""
    given = observations.select("unique_id", "ds", pl.col("categories")).explode("categories").unnest("categories")
    newest = (
        given.drop_nulls("value")
        .group_by("unique_id", "name")
        .agg(pl.col("value").get(pl.col("ds").arg_max()))
        .sort("unique_id", "name")
    )
    return newest.group_by("unique_id").agg(categories=pl.struct("name", "value"))
