from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.store.publish import append_run
from tests.workers.jobs.conftest import FIRST
from tests.workers.jobs.test_newcomers import TRAINED, train_two_and_add_four
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.train import train


@pytest.fixture
def trained(begin: Any, serial: Any) -> Any:
    """Two series, trained on; since then four more have come."""
    return begin(train_two_and_add_four)


def at(hour: int) -> datetime:
    return FIRST + timedelta(hours=hour)


def forecast(small: Any, hour: int) -> tuple[str, pl.DataFrame]:
    write_features(small.run("features", hour, cutoff="given"))
    message = predict(small.run("predict", hour)).message
    rows = small.store.scan("forecasts", "timestamp").collect()
    return message, rows.filter(pl.col("run_cutoff") == at(hour), pl.col("step") == 1)


def fail(small: Any, hour: int, **fields: Any) -> None:
    run = small.run("features", hour, flow="train", cutoff="given")
    row = {"run_id": run.arguments.run_id, "job": "features", "spec": small.spec.name, "status": "failed"}
    row |= {"started_at": datetime.now(UTC), "arguments": run.arguments.model_dump_json()}
    append_run(small.store, row | {"run_cutoff": at(hour).isoformat(), "message": "check 'range' fails\nmore"} | fields)


def test_forecasts_have_the_cutoff_of_the_training_that_their_networks_come_from(trained: Any) -> None:
    train(trained.run("train", TRAINED + 1, flow="train", shard_size=None, series=("a",), models=("gru",)))
    message, rows = forecast(trained, TRAINED + 2)
    cutoffs = {(name, model): cutoff for name, model, cutoff in rows["unique_id", "model", "training_cutoff"].rows()}
    assert cutoffs["a", "gru"] == at(TRAINED + 1)
    assert cutoffs["new", "gru"] == at(TRAINED + 1), "of the prior that it uses directly"
    assert cutoffs["a", "lstm"] == cutoffs["b", "gru"] == cutoffs["new", "lstm"] == at(TRAINED)
    assert cutoffs["a", "combination"] == at(TRAINED), "the oldest of its networks"
    others = rows.filter(~pl.col("model").is_in(["gru", "lstm", "combination"]))
    assert others.height
    assert others["training_cutoff"].null_count() == others.height
    assert f"networks trained up to {at(TRAINED).isoformat()}, 1 cutoff ago;" in message


def test_run_reports_the_age_of_its_models_in_cutoffs(trained: Any) -> None:
    assert f"trained up to {at(TRAINED).isoformat()};" in forecast(trained, TRAINED)[0]
    assert "1 cutoff ago;" in forecast(trained, TRAINED + 1)[0]
    assert "2 cutoffs ago;" in forecast(trained, TRAINED + 3)[0]
    train(trained.run("train", TRAINED + 3, flow="train", shard_size=None, series=("a",)))
    message, _ = forecast(trained, TRAINED + 3)
    assert f"trained up to {at(TRAINED + 3).isoformat()} (" in message
    assert f"series: earlier, from {at(TRAINED).isoformat()} on);" in message


def test_run_after_a_training_that_has_failed_says_that_earlier_models_serve(trained: Any) -> None:
    fail(trained, TRAINED - 1)
    fail(trained, TRAINED + 9)
    fail(trained, TRAINED + 1, run_cutoff=None)
    assert "has failed" not in forecast(trained, TRAINED + 2)[0]
    fail(trained, TRAINED + 1)
    message, _ = forecast(trained, TRAINED + 2)
    reason = "has failed, so that earlier ones serve (features: check 'range' fails);"
    assert f"the training up to {at(TRAINED + 1).isoformat()} {reason}" in message
    train(trained.run("train", TRAINED + 2, flow="train", shard_size=None))
    assert "has failed" not in forecast(trained, TRAINED + 2)[0]
