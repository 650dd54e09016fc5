"""Times that another program has misread."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.infer import infer_frequency
from forecasting.series.ingest import ingest
from forecasting.series.inputs import read_input
from forecasting.series.misread_times import describe_misread, refuse_scrambled
from forecasting.series.read import scan_frame
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

SWAPPED = [datetime(year, 3, month) for year in (2021, 2022, 2023) for month in range(1, 13)]
"""The third day of each month, with the month as the day."""
EARLY = [datetime(1970, 1, 1) + timedelta(milliseconds=86_400 * day) for day in range(40)]
"""Seconds of days, read as milliseconds."""


def frame(times: list[datetime]) -> pl.DataFrame:
    return pl.DataFrame({"unique_id": "a", "ds": times, "y": 1.0})


QUARTERS = [datetime(year, quarter, 1) for year in (2021, 2022, 2023) for quarter in range(1, 5)]


@pytest.mark.parametrize(
    ("freq", "times", "words"),
    [("1mo", SWAPPED, "dayfirst=True"), ("1mo", EARLY, "epoch_s"), ("1q", QUARTERS[:-1], "--time-format quarter")],
)
def test_run_and_inference_stop_with_what_reads_such_times(freq: str, times: list[datetime], words: str) -> None:
    source = Source(uri="x.parquet")
    spec = make_spec({"name": "x", "freq": freq, "season_lengths": [4], "horizon": 1, "source": source}, subject="x")
    with pytest.raises(SourceError, match=f"share their period of {freq}.*{words}") as raised:
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
        [datetime(1970, 1, 1) + timedelta(hours=hour) for hour in range(600)],  # made up
        [datetime(2024, month, 1) for month in range(1, 5)],
        [datetime(year, month, 1) for year in (2021, 2022) for month in range(1, 6)],
        [],
    ],
)
def test_ordinary_times_are_not_suspected(times: list[datetime]) -> None:
    assert describe_misread(pl.Series(times, dtype=pl.Datetime("us"))) == ""


def test_steps_are_not_suspected() -> None:
    assert describe_misread(pl.Series([1, 2, 3])) == ""


def scramble(times: list[datetime]) -> list[datetime]:
    """Return times as a program reads them that takes the first number for the month wherever it can."""
    return [time.replace(month=time.day, day=time.month) if time.day <= 12 else time for time in times]


@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(weeks=1), timedelta(hours=6)])
@pytest.mark.parametrize("falls", [False, True])
def test_rows_in_order_but_for_swapped_days_and_months_are_refused(step: timedelta, falls: bool) -> None:
    times = [datetime(2023, 1, 6) + step * number for number in range(400)]
    source = Source(uri="x.parquet")
    for ordered in (times, scramble(times)):
        rows = scan_frame(frame(ordered[::-1] if falls else ordered), source, "timestamp")
        if ordered is times:
            refuse_scrambled(rows, source)
        else:
            with pytest.raises(SourceError, match=r"^x\.parquet, row \d+: time .* may be .*format='%d/%m/%Y'"):
                refuse_scrambled(rows, source)
    refuse_scrambled(
        scan_frame(frame(scramble(times)).sample(fraction=1, shuffle=True, seed=0), source, "timestamp"), source
    )
    refuse_scrambled(scan_frame(frame(sorted(scramble(times))), source, "timestamp"), source)


def test_run_with_scrambled_text_of_several_series_stops() -> None:
    days = [datetime(2023, 1, 6) + timedelta(days=number) for number in range(60)]
    text = pl.concat([frame(days), frame(scramble(days)).with_columns(unique_id=pl.lit("b"))]).cast({"ds": pl.String})
    source = Source(uri="x.parquet")
    spec = make_spec({"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 1, "source": source}, subject="x")
    with pytest.raises(SourceError, match=r"row 61: time 2023-06-01 00:00:00 may be 2023-01-06 00:00:00.*series 'b'"):
        ingest(spec, rows=scan_frame(text, source, "timestamp"))


def test_declared_format_takes_times_in_this_order_as_they_are() -> None:
    days = sorted((datetime(2023, month, day) for month in range(1, 13) for day in (1, 2, 3)), key=lambda day: day.day)
    text = frame(days).with_columns(pl.col("ds").dt.to_string("%Y-%m-%d"))
    source = Source(uri="x.parquet")
    with pytest.raises(SourceError, match=r"sort the rows by time, or declare .*--time-format '%Y-%m-%d'"):
        refuse_scrambled(scan_frame(text, source, "timestamp"), source)
    with pytest.raises(SourceError, match=r"sort the rows by time, if the times are right"):
        refuse_scrambled(scan_frame(frame(days), source, "timestamp"), source)
    declared = Source(uri="x.parquet", time_format="%Y-%m-%d")
    refuse_scrambled(scan_frame(text, declared, "timestamp"), declared)
