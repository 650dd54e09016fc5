"""Series that came after the last training: they use priors directly, and no other forecast changes."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from tests.workers.jobs.conftest import FIRST
from tests.workers.jobs.test_warm_start import QUICK
from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.train import train

TRAINED, NOW = 119, 121


@pytest.fixture
def trained(begin: Any, serial: Any) -> Any:
    """Two series, trained on; since then four more have come."""
    return begin(train_two_and_add_four)


def train_two_and_add_four(small: Any) -> None:
    overrides = type(small.spec.overrides)(**QUICK)
    small.spec = small.spec.model_copy(update={"models": ("lstm", "gru"), "overrides": overrides, "statistics": ()})
    small.write(a=140, b=140)
    write_features(small.run("features", TRAINED, cutoff="given"))
    train(small.run("train", TRAINED, flow="train", shard_size=None))
    backtest(small.run("backtest", TRAINED, flow="train", shard_size=None))
    flat = [f"flat,{FIRST + timedelta(hours=hour)},7" for hour in range(140)]
    young = [f"young,{FIRST + timedelta(hours=hour)},{hour % 4 + 9}" for hour in range(112, 140)]
    small.write(*flat, *young, f"single,{FIRST},3", a=140, b=140, new=140)


def forecast(small: Any, **options: Any) -> pl.DataFrame:
    write_features(small.run("features", NOW, cutoff="given"))
    predict(small.run("predict", NOW, **options))
    rows = small.store.scan("forecasts", "timestamp").collect()
    rows = rows.filter(pl.col("run_cutoff") == FIRST + timedelta(hours=NOW)).drop(
        "run_id", "data_version", strict=False
    )
    return rows.sort("unique_id", "model", "step")


def test_a_new_series_uses_the_priors_directly_and_its_version_names_them(trained: Any) -> None:
    rows = forecast(trained).filter(step=1)
    served = {
        name: (model, reason)
        for name, model, reason in rows.filter("is_champion").select("unique_id", "model", "reason").iter_rows()
    }
    for name in ("new", "young"):
        assert served[name][0] == "combination"
        assert served[name][1].startswith("the series has no champion yet; the combination")
    assert served["flat"][0].startswith("seasonal_naive")
    assert served["single"][0] == "naive"
    priors = trained.store.scan("priors", "timestamp").collect().filter(role="serving")
    version_of = dict(priors.select("model", "version").iter_rows())
    versions = dict(rows.filter(unique_id="new").select("model", "model_version").drop_nulls().iter_rows())
    assert versions == version_of | {"combination": f"{version_of['gru']}+{version_of['lstm']}"}
    alone = forecast(trained, models=("gru",)).filter("is_champion", step=1, unique_id="new")
    assert alone["model"].to_list() == ["gru"]
    assert "no network of its own yet" in alone["reason"].item()


def test_a_prior_is_used_directly_beside_a_series_own_networks(trained: Any) -> None:
    write_features(trained.run("features", NOW, cutoff="given"))
    train(trained.run("train", NOW, flow="train", models=("lstm",), series=["new"]))
    rows = forecast(trained, shard_size=None).filter(step=1, unique_id="new")
    assert rows.filter("is_champion")["model"].to_list() == ["combination"]
    models = trained.store.scan("models", "timestamp").collect().filter(unique_id="new", role="serving").sort("member")
    prior = trained.store.scan("priors", "timestamp").collect().filter(role="serving", model="gru")["version"].item()
    versions = dict(rows.select("model", "model_version").iter_rows())
    assert (versions["lstm"], versions["gru"]) == ("+".join(models["version"]), prior)


def test_networks_of_another_design_neither_serve_nor_count_as_what_did(trained: Any) -> None:
    trained.spec = trained.spec.model_copy(update={"horizon": 5})
    write_features(trained.run("features", NOW, cutoff="given"))
    train(trained.run("train", NOW, flow="train", shard_size=None, series=["b"]))  # and priors for all
    rows = forecast(trained).filter(step=1, unique_id="a")
    priors = trained.store.scan("priors", "timestamp").collect().filter(role="serving", model="gru").sort("run_cutoff")
    assert dict(rows.select("model", "model_version").iter_rows())["gru"] == priors["version"][-1]
    reason = rows.filter("is_champion", model="combination")["reason"].item()
    assert reason.startswith("the series has no champion yet; the combination")


def test_a_forecast_of_the_past_uses_no_prior_that_was_trained_later(trained: Any) -> None:
    write_features(trained.run("features", TRAINED - 2, cutoff="given"))
    predict(trained.run("predict", TRAINED - 2))
    rows = trained.store.scan("forecasts", "timestamp").collect().filter("is_champion", step=1)
    assert rows.filter(unique_id="new")["model"].to_list() == ["seasonal_naive_4"]


def test_new_series_change_no_other_forecast(trained: Any) -> None:
    among = forecast(trained, shard_size=None)
    trained.write(a=140, b=140)
    alone = forecast(trained)
    assert among.filter(pl.col("unique_id").is_in(["a", "b"])).equals(alone)


def test_a_spec_that_asks_for_evidence_has_a_naive_until_there_is_some(trained: Any) -> None:
    trained.spec = trained.spec.model_copy(
        update={"backtest": trained.spec.backtest.model_copy(update={"margin": 0.0})}
    )
    served = forecast(trained).filter("is_champion", step=1, unique_id="new")
    assert served["model"].to_list() == ["seasonal_naive_4"]


def test_a_new_series_gets_its_own_networks_from_the_next_training(trained: Any) -> None:
    forecast(trained)
    train(trained.run("train", NOW, flow="train", shard_size=None))
    backtest(trained.run("backtest", NOW, flow="train", shard_size=None))
    own = trained.store.scan("models", "timestamp").collect().filter(unique_id="new", role="serving", model="gru")
    rows = forecast(trained).filter(unique_id="new", step=1, model="gru")
    assert rows["model_version"].to_list() == ["+".join(own.sort("member")["version"])]


@pytest.mark.parametrize(
    "change", [{"horizon": 5}, {"overrides": QUICK | {"prior_hidden_size": 3}}], ids=["horizon", "size"]
)
def test_a_prior_that_no_longer_matches_the_spec_is_not_used(trained: Any, change: dict[str, Any]) -> None:
    if "overrides" in change:
        change = {"overrides": type(trained.spec.overrides)(**change["overrides"])}
    trained.spec = trained.spec.model_copy(update=change)
    served = forecast(trained).filter("is_champion", step=1, unique_id="new")
    assert served["model"].to_list() == ["seasonal_naive_4"]
    assert "as fallback: the series has no champion yet" in served["reason"].item()
