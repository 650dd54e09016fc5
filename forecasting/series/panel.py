"""A panel: the series of one shard as right-aligned arrays, which networks and baselines alike read.

Features (the table) go in through `to_panel`; a `Panel` comes out.
"""

# S series · N grid points, right-aligned: column N-1 is each series' own last grid point · C calendar features
# F horizon steps

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.schemas import STEP, TIMESTAMP
from forecasting.series.calendar import add_calendar, calendar_columns
from forecasting.series.clock import num_months, refuse_other_clock
from forecasting.series.grid import future_grid

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Panel:
    """The series of one shard, each ending in the last column.

    `y_SN` is float64 and NaN in gaps and before a series begins; `length_S` counts grid points, gaps included.
    `calendar_SNC` is float32 and reaches F steps past the last column (`calendar_S(N+F)C`), because the calendar of
    the horizon is known; it has no columns for integer steps. `ds_SN` holds the grid (datetime64[us], or int64),
    also with F further columns; NaT or the smallest integer before a series begins.
    """

    unique_ids: tuple[str, ...]
    y_SN: npt.NDArray[np.float64]
    length_S: npt.NDArray[np.int64]
    calendar_SNC: npt.NDArray[np.float32]
    ds_SN: npt.NDArray[np.generic]
    horizon: int

    @property
    def clock_dtype(self) -> pl.DataType:
        """The dtype that times of this panel have in frames."""
        return STEP if np.issubdtype(self.ds_SN.dtype, np.integer) else TIMESTAMP

    def until(self, num_dropped: int) -> "Panel":
        """Return what was known `num_dropped` grid points before each series' end; nothing later is left in it."""
        if num_dropped == 0:
            return self
        return replace(
            self,
            y_SN=self.y_SN[:, :-num_dropped],
            length_S=np.maximum(self.length_S - num_dropped, 0),
            calendar_SNC=self.calendar_SNC[:, :-num_dropped],
            ds_SN=self.ds_SN[:, :-num_dropped],
        )

    def select(self, rows_S: npt.NDArray[np.int64]) -> "Panel":
        """Return some of the series, in the order of `rows_S`."""
        if np.array_equal(rows_S, np.arange(len(self.unique_ids))):
            return self
        return replace(
            self,
            unique_ids=tuple(self.unique_ids[row] for row in rows_S),
            y_SN=self.y_SN[rows_S],
            length_S=self.length_S[rows_S],
            calendar_SNC=self.calendar_SNC[rows_S],
            ds_SN=self.ds_SN[rows_S],
        )


def to_panel(
    features: pl.DataFrame,
    *,
    freq: str | int,
    horizon: int,
    unique_ids: Sequence[str] | None = None,
    run_cutoff: datetime | int | None = None,
) -> Panel:
    """Align the features of some series at their ends and continue each one's grid and calendar over the horizon.

    `features` has unique_id, ds, y and the calendar columns that suit the frequency, on even grids as `regularise`
    makes them, in any order. The panel has the series of `unique_ids` in that order, or all, sorted. One without
    features has length 0, NaN throughout, and its horizon follows `run_cutoff` where that is given. The panel has at
    least one column before the horizon. The calendar is 0 before a series begins.
    """
    names = calendar_columns(freq)
    wanted = sorted(features["unique_id"].unique()) if unique_ids is None else list(unique_ids)
    order = pl.DataFrame(
        {"unique_id": wanted, "row": range(len(wanted))}, schema={"unique_id": pl.String, "row": pl.Int64}
    )
    known, rows = _number(features.select("unique_id", "ds", "y", *names), order)
    length_S = np.bincount(rows, minlength=len(wanted)).astype(np.int64)
    width = max(1, int(length_S.max(initial=0)))
    columns = _rank(rows, known["ds"].to_physical().to_numpy()) + (width - np.cumsum(length_S))[rows]

    points = known.select("unique_id", "ds")
    if num_months(freq) is None:  # the last point tells where a grid of even steps lies; for months it takes all
        points = points.filter(pl.Series(columns == width - 1))
    future = _future(points, order, length_S, freq=freq, horizon=horizon, run_cutoff=run_cutoff)
    future_rows, future_columns = future["row"].to_numpy(), future["step"].to_numpy() + width - 1
    is_step = isinstance(freq, int)
    nothing: np.generic = np.int64(np.iinfo(np.int64).min) if is_step else np.datetime64("NaT", "us")
    ds_SN = np.full((len(wanted), width + horizon), nothing)
    calendar_SNC = np.zeros((len(wanted), width + horizon, len(names)), dtype=np.float32)
    for part, at in ((known, (rows, columns)), (future, (future_rows, future_columns))):
        flat = at[0] * (width + horizon) + at[1]
        ds_SN.reshape(-1)[flat] = part["ds"].to_numpy()
        for feature, name in enumerate(names):
            calendar_SNC.reshape(-1, len(names))[flat, feature] = part[name].to_numpy()
    y_SN = np.full((len(wanted), width), np.nan)
    y_SN.reshape(-1)[rows * width + columns] = known["y"].fill_null(np.nan).to_numpy()
    return Panel(tuple(wanted), y_SN, length_S, calendar_SNC, ds_SN, horizon)


def _number(features: pl.DataFrame, order: pl.DataFrame) -> tuple[pl.DataFrame, npt.NDArray[np.int64]]:
    """Keep the series of `order`; return their rows as they lie, and the series' number of each."""
    runs = features["unique_id"].rle().struct.unnest()
    number_of_run = runs.join(order, left_on="value", right_on="unique_id", how="left", maintain_order="left")["row"]
    rows = np.repeat(number_of_run.fill_null(-1).to_numpy(), runs["len"].to_numpy())
    if number_of_run.null_count() == 0:
        return features, rows
    return features.filter(pl.Series(rows >= 0)), rows[rows >= 0]


def _rank(rows: npt.NDArray[np.int64], ds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where each point would stand if they were sorted by series and time.

    Tables give back long stretches that are sorted in themselves: it is enough to sort those.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    is_break = (np.diff(rows) != 0) | (np.diff(ds) <= 0)
    begin = np.concatenate([[0], np.flatnonzero(is_break) + 1])
    end = np.append(begin[1:], len(rows))
    sequence = np.lexsort((ds[begin], rows[begin]))
    first, last = begin[sequence], end[sequence] - 1
    overlaps = (rows[first[1:]] == rows[last[:-1]]) & (ds[first[1:]] < ds[last[:-1]])
    if overlaps.any():
        rank = np.empty(len(rows), dtype=np.int64)
        rank[np.lexsort((ds, rows))] = np.arange(len(rows))
        return rank
    length = last + 1 - first
    shift = np.empty_like(begin)
    shift[sequence] = np.cumsum(length) - length - first
    return np.arange(len(rows)) + np.repeat(shift, end - begin)


def _future(
    points: pl.DataFrame,
    order: pl.DataFrame,
    length_S: npt.NDArray[np.int64],
    *,
    freq: str | int,
    horizon: int,
    run_cutoff: datetime | int | None,
) -> pl.DataFrame:
    """Return row, step, ds and calendar of every series' horizon, as far as something says where it begins."""
    begins = points.lazy()
    if run_cutoff is not None:
        refuse_other_clock(run_cutoff, freq=freq, subject="run_cutoff")
        empty = order.filter(pl.Series(length_S == 0)).select("unique_id", ds=pl.lit(run_cutoff, points.schema["ds"]))
        begins = pl.concat([begins, empty.lazy()])
    future = add_calendar(future_grid(begins, freq=freq, horizon=horizon), freq=freq)
    return future.join(order.lazy(), on="unique_id").collect()
