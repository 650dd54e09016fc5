import numpy as np
import polars as pl
import pytest

from forecasting.errors import NothingStored
from forecasting.fleet.fit import fit_candidates
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec, make_spec
from forecasting.spec.training import MemberConfig
from forecasting.store.tables import Store
from workers.jobs.backtest import contestants
from workers.jobs.predict import serving_models
from workers.jobs.weights import load_fleets


def spec_of(**fields: object) -> Spec:
    described = {"name": "x", "source": {"uri": "x.csv"}, "freq": "1h", "season_lengths": [4], "horizon": 2}
    return make_spec(described | {"quantiles": [0.5]} | fields, subject="x")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, pl.DataFrame]:
    """One small network of an hourly spec, with its registry row."""
    ds_SN = np.arange(62)[None]
    y_SN = np.sin(np.arange(60.0))[None]
    panel = Panel(("a",), y_SN, np.array([60]), np.zeros((1, 62, 0), np.float32), ds_SN, 2)
    config = MemberConfig(hidden_size=2, segment_length=4, context_segments=2, max_steps=2, evaluate_every=2)
    fleet = fit_candidates(
        panel, "gru", ForecastTask("1h", 2, (0.5,), (4,)), config, seed=0, dropped_S=np.zeros(1, dtype=np.int64)
    )
    store = Store(str(tmp_path_factory.mktemp("store")))
    store.write_bytes("weights/x/0-gru.safetensors", fleet.to_bytes())
    return store, pl.DataFrame({"unique_id": ["a"], "weights_uri": ["weights/x/0-gru.safetensors"]})


def test_weights_serve_the_spec_that_they_were_trained_for(stored: tuple[Store, pl.DataFrame]) -> None:
    (fleet,) = load_fleets(stored[0], spec_of(), stored[1])
    assert fleet.unique_ids == ("a",)


@pytest.mark.parametrize(
    "changed",
    [
        {"freq": "2h"},
        {"horizon": 3},
        {"quantiles": [0.1, 0.5]},
        {"season_lengths": [5]},
        {"covariates": {"future": ["price"]}},
    ],
)
def test_weights_of_another_spec_count_as_not_trained(
    stored: tuple[Store, pl.DataFrame], changed: dict[str, object]
) -> None:
    assert load_fleets(stored[0], spec_of(**changed), stored[1]) == []


def test_weights_of_another_format_are_refused_with_the_remedy(stored: tuple[Store, pl.DataFrame]) -> None:
    store, rows = stored
    uri = "weights/x/other.safetensors"
    store.write_bytes(uri, store.read_bytes(rows["weights_uri"].item()).replace(rb"\"task\"", rb"\"duty\""))
    with pytest.raises(NothingStored, match=f"{uri} is damaged, or .*; train again"):
        load_fleets(store, spec_of(), rows.with_columns(weights_uri=pl.lit(uri)))


def test_a_run_that_is_filtered_to_one_network_lets_it_contend_with_the_specs_others() -> None:
    assert contestants(spec_of(models=["lstm", "gru"]), ("gru",)) == ("lstm", "gru")
    assert contestants(spec_of(models=["gru"]), ("lstm",)) == ("gru", "lstm")
    assert contestants(spec_of(models=["gru"]), ("gru",)) == ("gru",)


def test_members_that_serve_are_those_of_the_newest_run_alone() -> None:
    columns = ("unique_id", "model", "role", "run_cutoff", "member")
    rows = [
        *(("a", "lstm", "serving", 10, member) for member in range(3)),  # an ensemble of three, then of two
        *(("a", "lstm", "serving", 20, member) for member in range(2)),
        ("a", "lstm", "candidate", 30, 0),
        ("a", "gru", "serving", 30, 0),
        ("b", "lstm", "serving", 10, 0),
    ]
    models = pl.LazyFrame(rows, schema=columns, orient="row")
    kept = serving_models(models, ("lstm",)).collect()
    assert sorted(kept.select("unique_id", "run_cutoff", "member").rows()) == [("a", 20, 0), ("a", 20, 1), ("b", 10, 0)]
