"""Rows of periods that are not over when they are read wait until they are."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError, SpecError
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_frame
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec, make_spec

NOW = datetime(2024, 3, 20, 4, 30)
"""A Wednesday."""


def spec_of(freq: str, **source: Any) -> Spec:
    fields = {"name": "x", "freq": freq, "season_lengths": [2], "horizon": 2}
    return make_spec(fields | {"source": {"uri": "x.csv"} | source}, subject="x")


def scan(frame: pl.DataFrame, clock: Any = "timestamp") -> pl.LazyFrame:
    return scan_frame(frame, Source(uri="x.csv"), clock)


def read(times: list[Any], freq: str, *, now: datetime = NOW, zone: str | None = None, **source: Any) -> Ingested:
    ds = pl.Series(times)
    if zone is not None:
        ds = ds.dt.replace_time_zone(zone)
    frame = pl.DataFrame({"unique_id": "a", "ds": ds, "y": pl.Series(range(len(times)), dtype=pl.Float64)})
    return ingest(spec_of(freq, **source), rows=scan(frame), now=now)


def last_used(times: list[Any], freq: str, **options: Any) -> Any:
    ingested = read(times, freq, **options)
    assert ingested.counts is not None
    assert ingested.counts.used + ingested.counts.unfinished == len(times)
    return ingested.observations["ds"].max()


@pytest.mark.parametrize(
    ("freq", "times", "is_used"),
    [
        ("1d", [datetime(2024, 3, 18), datetime(2024, 3, 19), datetime(2024, 3, 20)], False),
        ("1d", [datetime(2024, 3, 17, 23), datetime(2024, 3, 18, 23), datetime(2024, 3, 19, 23)], True),
        ("1w", [datetime(2024, 3, 4), datetime(2024, 3, 11), datetime(2024, 3, 18)], False),
        ("1w", [datetime(2024, 3, 3), datetime(2024, 3, 10), datetime(2024, 3, 17)], True),
        ("1mo", [datetime(2024, 1, 1), datetime(2024, 2, 1), datetime(2024, 3, 1)], False),
        ("1mo", [datetime(2023, 12, 31), datetime(2024, 1, 31), datetime(2024, 2, 29)], True),
        ("1q", [datetime(2023, 7, 1), datetime(2023, 10, 1), datetime(2024, 1, 1)], False),
        ("1y", [datetime(2022, 1, 1), datetime(2023, 1, 1), datetime(2024, 1, 1)], False),
        ("1h", [datetime(2024, 3, 20, hour) for hour in (2, 3, 4)], True),  # in Auckland it is evening
    ],
)
def test_period_that_is_not_over_in_any_zone_is_not_used(freq: str, times: list[Any], is_used: bool) -> None:
    assert last_used(times, freq) == times[-1 if is_used else -2]
    assert last_used(times, freq, unfinished="use") == times[-1]


def test_note_has_the_number_of_rows_their_time_and_the_option() -> None:
    ingested = read([datetime(2024, 3, 18), datetime(2024, 3, 19), datetime(2024, 3, 20)], "1d")
    assert ingested.unused == (
        "1 rows from 2024-03-20 00:00:00 on are not used, because their periods are not over;"
        ' source.unfinished = "use" (--unfinished use) reads them',
    )
    assert str(ingested.counts) == "3 rows read, 2 used, 1 of unfinished periods"


@pytest.mark.parametrize(
    ("zone", "hour", "is_used"),
    [("UTC", 4, False), ("UTC", 3, True), ("Asia/Tokyo", 13, False), ("Asia/Tokyo", 12, True)],
)
def test_hour_is_over_at_its_end_where_the_zone_is_known(zone: str, hour: int, is_used: bool) -> None:
    times = [datetime(2024, 3, 20, hour) - timedelta(hours=back) for back in (2, 1, 0)]
    ingested = read(times, "1h", zone=zone)
    assert ingested.observations.height == (3 if is_used else 2)


@pytest.mark.parametrize(
    ("zone", "num_used"),
    [("Pacific/Auckland", 3), ("UTC", 3), ("America/New_York", 2)],  # where it is 17:30, 04:30 and 00:30 of the 20th
)
def test_day_is_over_at_the_midnight_of_its_own_zone(zone: str, num_used: int) -> None:
    times = [datetime(2024, 3, 17), datetime(2024, 3, 18), datetime(2024, 3, 19)]
    now = NOW - timedelta(minutes=45)  # 23:45 of the 19th in New York
    assert read(times, "1d", zone=zone, now=now).observations.height == num_used


def test_days_as_text_are_over_at_the_midnight_of_their_own_offset() -> None:
    now = datetime(2024, 3, 19, 22, 30)
    for offset, num_used in (("+02:00", 3), ("Z", 2), ("-05:00", 2)):
        times = [f"2024-03-{day}T00:00:00{offset}" for day in (17, 18, 19)]
        assert read(times, "1d", now=now).observations.height == num_used
    hours = [f"2024-03-19T{hour}:00:00+01:00" for hour in (22, 23)]
    assert read(hours, "1h", now=now).observations.height == 1
    assert read([f"2024-03-19T{hour}:00:00Z" for hour in (20, 21)], "1h", now=now).observations.height == 2


def test_label_end_says_that_a_period_ends_at_its_time() -> None:
    times = [datetime(2024, 3, 19), datetime(2024, 3, 20)]
    assert last_used(times, "1d", label="end") == times[-1]
    hours = [datetime(2024, 3, 20, hour) for hour in (3, 4)]
    assert read(hours, "1h", zone="UTC", label="end").observations.height == 2


def test_rows_that_are_aggregated_wait_for_the_whole_period() -> None:
    minutes = [datetime(2024, 3, 20, 2) + timedelta(minutes=minute) for minute in range(0, 150, 10)]
    ingested = read(minutes, "1h", zone="UTC", aggregate="sum")
    assert ingested.observations["ds"].to_list() == [datetime(2024, 3, 20, hour) for hour in (2, 3)]
    assert ingested.counts is not None
    assert (ingested.counts.used, ingested.counts.unfinished) == (12, 3)


def test_run_with_a_logical_date_reads_the_periods_that_were_over_then() -> None:
    times = [datetime(2024, 3, day) for day in range(1, 15)]
    rows = pl.DataFrame({"unique_id": "a", "ds": times, "y": [1.0] * 14})
    ingested = ingest(spec_of("1d"), rows=scan(rows), now=NOW, as_of=datetime(2024, 3, 10, 4, 30))
    assert ingested.cutoff == datetime(2024, 3, 9)
    assert str(ingested.counts) == "14 rows read, 9 used, 4 after the cutoff, 1 of unfinished periods"


def test_source_of_an_unfinished_period_alone_is_refused_with_the_option() -> None:
    with pytest.raises(SourceError, match=r"no accepted observation; .*--unfinished use"):
        read([datetime(2024, 3, 20)], "1d")


def test_cutoff_in_an_unfinished_period_is_refused_with_the_option() -> None:
    times = [datetime(2024, 3, 18), datetime(2024, 3, 19), datetime(2024, 3, 20)]
    rows = scan(pl.DataFrame({"unique_id": "a", "ds": times, "y": [1.0] * 3}))
    spec = spec_of("1d")
    with pytest.raises(SpecError, match=r"finished period that is measured, 2024-03-19.*--unfinished use"):
        ingest(spec, rows=rows, now=NOW, cutoff=times[-1])


def test_integer_steps_are_never_unfinished() -> None:
    frame = pl.DataFrame({"unique_id": "a", "ds": [1, 2, 3], "y": [1.0, 2.0, 3.0]})
    spec = make_spec(
        {"name": "x", "freq": 1, "season_lengths": [2], "horizon": 2, "source": {"uri": "x.csv"}}, subject="x"
    )
    assert ingest(spec, rows=scan(frame, "step"), now=NOW).cutoff == 3
