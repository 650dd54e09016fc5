from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from workers.arguments import RunArguments, find_result
from workers.jobs.cutoffs import newest_allowed, requested_cutoff, storage_options_of
from workers.jobs.features import write_features
from workers.jobs.run import Outcome, count_points, main


def test_name_that_is_missing_or_blank_is_no_series(small):
    small.write(",2024-01-01 00:00:00,1", "   ,2024-01-01 00:00:00,1", "refused,yesterday,1", a=5)
    write_features(small.run("features", 4, cutoff="given"))
    assert count_points(small.run("train", 4, flow="train"), data_version=None) == {"a": 5, "refused": 0}


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_scheduled_time_is_compared_on_the_sources_clock_regardless_of_the_schedules_zone(
    tmp_path: Path, zone: str
) -> None:
    """Hourly times with a zone are kept as UTC; on the schedule's wall clock a run could see hours ahead."""
    hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 2), "1h", eager=True, time_zone="UTC")
    pl.DataFrame({"unique_id": ["a"] * len(hours), "ds": hours, "y": range(len(hours))}).write_parquet(
        tmp_path / "zoned.parquet"
    )
    spec = {
        "name": "zoned",
        "source": {"uri": str(tmp_path / "zoned.parquet")},
        "freq": "1h",
        "season_lengths": [24],
        "horizon": 2,
        "schedule": {"timezone": zone},
    }
    instant = datetime(2024, 1, 1, 12, tzinfo=UTC).astimezone(ZoneInfo(zone)).isoformat()
    arguments = RunArguments(job="features", flow="train", spec=spec, as_of=instant, run_id="r", generation=1)
    assert newest_allowed(arguments) == datetime(2024, 1, 1, 12)
    assert requested_cutoff(arguments.model_copy(update={"cutoff": instant})) == datetime(2024, 1, 1, 12)


def test_job_takes_the_keys_of_the_store_from_the_connection_that_it_names_or_else_from_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", '{"aws_region": "here"}')
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", "aws://mine:hunter2@/?region_name=there")
    spec = {"name": "zoned", "source": {"uri": "/a.csv"}, "freq": "1h", "season_lengths": [24], "horizon": 2}
    arguments = RunArguments(job="features", flow="train", spec=spec, run_id="r")
    assert storage_options_of(arguments) == {"aws_region": "here"}
    named = arguments.model_copy(update={"store_connection": "lake"})
    keys = {"aws_region": "there", "aws_access_key_id": "mine", "aws_secret_access_key": "hunter2"}
    assert storage_options_of(named) == keys
    assert "hunter2" not in named.model_dump_json()


@pytest.mark.parametrize(("is_idle", "status"), [(True, "skipped"), (False, "success")])
def test_job_that_had_nothing_to_do_is_recorded_and_reported_as_skipped(
    small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_idle: bool, status: str
) -> None:
    arguments = RunArguments(job="score", flow="forecast", spec=small.spec, run_id="r")
    monkeypatch.setenv("FLEETCAST_RUN", arguments.model_dump_json())
    monkeypatch.setenv("FLEETCAST_STORE", small.store.root)
    outcome = Outcome("nothing to score", is_idle=is_idle)
    assert main("score", lambda run: outcome, lambda arguments, store: datetime(2024, 1, 1)) == 0
    result = find_result(capsys.readouterr().out.splitlines())
    assert result is not None
    assert result.status == status
    assert small.store.scan("runs", "timestamp").collect()["status"].to_list() == [status]
