import json
from datetime import UTC, datetime

import polars as pl
import pytest

from forecasting.errors import UserError
from forecasting.series import blocks
from forecasting.series.once import reading_once
from forecasting.spec.categories import Categories
from forecasting.store.publish import append_run
from workers.jobs import features, restatements
from workers.jobs.features import is_done, write_features
from workers.jobs.run import Skip, count_points


def at(minute):
    return datetime(2030, 1, 1, 0, minute, tzinfo=UTC)


def record(run, minute, *, seconds=1.0, versions=None):
    """Record that a run succeeded which began in this minute."""
    append_run(run.store, {
        "run_id": run.arguments.run_id, "job": run.arguments.job, "spec": run.spec.name, "status": "success",
        "run_cutoff": run.cutoff.isoformat(), "started_at": at(minute), "seconds": seconds,
        "arguments": run.arguments.model_dump_json(), "versions": json.dumps(versions or {}),
    })  # fmt: skip


def refresh(small, minute, hours=11, flow="forecast"):
    run = small.run("features", hours, flow=flow, cutoff="given")
    record(run, minute, versions=write_features(run).versions)


@pytest.fixture
def done(small):
    """A world in which the forecast flow has been done for hour 11."""
    small.write(a=12, b=9)
    refresh(small, 0)
    record(small.run("predict", 11), 1)
    return small


def test_forecast_with_nothing_new_is_skipped(done):
    assert is_done(done.run("features", 11))
    with pytest.raises(Skip, match="nothing new since 2024-01-01T11:00:00"):
        write_features(done.run("features", 11))


@pytest.mark.parametrize("job", ["train", "backtest"])
def test_training_since_the_forecast_is_new(done, job):
    record(done.run(job, 8, flow="train"), 2)
    assert not is_done(done.run("features", 11))
    record(done.run("predict", 11), 3)
    assert is_done(done.run("features", 11))


def test_training_that_ended_after_the_forecast_began_is_new(done):
    record(done.run("train", 11, flow="train"), 0, seconds=61.0)
    assert not is_done(done.run("features", 11))


def test_refused_measurement_is_not_new_where_an_absent_row_is_zero(small, capsys):
    source = small.spec.source.model_copy(update={"missing_rows": "zero"})
    small.spec = small.spec.model_copy(update={"source": source})
    small.write("b,2024-01-01 09:00:00,nan", "b,2024-01-01 11:00:00,2", a=12, b=9)
    refresh(small, 0)
    record(small.run("predict", 11), 1)
    assert is_done(small.run("features", 11))
    features = small.run("features", 11).rows("features").filter(unique_id="b").sort("ds").collect()
    assert features["y"].to_list()[8:] == [1, None, 0, 2]
    assert features["is_observed"].to_list()[8:] == [True, False, False, True]
    assert "1 of 24 grid points have no row and are taken as 0" in capsys.readouterr().out


def test_training_after_the_cutoff_or_of_another_spec_is_not_new(done):
    record(done.run("train", 12, flow="train"), 2)
    record(done.run("train", 11, flow="train", spec=done.spec_of("other")), 2)
    assert is_done(done.run("features", 11))


def test_rows_of_a_series_that_lags_are_new(done):
    done.write(a=12, b=12)
    assert not is_done(done.run("features", 11))
    done.write("a,2024-01-01 12:00:00,5", a=12, b=9)
    assert is_done(done.run("features", 11))


def test_series_whose_newest_row_is_refused_has_no_features_and_the_message_says_why(small):
    small.write("a,2024-01-01 12:00:00,many", a=12, b=9)
    outcome = write_features(small.run("features", 12))
    assert (
        "22 rows read, 21 used, 1 refused; series: 1 forecast (1 lagging) · 0 ended · 1 set aside\n" in outcome.message
    )
    assert "\n  'a' set aside: " in outcome.message
    stored = {name: small.store.scan(name, "timestamp").collect() for name in ("features", "observations", "rejects")}
    assert stored["features"]["unique_id"].unique().to_list() == ["b"]
    assert set(stored["observations"]["unique_id"]) == {"a", "b"}
    assert stored["rejects"]["unique_id"].to_list() == ["a"]
    assert count_points(small.run("predict", 12), data_version=None) == {"a": 0, "b": 13}


def test_malformed_rows_name_no_series(small):
    small.write("total", "# by hand", "a,2024-01-01 13:00:00,1,2", a=12, b=12)
    write_features(small.run("features", 11))
    assert count_points(small.run("predict", 11), data_version=None) == {"a": 12, "b": 12}


def test_many_refused_rows_fail_the_job_without_a_retry_and_publish_nothing(small):
    small.write(*[f"b,2024-01-01 {hour:02d}:30:00,x" for hour in range(11)], a=12, b=12)
    with pytest.raises(UserError, match=r"11 of 35 rows are refused") as failed:
        write_features(small.run("features", 11))
    assert failed.value.exit_code == 2
    assert small.store.open("features", "timestamp") is None


