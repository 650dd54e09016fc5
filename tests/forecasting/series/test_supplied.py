"""Rows that a run supplies take the place of a source's own, within the run and for this source alone."""

import polars as pl

from forecasting.series.inputs import Input
from forecasting.series.once import reading_once
from forecasting.series.supplied import Supplied, find_supplied, supply_rows
from forecasting.spec.source import Source

SOURCE = Source(uri="sqlite:////sales.db", table="sales", modified="changed", id=["shop", "item"])
ROWS = pl.LazyFrame({"shop": [7], "item": ["a"], "ds": ["2024-01-01"], "y": [1.0]})


def test_rows_are_supplied_within_a_run() -> None:
    with reading_once():
        supply_rows(SOURCE, Supplied(ROWS, "mirror"))
        other = Source(**{**SOURCE.model_dump(), "table": "other"})
        assert find_supplied(other) is None
        ignoring = Source(**{**SOURCE.model_dump(), "ignore": {"from": "2024-01-01", "to": "2024-01-02"}})
        scanned = Input(ignoring).scan("timestamp").collect()
        assert scanned.select("source_file", "source_row", "unique_id").row(0) == ("mirror", 1, "7/a")
        assert Input(SOURCE).id_dtypes() == {"shop": pl.Int64(), "item": pl.String()}
    assert find_supplied(SOURCE) is None
