"""Predictions of what flows need: laws that hold for any workload, and the search for cores."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.flow.gpu_seconds import gpu_priors_seconds, gpu_training_seconds
from forecasting.flow.job_parts import Machine
from forecasting.flow.needs import PREDICTIONS, find_cores, predict_forecast, predict_train
from forecasting.flow.workload import Workload
from forecasting.spec.spec import Spec

ONE, TWO = Machine(1), Machine(2)  # with two cores, more work may be done sooner: it is worth a second process
RECIPES = st.sampled_from(("fast", "standard"))
FLOWS = st.sampled_from(tuple(PREDICTIONS.values()))


def spec_of(recipe: str = "standard", **fields: Any) -> Spec:
    named = {"freq": "1d", "season_lengths": (7,), "horizon": 14, "statistics": ()} | fields
    return Spec(name="x", source={"uri": "x.csv"}, recipe=recipe, **named)


@given(
    recipe=RECIPES, predict=FLOWS, few=st.integers(1, 20_000), more=st.integers(1, 20_000), points=st.integers(1, 3000)
)
def test_more_series_need_no_less_time(recipe: str, predict: Any, few: int, more: int, points: int) -> None:
    small = predict(Workload(spec_of(recipe), few, points), ONE)
    large = predict(Workload(spec_of(recipe), few + more, points), ONE)
    assert large.cpu_seconds >= small.cpu_seconds
    assert large.wall_seconds >= small.wall_seconds


@given(
    recipe=RECIPES, predict=FLOWS, series=st.integers(1, 5000), short=st.integers(1, 3000), more=st.integers(1, 3000)
)
def test_longer_series_need_no_less_time(recipe: str, predict: Any, series: int, short: int, more: int) -> None:
    small = predict(Workload(spec_of(recipe), series, short), ONE)
    large = predict(Workload(spec_of(recipe), series, short + more), ONE)
    assert large.cpu_seconds >= small.cpu_seconds
    assert large.wall_seconds >= small.wall_seconds


@given(
    recipe=RECIPES,
    predict=FLOWS,
    series=st.integers(1, 20_000),
    points=st.integers(1, 3000),
    few=st.integers(1, 300),
    more=st.integers(1, 300),
)
def test_more_cores_are_never_slower(recipe: str, predict: Any, series: int, points: int, few: int, more: int) -> None:
    work = Workload(spec_of(recipe, statistics=None), series, points)
    few_cores, many = (predict(work, Machine(cores)).wall_seconds for cores in (few, few + more))
    assert many <= few_cores * (1 + 1e-9)


@pytest.mark.parametrize("predict", PREDICTIONS.values())
def test_a_machine_of_half_the_pace_takes_twice_as_long(predict: Any) -> None:
    work = Workload(spec_of(), 300, 400)
    fast, slow = predict(work, TWO), predict(work, Machine(2, 2.0, 2.0))
    assert slow.cpu_seconds == pytest.approx(2 * fast.cpu_seconds)
    assert fast.wall_seconds < slow.wall_seconds <= 2 * fast.wall_seconds * (1 + 1e-9)
    networks = predict(work, Machine(2, 2.0, 1.0)).by_part()
    assert networks["features"] == fast.by_part()["features"]
    if "priors" in networks:
        assert networks["priors"][0] == pytest.approx(2 * fast.by_part()["priors"][0])


def test_fewest_cores_are_found_and_one_less_is_not_enough() -> None:
    work = Workload(spec_of(), 5000, 500)
    one = predict_train(work, Machine(1)).wall_seconds
    found = find_cores(predict_train, work, TWO, seconds=one / 5)
    assert found is not None
    assert predict_train(work, replace(TWO, num_cores=found)).wall_seconds <= one / 5
    assert predict_train(work, replace(TWO, num_cores=found - 1)).wall_seconds > one / 5
    assert find_cores(predict_train, work, TWO, seconds=2 * one) == 1


def test_no_number_of_cores_shortens_what_one_process_does_alone() -> None:
    assert find_cores(predict_forecast, Workload(spec_of(), 10, 100), TWO, seconds=0.1) is None


def test_series_too_short_for_networks_need_none() -> None:
    work = Workload(spec_of("fast"), 1000, 10)
    assert (work.num_weights, work.num_models, work.statistics) == (0, 1, ())
    parts = predict_train(work, TWO).by_part()
    assert parts["networks"][0] < predict_train(replace(work, num_points=300), TWO).by_part()["networks"][0] / 10


@pytest.mark.parametrize(
    ("freq", "horizon", "num_scored"), [("1h", 24, 1), ("1h", 48, 2), ("15m", 10, 1), ("1d", 14, 14), ("1w", 4, 4)]
)
def test_a_daily_forecast_scores_the_earlier_ones_that_still_get_actuals(
    freq: str, horizon: int, num_scored: int
) -> None:
    spec = spec_of(freq=freq, horizon=horizon, season_lengths=(24,))
    assert Workload(spec, 1, 1).num_scored == num_scored
    assert Workload(spec, 1, 1, num_due=0).num_scored == 0


def test_workers_take_as_many_series_as_their_memory_holds() -> None:
    assert predict_train(Workload(spec_of(), 10, 100), TWO).worker_bytes is None
    needs = predict_train(Workload(spec_of("fast", models=("gru",)), 20_000, 20_000), Machine(32))
    assert needs.num_workers == 32
    assert needs.worker_bytes is not None
    assert 1 << 30 < needs.worker_bytes <= 2 << 30


@given(series=st.integers(1, 20_000), points=st.integers(1, 3000), few=st.integers(1, 30), more=st.integers(1, 30))
def test_more_gpus_are_never_slower(series: int, points: int, few: int, more: int) -> None:
    work = Workload(spec_of("standard"), series, points)
    few_gpus, many = (predict_train(work, Machine(8, num_gpus=gpus)).wall_seconds for gpus in (few, few + more))
    assert many <= few_gpus * (1 + 1e-9)


def test_gpu_seconds_are_those_of_the_one_run_that_was_measured() -> None:
    spec = spec_of("standard", freq="1h", season_lengths=(24, 168), horizon=48, models=("lstm",))
    work = Workload(spec, 414, 1000, has_gpu=True)
    seconds = gpu_training_seconds(work, num_shards=1) + gpu_priors_seconds(work)
    assert seconds == pytest.approx(8.85, rel=0.1)  # docs/benchmarks.md, `gpu`: NVIDIA H200
