"""Shards of a job under a worker's memory: cut to obey it, reported where one series cannot, refused where none can."""

from typing import Any

import pytest

from forecasting.errors import SpecError
from forecasting.fleet.cost.cost import ForecastCost, TrainingCost, prior_worker_bytes
from forecasting.fleet.cost.memory import MIB
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.flow.statistics_choice import CostWithStatistics
from workers.cluster.worker import Resources
from workers.jobs.features import write_features
from workers.jobs.predict import predict
from workers.jobs.sizing import choose_prior_series, cost_of
from workers.jobs.train import train


@pytest.fixture
def three(small: Any) -> Any:
    """Three series of different length, with their features, that have no model but networks and naives."""
    small.spec = small.spec.model_copy(update={"statistics": ()})
    small.write(a=200, b=100, c=12)
    write_features(small.run("features", 199, cutoff="given"))
    return small


def bytes_of(small: Any, num_series: int, longest: int, num_points: int) -> int:
    run = small.run("predict", 199)
    return cost_of(run, Resources(1, 1, 0)).worker_bytes(num_series, longest, num_points)


def test_shards_stay_below_the_memory_of_a_worker(three: Any, serial: Any, capsys: pytest.CaptureFixture[str]) -> None:
    predict(three.run("predict", 199, shard_size=None))
    serial.num_bytes = bytes_of(three, 2, 100, 112)
    predict(three.run("predict", 199, shard_size=None))
    assert serial.computed == [("a", "b", "c"), ("b", "c"), ("a",)]
    assert "warning" not in capsys.readouterr().out


def test_series_that_needs_more_runs_all_the_same_and_is_reported(
    three: Any, serial: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    serial.num_bytes = bytes_of(three, 1, 12, 12)
    predict(three.run("predict", 199, shard_size=None))
    assert serial.computed == [("a",), ("b",), ("c",)]
    assert "predict: warning: 2 of 3 shards hold a series that alone needs more memory" in capsys.readouterr().out


def test_memory_that_holds_no_worker_is_refused_before_anything_runs(three: Any, serial: Any) -> None:
    serial.num_bytes = 400 * MIB
    with pytest.raises(SpecError, match=r"memory_per_worker_mb = 400: a worker needs 435 before its first series"):
        predict(three.run("predict", 199))
    assert serial.computed == []


def test_memory_that_holds_no_worker_is_refused_before_priors_are_trained(three: Any, serial: Any) -> None:
    serial.num_bytes = 600 * MIB
    with pytest.raises(SpecError, match=r"memory_per_worker_mb = 600: a worker needs 670 before its first series"):
        train(three.run("train", 199))
    assert serial.computed == []


def test_priors_are_trained_on_as_many_series_as_a_worker_holds_with_a_warning(
    three: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run, num_points = three.run("train", 199), {f"s{number}": 500 for number in range(3000)}
    roomy, tight = Resources(1, 1, 0, 4000 * MIB), Resources(1, 1, 0, 720 * MIB)
    everyone = choose_prior_series(run, roomy, num_points)
    assert (len(everyone), capsys.readouterr().out) == (3000, "")
    some = choose_prior_series(run, tight, num_points)
    sizes = sizes_of(run.spec, run.networks, kernel="cpu")
    assert prior_worker_bytes(sizes, len(some), 500, 500 * len(some)) <= 720 * MIB
    assert prior_worker_bytes(sizes, len(some) + 1, 500, 500 * (len(some) + 1)) > 720 * MIB
    warning = f"train: warning: priors are trained on {len(some)} of 3000 series, because a worker has 720 MiB;"
    assert capsys.readouterr().out.startswith(warning)


def test_every_job_has_a_cost_of_its_own(three: Any) -> None:
    costs = {job: cost_of(three.run(job, 199), Resources(1, 2, 0)) for job in ("train", "backtest", "predict", "score")}
    assert isinstance(costs["train"], TrainingCost)
    assert costs["train"].required_length == 4 + 1, "a prior can be used for a series with a segment and a point"
    three.spec = three.spec.model_copy(update={"recipe": "fast"})
    assert cost_of(three.run("train", 199), Resources(1, 1, 0)).required_length == 4 + 7 + 2 * 4
    fits = {job: cost.num_fits for job, cost in costs.items() if isinstance(cost, CostWithStatistics)}
    assert fits == {"backtest": 1, "predict": 1}
    costs |= {job: costs[job].cost for job in fits}
    origins = {job: cost.num_origins for job, cost in costs.items() if isinstance(cost, ForecastCost)}
    assert origins == {"backtest": 1, "predict": 0, "score": 1}
    sizes = costs["train"].networks[0]
    assert (sizes.kernel, sizes.num_threads) == ("cpu", 2)
    on_gpu = cost_of(three.run("train", 199), Resources(1, 1, 0.25))
    assert isinstance(on_gpu, TrainingCost)
    assert on_gpu.networks[0].kernel == "gpu"


def test_sample_paths_take_memory_where_they_are_drawn_or_correlated(three: Any) -> None:
    def needed(job: str, paths: int) -> int:
        spec = three.spec.model_copy(update={"paths": paths})
        return cost_of(three.run(job, 199, spec=spec), Resources(1, 1, 0)).worker_bytes(10, 200, 2000)

    for job, is_more in {"predict": True, "backtest": True, "score": False, "train": False}.items():
        assert (needed(job, 1000) > needed(job, 0)) == is_more
