"""The zone of a source, from its timestamps or from offsets in its text."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from forecasting.series.ingest import ingest
from forecasting.series.read import scan_source
from forecasting.series.reasons import Reason
from forecasting.series.validate import validate
from forecasting.series.zone import clock_zone
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

BEGIN = datetime(2024, 1, 1)


@pytest.mark.parametrize(
    ("times", "freq", "zone"),
    [
        ([BEGIN], "1h", None),
        ([BEGIN.replace(tzinfo=UTC)], "1h", UTC),
        (pl.Series([BEGIN]).dt.replace_time_zone("Asia/Tokyo").to_list(), "1h", UTC),
        (pl.Series([BEGIN]).dt.replace_time_zone("Asia/Tokyo").to_list(), "1d", ZoneInfo("Asia/Tokyo")),
    ],
)
def test_zone_of_timestamps_is_utc_below_a_day_and_its_own_from_a_day_on(
    tmp_path: Path, times: list[Any], freq: str, zone: Any
) -> None:
    rows = pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, "y": range(len(times))})
    rows.write_parquet(tmp_path / "zoned.parquet")
    assert clock_zone(Source(uri=str(tmp_path / "zoned.parquet")), "timestamp", freq) == zone


@pytest.mark.parametrize(
    ("times", "freq", "zone"),
    [
        (["2024-01-01T05:00:00", "2024-01-02"], "1h", None),
        (["2024-01-01", "2024-01-02"], "1d", None),
        (["2024-01-01 05:00", "2024-01-01T06:00+01:00"], "1h", UTC),
        (["2024-01-01T05:00:00Z"], "1h", UTC),
        (["2024-03-31T00:00:00+01:00", "2024-04-01T00:00:00+02:00"], "1d", timezone(timedelta(hours=1))),
        (["2024-03-09 00:00:00-0330", "2024-03-11 00:00:00-0230"], "1w", timezone(-timedelta(hours=3, minutes=30))),
        (["2024-01-01T00:00:00Z"], "1d", UTC),
    ],
)
def test_text_with_offsets_has_the_zone_of_its_smallest_offset_for_days(
    tmp_path: Path, times: list[str], freq: str, zone: Any
) -> None:
    rows = pl.DataFrame({"unique_id": ["a"] * len(times), "ds": times, "y": range(len(times))})
    rows.write_csv(tmp_path / "text.csv")
    assert clock_zone(Source(uri=str(tmp_path / "text.csv")), "timestamp", freq) == zone


def test_time_without_an_offset_among_others_is_refused_below_a_day(tmp_path: Path) -> None:
    times = ["2024-01-01T05:00:00+01:00", "2024-01-01 06:00:00", "2024-01-02T07:00:00Z", "soon"]
    pl.DataFrame({"unique_id": "a", "ds": times, "y": range(4)}).write_csv(tmp_path / "text.csv")
    rows = scan_source(Source(uri=str(tmp_path / "text.csv")), "timestamp")
    rejects = validate(rows, freq="1h").rejects.collect()
    assert rejects["reason"].to_list() == [Reason.NO_ZONE, Reason.BAD_TIME]
    assert Reason.NO_ZONE not in validate(rows, freq="1d").rejects.collect()["reason"].to_list()
    declared = Source(uri=str(tmp_path / "text.csv"), timezone="Europe/Berlin")
    accepted = validate(scan_source(declared, "timestamp"), freq="1h").accepted.collect()
    assert [each.hour for each in accepted["ds"]] == [4, 5, 7]


def test_several_offsets_without_a_zone_are_said_with_the_option(tmp_path: Path) -> None:
    hours = pl.datetime_range(datetime(2024, 3, 30), datetime(2024, 4, 2), "1h", eager=True, time_zone="UTC")
    local = hours.dt.convert_time_zone("Europe/Berlin").dt.to_string("%Y-%m-%dT%H:%M:%S%:z")
    pl.DataFrame({"unique_id": "a", "ds": local, "y": range(len(local))}).write_csv(tmp_path / "text.csv")
    fields = {"name": "a", "freq": "1h", "season_lengths": [24], "horizon": 2}
    source = {"uri": str(tmp_path / "text.csv")}
    (note,) = ingest(make_spec({**fields, "source": source}, subject="a")).notes
    assert "times have 2 offsets from UTC" in note
    assert "--timezone (source.timezone)" in note
    assert not ingest(make_spec({**fields, "source": source | {"timezone": "Europe/Berlin"}}, subject="a")).notes


def test_integer_steps_have_no_zone(tmp_path: Path) -> None:
    assert clock_zone(Source(uri=str(tmp_path / "absent.csv")), "step", 1) is None
