"""Columns and index levels of frames that cannot be read, or are not, are named."""

from typing import Any

import duckdb
import pandas as pd
import pytest

from forecasting.errors import DataWarning, SourceError
from forecasting.series.frames import read_frame

DAYS = pd.date_range("2024-01-01", periods=3)


def read(frame: Any) -> Any:
    return read_frame(frame, id=None, time="ds", target="y")[0]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("y", ["1", 2, 3.0], r"target column 'y' of dtype object has values of the types float, int, str.*to_numeric"),
        ("y", [2**70, 1, 2], r"target column 'y' of dtype object.*type int,.*astype\(float\)"),
        ("y", pd.arrays.SparseArray([1.0, 2.0, 3.0]), r"target column 'y' of dtype Sparse.*astype\(float\)"),
        ("unique_id", ["a", 1, 2], r"id column 'unique_id' of dtype object.*types int, str.*astype\(str\)"),
        ("ds", [DAYS[0], "2024-01-02", DAYS[2]], r"time column 'ds'.*types Timestamp, str.*pandas.to_datetime"),
    ],
)
def test_a_pandas_column_without_one_type_is_named_with_what_to_do(column: str, values: Any, message: str) -> None:
    frame = pd.DataFrame({"unique_id": ["a"] * 3, "ds": DAYS, "y": [1.0, 2.0, 3.0]})
    frame[column] = values if isinstance(values, pd.arrays.SparseArray) else pd.Series(values, dtype=object)
    with pytest.raises(SourceError, match=message):
        read(frame)


def test_an_index_level_that_is_not_read_is_named_as_a_column_is() -> None:
    index = pd.MultiIndex.from_arrays([["s1", "s1", "s2"], DAYS], names=["store", "ds"])
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0]}, index=index)
    with pytest.warns(DataWarning, match=r"no column 'unique_id'.*not read: index level store; id="):
        assert read(frame).height == 3
    with pytest.warns(DataWarning, match=r"not read: store; id="):
        read(frame.reset_index())
    assert read_frame(frame, id="store", time="ds", target="y")[0]["store"].to_list() == ["s1", "s1", "s2"]


def test_an_unnamed_index_of_one_level_is_no_data() -> None:
    assert read(pd.DataFrame({"y": [1.0, 2.0, 3.0], "ds": DAYS})).height == 3


@pytest.mark.parametrize("second", ["y", '"Y"'])
def test_a_duckdb_relation_with_a_column_twice_is_refused(second: str) -> None:
    relation = duckdb.sql(f"SELECT 'a' AS unique_id, DATE '2024-01-01' AS ds, 1 AS y, 2 AS {second}")
    with pytest.raises(SourceError, match="<frame> has the column 'y' more than once"):
        read(relation)
    others = duckdb.sql("SELECT 'a' AS unique_id, DATE '2024-01-01' AS ds, 1 AS y, 2 AS z, 3 AS z")
    assert read(others)["y"].to_list() == [1]
