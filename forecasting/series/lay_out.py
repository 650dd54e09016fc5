"""Put the observations of a block on the even grids of their series, as `regularise` does, by position.

Rows that are sorted and lie on one grid each have a place that is known without a join.
"""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.series.columns import categories_of
from forecasting.series.grid import EvenGrid, make_grid
from forecasting.series.regularise import grid_end, newest_categories, regularise
from forecasting.series.runs import Runs, find_runs, gather_known

# S series · R rows · N grid points of all series


def lay_out(
    observations: pl.DataFrame,
    *,
    freq: str | int,
    until: datetime | int | None = None,
    reach: int = 0,
    runs: Runs | None = None,
) -> pl.DataFrame:
    """Put each series on an even grid from its first to its last timestamp.

    Args:
        observations: Rows that `regularise` takes, sorted by unique_id and ds.
        freq: The frequency of the grid.
        until: The time up to which grids continue, as of `regularise`.
        reach: The most periods that may follow a series' last measurement, as of `regularise`.
        runs: The runs of the rows' names, where they are known.

    Returns:
        The rows of `regularise`. Where no grid point lacks a row, the columns are those of the observations.
    """
    grid = make_grid(freq)
    runs = find_runs(observations["unique_id"]) if runs is None else runs
    time = observations["ds"]
    length_S = runs.length_S
    if not isinstance(grid, EvenGrid) or observations.is_empty() or not _are_even(runs, time, grid):
        return regularise(observations.lazy(), freq=freq, until=until, reach=reach).collect(engine="streaming")
    y = observations["y"]
    measured_S = runs.newest_where(y.is_not_null().to_numpy()) if y.has_nulls() else runs.last_S
    first = time.gather(runs.begin_S)
    spans = pl.DataFrame(
        {
            "unique_id": runs.names,
            "anchor": first.to_physical() % grid.width,
            "first": first,
            "last": time.gather(runs.last_S),
            "measured": gather_known(time, measured_S),
        }
    ).select("unique_id", "anchor", begin=grid.number(pl.col("first")), end=grid_end(grid, until, reach))
    begin_S = spans["begin"].to_numpy()
    num_S = spans["end"].to_numpy() - begin_S + 1
    categories = categories_of(observations.lazy())
    if np.array_equal(num_S, length_S) and not categories:
        return observations.select("unique_id", "ds", "y", is_observed=pl.col("y").is_not_null())
    number_R = _numbers(time, np.repeat(spans["anchor"].to_numpy(), length_S), grid)
    offset_S = np.cumsum(num_S) - num_S
    rows = np.full(int(num_S.sum()), -1, dtype=np.int64)
    rows[np.repeat(offset_S - begin_S, length_S) + number_R] = np.arange(len(number_R))
    if categories:
        classes = newest_categories(observations.lazy()).collect()
        spans = spans.join(classes, on="unique_id", how="left", maintain_order="left")
    number_N = np.arange(len(rows)) - np.repeat(offset_S - begin_S, num_S)
    points = spans.select("unique_id", *categories, "anchor")[np.repeat(np.arange(len(num_S)), num_S)]
    points = points.with_columns(y=gather_known(observations["y"], rows), number=pl.Series(number_N))
    ds, is_observed = grid.ds(pl.col("number")).alias("ds"), pl.col("y").is_not_null().alias("is_observed")
    return points.select("unique_id", ds, "y", is_observed, *categories)


def _are_even(runs: Runs, time: pl.Series, grid: EvenGrid) -> bool:
    """Return whether the rows of each series lie on one grid."""
    step_R = runs.steps(time)
    return not (step_R[step_R != grid.width] % grid.width).any()  # of few, because a remainder is slow


def _numbers(ds: pl.Series, anchor_R: npt.NDArray[np.int64], grid: EvenGrid) -> npt.NDArray[np.int64]:
    """Return the numbers of grid points."""
    times = pl.DataFrame({"ds": ds, "anchor": anchor_R})
    number_R: npt.NDArray[np.int64] = times.select(grid.number(pl.col("ds"))).to_series().to_numpy()
    return number_R
