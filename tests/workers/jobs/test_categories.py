"""Categories through the jobs: learned ones are stored, used and gone on from, and new ones are reported."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.fleet.fitted import FittedFleet
from forecasting.spec.categories import Categories
from tests.workers.jobs.conftest import FIRST
from tests.workers.jobs.test_warm_start import QUICK
from workers.jobs.backtest import backtest
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.train import train


@pytest.fixture
def classed(small: Any, serial: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Series of two stores, of a spec whose networks read store and hour."""
    overrides = type(small.spec.overrides)(**QUICK)
    categories = Categories(static=("store",), calendar=("hour",), size=2, most=3)
    changed = {"models": ("gru",), "overrides": overrides, "categories": categories}
    small.spec = small.spec.model_copy(update=changed)
    write(small, a="north", b="north", c="south")
    return small


def write(small: Any, **stores: str) -> None:
    lines = [
        f"{name},{FIRST + timedelta(hours=hour)},{hour % 4 + len(store) + hour % 3},{store}"
        for name, store in stores.items()
        for hour in range(140)
    ]
    small.source.write_text("\n".join(["unique_id,ds,y,store", *lines]) + "\n")


def run_at(small: Any, hours: int) -> None:
    write_features(small.run("features", hours, cutoff="given"))
    train(small.run("train", hours, flow="train", shard_size=None))
    backtest(small.run("backtest", hours, flow="train", shard_size=None))


def served(small: Any, hours: int) -> pl.DataFrame:
    write_features(small.run("features", hours, cutoff="given"))
    predict(small.run("predict", hours))
    rows = small.store.scan("forecasts", "timestamp").collect()
    return rows.filter(pl.col("run_cutoff") == FIRST + timedelta(hours=hours), pl.col("step") == 1)


def fleet_of(small: Any, unique_id: str, member: int) -> FittedFleet:
    models = small.store.scan("models", "timestamp").collect().filter(unique_id=unique_id, member=member)
    newest = models.filter(role="serving").sort("run_cutoff")["weights_uri"][-1]
    return FittedFleet.from_bytes(small.store.read_bytes(newest)).select([unique_id])


def test_what_is_learned_of_categories_is_used_and_a_new_value_is_reported(classed: Any) -> None:
    run_at(classed, 119)
    assert fleet_of(classed, "c", 0).vocabulary.keys() == {"hour"}
    assert fleet_of(classed, "c", 1).vocabulary["store"] == ("north", "south")
    assert served(classed, 119)["unseen"].null_count() == served(classed, 119).height
    features = classed.store.scan("features", "timestamp").filter(unique_id="c").collect()
    assert features["categories"].to_list() == [[{"name": "store", "value": "south"}]] * features.height

    write(classed, a="north", b="west", c="south")
    rows = served(classed, 121)
    unseen = rows.drop_nulls("unseen").select("unique_id", "model", "unseen").sort("model").rows()
    assert unseen == [("b", "combination", ["store 'west'"]), ("b", "gru", ["store 'west'"])]


def test_networks_and_priors_go_on_from_those_of_the_same_categories_alone(classed: Any) -> None:
    run_at(classed, 99)
    write(classed, a="north", b="west", c="south")
    run_at(classed, 119)
    assert fleet_of(classed, "b", 1).vocabulary["store"] == ("north", "south", "west")
    models = classed.store.scan("models", "timestamp").collect().filter(member=0, role="serving")
    models = models.filter(pl.col("run_cutoff") == FIRST + timedelta(hours=119))
    assert models["started_from"].null_count() == 0
    priors = classed.store.scan("priors", "timestamp").collect().filter(role="candidate").sort("run_cutoff")
    assert priors["started_from"].is_null().to_list() == [True, False]

    categories = classed.spec.categories.model_copy(update={"calendar": ()})
    classed.spec = classed.spec.model_copy(update={"categories": categories})
    assert served(classed, 121).filter(model="gru").is_empty(), "networks of other categories cannot forecast"
    run_at(classed, 121)
    models = classed.store.scan("models", "timestamp").collect().filter(member=0, role="serving")
    newest = models.filter(pl.col("run_cutoff") == FIRST + timedelta(hours=121))
    assert newest["started_from"].null_count() == newest.height
    assert newest["reason"].str.starts_with("trained from scratch").all()
