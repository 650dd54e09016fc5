"""Priors of train jobs: what is stored of them, who finds them, and which runs train them again."""

from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.fleet.fitted import Prior
from forecasting.flow import learn
from forecasting.spec.recipes import configure
from workers.cluster import together
from workers.jobs import priors
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.train import train

QUICK = {
    "max_steps": 2,
    "evaluate_every": 1,
    "hidden_size": 2,
    "context_segments": 2,
    "batch_windows": 2,
    "validation_windows": 2,
    "prior_steps": 3,
    "prior_hidden_size": 2,
    "prior_windows": 4,
    "tuning_steps": 2,
}
LAST = 59
LENGTHS = {"a": 60, "b": 60, "c": 50}
BOTH = [("gru", 2), ("gru", 3)]


@pytest.fixture
def fed(begin: Any, serial: Any) -> Any:
    """Three series of a spec with one network, of whose four members two begin from a prior; features are written."""
    return begin(feed)


@pytest.fixture
def trained(begin: Any, serial: Any) -> Any:
    """The same, and networks and priors are trained."""
    return begin(feed_and_train)


def feed(small: Any) -> None:
    set_overrides(small, QUICK)
    small.write(**LENGTHS)
    write_features(small.run("features", LAST, cutoff="given"))


def feed_and_train(small: Any) -> None:
    feed(small)
    run_train(small)


def set_overrides(small: Any, overrides: dict[str, Any]) -> None:
    changed = type(small.spec.overrides)(**overrides)
    small.spec = small.spec.model_copy(update={"models": ("gru",), "overrides": changed})


def run_train(small: Any, **options: Any) -> Any:
    return train(small.run("train", LAST, flow="train", shard_size=None, **options))


def rows(small: Any, table: str, *, is_whole: bool = True) -> pl.DataFrame:
    """Return a table's rows, or with `is_whole` unset, without what differs between two runs of the same."""
    frame = small.store.scan(table, "timestamp").collect()
    frame = frame.sort([name for name in ("unique_id", "model", "member", "role", "step") if name in frame.columns])
    return frame if is_whole else frame.drop("run_id", "weights_uri", "data_version")


def test_a_train_job_stores_each_members_priors_with_weights_that_can_be_read(fed: Any, serial: Any) -> None:
    outcome = run_train(fed, run_id="first")
    assert set(outcome.versions) == {"priors", "models"}
    assert serial.priors == BOTH
    stored = rows(fed, "priors")
    config = configure(fed.spec)
    assert stored.select("model", "member", "role").rows() == [
        (network, member, role) for network, member in BOTH for role in ("candidate", "serving")
    ]
    assert set(stored["run_id"]) == {"first"}
    assert set(stored["num_series"]) == {3}
    for row in stored.iter_rows(named=True):
        prior = Prior.from_bytes(fed.store.read_bytes(row["weights_uri"]))
        assert (prior.version, prior.role, prior.member) == (row["version"], row["role"], row["member"])
        assert row["config"] == prior.config.model_dump_json() == config.of_member(row["member"]).model_dump_json()
        assert tuple(row["gains"]) == prior.gains
        assert row["data_version"] == fed.store.version("features", "timestamp")


