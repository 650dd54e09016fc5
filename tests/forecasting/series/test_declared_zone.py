"""Times of a source with a declared zone: both clock changes, in three zones, and outputs in the source's own type."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from forecasting.errors import SpecError
from forecasting.series.ingest import ingest
from forecasting.series.inputs import Input
from forecasting.series.native import native_types
from forecasting.series.reasons import Reason
from forecasting.spec.spec import Spec, make_spec

CHANGES = [
    ("Europe/Berlin", "1h", datetime(2024, 10, 27), datetime(2024, 3, 31, 2)),
    ("America/New_York", "15m", datetime(2024, 11, 3), datetime(2024, 3, 10, 2)),
    ("Australia/Lord_Howe", "30m", datetime(2024, 4, 7), datetime(2024, 10, 6, 2)),
]
"""A zone, a frequency, the day whose clocks go back, and a time that the clocks skip."""


def spec_of(path: Path, *, freq: str = "1h", **source: Any) -> Spec:
    fields = {"name": "a", "source": {"uri": str(path), **source}, "freq": freq, "season_lengths": [2], "horizon": 1}
    return make_spec(fields, subject="the test's spec")


def write(path: Path, times: list[Any], ids: list[str] | None = None) -> Path:
    rows = pl.DataFrame(
        {"unique_id": ids or ["a"] * len(times), "ds": times, "y": [float(n) for n in range(len(times))]}
    )
    rows.write_csv(path) if path.suffix == ".csv" else rows.write_parquet(path)
    return path


def instants_around(day: datetime, zone: str, freq: str) -> pl.Series:
    """Return two days of instants from local midnight, by zoneinfo rather than by Polars."""
    width = {"1h": 60, "30m": 30, "15m": 15}[freq]
    begin = day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)
    return pl.Series([begin + timedelta(minutes=width * step) for step in range(2 * 24 * 60 // width)])


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
@pytest.mark.parametrize(("zone", "freq", "autumn"), [each[:3] for each in CHANGES])
def test_day_whose_clocks_go_back_loses_no_row(
    tmp_path: Path, name: str, zone: str, freq: str, autumn: datetime
) -> None:
    instants = instants_around(autumn, zone, freq)
    local = [each.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) for each in instants]
    assert len(set(local)) < len(local)
    path = write(tmp_path / name, local * 2, ["a"] * len(local) + ["b"] * len(local))
    ingested = ingest(spec_of(path, freq=freq, timezone=zone))
    assert ingested.observations["ds"].to_list() == instants.to_list() * 2
    assert ingested.observations["y"].diff().drop_nulls().unique().to_list() == [1.0]
    types = native_types(Input(spec_of(path, timezone=zone).source), "timestamp", freq)
    assert types.restore_time(ingested.observations["ds"]).to_list() == local * 2


@pytest.mark.parametrize(("zone", "freq", "skipped"), [(*each[:2], each[3]) for each in CHANGES])
def test_time_that_spring_skips_is_refused(tmp_path: Path, zone: str, freq: str, skipped: datetime) -> None:
    day = timedelta(days=1)
    path = write(tmp_path / "in.csv", [str(skipped - day), str(skipped), str(skipped + day), "soon"])
    rejects = ingest(spec_of(path, freq=freq, timezone=zone, allow_rejects=1)).rejects
    assert rejects["reason"].to_list() == [Reason.SKIPPED, Reason.BAD_TIME]
    assert rejects["ds"].to_list() == [str(skipped), "soon"]


def test_lone_time_of_a_repeated_hour_is_the_earlier_one(tmp_path: Path) -> None:
    hours = [datetime(2024, 10, 27, hour) for hour in (1, 2, 3)]
    observed = ingest(spec_of(write(tmp_path / "in.csv", hours), timezone="Europe/Berlin")).observations
    assert [each.hour for each in observed["ds"]] == [23, 0, 2]


def test_offsets_count_and_times_without_one_are_on_the_declared_clock(tmp_path: Path) -> None:
    times = ["2024-07-01T00:00:00", "2024-07-01T01:00:00+02:00", "2024-07-01T00:00:00Z"]
    observed = ingest(spec_of(write(tmp_path / "in.csv", times), timezone="Europe/Berlin")).observations
    assert observed["ds"].to_list() == [datetime(2024, 6, 30, hour) for hour in (22, 23)] + [datetime(2024, 7, 1)]


def test_files_with_and_without_a_zone_go_together_under_a_declared_one(tmp_path: Path) -> None:
    write(tmp_path / "1.parquet", [datetime(2024, 7, 1, 2)])
    write(tmp_path / "2.parquet", pl.Series([datetime(2024, 7, 1, 1)]).dt.replace_time_zone("UTC").to_list())
    observed = ingest(spec_of(tmp_path, timezone="Europe/Berlin")).observations
    assert observed["ds"].to_list() == [datetime(2024, 7, 1), datetime(2024, 7, 1, 1)]


def test_days_of_utc_instants_are_those_of_the_declared_zone_and_come_back_as_instants(tmp_path: Path) -> None:
    paris = ZoneInfo("Europe/Paris")
    days = [date(2024, 3, 20) + timedelta(days=number) for number in range(20)]
    midnights = [datetime(day.year, day.month, day.day, tzinfo=paris).astimezone(UTC) for day in days]
    spec = spec_of(write(tmp_path / "in.parquet", midnights), freq="1d", timezone="Europe/Paris")
    observed = ingest(spec).observations["ds"]
    assert [each.date() for each in observed] == days
    assert {each.hour for each in observed} == {0}
    types = native_types(Input(spec.source), "timestamp", "1d")
    assert types.restore_time(observed).to_list() == midnights
    # 22:30 in UTC is half past midnight of the next day in Paris.
    assert types.parse_cutoff("2024-04-05T22:30", "timestamp") == datetime(2024, 4, 6, 0, 30)


def test_dates_whose_midnight_is_skipped_are_kept(tmp_path: Path) -> None:
    days = [date(2018, 11, day) for day in (3, 4, 5)]
    for name in ("in.csv", "in.parquet"):
        ingested = ingest(spec_of(write(tmp_path / name, days), freq="1d", timezone="America/Sao_Paulo"))
        assert [each.date() for each in ingested.observations["ds"]] == days


def test_cutoff_without_an_offset_is_on_the_declared_wall_clock(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", [datetime(2024, 7, 1)])
    types = native_types(Input(spec_of(path, timezone="Europe/Berlin").source), "timestamp", "1h")
    assert types.ds == pl.Datetime("us")
    assert types.parse_cutoff("2024-07-01T08:00:00", "timestamp") == datetime(2024, 7, 1, 6)


@pytest.mark.parametrize(("minutes", "is_refused"), [(0, False), (60, True)])
def test_future_is_exact_where_the_zone_is_declared(tmp_path: Path, minutes: int, is_refused: bool) -> None:
    now = datetime(2024, 6, 3, 11)
    at = datetime(2024, 6, 3, 13) + timedelta(minutes=minutes)  # 13:00 in Berlin is now
    path = write(tmp_path / "in.csv", [datetime(2024, 6, 3, 10), at])
    ingested = ingest(spec_of(path, timezone="Europe/Berlin", allow_rejects=1), now=now)
    assert (ingested.rejects["reason"].to_list() == [Reason.FUTURE]) is is_refused


def test_zone_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"source.timezone = 'Mars/Base': must be an IANA time zone"):
        spec_of(tmp_path, timezone="Mars/Base")


@pytest.mark.parametrize("kind", ["zoned", "declared", "text"])
def test_days_of_hours_have_23_and_25_of_them_when_clocks_change(tmp_path: Path, kind: str) -> None:
    begin, end = datetime(2024, 3, 29, 23), datetime(2024, 10, 29, 22)
    zoned = pl.datetime_range(begin, end, "1h", eager=True, time_zone="UTC").dt.convert_time_zone("Europe/Berlin")
    times = {
        "zoned": zoned,
        "declared": zoned.dt.replace_time_zone(None),
        "text": zoned.dt.to_string("%Y-%m-%dT%H:%M:%S%:z"),
    }[kind]
    rows = pl.DataFrame({"unique_id": "a", "ds": times, "y": 1.0})
    path = tmp_path / ("in.csv" if kind == "text" else "in.parquet")
    rows.write_csv(path) if kind == "text" else rows.write_parquet(path)
    declared = {"timezone": "Europe/Berlin"} if kind == "declared" else {}
    ingested = ingest(spec_of(path, freq="1d", aggregate="sum", **declared))
    assert ingested.rejects.is_empty()
    days = dict(ingested.observations.select(pl.col("ds").dt.date(), "y").iter_rows())
    assert days.pop(date(2024, 3, 31)) == 23
    assert days.pop(date(2024, 10, 27)) == 25
    assert set(days.values()) == {24}


@pytest.mark.parametrize("is_zoned", [True, False])
def test_opening_hours_are_those_of_the_wall_clock(tmp_path: Path, is_zoned: bool) -> None:
    utc = pl.datetime_range(datetime(2024, 3, 18), datetime(2024, 4, 13), "1h", eager=True, time_zone="UTC")
    local = utc.dt.convert_time_zone("Europe/Berlin")
    rows = pl.DataFrame({"unique_id": "a", "ds": local, "y": 1.0})
    rows = rows.filter((pl.col("ds").dt.weekday() < 6) & pl.col("ds").dt.hour().is_between(8, 17))
    zone = {} if is_zoned else {"timezone": "Europe/Berlin"}
    (rows if is_zoned else rows.with_columns(pl.col("ds").dt.replace_time_zone(None))).write_parquet(
        tmp_path / "in.parquet"
    )
    ingested = ingest(spec_of(tmp_path / "in.parquet", open="Mon-Fri 08:00-18:00", **zone))
    assert ingested.rejects.is_empty()
    assert ingested.features["ds"].to_list() == rows["ds"].dt.replace_time_zone(None).to_list()
