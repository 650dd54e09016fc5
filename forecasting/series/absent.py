"""Absent rows: how many grid points have no row in the source, and which of them mean zero.

A row with a null or refused measurement is a row. A period in which no series has a row is closed or a failed feed, and
its absent rows stay unknown, unless chance explains it: a few sparse series are all absent now and then.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.series.grid import make_grid
from forecasting.spec.frequency import fixed_width, num_months, opening_of, spell_months, spell_width

SMALL_CHANCE = 0.01
"""A run of periods in which no series has a row is unknown where its chance is smaller.

The chance is that all series that have begun are absent in all periods of the run, each independently and as often as
it is outside the run.
"""
MOST_ABSENT = 0.5
"""Share of a series' grid points above which a run warns, where the source does not say what an absent row means."""
ABOUT_HALF = 0.45
FEWEST_POINTS = 20
"""The share for series of at least so many points: with half of the true step as `freq`, just under half are absent."""
MOST_SERIES = 0.95
"""Share of the series whose rows all lie on every k-th grid point from which `freq` seems to be too fine."""
FEWEST_ROWS = 3
"""Rows of a series that counts for this."""


@dataclass
class AbsentRows:
    """Absent rows of all series, counted block by block.

    Attributes:
        freq: The frequency of the grid.
        num_points: Grid points of all series.
        num_filled: Absent rows that became 0.
        num_unknown: Absent rows in periods in which no series has a row, which stay null.
    """

    freq: str | int
    num_points: int = 0
    num_filled: int = 0
    num_unknown: int = 0
    _periods: list[pl.DataFrame] = field(default_factory=list)
    _series: list[pl.DataFrame] = field(default_factory=list)

    def add(self, grid: pl.DataFrame, observations: pl.DataFrame) -> None:
        """Count the rows of a block of whole series.

        Args:
            grid: Rows of `regularise`.
            observations: The rows that they come from; a row with a null `y` is not absent.
        """
        points = _mark_rows(grid, observations, self.freq)
        self._periods.append(points.group_by("period").agg(pl.col("has_row").any()))
        self._series.append(
            points.group_by("unique_id").agg(
                first=pl.col("period").min(), num_points=pl.len(), num_rows=pl.col("has_row").sum()
            )
        )

    def fill(self, grid: pl.DataFrame, observations: pl.DataFrame) -> pl.DataFrame:
        """Fill absent rows with 0 in periods in which some series has a row, or in which chance explains that none has.

        Args:
            grid: Rows of a block that was added.
            observations: The rows that they come from.

        Returns:
            The grid in the same order; a filled point has a `y` of 0 and is not observed.
        """
        points = _mark_rows(grid, observations, self.freq)
        is_absent = ~points["has_row"]
        is_unknown = points["period"].is_in(self._unknown.implode())
        is_filled = is_absent & ~is_unknown
        self.num_points += grid.height
        self.num_filled += int(is_filled.sum())
        self.num_unknown += int((is_absent & is_unknown).sum())
        return grid.with_columns(y=pl.when(is_filled).then(0.0).otherwise("y"))

    @cached_property
    def _unknown(self) -> pl.Series:
        periods = pl.concat(self._periods).group_by("period").agg(pl.col("has_row").any())
        return _unknown_periods(periods, pl.concat(self._series))

    def describe(self) -> str | None:
        """Return a sentence about what was filled and what was not; None if no row is absent."""
        if not self.num_filled + self.num_unknown:
            return None
        unknown = (
            f"; {self.num_unknown} more stay unknown, because no series has a row in their periods"
            if self.num_unknown
            else ""
        )
        return (
            f"{self.num_filled} of {self.num_points} grid points have no row and are taken as 0, as"
            f' source.missing_rows = "zero" (--missing-rows zero) says{unknown}'
        )


def find_sparse(grid: pl.DataFrame, observations: pl.DataFrame) -> pl.DataFrame:
    """Return the series of which about half of the rows or more are absent.

    Args:
        grid: Rows of `regularise`.
        observations: The rows that they come from.

    Returns:
        unique_id, num_points and num_absent, sorted.
    """
    points = grid.group_by("unique_id").agg(num_points=pl.len())
    rows = observations.group_by("unique_id").agg(num_rows=pl.len())
    counts = points.join(rows, on="unique_id").with_columns(num_absent=pl.col("num_points") - pl.col("num_rows"))
    share = pl.when(pl.col("num_points") >= FEWEST_POINTS).then(ABOUT_HALF).otherwise(MOST_ABSENT)
    sparse = counts.filter(pl.col("num_absent") > share * pl.col("num_points")).sort("unique_id")
    return sparse.select("unique_id", "num_points", "num_absent")