def test_priors_that_several_gpus_train_together_are_stored_like_any_other(
    trained: Any, serial: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requested = []

    def run_here(work: Any, unit: Any, *, num_processes: int, resources: Any, files: Any, folder: str) -> Any:
        requested.append((unit.description, num_processes, files.uri(folder)))
        return work.keep(unit, work.compute(unit))

    alone = rows(trained, "priors", is_whole=False)
    monkeypatch.setattr(priors, "count_together", lambda resources, *, num_priors, num_windows: num_windows // 2)
    monkeypatch.setattr(together, "run_together", run_here)
    trained.write(**LENGTHS)
    write_features(trained.run("features", LAST, cutoff="given", run_id="again"))
    run_train(trained, run_id="together")
    assert set(rows(trained, "priors")["run_id"]) == {"together"}
    assert_frame_equal(rows(trained, "priors", is_whole=False), alone)
    folder = f"{trained.store.root}/staging/run_id=together/together"
    assert requested == [(f"the prior of gru, member {member}", 2, folder) for _, member in BOTH]
    assert "train: 2 priors are trained on 2 GPUs together" in capsys.readouterr().out


def test_networks_name_the_prior_of_their_role(trained: Any) -> None:
    models, key = rows(trained, "models"), ["model", "member", "role"]
    assert models.height == len(LENGTHS) * 4 * 2
    begun = models.filter(pl.col("prior_version").is_not_null())
    assert set(begun["member"]) == {2, 3}
    assert begun.height == len(LENGTHS) * 2 * 2
    named = begun.select(*key, "prior_version").unique().sort(key)
    assert_frame_equal(named, rows(trained, "priors").select(*key, pl.col("version").alias("prior_version")))
    assert begun["strength"].null_count() == 0
    assert models.filter(pl.col("prior_version").is_null())["strength"].null_count() == len(LENGTHS) * 2 * 2


def test_what_was_trained_on_the_same_features_is_found_and_on_new_ones_trained_to_the_same_values(
    trained: Any, serial: Any
) -> None:
    priors, models = rows(trained, "priors"), rows(trained, "models", is_whole=False)
    outcome = run_train(trained)
    assert set(outcome.versions) == {"models"}
    assert serial.priors == []
    assert_frame_equal(rows(trained, "priors"), priors)
    assert_frame_equal(rows(trained, "models", is_whole=False), models)

    write_features(trained.run("features", LAST, cutoff="given"))  # the same rows, in another version of the table
    run_train(trained, run_id="again")
    assert serial.priors == BOTH
    assert set(rows(trained, "priors")["run_id"]) == {"again"}
    assert_frame_equal(rows(trained, "priors", is_whole=False), priors.drop("run_id", "weights_uri", "data_version"))
    assert_frame_equal(rows(trained, "models", is_whole=False), models)


def test_a_run_of_two_series_takes_what_is_stored_though_features_are_newer(trained: Any, serial: Any) -> None:
    priors = rows(trained, "priors")
    trained.write(a=60, b=60, c=40)
    write_features(trained.run("features", LAST, cutoff="given"))
    serial.priors.clear()
    run_train(trained, run_id="two", series=("a", "b"))
    assert serial.priors == []
    assert_frame_equal(rows(trained, "priors"), priors)
    renewed = rows(trained, "models").filter(pl.col("run_id") == "two")
    assert set(renewed["unique_id"]) == {"a", "b"}
    assert set(renewed["prior_version"].drop_nulls()) == set(priors["version"])


def test_a_run_of_two_series_that_finds_none_trains_them_on_all(fed: Any, serial: Any) -> None:
    run_train(fed, series=("a", "b"))
    assert serial.priors == BOTH
    assert set(rows(fed, "priors")["num_series"]) == {3}
    assert set(rows(fed, "models")["unique_id"]) == {"a", "b"}
    run_train(fed)
    assert serial.priors == BOTH


@pytest.mark.parametrize("change", ["config", "seed", "code"])
def test_priors_of_another_training_are_not_taken(
    trained: Any, serial: Any, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    serial.priors.clear()
    if change == "config":
        set_overrides(trained, QUICK | {"prior_rate": 0.01})
    elif change == "seed":
        trained.spec = trained.spec.model_copy(update={"seed": 5})
    else:
        for module in ("forecasting.flow.registry", "workers.jobs.priors"):
            monkeypatch.setattr(f"{module}.code_version", lambda: "another")
    run_train(trained, run_id="other", series=("a",))
    assert serial.priors == BOTH
    stored = rows(trained, "priors")
    assert stored.height == 4
    assert set(stored["run_id"]) == {"other"}
    mine = rows(trained, "models").filter(pl.col("unique_id") == "a")
    assert set(mine["prior_version"].drop_nulls()) == set(stored["version"])


@pytest.mark.parametrize("changed", [{"horizon": 3}, {"quantiles": (0.1, 0.5, 0.9)}, {"season_lengths": (4, 8)}])
def test_a_run_of_two_series_takes_no_prior_of_another_shape(
    trained: Any, serial: Any, changed: dict[str, Any]
) -> None:
    trained.spec = trained.spec.model_copy(update=changed)
    run_train(trained, run_id="second", series=["a", "b"])
    assert set(rows(trained, "priors")["run_id"]) == {"second"}
    models = rows(trained, "models").filter(pl.col("run_id") == "second", pl.col("prior_version").is_not_null())
    assert set(models["prior_version"]) <= set(rows(trained, "priors")["version"])


def test_a_run_of_one_network_trains_and_replaces_its_own_priors_alone(fed: Any, serial: Any) -> None:
    fed.spec = fed.spec.model_copy(update={"models": ("lstm", "gru")})
    run_train(fed, run_id="both")
    write_features(fed.run("features", LAST, cutoff="given"))
    serial.priors.clear()
    run_train(fed, run_id="one", models=("gru",))
    assert serial.priors == BOTH
    assert rows(fed, "priors").select("model", "run_id").unique().sort("model").rows() == [
        ("gru", "one"),
        ("lstm", "both"),
    ]


def test_a_spec_whose_networks_all_begin_at_random_has_no_priors(fed: Any, serial: Any) -> None:
    fed.spec = fed.spec.model_copy(update={"recipe": "fast"})
    outcome = run_train(fed)
    assert set(outcome.versions) == {"models"}
    assert serial.priors == []
    assert rows(fed, "priors").is_empty()
    assert rows(fed, "models")["prior_version"].null_count() == 3 * 2


def test_where_no_series_is_fit_for_a_prior_the_members_that_need_one_are_left_out(small: Any, serial: Any) -> None:
    set_overrides(small, QUICK)
    small.write(*(f"flat,2024-01-0{day} 00:00:00,5" for day in range(1, 4)))
    write_features(small.run("features", LAST, cutoff="given"))
    run_train(small)
    assert rows(small, "priors").is_empty()
    models = rows(small, "models")
    assert set(models["member"]) == {0, 1}
    assert "trained" not in set(models["status"])
    predict(small.run("predict", LAST))
    served = rows(small, "forecasts").filter("is_champion")
    assert served.height == small.spec.horizon


def test_a_retry_takes_up_only_what_was_begun_on_the_same_features(fed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    def killed(*_: Any, options: Any, **__: Any) -> None:
        begun.append(options.checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(learn, "train_priors", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_train(fed, run_id="retried")
    assert begun[0] == begun[1]
    write_features(fed.run("features", LAST, cutoff="given"))
    with pytest.raises(KeyboardInterrupt):
        run_train(fed, run_id="retried")
    assert begun[2] != begun[1]
    set_overrides(fed, QUICK | {"prior_rate": 0.01})
    with pytest.raises(KeyboardInterrupt):
        run_train(fed, run_id="retried")
    assert len({*begun}) == 3
