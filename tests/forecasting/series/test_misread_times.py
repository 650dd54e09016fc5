"""Times that another program has misread."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.infer import infer_frequency
from forecasting.series.ingest import ingest
from forecasting.series.inputs import read_input
from forecasting.series.misread_times import describe_misread
from forecasting.series.read import scan_frame
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

SWAPPED = [datetime(year, 3, month) for year in (2021, 2022, 2023) for month in range(1, 13)]
"""The third day of each month, with the month as the day."""
EARLY = [datetime(1970, 1, 1) + timedelta(milliseconds=86_400 * day) for day in range(40)]
"""Seconds of days, read as milliseconds."""


def frame(times: list[datetime]) -> pl.DataFrame:
    return pl.DataFrame({"unique_id": "a", "ds": times, "y": 1.0})


@pytest.mark.parametrize(("times", "words"), [(SWAPPED, "dayfirst=True"), (EARLY, "epoch_s")])
def test_run_and_inference_stop_with_what_reads_such_times(times: list[datetime], words: str) -> None:
    source = Source(uri="x.parquet")
    spec = make_spec({"name": "x", "freq": "1mo", "season_lengths": [12], "horizon": 1, "source": source}, subject="x")
    with pytest.raises(SourceError, match=f"share their period of 1mo.*{words}") as raised:
        ingest(spec, rows=scan_frame(frame(times), source, "timestamp"))
    assert "aggregate" not in str(raised.value)
    given, _ = read_input(frame(times), {})
    with pytest.raises(SourceError, match=f"{words}.*; --freq"):
        infer_frequency(given)


def test_nanoseconds_that_round_to_one_time_are_refused_with_the_unit() -> None:
    source = Source(uri="x.parquet")
    times = pl.Series(range(20_240_101, 20_240_131)).cast(pl.Datetime("ns"))
    spec = make_spec({"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 1, "source": source}, subject="x")
    rows = pl.DataFrame({"unique_id": "a", "ds": times, "y": pl.Series(range(30))})
    with pytest.raises(SourceError, match=r"all times lie in January 1970"):
        ingest(spec, rows=scan_frame(rows, source, "timestamp"))


@pytest.mark.parametrize(
    "times",
    [
        [datetime(2024, 1, day) for day in range(1, 13)],  # days of one year
        [datetime(year, 1, 1) for year in range(2000, 2020)],
        [datetime(year, 1, day) for year in (2021, 2022) for day in range(1, 14)],
        [datetime(1970, month, 1) for month in range(1, 13)],
        [],
    ],
)
def test_ordinary_times_are_not_suspected(times: list[datetime]) -> None:
    assert describe_misread(pl.Series(times, dtype=pl.Datetime("us"))) == ""


def test_steps_are_not_suspected() -> None:
    assert describe_misread(pl.Series([1, 2, 3])) == ""
