"""Even grids: rows of (unique_id, ds) and a frequency go in; each series' anchor, and points of its grid, come out.

A grid is anchored where most of its series' own timestamps lie: weeks may begin on Thursdays, hours at a quarter past,
months on their 15th, on their last day or three days before it. Grid points are numbered by whole steps, so that a
point's number and its series' anchor give its `ds` and back. The clock is naive wall time: a day is 24 hours.
"""

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from forecasting.series.clock import clock_of, dtype_of, fixed_width, num_months
from forecasting.spec.frequency import DAY

LAST_DAY = 31
"""The anchor of grids on month ends: days past a month's end are taken as its last."""


def anchor_series(rows: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Return one row per series: unique_id, the grid's anchor (its `fields`), num_points and middle.

    The anchor is the one that most rows lie on. Among equals, month ends go before other days, and the anchor of the
    earliest row before later ones. `num_points` counts the rows on it, `middle` is the number of their middle one.
    Expects `ds` without nulls and no two rows of the same (unique_id, ds).
    """
    grid = make_grid(freq)
    return (
        grid.candidates(rows.select("unique_id", "ds"))
        .group_by("unique_id", *grid.fields)
        .agg(
            num_points=pl.len(),
            earliest=pl.col("ds").min(),
            middle=grid.number(pl.col("ds")).quantile(0.5, "lower"),
        )
        .sort(
            "unique_id",
            "num_points",
            grid.preference(),
            "earliest",
            *grid.fields,
            descending=[False, True, False, False, *(False for _ in grid.fields)],
        )
        .unique(subset="unique_id", keep="first", maintain_order=True)
        .select("unique_id", *grid.fields, "num_points", "middle")
    )


def future_grid(grid_points: pl.LazyFrame, *, freq: str | int, horizon: int) -> pl.LazyFrame:
    """Continue each series' own grid: unique_id, step (Int32, 1 to horizon), ds; horizon rows per series, sorted.

    Expects the grid points of `regularise`, or any points of each series' grid, its last one among them.
    """
    grid = make_grid(freq)
    last = grid_points.group_by("unique_id").agg(pl.col("ds").max())
    return (
        last.join(anchor_series(grid_points, freq=freq), on="unique_id", how="left")
        .sort("unique_id")
        .with_columns(step=pl.int_ranges(1, horizon + 1, dtype=pl.Int32))
        .explode("step")
        .select("unique_id", "step", ds=grid.ds(grid.number(pl.col("ds")) + pl.col("step")))
    )


@dataclass(frozen=True)
class EvenGrid:
    """Points a fixed width apart, in microseconds or in steps; anchored at ds modulo width."""

    width: int
    dtype: pl.DataType
    fields: ClassVar = ("anchor",)

    def candidates(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.with_columns(anchor=pl.col("ds").cast(pl.Int64) % self.width)

    def preference(self) -> pl.Expr:
        return pl.lit(0, pl.Int8)

    def number(self, ds: pl.Expr) -> pl.Expr:
        return (ds.cast(pl.Int64) - pl.col("anchor")) // self.width

    def ds(self, number: pl.Expr) -> pl.Expr:
        return (number * self.width + pl.col("anchor")).cast(self.dtype)


@dataclass(frozen=True)
class MonthGrid:
    """Points some months apart; anchored at a month, a time of day and a day.

    The day is 1 to 31, a month's last day where it has fewer (31: month ends), or negative: days before the last.
    """

    months: int
    fields: ClassVar = ("anchor_month", "anchor_day", "anchor_time")

    def candidates(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Give each row once for every day rule that it follows."""
        day, to_end = pl.col("ds").dt.day().cast(pl.Int64), _days_to_month_end(pl.col("ds"))
        rows = rows.with_columns(
            anchor_month=_month(pl.col("ds")) % self.months,
            anchor_day=day,
            anchor_time=pl.col("ds").cast(pl.Int64) % DAY,
        )
        ends = rows.filter(to_end == 0)
        return pl.concat(
            [
                rows,
                # The last of February, or of a month of 30 days, is also where a grid on later days has its point.
                *(
                    ends.filter(day < later).with_columns(anchor_day=pl.lit(later, pl.Int64))
                    for later in (29, 30, LAST_DAY)
                ),
                rows.filter(to_end.is_between(1, 15)).with_columns(anchor_day=-to_end),
            ]
        )

    def preference(self) -> pl.Expr:
        day = pl.col("anchor_day")
        return pl.when(day == LAST_DAY).then(0).when(day > 0).then(1).otherwise(2).cast(pl.Int8)

    def number(self, ds: pl.Expr) -> pl.Expr:
        return (_month(ds) - pl.col("anchor_month")) // self.months

    def ds(self, number: pl.Expr) -> pl.Expr:
        month = number * self.months + pl.col("anchor_month")
        first = pl.date(month // 12, month % 12 + 1, 1)
        length = first.dt.month_end().dt.day().cast(pl.Int64)
        day = pl.col("anchor_day")
        day = pl.when(day > 0).then(pl.min_horizontal(day, length)).otherwise(length + day)
        return ((first.cast(pl.Int64) + day - 1) * DAY + pl.col("anchor_time")).cast(pl.Datetime("us"))


def make_grid(freq: str | int) -> EvenGrid | MonthGrid:
    """Return the arithmetic of a frequency; its expressions need the columns `fields` of `anchor_series`."""
    months = num_months(freq)
    if months is not None:
        return MonthGrid(months)
    width = fixed_width(freq)
    assert width is not None
    return EvenGrid(width, dtype_of(clock_of(freq)))


def _month(ds: pl.Expr) -> pl.Expr:
    """Number the months from the year 0 on."""
    return ds.dt.year().cast(pl.Int64) * 12 + ds.dt.month().cast(pl.Int64) - 1


def _days_to_month_end(ds: pl.Expr) -> pl.Expr:
    return ds.dt.month_end().dt.day().cast(pl.Int64) - ds.dt.day().cast(pl.Int64)
