"""Runs with `changed_only`: which series they train or forecast, and what happens to the others."""

import sys
from datetime import timedelta

import polars as pl
import pytest

from forecasting.cli.boards import read_boards
from forecasting.spec.airflow import AirflowOptions
from forecasting.store.query import query
from tests.workers.jobs.conftest import FIRST
from workers.jobs import run as run_module
from workers.jobs.backtest import backtest
from workers.jobs.features import is_done
from workers.jobs.predict import predict
from workers.jobs.train import train

QUICK = {
    "max_steps": 4, "evaluate_every": 2, "hidden_size": 2, "context_segments": 2, "batch_windows": 2,
    "validation_windows": 2, "members": [{}],
}  # fmt: skip


@pytest.fixture
def fed(small, serial):
    """Three series of 60 hours, of a spec with one small network."""
    feed(small)
    return small


@pytest.fixture
def trained(begin, serial):
    """The same, trained and backtested at hour 59."""
    return begin(feed_and_train)


@pytest.fixture
def forecast(begin, serial):
    """The same, forecast at hour 59."""
    return begin(feed_and_forecast)


@pytest.fixture
def complete(begin, serial):
    """The same, trained, backtested and forecast at hour 59."""
    return begin(feed_train_and_forecast)


def feed(small):
    overrides = type(small.spec.overrides)(**QUICK)
    small.spec = small.spec.model_copy(update={"models": ("gru",), "overrides": overrides, "statistics": ()})
    small.write(a=60, b=60, c=60)


def feed_and_train(small):
    feed(small)
    train_flow(small, 59)


def feed_and_forecast(small):
    feed(small)
    forecast_flow(small, 59)


def feed_train_and_forecast(small):
    feed_and_train(small)
    forecast_flow(small, 59)


def train_flow(small, hours, **options):
    """Run the train flow; return the messages of its jobs."""
    small.read(hours, flow="train")
    each = {"train": train, "backtest": backtest}
    return [small.do(work, job, hours, flow="train", **options).message for job, work in each.items()]


def forecast_flow(small, hours, **options):
    small.read(hours)
    return small.do(predict, "predict", hours, **options).message


def covered(serial, work):
    """The series that the shards of a run compute."""
    serial.computed.clear()
    work()
    return sorted({name for names in serial.computed for name in names})


def cutoffs(small, table, **wanted):
    """The run cutoffs of each series, in hours."""
    rows = small.store.scan(table, "timestamp").filter(**wanted).select("unique_id", "run_cutoff").unique()
    hours = rows.with_columns((pl.col("run_cutoff") - FIRST).dt.total_hours()).sort(pl.all()).collect()
    return {name: part["run_cutoff"].to_list() for (name,), part in hours.group_by("unique_id")}


def test_only_series_with_new_rows_are_trained_and_backtested(trained, serial):
    trained.write(a=60, b=64, c=60)
    messages = []
    assert covered(serial, lambda: messages.extend(train_flow(trained, 63, changed_only=True))) == ["b"]
    for table in ("models", "backtests", "champions"):
        assert cutoffs(trained, table) == {"a": [59], "b": [59, 63], "c": [59]}, table
    assert messages[0].startswith("1 series trained with gru")
    assert (
        "2 of 3 series skipped: no new or restated rows since their last training, and they keep their" in messages[0]
    )
    assert "2 of 3 series skipped: not trained at this cutoff since their last backtest" in messages[1]
    (board,) = read_boards(trained.store, kind="backtests")
    assert {row["num_series"] for row in board.rows.iter_rows(named=True)} == {3}
    assert board.title == "small: backtests of each series' newest training, at 2024-01-03T15:00:00 or before"


@pytest.mark.parametrize(("line", "most_named"), [("a,3,40", 1_000), ("a,3", 0)])
def test_restated_series_is_trained_again_at_the_same_cutoff_and_others_keep_their_rows(
    fed, serial, monkeypatch, line, most_named
):
    monkeypatch.setattr(run_module, "MOST_NAMED", most_named)
    train_flow(fed, 59)
    before = fed.store.scan("models", "timestamp").filter(pl.col("unique_id") != "a").sort(pl.col("unique_id", "role"))
    before = before.collect()
    fed.replace(line)
    assert covered(serial, lambda: train_flow(fed, 59, changed_only=True)) == ["a"]
    after = fed.store.scan("models", "timestamp").filter(pl.col("unique_id") != "a").sort(pl.col("unique_id", "role"))
    assert after.collect().equals(before)
    assert cutoffs(fed, "champions") == {"a": [59], "b": [59], "c": [59]}
    assert covered(serial, lambda: train_flow(fed, 59, changed_only=True)) == []


def test_nothing_is_written_where_nothing_has_changed(complete, serial):
    tables = ("models", "priors", "backtests", "champions", "calibrations", "forecasts")
    before = {name: complete.store.version(name, "timestamp") for name in tables}
    complete.spec = complete.spec.model_copy(update={"airflow": AirflowOptions(owner="ada")})  # no model depends on it
    messages = [*train_flow(complete, 59, changed_only=True), forecast_flow(complete, 59, changed_only=True)]
    assert {name: complete.store.version(name, "timestamp") for name in tables} == before
    assert [message.split(" at ")[0] for message in messages] == [
        "nothing to train", "nothing to backtest", "nothing to forecast",
    ]  # fmt: skip
    assert all("3 of 3 series skipped: " in message for message in messages)


