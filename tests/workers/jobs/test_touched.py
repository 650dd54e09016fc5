"""Forecasts are scored again after measurements that enter their scores have changed."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from forecasting.cli.boards import read_boards
from forecasting.store.query import query
from workers.jobs.predict import predict
from workers.jobs.score import score

FIRST = datetime(2024, 1, 1)


@pytest.fixture(autouse=True)
def naives_only(small):
    """Without networks and statistical models, a forecast takes a few milliseconds."""
    leave_statistics_out(small)


@pytest.fixture
def twice(begin):
    """Two series, forecast and scored at hours 11 and 15."""
    return begin(forecast_twice)


def forecast_twice(small):
    leave_statistics_out(small)
    for hours in (11, 15):
        small.write(a=hours + 1, b=hours + 1)
        flow(small, hours)


def leave_statistics_out(small):
    small.spec = small.spec.model_copy(update={"statistics": ()})


def flow(small, hours, **options):
    """Run the forecast flow at a cutoff; return the message of the score job."""
    small.read(hours)
    predict(small.run("predict", hours))
    return score(small.run("score", hours, **options)).message


def scored_at(small, hours):
    """The run cutoffs, in hours, of the forecasts that were scored at this cutoff, by series."""
    rows = small.store.scan("scores", "timestamp").filter(
        "is_champion", pl.col("run_cutoff") == FIRST + timedelta(hours=hours)
    )
    rows = rows.select("unique_id", (pl.col("forecast_run_cutoff") - FIRST).dt.total_hours()).sort(pl.all()).collect()
    return {name: part["forecast_run_cutoff"].to_list() for (name,), part in rows.group_by("unique_id")}


def expected(small, hours, name):
    """The MAE of the champion's forecast made at `hours`, by the stored observations."""
    sql = f"""SELECT avg(abs(forecast - y)) AS mae FROM forecasts JOIN observations USING (spec, unique_id, ds)
        WHERE is_champion AND unique_id = '{name}' AND forecasts.run_cutoff = '{FIRST + timedelta(hours=hours)}'"""
    return query(small.store, sql).item()


def latest(small, hours, name, column="mae"):
    sql = f"""SELECT {column} FROM latest_scores WHERE is_champion AND unique_id = '{name}'
        AND forecast_run_cutoff = '{FIRST + timedelta(hours=hours)}'"""
    return query(small.store, sql).item()


def test_complete_forecast_is_scored_again_after_one_of_its_actuals_is_restated(twice, serial):
    before = latest(twice, 11, "b")
    twice.write(a=20, b=20)
    twice.replace("b,13,30")
    message = flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [11, 15]}
    assert "of them again, because measurements were restated or late" in message
    assert latest(twice, 11, "b") == pytest.approx(expected(twice, 11, "b"))
    assert latest(twice, 11, "b") > before + 5
    board = {row["model"]: row for row in read_boards(twice.store, kind="scores")[0].rows.iter_rows(named=True)}
    everything = query(twice.store, "SELECT sum(num_points) AS n FROM latest_scores WHERE is_champion").item()
    assert board["champion"]["num_points"] == everything == 16
    twice.write(a=24, b=24)
    twice.replace("b,13,30")
    assert "again" not in flow(twice, 23)
    assert scored_at(twice, 23) == {"a": [19], "b": [19]}


def test_withdrawn_actual_no_longer_counts(twice, serial):
    assert latest(twice, 11, "b", "num_points") == 4
    twice.write(a=20, b=20)
    twice.replace("b,13")
    flow(twice, 19)
    assert latest(twice, 11, "b", "num_points") == 3
    assert latest(twice, 11, "b") == pytest.approx(expected(twice, 11, "b"))


def test_restated_value_before_a_cutoff_changes_the_scale(twice, serial):
    before = latest(twice, 11, "b", "mase")
    twice.write(a=20, b=20)
    twice.replace("b,3,40")
    flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [11, 15]}
    assert before is None or before != latest(twice, 11, "b", "mase")


def test_correction_without_a_new_period_is_scored_at_the_same_cutoff(twice, serial):
    twice.replace("b,13,30")
    flow(twice, 15)
    assert latest(twice, 11, "b") == pytest.approx(expected(twice, 11, "b"))
    twice.write(a=20, b=20)
    twice.replace("b,13,30")
    flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [15]}


def test_restatement_after_the_end_of_a_forecast_does_not_touch_it(small, serial):
    small.write(a=12, b=12)
    flow(small, 11)
    small.write(a=20, b=20)
    flow(small, 19)
    small.replace("b,18,30")
    small.write(a=24, b=24)
    small.replace("b,18,30")
    flow(small, 23)
    assert scored_at(small, 23) == {"a": [19], "b": [19]}


def test_late_row_of_a_gap_is_scored_though_it_is_no_restatement(small, serial):
    small.write(a=12, b=12)
    flow(small, 11)
    small.write(a=16, b=16)
    small.replace("b,13")
    flow(small, 15)
    assert latest(small, 11, "b", "num_points") == 3
    small.write(a=20, b=20)
    flow(small, 19)
    assert latest(small, 11, "b", "num_points") == 4
    assert small.store.open("restatements", "timestamp") is None


