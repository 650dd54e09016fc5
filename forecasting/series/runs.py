"""The rows of each series that lie together: what is found from them costs far less than a search for their names."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

# S runs · R rows


@dataclass(frozen=True)
class Runs:
    """Runs of rows of the same series.

    Attributes:
        names: The series of each run; null where rows have no name.
        begin_S: The first row of each run, (S,) int64.
        length_S: The number of its rows, (S,) int64.
        last_S: Its last row, (S,) int64.
    """

    names: pl.Series
    begin_S: npt.NDArray[np.int64]
    length_S: npt.NDArray[np.int64]
    last_S: npt.NDArray[np.int64]

    @property
    def are_sorted(self) -> bool:
        """Whether each series is one run, and the runs are sorted by name; rows without a name are not."""
        return not self.names.has_nulls() and not (self.names <= self.names.shift()).any()

    def newest_where(self, is_meant_R: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Return the last row of each run where a condition holds, (S,); -1 without any."""
        if not len(self.begin_S):
            return self.begin_S
        return np.maximum.reduceat(np.where(is_meant_R, np.arange(len(is_meant_R)), -1), self.begin_S)

    def any_where(self, is_meant_R: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return whether a condition holds in some row of each run, (S,)."""
        return np.logical_or.reduceat(is_meant_R, self.begin_S) if len(self.begin_S) else np.zeros(0, dtype=bool)

    def steps(self, times: pl.Series) -> npt.NDArray[np.int64]:
        """Return the distance of each time to the one before, in the units of the clock; 0 where a run begins, (R,)."""
        time_R = times.to_physical().fill_null(0).to_numpy().astype(np.int64, copy=False)
        step_R = np.diff(time_R, prepend=time_R[:1])
        step_R[self.begin_S] = 0
        return step_R


def find_runs(names: pl.Series) -> Runs:
    """Return the runs of equal names."""
    runs = names.rle().struct.unnest()
    length_S = runs["len"].to_numpy().astype(np.int64)
    end_S = np.cumsum(length_S)
    return Runs(runs["value"], end_S - length_S, length_S, end_S - 1)


def gather_known(values: pl.Series, row_S: npt.NDArray[np.int64]) -> pl.Series:
    """Return the values at some rows; null where the row is -1."""
    rows = pl.Series(row_S, dtype=pl.Int64)
    return values.gather(rows.set(rows < 0, None))
