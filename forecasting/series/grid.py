"""Even grids: where the grid of each series is anchored, and the conversion between numbers and times of grid points.

A grid is anchored where most of the series' timestamps lie: weeks may begin on Thursdays, hours at a quarter past,
months on their 15th, on their last day or three days before it. Grid points are numbered in whole steps; with the
anchor, a number converts to `ds` and back. The clock is naive wall time: a day has 24 hours.

Grids with opening times number their open points alone, so that closed times are not gaps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.schemas import ds_dtype
from forecasting.series.open_calendar import EPOCH_DAY, IntArray, OpenCalendar, make_open_calendar
from forecasting.spec.frequency import DAY, MONTHS, clock_of, fixed_width, num_months

LAST_DAY = 31
"""The anchor day of grids on month ends: a day after a month's end means its last day."""

FIRST_MONDAY = 3 * DAY
"""Microseconds from the Monday of the week in which 1970 began to its first day, a Thursday."""


def anchor_series(rows: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Find the anchor of each series' grid: the one that most rows lie on.

    Of several such anchors, month ends take precedence over other days, then the anchor of the earliest row.

    Args:
        rows: unique_id and ds, without nulls and with one row per (unique_id, ds).
        freq: The frequency of the grid.

    Returns:
        One row per series: unique_id, the anchor (the `fields` of the grid), `num_points`, the count of rows on the
        grid, and `middle`, the number of the grid point of the middle one.
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
    """Continue each series' grid over the horizon.

    Args:
        grid_points: unique_id and ds of grid points, the last one of each series among them.
        freq: The frequency of the grid.
        horizon: The number of grid points to add.

    Returns:
        unique_id, step (Int32, 1 to horizon) and ds, sorted; `horizon` rows per series.
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
    """A grid of fixed width, in microseconds or steps; its anchor is `ds` modulo the width."""

    width: int
    dtype: pl.DataType
    fields: ClassVar = ("anchor",)

    def candidates(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Add the anchor of the grid that each row lies on."""
        return rows.with_columns(anchor=pl.col("ds").cast(pl.Int64) % self.width)

    def preference(self) -> pl.Expr:
        """Return the rank of an anchor among anchors with equally many rows; lower ranks first."""
        return pl.lit(0, pl.Int8)

    def number(self, ds: pl.Expr) -> pl.Expr:
        """Return the number of the last grid point at or before a time."""
        return (ds.cast(pl.Int64) - pl.col("anchor")) // self.width

    def period(self, ds: pl.Expr) -> pl.Expr:
        """Return the number of the calendar period of a time, the same for all series; weeks begin on Mondays."""
        is_weekly = self.dtype != pl.Int64 and self.width % (7 * DAY) == 0
        return (ds.cast(pl.Int64) + (FIRST_MONDAY if is_weekly else 0)) // self.width

    def begin(self, ds: pl.Expr, width: int | None) -> pl.Expr:
        """Return when the period of a time begins: a week or a day, or one of `width` microseconds."""
        width, shift = self._period(width)
        return ((ds.cast(pl.Int64) + shift) // width * width - shift).cast(self.dtype)

    def end(self, begin: pl.Expr, width: int | None) -> pl.Expr:
        """Return when the period that begins at a time ends."""
        return (begin.cast(pl.Int64) + self._period(width)[0]).cast(self.dtype)

    def point_in(self, begin: pl.Expr, width: int | None) -> pl.Expr:
        """Return the place of grid points in the period that begins at a time."""
        width, shift = self._period(width)
        return (begin.cast(pl.Int64) + (pl.col("anchor") + shift) % width).cast(self.dtype)

    def _period(self, width: int | None) -> tuple[int, int]:
        """Return the width of a period, and the microseconds from the beginning of one to the year 1970."""
        if width is not None:
            return width, 0
        return (7 * DAY, FIRST_MONDAY) if self.width % (7 * DAY) == 0 else (DAY, 0)

    def ds(self, number: pl.Expr) -> pl.Expr:
        """Return the time of a grid point."""
        return (number * self.width + pl.col("anchor")).cast(self.dtype)


@dataclass(frozen=True)
class OpenGrid(EvenGrid):
    """A grid of fixed width that has no points at closed times; its numbers leave these out."""

    calendar: OpenCalendar

    def number(self, ds: pl.Expr) -> pl.Expr:
        """Return the number of the last open grid point at or before a time."""
        return _map(super().number(ds) + self._shift, lambda slot: self.calendar.count_before(slot + 1) - 1)

    def period(self, ds: pl.Expr) -> pl.Expr:
        """Return the number of the open period of a time, or of the last one before it; the same for all series."""
        return _map(ds.cast(pl.Int64), lambda time: self.calendar.count_before(self.calendar.slot_at(time) + 1) - 1)

    def ds(self, number: pl.Expr) -> pl.Expr:
        """Return the time of an open grid point."""
        return super().ds(_map(number, self.calendar.slot_of) - self._shift)

    def is_closed(self, ds: pl.Expr) -> pl.Expr:
        """Return whether a time is closed."""
        return _map(ds.cast(pl.Int64), lambda time: ~self.calendar.is_open(self.calendar.slot_at(time)), pl.Boolean())

    @property
    def _shift(self) -> pl.Expr:
        """Return the slot of the grid point of number 0 on the grid without closed times."""
        return EPOCH_DAY * DAY // self.width + (pl.col("anchor") - self.calendar.phase) // self.width


@dataclass(frozen=True)
class MonthGrid:
    """A grid of whole months; its anchor is a month, a day and a time of day.

    The anchor's day is 1 to 31, where a month with fewer days has its last day (31: month ends); or negative, which
    counts days before the last one.
    """

    months: int
    fields: ClassVar = ("anchor_month", "anchor_day", "anchor_time")

    def candidates(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Repeat each row for every anchor day that it matches, with that anchor."""
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
                # The last day of February or of a month of 30 days also lies on the grids of later days.
                *(
                    ends.filter(day < later).with_columns(anchor_day=pl.lit(later, pl.Int64))
                    for later in (29, 30, LAST_DAY)
                ),
                rows.filter(to_end.is_between(1, 15)).with_columns(anchor_day=-to_end),
            ]
        )

    def preference(self) -> pl.Expr:
        """Return the rank of an anchor among anchors with equally many rows: month ends first."""
        day = pl.col("anchor_day")
        return pl.when(day == LAST_DAY).then(0).when(day > 0).then(1).otherwise(2).cast(pl.Int8)

    def number(self, ds: pl.Expr) -> pl.Expr:
        """Return the number of the grid point in the month of a time."""
        return (_month(ds) - pl.col("anchor_month")) // self.months

    def period(self, ds: pl.Expr) -> pl.Expr:
        """Return the number of the calendar period of a time, the same for all series; a year begins in January."""
        return _month(ds) // self.months

    def ds(self, number: pl.Expr) -> pl.Expr:
        """Return the time of a grid point."""
        return self._in_month(number * self.months + pl.col("anchor_month"))

    def begin(self, ds: pl.Expr, width: int | None = None) -> pl.Expr:
        """Return when the period of a time begins: a month, a quarter or a year."""
        assert width is None
        return _first_of(_month(ds) // self._period * self._period)

    def end(self, begin: pl.Expr, width: int | None = None) -> pl.Expr:
        """Return when the period that begins at a time ends."""
        assert width is None
        return _first_of(_month(begin) + self._period)

    def point_in(self, begin: pl.Expr, width: int | None = None) -> pl.Expr:
        """Return the place of grid points in the period that begins at a time."""
        assert width is None
        return self._in_month(_month(begin) + pl.col("anchor_month") % self._period)

    @property
    def _period(self) -> int:
        """The months of a period: those of a quarter or a year if grid points are that far apart, else one."""
        return self.months if self.months in MONTHS.values() else 1

    def _in_month(self, month: pl.Expr) -> pl.Expr:
        """Return the time of the anchor's day in a month."""
        first = pl.date(month // 12, month % 12 + 1, 1)
        length = first.dt.month_end().dt.day().cast(pl.Int64)
        day = pl.col("anchor_day")
        day = pl.when(day > 0).then(pl.min_horizontal(day, length)).otherwise(length + day)
        return ((first.cast(pl.Int64) + day - 1) * DAY + pl.col("anchor_time")).cast(pl.Datetime("us"))


def make_grid(freq: str | int) -> EvenGrid | MonthGrid:
    """Return the grid of a frequency; its expressions need the columns `fields`, which `anchor_series` returns."""
    months = num_months(freq)
    if months is not None:
        return MonthGrid(months)
    width = fixed_width(freq)
    assert width is not None
    calendar = make_open_calendar(freq)
    if calendar is not None:
        return OpenGrid(width, ds_dtype(clock_of(freq)), calendar)
    return EvenGrid(width, ds_dtype(clock_of(freq)))


def is_closed(freq: str | int, ds: pl.Expr) -> pl.Expr:
    """Return whether a time is closed at a frequency."""
    grid = make_grid(freq)
    return grid.is_closed(ds) if isinstance(grid, OpenGrid) else pl.lit(False)


def _map(
    values: pl.Expr, function: Callable[[IntArray], npt.NDArray[np.generic]], dtype: pl.DataType = pl.Int64()
) -> pl.Expr:
    """Apply a function of an array to whole numbers, elementwise; nulls stay null."""

    def apply(given: pl.Series) -> pl.Series:
        mapped = pl.Series(given.name, function(given.fill_null(0).to_numpy()), dtype=dtype)
        return mapped.zip_with(given.is_not_null(), mapped.clear().extend_constant(None, len(mapped)))

    return values.map_batches(apply, return_dtype=dtype, is_elementwise=True)


def _month(ds: pl.Expr) -> pl.Expr:
    """Number months from the year 0."""
    return ds.dt.year().cast(pl.Int64) * 12 + ds.dt.month().cast(pl.Int64) - 1


def _first_of(month: pl.Expr) -> pl.Expr:
    return pl.date(month // 12, month % 12 + 1, 1).cast(pl.Datetime("us"))


def _days_to_month_end(ds: pl.Expr) -> pl.Expr:
    return ds.dt.month_end().dt.day().cast(pl.Int64) - ds.dt.day().cast(pl.Int64)