def test_change_of_the_spec_or_a_new_network_changes_all_series(trained, serial):
    both = ("gru", "elman")
    assert covered(serial, lambda: train_flow(trained, 59, changed_only=True, models=both)) == ["a", "b", "c"]
    trained.spec = trained.spec.model_copy(update={"seed": 1})
    messages = []
    assert covered(serial, lambda: messages.extend(train_flow(trained, 59, changed_only=True))) == ["a", "b", "c"]
    assert "no series is skipped, because all have changed" in messages[0]
    assert covered(serial, lambda: forecast_flow(trained, 59, changed_only=True)) == ["a", "b", "c"]


def test_series_whose_training_was_not_backtested_is_trained_again(trained, serial):
    trained.write(a=60, b=64, c=60)
    trained.read(63, flow="train")
    trained.do(train, "train", 63, flow="train", changed_only=True)  # its backtest fails
    trained.write(a=68, b=64, c=60)
    assert covered(serial, lambda: train_flow(trained, 67, changed_only=True)) == ["a", "b"]
    assert cutoffs(trained, "champions") == {"a": [59, 67], "b": [59, 67], "c": [59]}


@pytest.mark.parametrize(("job", "work"), [("train", train), ("backtest", backtest), ("predict", predict)])
def test_retry_covers_the_series_of_the_first_try(complete, serial, monkeypatch, job, work):
    flow = "forecast" if job == "predict" else "train"
    complete.write(a=64, b=64, c=60)
    complete.read(63, flow=flow)
    if job == "backtest":
        complete.do(train, "train", 63, flow=flow, changed_only=True)
    serial.computed.clear()
    serial.fail_after = 1
    options = {"flow": flow, "changed_only": True, "run_id": "again"}
    with pytest.raises(KeyboardInterrupt):
        complete.do(work, job, 63, **options)
    serial.fail_after = None
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[work.__module__], "discard", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):  # everything is published
            complete.do(work, job, 63, **options)
    assert complete.do(work, job, 63, **options).message.startswith("2 series ")
    assert sorted(serial.computed) == [("a",), ("b",)]


def test_unchanged_series_keep_their_forecasts_and_are_still_the_latest(forecast, serial):
    forecast.write(a=60, b=64, c=64)
    forecast.replace("c,60")
    for hour in (61, 62, 63):
        forecast.replace(f"c,{hour}")
    message = []
    assert covered(serial, lambda: message.append(forecast_flow(forecast, 63, changed_only=True))) == ["b"]
    assert "2 of 3 series skipped: no new or restated rows since their last forecast, and they keep it" in message[0]
    latest = query(
        forecast.store, "SELECT unique_id, min(run_cutoff) AS first, count(*) AS n FROM latest_forecasts GROUP BY 1"
    )
    assert {name: ((first - FIRST) / timedelta(hours=1), n) for name, first, n in latest.iter_rows()} == {
        "a": (59, 4), "b": (59, 8), "c": (59, 4),
    }  # fmt: skip
    assert cutoffs(forecast, "forecasts") == {"a": [59], "b": [59, 63], "c": [59]}
    forecast.replace("a,58,9")
    assert covered(serial, lambda: forecast_flow(forecast, 63, changed_only=True)) == ["a"]
    assert cutoffs(forecast, "forecasts") == {"a": [59, 63], "b": [59, 63], "c": [59]}


def test_series_that_has_ended_gets_rows_that_say_so_once(fed, serial):
    source = fed.spec.source.model_copy(update={"ended": "skip", "ended_after": 5})
    fed.spec = fed.spec.model_copy(update={"source": source})
    forecast_flow(fed, 59)
    fed.write(a=66, b=66, c=60)
    assert covered(serial, lambda: forecast_flow(fed, 65, changed_only=True)) == ["a", "b", "c"]
    rows = fed.store.scan("forecasts", "timestamp").filter(unique_id="c", run_cutoff=FIRST + timedelta(hours=65))
    assert rows.select("model").unique().collect()["model"].to_list() == ["none"]
    fed.write(a=67, b=67, c=60)
    assert covered(serial, lambda: forecast_flow(fed, 66, changed_only=True)) == ["a", "b"]


def test_rows_after_the_cutoff_and_rows_of_other_specs_are_no_change(fed, serial):
    forecast_flow(fed, 55)
    fed.write(a=64, b=64, c=64)
    fed.read(63)
    other = fed.spec_of("other").model_copy(update={"models": ("gru",), "overrides": fed.spec.overrides})
    fed.read(63, spec=other)
    assert covered(serial, lambda: fed.do(predict, "predict", 55, changed_only=True)) == []
    assert covered(serial, lambda: fed.do(predict, "predict", 63, changed_only=True)) == ["a", "b", "c"]


def test_run_of_changed_series_is_skipped_without_news_and_does_not_stand_for_a_complete_one(forecast, serial):
    assert is_done(forecast.run("features", 59))
    assert is_done(forecast.run("features", 59, changed_only=True))
    forecast.replace("a,58,9")
    forecast_flow(forecast, 59, changed_only=True)
    assert is_done(forecast.run("features", 59, changed_only=True))
    assert not is_done(forecast.run("features", 59))
    assert not forecast.run("features", 59, changed_only=True).arguments.is_explicit