def describe_absent(
    sparse: pl.DataFrame, num_series: int, observations: Iterable[pl.DataFrame], *, freq: str | int
) -> str | None:
    """Return a sentence about series of which about half of the rows or more are absent, and the options for that.

    Args:
        sparse: Rows of `find_sparse`.
        num_series: The number of all series.
        observations: The rows of all series, in blocks of whole series; they are read only if there is such a series.
        freq: The frequency of the grid.

    Returns:
        The sentence; None if there is no such series.
    """
    if sparse.is_empty():
        return None
    name, num_absent, num_points = sparse.select("unique_id", "num_absent", "num_points").row(0)
    return (
        f"{sparse.height} of {num_series} series have no row at about half of their grid points or more,"
        f" such as '{name}' at {num_absent} of {num_points}; these points are taken as unknown;"
        f"{_describe_step(observations, freq)} if an absent row means 0, as in sales, source.missing_rows ="
        ' "zero" (--missing-rows zero) says so; "gap" keeps them unknown without this warning'
    )


def _describe_step(observations: Iterable[pl.DataFrame], freq: str | int) -> str:
    """Return a clause about a frequency whose every k-th point alone has rows; empty if `freq` seems to be right."""
    if opening_of(freq) is not None:
        return ""
    multiple_S = np.concatenate([_multiples(rows, freq) for rows in observations])
    for multiple in np.unique(multiple_S)[::-1]:
        share = float(np.mean(multiple_S % multiple == 0)) if multiple > 1 else 0.0
        if share >= MOST_SERIES:
            most = "all" if share == 1 else f"{100 * share:.3g} % of the"
            return (
                f" the rows of {most} series lie multiples of {multiple} points apart, so freq (--freq) may be"
                f" {_multiply(freq, int(multiple))};"
            )
    return ""


def _multiples(observations: pl.DataFrame, freq: str | int) -> npt.NDArray[np.int64]:
    """Return the greatest number of points that divides the distances of each series' rows."""
    rows = observations.select("unique_id", period=make_grid(freq).period(pl.col("ds")).cast(pl.Int64))
    rows = rows.filter(pl.len().over("unique_id") >= FEWEST_ROWS).sort("unique_id", "period")
    if rows.is_empty():
        return np.zeros(0, dtype=np.int64)
    begins = (rows["unique_id"] != rows["unique_id"].shift()).fill_null(True)
    steps = rows["period"].diff().fill_null(0).zip_with(~begins, pl.zeros(rows.height, pl.Int64, eager=True))
    return np.gcd.reduceat(steps.to_numpy(), begins.arg_true().to_numpy())


def _multiply(freq: str | int, multiple: int) -> str | int:
    if isinstance(freq, int):
        return freq * multiple
    months, width = num_months(freq), fixed_width(freq)
    if months is not None:
        return spell_months(months * multiple)
    assert width is not None
    return spell_width(width * multiple)


def _mark_rows(grid: pl.DataFrame, observations: pl.DataFrame, freq: str | int) -> pl.DataFrame:
    """Return unique_id, period and has_row of grid points."""
    rows = observations.select("unique_id", "ds", has_row=pl.lit(True))
    points = grid.select("unique_id", "ds", period=make_grid(freq).period(pl.col("ds")).cast(pl.Int64)).join(
        rows, on=["unique_id", "ds"], how="left", maintain_order="left"
    )
    return points.select("unique_id", "period", pl.col("has_row").fill_null(False))


def _unknown_periods(periods: pl.DataFrame, series: pl.DataFrame) -> pl.Series:
    """Return the periods without any row that chance does not explain."""
    empty = periods.filter(~pl.col("has_row")).sort("period")["period"]
    if empty.is_empty():
        return empty
    period_E = empty.to_numpy()
    begins_E = np.diff(period_E, prepend=period_E[0] - 2) != 1
    first_R, run_E = period_E[begins_E], np.cumsum(begins_E) - 1
    length_R = np.bincount(run_E)
    series = series.sort("first", "unique_id")
    first_S, points_S, rows_S = (series[name].to_numpy().astype(np.int64) for name in series.columns[1:])
    chance_R = _log_chance(first_R, length_R, first_S, points_S, rows_S)
    return empty.filter(pl.Series(chance_R[run_E] < np.log(SMALL_CHANCE)))


def _log_chance(
    first_R: npt.NDArray[np.int64],
    length_R: npt.NDArray[np.int64],
    first_S: npt.NDArray[np.int64],
    points_S: npt.NDArray[np.int64],
    rows_S: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the log of the chance that all series are absent throughout each run; series are sorted by their first."""
    # R runs of periods without rows · S series
    chance_R = np.zeros(len(first_R))
    num_begun_R = np.searchsorted(first_S, first_R, side="right")
    for length in np.unique(length_R):
        outside_S = np.maximum(points_S - length, rows_S)
        # Half an absence is added to all counts, so that none is taken for impossible.
        absent_S = np.log((outside_S - rows_S + 0.5) / (outside_S + 1))
        total_S = np.concatenate([[0.0], np.cumsum(absent_S)])
        is_long_R = length_R == length
        chance_R[is_long_R] = length * total_S[num_begun_R[is_long_R]]
    return chance_R