def test_measurement_that_was_corrected_is_new(done):
    done.source.write_text(done.source.read_text().replace("b,2024-01-01 03:00:00,4", "b,2024-01-01 03:00:00,3"))
    assert not is_done(done.run("features", 11))


def test_rows_that_were_published_but_not_forecast_are_still_new(done):
    done.write(a=12, b=12)
    refresh(done, 2)
    assert not is_done(done.run("features", 11))
    record(done.run("predict", 11), 3)
    assert is_done(done.run("features", 11))


def test_same_rows_published_again_are_not_new(done):
    refresh(done, 2, flow="train")
    assert is_done(done.run("features", 11))


def test_training_is_done_until_its_rows_change(done):
    record(done.run("backtest", 11, flow="train"), 1)
    assert is_done(done.run("features", 11, flow="train"))
    done.write(a=12, b=10)
    assert not is_done(done.run("features", 11, flow="train"))


def test_rows_that_nobody_kept_are_taken_for_new(done):
    refresh(done, 2)
    done.store.open("observations", "timestamp").vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False
    )
    assert not is_done(done.run("features", 11))


def test_series_that_changed_its_class_is_new(small):
    """Nothing else of the rows says so."""
    small.spec = small.spec.model_copy(update={"categories": Categories(static=("store", "shelf"))})
    lines = [f"a,2024-01-01 {hour:02d}:00:00,{hour},{{}}," for hour in range(10)]  # the shelf is blank
    write = small.source.write_text
    write("\n".join(["unique_id,ds,y,store,shelf", *lines]).format(*["A"] * 10) + "\n")
    refresh(small, 1)
    record(small.run("predict", 9), 2)
    assert is_done(small.run("features", 9))
    write("\n".join(["unique_id,ds,y,store,shelf", *lines]).format(*["A"] * 9, "B") + "\n")
    assert not is_done(small.run("features", 9))


def test_columns_that_name_series_together_are_kept_beside_those_of_other_runs(small):
    source = small.spec.source.model_copy(update={"id": ("store", "item")})
    spec = small.spec.model_copy(update={"source": source})

    def write(*names):
        lines = [f"{name},2024-01-01 {hour:02d}:00,{hour % 4}" for name in names for hour in range(12)]
        small.source.write_text("\n".join(["store,item,ds,y", *lines]) + "\n")

    def stored():
        rows = small.store.scan("names", "timestamp").sort("unique_id").collect()
        return {name: [key["value"] for key in keys] for name, keys in rows.select("unique_id", "keys").iter_rows()}

    write("1,milk", "2,a/b")
    outcome = write_features(small.run("features", 11, spec=spec, cutoff="given"))
    assert stored() == {"1/milk": ["1", "milk"], "2/a\\/b": ["2", "a/b"]}
    assert "names" in outcome.versions
    write("1,milk", "3,c")
    write_features(small.run("features", 11, spec=spec, cutoff="given"))
    assert list(stored()) == ["1/milk", "2/a\\/b", "3/c"]
    assert "names" not in write_features(small.run("features", 11, spec=spec, cutoff="given")).versions
    write("1,milk", "4,d")
    write_features(small.run("features", 11, spec=spec, cutoff="given", series=("4/d",)))
    assert list(stored()) == ["1/milk", "2/a\\/b", "3/c", "4/d"]


def test_tables_do_not_depend_on_blocks_and_a_lost_job_that_is_repeated_publishes_them_once(
    small, monkeypatch, tmp_path_factory
):
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    names = ("observations", "features", "rejects", "restatements")
    stored = {}
    for name, most_rows in (("whole", 1_000), ("split", 5)):
        small.spec = small.spec_of(name)
        monkeypatch.setattr(blocks, "BLOCK_ROWS", most_rows)
        monkeypatch.setattr(restatements, "STRETCH_ROWS", most_rows)
        small.write("c,2024-01-01 05:00:00,many", a=12, b=9, c=12, d=3)
        with reading_once():
            small.read()
        small.replace("b,3,40", "d,1,7")
        runs = [small.run("features", 11, cutoff="given", run_id=f"{name}.{number}") for number in (1, 1)]
        if most_rows == 5:
            with monkeypatch.context() as patch, reading_once():
                patch.setattr(features, "add_set_aside", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):  # lost after observations, before rejects
                    write_features(runs[0])
        with reading_once():
            outcome = write_features(runs[1])
        tables = [small.store.scan(table, "timestamp").filter(spec=name).collect() for table in names]
        of_run = ("spec", "run_id", "learnt_at", "data_version", "created_at")
        stored[name] = [table.drop(of_run, strict=False).sort(pl.all()).rows() for table in tables], outcome.message
        assert sorted(tables[-1]["new_y"]) == [7.0, 40.0]
    assert stored["split"] == stored["whole"]
    assert not list(temporary.iterdir())
