"""The cost model: its counts are exact, its predictions grow with their inputs, and it needs no torch."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.fleet.cost.cost import (
    FIXED_SHARE,
    MOST_SECONDS,
    ForecastCost,
    TrainingCost,
    count_shards,
    prior_worker_bytes,
)
from forecasting.fleet.cost.memory import activation_bytes, fitting_bytes, panel_bytes, prior_bytes, scratch_bytes
from forecasting.fleet.cost.pace import fit_seconds, fixed_fit_seconds, prior_seconds, step_seconds
from forecasting.fleet.cost.sizes import FleetSizes, sizes_of
from forecasting.fleet.kernels import reference
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import window_source
from forecasting.series.panel import Panel
from forecasting.spec.categories import Categories
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import MemberConfig, Smoothing, Start

CONFIG = MemberConfig(segment_length=24, context_segments=14)
DAY = FleetSizes("lstm", CONFIG, horizon=48, num_quantiles=13, num_calendar=6, season_lengths=(24, 168))
CLASSED = Categories(calendar=("weekday", "holiday"), static=("store",), country="US")
COSTS = (TrainingCost([DAY], 100), ForecastCost([DAY]), ForecastCost([DAY], 10), ForecastCost([DAY], 0, 200))


@given(
    st.sampled_from(["lstm", "gru"]),
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 20),
    st.integers(1, 13),
    st.integers(0, 8),
    st.sampled_from(["none", "level_season"]),
    st.sampled_from(["random", "prior"]),
)
def test_parameters_are_those_of_a_network(
    cell: str,
    hidden_size: int,
    segment_length: int,
    horizon: int,
    num_quantiles: int,
    num_calendar: int,
    smoothing: Smoothing,
    start: Start,
) -> None:
    config = MemberConfig(
        hidden_size=hidden_size,
        segment_length=segment_length,
        smoothing="none" if start == "prior" else smoothing,
        start=start,
    )
    sizes = FleetSizes(cell, config, horizon, num_quantiles, num_calendar, (7, 30), categories=CLASSED)
    network = FleetNetwork(
        sizes.wiring,
        sizes.dimensions,
        kernel=reference,
        num_series=1,
        num_references=config.num_references((7, 30)),
        smoothed=sizes.smoothed,
        embeddings=ForecastTask("1d", horizon, (0.5,), (7, 30), CLASSED).embeddings(config),
    )
    assert sizes.parameters == {name: weight.numel() for name, weight in network.weights.items()}


def test_panel_and_windows_are_as_large_as_counted(make_panel: Callable[..., Panel]) -> None:
    panel = make_panel(3)
    columns = panel.ds_SN.shape[1]
    counted = panel_bytes(3, columns, num_known=2)
    # y ends where the horizon begins.
    assert counted - 3 * 8 * panel.horizon == panel.y_SN.nbytes + panel.ds_SN.nbytes + panel.calendar_SNC.nbytes
    config = MemberConfig(segment_length=4, context_segments=3)
    sizes = FleetSizes("gru", config, panel.horizon, 3, 2, (8, 30))
    source = window_source(
        panel, measure_scaling(panel.y_SN, season_length=8), config=config, season_lengths=sizes.references
    )
    assert (source.padding, source.num_inputs) == (sizes.padding, sizes.num_inputs)


@pytest.mark.parametrize("cost", COSTS)
def test_more_series_and_longer_ones_need_more(cost: Any) -> None:
    sizes = [cost.worker_bytes(num, longest, num * longest) for num in (1, 1000, 5000) for longest in (500, 1000)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)
    seconds = [cost.series_seconds(length) for length in (10, 100, 1000)]
    assert seconds == sorted(seconds)
    assert len(set(seconds)) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"config": CONFIG.model_copy(update={"hidden_size": 64})},
        {"config": CONFIG.model_copy(update={"weight_average": 0.9})},
        {"config": CONFIG.model_copy(update={"context_segments": 56})},
        {"horizon": 96},
        {"num_quantiles": 26},
        {"num_calendar": 8},
        {"categories": CLASSED},
        {"season_lengths": (24, 1000)},
    ],
)
def test_larger_networks_need_more_memory(change: dict[str, Any]) -> None:
    larger = replace(DAY, **change)
    for kernel in ("cpu", "reference", "gpu"):
        mine, theirs = (
            fitting_bytes(replace(sizes, kernel=kernel), num_series=2000, longest=500) for sizes in (DAY, larger)
        )
        assert mine < theirs


def test_engine_works_in_a_little_memory_a_thread_and_autograd_in_some_a_series() -> None:
    assert activation_bytes(DAY) == 0
    assert 0 < scratch_bytes(DAY) < 2 << 20
    assert scratch_bytes(replace(DAY, kernel="reference")) == 0
    threads = [fitting_bytes(replace(DAY, num_threads=num), num_series=2, longest=500) for num in (1, 33)]
    assert threads[1] - threads[0] == pytest.approx(32 * scratch_bytes(DAY), rel=0.1)
    assert activation_bytes(replace(DAY, kernel="reference")) > activation_bytes(replace(DAY, kernel="gpu")) > 0


def test_seconds_follow_steps_kernel_and_threads() -> None:
    longer = replace(DAY, config=CONFIG.model_copy(update={"max_steps": 4 * CONFIG.max_steps}))
    assert 3 < fit_seconds(longer, num_points=500) / fit_seconds(DAY, num_points=500) < 4
    assert step_seconds(replace(DAY, kernel="reference")) > 3 * step_seconds(DAY)
    assert step_seconds(DAY) > step_seconds(replace(DAY, model="gru"))
    assert fit_seconds(replace(DAY, num_threads=2), num_points=500) < 0.6 * fit_seconds(DAY, num_points=500)


def test_series_too_short_for_a_network_hardly_counts() -> None:
    cost = TrainingCost([DAY], required_length=100)
    assert cost.series_seconds(99) < cost.series_seconds(100) / 20


def test_shards_pay_for_their_fixed_costs_and_end_in_time() -> None:
    cost = ForecastCost([DAY])
    least = cost.fixed_seconds / FIXED_SHARE
    assert count_shards(0.5 * least, cost, num_series=1000, num_workers=2) == 2
    assert count_shards(0.5 * least, cost, num_series=1, num_workers=2) == 1
    assert count_shards(4 * least, cost, num_series=1000, num_workers=1) == 3
    assert count_shards(100 * MOST_SECONDS, cost, num_series=1000, num_workers=1) == 100
    assert count_shards(0.0, cost, num_series=0, num_workers=2) == 0


@given(st.floats(0.01, 1e5), st.integers(1, 9), st.sampled_from(COSTS))
def test_every_worker_gets_the_same_number_of_shards_so_that_none_waits(
    seconds: float, num_workers: int, cost: Any
) -> None:
    assert count_shards(seconds, cost, num_series=1_000_000, num_workers=num_workers) % num_workers == 0


def test_a_spec_has_a_network_of_each_kind_and_a_kernel_that_runs() -> None:
    spec = Spec(name="x", source={"uri": "x.csv"}, freq="1h", season_lengths=(24,), horizon=5, quantiles=(0.5,))
    cpu, gpu = sizes_of(spec, ("lstm",), kernel="auto")[0], sizes_of(spec, ("lstm",), kernel="auto", has_gpu=True)[0]
    assert (cpu.kernel, gpu.kernel) == ("cpu", "gpu")
    assert (cpu.num_calendar, cpu.num_inputs, cpu.num_outputs) == (6, 2 * 24 + 1 + 6, 5)
    gru = sizes_of(spec, ("gru",), kernel="reference", has_gpu=True, num_threads=3)[0]
    assert (gru.model, gru.kernel, gru.num_threads) == ("gru", "reference", 3)


def test_every_member_counts_but_only_the_network_has_rows() -> None:
    spec = Spec(name="x", source={"uri": "x.csv"}, freq="1h", season_lengths=(24,), horizon=5, quantiles=(0.5,))
    config = configure(spec)
    sizes = sizes_of(spec, ("lstm", "gru"), kernel="cpu")
    members = [member.as_run for member in config.member_configs]
    assert [each.config for each in sizes] == 2 * members
    assert {each.config.max_steps for each in sizes if each.config.start == "prior"} == {config.tuning_steps}
    alone = [sizes[0], sizes[len(config.members)]]
    assert ForecastCost(sizes).num_models == ForecastCost(alone).num_models == 4
    assert ForecastCost(sizes).series_seconds(100) > ForecastCost(alone).series_seconds(100)


def test_a_driver_that_predicts_costs_loads_no_torch() -> None:
    modules = "forecasting.fleet.cost.cost, workers.cluster.shards, workers.jobs.sizing"
    code = f"import {modules}, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_priors_memory_grows_with_its_series_and_their_length_and_is_zero_without_a_prior() -> None:
    spec = Spec(name="x", source={"uri": "x.csv"}, freq="1h", season_lengths=(24,), horizon=5, quantiles=(0.5,))
    networks = sizes_of(spec, ["gru"], kernel="cpu")
    sizes = [prior_worker_bytes(networks, num, length, num * length) for num in (1, 900) for length in (50, 4000)]
    assert sizes == sorted(set(sizes))
    # The panel, its copy without what is unsound, and windows in scaled units, are more than three copies of it.
    cells = 900 * 4000
    assert prior_bytes(networks[-1], num_series=900, longest=4000) > 3 * 8 * cells
    from_scratch = [each for each in networks if each.config.start == "random"]
    assert prior_worker_bytes(from_scratch, 900, 4000, cells) < sizes[-1]


def test_a_prior_takes_longer_with_more_steps_windows_and_series_and_less_long_in_the_engine_and_on_threads() -> None:
    prior = sizes_of(make_classed(), ["lstm"], kernel="cpu")[-1]

    def seconds(sizes: FleetSizes = prior, *, num_series: int = 10, **config: int) -> float:
        changed = replace(sizes, config=sizes.config.model_copy(update=config))
        return prior_seconds(changed, num_series=num_series, num_points=100 * num_series)

    assert prior.config.start == "prior"
    assert seconds() < seconds(num_series=100) < seconds(num_series=100, prior_steps=4000)
    assert 1.5 * seconds(prior_windows=128) < seconds(prior_windows=256)
    assert 2 * seconds() < seconds(replace(prior, kernel="reference"))
    assert (
        0.2 * seconds(num_series=0) < seconds(replace(prior, num_threads=4), num_series=0) < 0.5 * seconds(num_series=0)
    )


def test_a_network_that_is_tuned_from_a_prior_holds_its_weights_twice_more_at_the_end() -> None:
    config = MemberConfig(hidden_size=64, start="prior")
    tuned = FleetSizes("gru", config, horizon=28, num_quantiles=13, num_calendar=6, season_lengths=(7,))
    scratch = replace(tuned, config=config.model_copy(update={"start": "random"}))
    more = fitting_bytes(tuned, num_series=500, longest=30) - fitting_bytes(scratch, num_series=500, longest=30)
    assert more == 2 * 4 * tuned.num_weights * 500


def test_earlier_weights_are_counted_for_both_roles_unless_there_is_a_prior() -> None:
    config = MemberConfig(hidden_size=64)
    sizes = FleetSizes("gru", config, horizon=28, num_quantiles=13, num_calendar=6, season_lengths=(7,))
    tuned = replace(sizes, config=config.model_copy(update={"start": "prior"}))
    cold, warm = (TrainingCost([sizes], 50, is_warm=is_warm).worker_bytes(500, 30, 15_000) for is_warm in (False, True))
    assert warm - cold == 2 * 4 * sizes.num_weights * 500
    assert len({fitting_bytes(tuned, num_series=500, longest=30, is_warm=is_warm) for is_warm in (False, True)}) == 1


def test_paths_cost_a_forecast_their_rows_and_a_backtest_the_sums_of_their_correlations() -> None:
    rows = 100 * DAY.horizon * 200
    for num_origins, least, most in ((0, 150 * rows, 250 * rows), (3, 16 * DAY.horizon**2, rows)):
        without, with_paths = (ForecastCost([DAY], num_origins, num_paths) for num_paths in (0, 200))
        added = with_paths.worker_bytes(100, 1000, 100_000) - without.worker_bytes(100, 1000, 100_000)
        assert least < added < most
    assert ForecastCost([DAY], 0, 200).series_seconds(1000) > ForecastCost([DAY]).series_seconds(1000)


def test_smoothing_costs_time_and_memory_that_grow_with_the_series_and_leaves_the_engine() -> None:
    smoothed = replace(DAY, config=CONFIG.model_copy(update={"smoothing": "level_season"}))
    assert (DAY.in_engine, smoothed.in_engine) == (True, False)
    assert scratch_bytes(smoothed) == 0
    for kernel in ("cpu", "reference", "gpu"):
        plain, other = (replace(sizes, kernel=kernel) for sizes in (DAY, smoothed))
        more = [fit_seconds(other, num_points=num) - fit_seconds(plain, num_points=num) for num in (100, 1000)]
        assert 0 < more[0] < more[1]
        assert fixed_fit_seconds(other) > fixed_fit_seconds(plain)
        held = [fitting_bytes(sizes, num_series=50, longest=20_000) for sizes in (plain, other)]
        assert held[0] < held[1]


def test_categories_cost_their_tables_and_lookups_with_any_kernel() -> None:
    of_spec = sizes_of(make_classed(), ["lstm", "seq2seq"], kernel="cpu")
    read = {(sizes.model, sizes.config.start): list(sizes.embeddings.values()) for sizes in of_spec}
    assert read["lstm", "random"] == [(8, 4), (257, 4)], "a network of one series reads no static category"
    assert read["lstm", "prior"] == read["seq2seq", "prior"] == [(8, 4), (257, 4), (257, 4)]
    classed = replace(DAY, categories=CLASSED)
    assert classed.in_engine
    assert scratch_bytes(classed) > scratch_bytes(DAY)
    assert fit_seconds(classed, num_points=1000) > fit_seconds(DAY, num_points=1000)
    assert classed.num_inputs == DAY.num_inputs + 2 * 4
    assert classed.num_looked_up == 24 * 14 * 8
    slower = replace(classed, kernel="reference")
    assert fit_seconds(slower, num_points=1000) > fit_seconds(replace(DAY, kernel="reference"), num_points=1000)


def make_classed() -> Spec:
    return Spec(
        name="classed",
        source={"uri": "x.csv"},
        freq="1d",
        season_lengths=(7,),
        horizon=14,
        categories=CLASSED,
    )
