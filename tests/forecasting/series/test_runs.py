"""Runs of rows of the same series."""

import numpy as np
import polars as pl

from forecasting.series.runs import find_runs, gather_known


def test_runs_are_the_neighbours_of_one_name() -> None:
    runs = find_runs(pl.Series(["a", "a", "b", None, "a"]))
    assert runs.names.to_list() == ["a", "b", None, "a"]
    assert (runs.begin_S.tolist(), runs.length_S.tolist(), runs.last_S.tolist()) == (
        [0, 2, 3, 4],
        [2, 1, 1, 1],
        [1, 2, 3, 4],
    )
    is_meant = np.array([True, False, False, True, True])
    assert runs.newest_where(is_meant).tolist() == [0, -1, 3, 4]
    assert runs.any_where(is_meant).tolist() == [True, False, True, True]
    assert gather_known(pl.Series([7, 8, 9, 10, 11]), runs.newest_where(is_meant)).to_list() == [7, None, 10, 11]


def test_runs_are_sorted_where_each_series_is_one() -> None:
    assert find_runs(pl.Series(["a", "a", "b"])).are_sorted
    assert find_runs(pl.Series([], dtype=pl.String)).are_sorted
    for names in (["a", "b", "a"], ["b", "a"], [None, "a"]):
        assert not find_runs(pl.Series(names)).are_sorted
