"""Checks in jobs: verdicts are stored, failures stop a run before it trains, and series that are set aside stay so."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from forecasting.errors import CheckFailed
from forecasting.store.latest import latest_forecasts
from forecasting.store.publish import append_run
from workers.arguments import ARGUMENTS_VARIABLE
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.predict import predict
from workers.jobs.run import Skip, count_points, main
from workers.jobs.train import train


def require(small: Any, *checks: Any, **fields: Any) -> None:
    small.spec = type(small.spec).model_validate(small.spec.model_dump() | fields | {"checks": checks})


def stored(small: Any) -> pl.DataFrame:
    rows: pl.DataFrame = small.store.scan("checks", "timestamp").sort("check_name", "unique_id").collect()
    return rows


def forecast_done(small: Any, hours: int) -> None:
    """Record that the forecast of a cutoff has been done from what is published."""
    write_features(small.run("features", hours, cutoff="given"))
    for minute, job in enumerate(("features", "predict")):
        run = small.run(job, hours)
        append_run(small.store, {
            "run_id": run.arguments.run_id, "job": job, "spec": "small", "status": "success", "seconds": 1.0,
            "run_cutoff": run.cutoff.isoformat(), "started_at": datetime(2030, 1, 1, 0, minute, tzinfo=UTC),
            "versions": "{}", "arguments": run.arguments.model_dump_json(),
        })  # fmt: skip


STALE = {"kind": "freshness", "max": 2}


def test_stale_feed_fails_although_nothing_is_new(small: Any) -> None:
    require(small, STALE, {"kind": "range", "min": 0})
    small.write(a=12, b=9)
    forecast_done(small, 11)
    with pytest.raises(Skip, match=r"nothing new since 2024-01-01T11:00:00: .*; checks: 1 pass$"):
        write_features(small.run("features", 11, as_of="2024-01-01T14:00"))
    stale = small.run("features", 11, as_of="2024-01-01T15:00")
    with pytest.raises(CheckFailed, match="is followed by 3 periods of 1h that were over at 2024-01-01 15:00:00") as at:
        write_features(stale)
    assert at.value.exit_code == 2
    rows = stored(small)
    assert rows.select("check_name", "verdict").rows() == [("freshness", "fail"), ("range", "pass")]
    assert rows["run_id"].unique().to_list() == [stale.arguments.run_id]


def test_new_rows_of_a_stale_feed_fail_before_anything_is_published(small: Any) -> None:
    require(small, STALE)
    small.write(a=12, b=9)
    with pytest.raises(CheckFailed, match="check 'freshness' fails: the newest measurement, 2024-01-01 11:00:00, is"):
        write_features(small.run("features", 11, as_of="2024-01-02T00:00"))
    assert small.store.open("features", "timestamp") is None
    assert stored(small)["verdict"].to_list() == ["fail"]


def test_job_that_a_check_stops_ends_with_exit_code_2_and_is_recorded_as_failed(
    small: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require(small, {"kind": "num_series", "min": 3})
    small.write(a=12, b=12)
    arguments = small.run("features", 11, as_of="2024-01-01T12:00").arguments
    monkeypatch.setenv(ARGUMENTS_VARIABLE, arguments.model_dump_json())
    monkeypatch.setenv("FLEETCAST_STORE", small.store.root)
    assert main("features", write_features, find_cutoff) == 2
    assert "error: check 'num_series' fails: the source has 2 series" in capsys.readouterr().err
    (recorded,) = small.store.scan("runs", "timestamp").collect().iter_rows(named=True)
    assert (recorded["status"], recorded["message"][:26]) == ("failed", "check 'num_series' fails: ")
    assert stored(small)["run_id"].to_list() == [arguments.run_id]


def test_scheduled_time_counts_on_the_clock_of_the_source(small: Any) -> None:
    require(small, STALE)
    small.write(a=12, b=12)
    write_features(small.run("features", 11, as_of="2024-01-01T16:00+02:00"))
    assert stored(small)["found"].to_list() == [2]


def test_series_that_became_stale_is_set_aside_although_nothing_is_new(small: Any) -> None:
    require(small, STALE | {"per_series": True, "on_failure": "set_aside"})
    small.write(a=12, b=10, c=12)
    forecast_done(small, 11)
    with pytest.raises(Skip):
        write_features(small.run("features", 11, as_of="2024-01-01T12:00"))
    message = write_features(small.run("features", 11, as_of="2024-01-01T13:00")).message
    assert (
        "series: 2 forecast (0 lagging) · 0 ended · 1 set aside; checks: 0 pass · 1 fail (set_aside)\n  'b' set"
        in message
    )


def test_warning_is_stored_and_in_the_message(small: Any, capsys: pytest.CaptureFixture[str]) -> None:
    require(small, {"kind": "range", "max": 3, "series": "a", "on_failure": "warn"})
    small.write(a=12, b=12)
    message = write_features(small.run("features", 11, cutoff="given")).message
    assert "; checks: 0 pass · 1 fail (warn)" in message
    assert "features: check 'range' fails: 1 of 1 series fail, such as 'a': y is 4 at" in capsys.readouterr().out
    assert stored(small).select("unique_id", "found", "bound").rows() == [(None, 1, 0), ("a", 4, 3)]


def test_series_that_a_check_sets_aside_has_that_reason_in_every_job(small: Any, serial: Any) -> None:
    quick = {"max_steps": 2, "hidden_size": 4, "validation_windows": 4, "batch_windows": 4}
    fields = {"recipe": "fast", "models": ["elman"], "overrides": quick}
    require(small, {"kind": "range", "max": 50, "on_failure": "set_aside"}, **fields)
    small.write("b,2024-01-02 12:00:00,99", a=40, b=36)
    write_features(small.run("features", 39, cutoff="given"))
    assert count_points(small.run("predict", 39), data_version=None) == {"a": 40, "b": 0}
    train(small.run("train", 39, flow="train"))
    models = small.store.scan("models", "timestamp").filter(unique_id="b").collect()
    predict(small.run("predict", 39))
    served = latest_forecasts(small.store, spec="small", series="b")
    why = "set aside: check 'range' fails: y is 99 at 2024-01-02 12:00:00, above max = 50"
    assert set(models["reason"]) | set(served["reason"]) == {why}
    assert served["forecast"].null_count() == 4


def test_verdicts_of_a_run_replace_those_of_an_earlier_one_and_go_with_their_checks(small: Any) -> None:
    require(small, {"kind": "range", "max": 3})
    small.write(a=12, b=12)
    for _ in range(2):
        with pytest.raises(CheckFailed):
            write_features(small.run("features", 11, cutoff="given"))
        assert stored(small)["unique_id"].to_list() == [None, "a", "b"]
    small.write(a=3, b=3)
    write_features(small.run("features", 11, cutoff="given"))
    assert stored(small)["verdict"].to_list() == ["pass"]
    small.spec = small.spec.model_copy(update={"checks": ()})
    assert "checks" in write_features(small.run("features", 11, cutoff="given")).versions
    assert stored(small).is_empty()
    assert "checks" not in write_features(small.run("features", 11, cutoff="given")).versions


def test_run_of_some_series_replaces_their_verdicts_alone(small: Any) -> None:
    require(small, {"kind": "range", "max": 3, "on_failure": "warn"}, {"kind": "num_series", "min": 2})
    small.write(a=12, b=12)
    write_features(small.run("features", 11, cutoff="given"))
    before = stored(small)
    of_a = small.run("features", 11, cutoff="given", series=("a",))
    assert "checks: 0 pass · 1 fail (warn) · 1 skipped" in write_features(of_a).message
    after = stored(small)
    assert after.drop("run_id").equals(before.drop("run_id"))
    assert after.filter(run_id=of_a.arguments.run_id)["unique_id"].to_list() == ["a"]


def test_integer_steps_have_a_table_of_verdicts_of_their_own(small: Any, serial: Any) -> None:
    small.source.write_text("unique_id,ds,y\n" + "\n".join(f"{n},{at},{at % 4 + 1}" for n in "ab" for at in range(12)))
    checks = [{"kind": "range", "max": 3, "series": "a", "on_failure": "set_aside"}, {"kind": "forecast_jump"}]
    small.spec = type(small.spec).model_validate(small.spec.model_dump() | {"freq": 1, "checks": checks})
    for job, work in (("features", write_features), ("predict", predict)):
        work(replace(small.run(job, 0, cutoff="11"), cutoff=11))
    rows = small.store.scan("checks", "step").sort("job", "unique_id").collect()
    assert rows.select("job", "unique_id", "verdict").rows() == [
        ("features", None, "fail"),
        ("features", "a", "fail"),
        ("predict", None, "pass"),
    ]
    served = small.store.scan("forecasts", "step").filter("is_champion", unique_id="a").collect()
    assert set(served["reason"]) == {"set aside: check 'range' fails: y is 4 at 3, above max = 3"}
