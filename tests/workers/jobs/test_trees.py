"""Trees through the jobs: fitted once in a training, stored beside the priors, and served without a fit."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

import forecasting as fc
from forecasting.classical import tree_fit
from forecasting.errors import NothingStored
from forecasting.spec.covariates import Covariates
from tests.workers.jobs.conftest import FIRST
from tests.workers.jobs.test_covariates import CUTOFF, HORIZON, write
from tests.workers.jobs.test_warm_start import QUICK
from workers.jobs import trees as job
from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.train import train


@pytest.fixture(autouse=True)
def quick(monkeypatch: Any) -> None:
    pytest.importorskip("lightgbm")
    monkeypatch.setattr(tree_fit, "MOST_TREES", 20)


@pytest.fixture
def fitted(small: Any, serial: Any) -> Any:
    """A store after a training of a spec with trees."""
    small.spec = small.spec.model_copy(
        update={
            "models": ("gru",),
            "statistics": (),
            "regressions": ("ridge", "lightgbm"),
            "overrides": type(small.spec.overrides)(**QUICK),
            "covariates": Covariates(future=("promotion",)),
        }
    )
    write(small)
    write_features(small.run("features", CUTOFF, cutoff="given"))
    train(small.run("train", CUTOFF, flow="train", shard_size=None))
    return small


def rows_of_trees(small: Any) -> pl.DataFrame:
    return small.store.scan("priors", "timestamp").filter(pl.col("model") == "lightgbm").collect().sort("role")


def forecast_stored(small: Any) -> pl.DataFrame:
    backtest(small.run("backtest", CUTOFF, flow="train", shard_size=None))
    predict(small.run("predict", CUTOFF))
    return small.store.scan("forecasts", "timestamp").collect().sort("unique_id", "model", "ds")


def test_jobs_forecast_what_a_one_shot_forecasts_without_a_second_fit(fitted: Any, monkeypatch: Any) -> None:
    whole = fc.forecast(spec=fitted.spec, cutoff=FIRST + timedelta(hours=CUTOFF), progress=False, processes=1)
    monkeypatch.setattr(job, "fit_fleet_trees", None)
    stored = forecast_stored(fitted)
    joined = stored.join(whole.outcome.forecasts, on=["unique_id", "model", "ds"], suffix="_here")
    of_trees = joined.filter(model="lightgbm")
    assert of_trees.height == 2 * HORIZON
    assert of_trees["forecast"].equals(of_trees["forecast_here"], check_names=False)
    assert of_trees["model_version"].equals(of_trees["model_version_here"], check_names=False)
    assert (joined["forecast"] - joined["forecast_here"]).abs().max() < 1e-6  # type: ignore[operator]
    registered = rows_of_trees(fitted)
    assert registered["role"].to_list() == ["candidate", "serving"]
    assert of_trees["model_version"].unique().to_list() == [registered["version"][1]]
    assert of_trees["training_cutoff"].unique().to_list() == [FIRST + timedelta(hours=CUTOFF)]
    assert "lightgbm" in fitted.store.scan("backtests", "timestamp").collect()["model"]


def test_second_training_of_the_cutoff_fits_nothing(fitted: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(job, "fit_fleet_trees", None)
    before = rows_of_trees(fitted)
    train(fitted.run("train", CUTOFF, flow="train", shard_size=None))
    assert rows_of_trees(fitted).equals(before)


@pytest.mark.parametrize("damage", ["deleted", "altered"])
def test_file_that_is_gone_or_altered_stops_the_forecast_with_its_name(fitted: Any, damage: str) -> None:
    uri = rows_of_trees(fitted)["weights_uri"][1]
    path = fitted.store.local_path(uri)
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b"leaf_value=", b"leaf_value=9", 1))
    with pytest.raises(NothingStored, match=r"lightgbm-serving\.txt"):
        predict(fitted.run("predict", CUTOFF))


def test_trees_of_another_spec_are_not_taken_and_the_run_says_so(fitted: Any) -> None:
    fitted.spec = fitted.spec.model_copy(update={"seed": 5})
    outcome = predict(fitted.run("predict", CUTOFF))
    assert "lightgbm has no forecast, because no training has fitted it to the spec as it is now" in outcome.message
    models = fitted.store.scan("forecasts", "timestamp").collect()["model"].unique()
    assert "lightgbm" not in models
    assert "ridge" in models
