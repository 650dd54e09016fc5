"""Bookkeeping columns of rows."""

from datetime import date, datetime

import polars as pl

from forecasting.schemas import table
from forecasting.store.stamp import stamp

START = datetime(2024, 1, 1, 23, 30)


def test_stamped_rows_have_the_declared_columns(forecasts_of):
    rows = forecasts_of("a", run_cutoff=START)
    assert rows.schema == table("forecasts").schema("timestamp")
    assert set(rows.select("spec", "cutoff_date", "run_cutoff", "run_id").iter_rows()) == {
        ("demo", date(2024, 1, 1), START, "run")
    }
    assert rows["q02_5"].null_count() == rows.height


def test_steps_have_no_cutoff_date(forecasts_of):
    rows = forecasts_of("a", run_cutoff=7)
    assert rows.schema == table("forecasts").schema("step")
    assert rows["run_cutoff"].unique().to_list() == [7]


def test_lazy_frame_stays_lazy_and_keeps_unknown_columns():
    rows = stamp(
        pl.LazyFrame({"surprise": [1], "unique_id": ["a"]}), "observations", "timestamp", spec="demo", run_id="run"
    )
    assert isinstance(rows, pl.LazyFrame)
    assert rows.collect_schema().names() == ["spec", "unique_id", "zone", "data_version", "run_id", "surprise"]


def test_rows_keep_the_version_that_they_have_and_others_get_that_of_the_run():
    for own, expected in (({"data_version": [3]}, 3), ({}, 7)):
        rows = stamp(
            pl.DataFrame({"unique_id": ["a"]} | own), "scores", "step", spec="demo", run_id="r", data_version=7
        )
        assert rows["data_version"].to_list() == [expected]
