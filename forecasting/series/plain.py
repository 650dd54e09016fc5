"""Judge the rows of a block beside each other; most series have nothing to refuse, which costs little to see.

The rows of a series are plain if each is accepted by itself, their times rise, none lies far from the one before, and
all lie on one grid. Only the rows of the other series are judged as `judge_together` does.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.series.grid import EvenGrid, MonthGrid, OpenGrid, is_closed, make_grid
from forecasting.series.judge import IS_ACCEPTED, MIN_REACH, REACH_PER_ROW, judge_together
from forecasting.series.newest import without_age
from forecasting.series.plausible import Lives, far_gap
from forecasting.series.runs import Runs, find_runs
from forecasting.spec.frequency import DAY, clock_of
from forecasting.spec.source import Source

# S series · R rows


@dataclass(frozen=True)
class Judged:
    """Judged rows of a block.

    Attributes:
        rows: The rows of `judge_until`; the columns of the grid's anchor are null for plain series.
        runs: The series of the rows where all are accepted, sorted and on their grid points; else None.
    """

    rows: pl.DataFrame
    runs: Runs | None = None


def judge_block(
    judged: pl.DataFrame, *, freq: str | int, source: Source | None, lives: Lives, runs: Runs | None = None
) -> Judged:
    """Refuse rows that repeat others, or do not lie where the other rows of their series do.

    Args:
        judged: Rows of `judge_alone`, of whole series.
        freq: The frequency of the grid.
        source: How rows are read, as of `judge_until`.
        lives: When the series of the source live; those of the block are added.
        runs: The runs of the rows' names, where they are known.

    Returns:
        The judged rows.
    """
    grid = make_grid(freq)
    ordered, runs, step_R = _sort(judged, runs)
    is_odd_S = _find_odd(ordered, runs, step_R, grid, freq)
    has_odd = bool(is_odd_S.any())
    is_plain = pl.Series(np.repeat(~is_odd_S, runs.length_S), dtype=pl.Boolean) if has_odd else None
    plain = without_age(ordered if is_plain is None else ordered.filter(is_plain)).with_columns(row_ds="ds")
    if has_odd or lives.is_asked:
        time = ordered["ds"]
        spans = {"num_rows": runs.length_S, "first": time.gather(runs.begin_S), "last": time.gather(runs.last_S)}
        lives.add(pl.LazyFrame(spans).filter(pl.Series(~is_odd_S, dtype=pl.Boolean)))
    if is_plain is None:
        names = (*grid.fields, "num_points", "middle")
        return Judged(plain.with_columns(pl.lit(None, pl.Int64).alias(name) for name in names), runs)
    together = judge_together(ordered.filter(~is_plain).lazy(), freq=freq, source=source, lives=lives).collect()
    accepted = pl.concat([plain, together.filter(IS_ACCEPTED)], how="diagonal_relaxed")
    refused = together.filter(~IS_ACCEPTED)
    return Judged(pl.concat([_sort_series(accepted), refused.select(accepted.columns)], how="vertical_relaxed"))


def _sort(rows: pl.DataFrame, runs: Runs | None) -> tuple[pl.DataFrame, Runs, npt.NDArray[np.int64]]:
    """Sort rows by series and time unless they are sorted, and return the steps; those of a time keep their order."""
    runs = find_runs(rows["unique_id"]) if runs is None else runs
    if runs.are_sorted and (step_R := runs.steps(rows["ds"])).min(initial=0) >= 0:
        return rows, runs, step_R
    rows = rows.sort("unique_id", "ds", maintain_order=True)
    runs = find_runs(rows["unique_id"])
    return rows, runs, runs.steps(rows["ds"])


def _sort_series(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort series whose rows lie together by their names; the rows of a series keep their order."""
    runs = find_runs(rows["unique_id"])
    order = runs.names.arg_sort().to_numpy()
    length_S = runs.length_S[order]
    before_S = np.cumsum(length_S) - length_S
    return rows[np.repeat(runs.begin_S[order] - before_S, length_S) + np.arange(rows.height)]


def _find_odd(
    rows: pl.DataFrame, runs: Runs, step_R: npt.NDArray[np.int64], grid: EvenGrid | MonthGrid, freq: str | int
) -> npt.NDArray[np.bool_]:
    """Return which series have rows that may have to be refused or moved, (S,)."""
    if isinstance(grid, EvenGrid):
        width, is_odd_R = grid.width, step_R != grid.width
        step_O = step_R[is_odd_R]  # few, of which a remainder costs far more than a comparison
        is_odd_R[is_odd_R] = (step_O <= 0) | (step_O % width != 0)
    else:
        width, is_odd_R = 28 * DAY * grid.months, (step_R <= 0) | _changes_place(rows, grid)
    if clock_of(freq) == "timestamp" and step_R.max(initial=0) >= (gap := far_gap(freq) // timedelta(microseconds=1)):
        is_odd_R |= step_R >= gap
    is_odd_R[runs.begin_S] = False
    if rows["reason"].null_count() < rows.height:
        is_odd_R |= rows["reason"].is_not_null().to_numpy()
    if isinstance(grid, OpenGrid):
        is_odd_R |= rows.select(is_closed(freq, pl.col("ds")).fill_null(True)).to_series().to_numpy()
    span_S = np.add.reduceat(step_R, runs.begin_S) if rows.height else np.zeros(0, dtype=np.int64)
    is_long_S = span_S // width >= np.maximum(MIN_REACH, REACH_PER_ROW * runs.length_S)
    is_odd_S: npt.NDArray[np.bool_] = runs.any_where(is_odd_R) | is_long_S | runs.names.is_null().to_numpy()
    return is_odd_S


def _changes_place(rows: pl.DataFrame, grid: MonthGrid) -> npt.NDArray[np.bool_]:
    """Return whether a time lies elsewhere in its period than the one before: on another day, or at another time."""
    time = pl.col("ds")
    month = time.dt.year().cast(pl.Int64) * 12 + time.dt.month().cast(pl.Int64)
    places = [time.cast(pl.Int64) % DAY, time.dt.day(), month % grid.months]
    changes = pl.any_horizontal(place != place.shift() for place in places)
    changes_R: npt.NDArray[np.bool_] = rows.select(changes.fill_null(True)).to_series().to_numpy()
    return changes_R