def test_actuals_of_a_series_that_had_been_given_up_are_scored_when_they_come(small, serial):
    small.write(a=12, b=12)
    flow(small, 11)
    small.write(a=21, b=14)
    flow(small, 19)
    assert (latest(small, 11, "b", "num_points"), latest(small, 11, "b", "is_complete")) == (2, True)
    small.write(a=24, b=20)
    flow(small, 23)
    assert latest(small, 11, "b", "num_points") == 4


def test_rows_that_left_the_source_leave_scores_as_they_are(twice, serial):
    twice.write(a=20, b=20)
    twice.replace(*[f"b,{hour}" for hour in range(13)], "b,14,30")
    flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [15]}
    assert latest(twice, 11, "b", "num_points") == 4


def test_series_that_is_set_aside_for_now_is_scored_when_it_is_back(twice, serial):
    twice.write("b,2024-01-01 19:00:00,many", a=20, b=19)
    twice.replace("b,13,30")
    flow(twice, 19)
    assert 11 not in scored_at(twice, 19).get("b", [])
    assert latest(twice, 11, "b", "num_points") == 4
    twice.write(a=24, b=24)
    twice.replace("b,13,30")
    flow(twice, 23)
    assert latest(twice, 11, "b") == pytest.approx(expected(twice, 11, "b"))


def test_repeated_run_scores_the_same_and_a_filtered_one_leaves_the_rest_due(twice, serial):
    twice.write(a=20, b=20)
    twice.replace("a,13,50", "b,13,30")
    flow(twice, 19, series=("b",), cutoff="given")
    assert scored_at(twice, 19) == {"b": [11, 15]}
    score(twice.run("score", 19))
    assert scored_at(twice, 19) == {"a": [11, 15], "b": [11, 15]}
    before = twice.store.scan("scores", "timestamp").drop("run_id").sort(pl.exclude("^q.*$")).collect()
    score(twice.run("score", 19))
    after = twice.store.scan("scores", "timestamp").drop("run_id").sort(pl.exclude("^q.*$")).collect()
    assert after.equals(before)


def test_score_of_a_backfill_does_not_hide_that_the_newest_one_is_outdated(small, serial):
    small.write(a=12, b=12)
    flow(small, 11)
    small.write(a=20, b=20)
    flow(small, 19)
    small.replace("b,13,30")
    small.read(16)
    score(small.run("score", 16))
    assert scored_at(small, 16)["b"] == [11]
    small.write(a=24, b=24)
    small.replace("b,13,30")
    flow(small, 23)
    assert scored_at(small, 23)["b"] == [11, 19]
    assert latest(small, 11, "b") == pytest.approx(expected(small, 11, "b"))


def test_values_that_changed_with_the_spec_do_not_touch_scores(twice, serial):
    fields = twice.spec.model_dump()
    twice.spec = type(twice.spec)(**fields | {"source": fields["source"] | {"target": "other"}})
    twice.write(a=20, b=20)
    rows = twice.source.read_text().splitlines()
    twice.source.write_text("\n".join([rows[0] + ",other", *(f"{row},{len(row)}.5" for row in rows[1:])]) + "\n")
    flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [15]}


def test_scores_of_a_store_without_versions_are_renewed_once_something_changes(twice, serial):
    """An earlier release wrote no versions."""
    for table in ("observations", "scores"):
        stored = twice.store.open(table, "timestamp")
        stored.update(updates={"data_version": "NULL"})
    twice.write(a=20, b=20)
    flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [15]}
    twice.replace("b,13,30")
    flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [11, 15]}


def test_forecast_that_was_replaced_is_scored_again(twice, serial):
    """A backfill after a correction makes another forecast of the same cutoff."""
    twice.replace("b,11,40")
    twice.read(11)
    predict(twice.run("predict", 11, series=("b",)))
    twice.write(a=20, b=20)
    twice.replace("b,11,40")
    assert "or their forecasts replaced" in flow(twice, 19)
    assert scored_at(twice, 19) == {"a": [15], "b": [11, 15]}
    assert latest(twice, 11, "b") == pytest.approx(expected(twice, 11, "b"))
    twice.write(a=24, b=24)
    twice.replace("b,11,40")
    predict(twice.run("predict", 11, series=("a",)))
    flow(twice, 23)
    assert scored_at(twice, 23) == {"a": [11, 19], "b": [19]}


def test_integer_steps_are_scored_again(small, serial):
    small.spec = type(small.spec)(**small.spec.model_dump() | {"freq": 1})

    def flow_of(num_steps, restated):
        rows = [f"b,{step},{restated if step == 13 else step % 4}" for step in range(num_steps)]
        small.source.write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")
        return flow(small, num_steps - 1)

    flow_of(12, 1)
    flow_of(16, 1)
    assert "again" in flow_of(20, 30)
    sql = "SELECT max(mae) AS mae FROM latest_scores_by_step WHERE is_champion AND forecast_run_cutoff = 11"
    assert query(small.store, sql).item() > 5
