"""Whole steps in the CPU engine equal the same steps in torch operations, from gathering windows to averages."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting.fleet import kernels
from forecasting.fleet.architectures import Dimensions, make_wiring
from forecasting.fleet.embedding_shapes import embedding_name
from forecasting.fleet.module import FleetModule, StepBudget
from forecasting.fleet.native import CELLS, library
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.predict import predict
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.windows import window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig
from tests.forecasting.fleet.steps.moments import moments_of

pytestmark = pytest.mark.skipif(library.find() is None, reason="the CPU engine is not built here")

NUM_SERIES = 3
NUM_VALUES, VECTOR_SIZE = 5, 3
QUANTILES = {1: (0.5,), 3: (0.1, 0.5, 0.9), 21: tuple(np.linspace(0.02, 0.98, 21))}
CASES = {
    "plain": {},
    "one quantile": {"num_quantiles": 1},
    "more quantiles than lanes": {"num_quantiles": 21},
    "two seasons": {"season_lengths": (8, 24)},
    "season longer than its series": {"season_lengths": (8, 600)},
    "segment of one": {"segment_length": 1, "context_segments": 9},
    "odd sizes": {"hidden_size": 17, "batch_windows": 33, "horizon": 11},
    "one unit, one window": {"hidden_size": 1, "batch_windows": 1, "horizon": 1},
    "gaps": {"gaps": True},
    "young series": {"season_lengths": (24, 48, 1), "num_points": (200, 60, 30)},
    "young series without a last value": {"season_lengths": (24, 48), "num_points": (50, 23, 60)},
    "averaged": {"weight_average": 0.8},
    "intermittent": {"num_zeros": (150, 0, 110)},
    "categories": {"num_categories": 2},
}


def module_of(
    kernel: str,
    model: str,
    make_panel: Callable[..., Panel],
    *,
    num_quantiles: int = 3,
    season_lengths: tuple[int, ...] = (8,),
    horizon: int = 6,
    gaps: bool = False,
    num_points: tuple[int, ...] = (),
    num_zeros: tuple[int, ...] = (),
    num_categories: int = 0,
    **config: float,
) -> FleetModule:
    """Build a fleet's module with weights that are large enough for every gate to matter."""
    panel = make_panel(NUM_SERIES, horizon=horizon)
    if gaps:
        y_SN = panel.y_SN.copy()
        y_SN[np.random.default_rng(0).random(y_SN.shape) < 0.3] = np.nan
        panel = replace(panel, y_SN=y_SN)
    for row, length in enumerate(num_points):
        panel.y_SN[row, :-length], panel.length_S[row] = np.nan, length
    for row, num in enumerate(num_zeros):
        panel.y_SN[row] = np.abs(panel.y_SN[row])
        panel.y_SN[row, np.random.default_rng(row).permutation(panel.y_SN.shape[1])[:num]] = 0.0
    training = MemberConfig(
        **{"hidden_size": 5, "segment_length": 4, "context_segments": 3, "batch_windows": 7, "validation_windows": 4}
        | config
    )
    scaling = measure_scaling(panel.y_SN, season_length=season_lengths[0], references=season_lengths)
    assert np.isfinite(scaling.flat_S).tolist() == [num > 0 for num in num_zeros or (0,) * NUM_SERIES]
    rows = np.random.default_rng(1).integers(0, NUM_VALUES, (*panel.ds_SN.shape, num_categories), dtype=np.int32)
    windows = window_source(
        panel,
        scaling,
        config=training,
        season_lengths=season_lengths,
        row_SNK=rows if num_categories else None,
        vector_size=VECTOR_SIZE,
    )
    wiring, keys_S = make_wiring(model), series_keys(panel.unique_ids, seed=3)
    network = FleetNetwork(
        wiring,
        Dimensions(windows.num_inputs, training.context_segments, training.hidden_size, horizon, num_quantiles),
        kernel=kernels.choose(wiring.cell, torch.device("cpu"), torch.float32, training.hidden_size, wanted=kernel),
        num_series=NUM_SERIES,
        num_references=len(season_lengths),
        embeddings={embedding_name(number): (NUM_VALUES, VECTOR_SIZE) for number in range(num_categories)},
    )
    network.initialise(keys_S)
    with torch.no_grad():
        for name, weight in network.weights.items():
            weight.add_(0.3 * torch.sin(torch.arange(weight.numel()).view(weight.shape) + len(name)))
    return FleetModule(
        network,
        windows,
        config=training,
        quantiles=QUANTILES[num_quantiles],
        keys_S=keys_S,
        first_S=torch.tensor([20, 15, 30]),
        num_windows_S=torch.tensor([150, 179, 9]),
        validation_SV=torch.tensor([[150, 160, 170, 199]] * NUM_SERIES),
        budget=StepBudget(training.max_steps),
    )


def advance(module: FleetModule, num_steps: int) -> FleetModule:
    module.steps.advance(module, num_steps)
    module.num_steps += num_steps
    return module


@pytest.mark.parametrize("model", CELLS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_first_gradient_and_the_next_steps_agree(
    make_panel: Callable[..., Panel], model: str, case: dict[str, object], lanes: int
) -> None:
    """Adam's moments after one step are the clipped gradient and its square."""
    modules = [module_of(kernel, model, make_panel, **case) for kernel in ("reference", "cpu")]
    for module in modules:
        advance(module, 1)
    for name in modules[0].network.weights:
        for expected, found in zip(*(moments_of(module, name) for module in modules), strict=True):
            bound = 2e-5 * float(expected.abs().max()) + 1e-9
            torch.testing.assert_close(found, expected, rtol=0, atol=bound, msg=lambda t, n=name: f"{n}: {t}")
    for module in modules:
        advance(module, 3)
    for kind in ("network", "average"):
        if getattr(modules[0], kind) is None:
            continue
        expected, found = (dict((m.network.weights if kind == "network" else m.average).items()) for m in modules)
        for name in expected:
            torch.testing.assert_close(found[name].data, expected[name].data, rtol=0, atol=5e-3)
            assert (found[name].data - expected[name].data).abs().median() < 1e-5


@pytest.mark.parametrize("model", CELLS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_validation_losses_agree(
    make_panel: Callable[..., Panel], model: str, case: dict[str, object], lanes: int
) -> None:
    """The last validation window ends at the panel's end, where no target is known."""
    losses = []
    for kernel in ("reference", "cpu"):
        module = module_of(kernel, model, make_panel, **case)
        losses.append(module.steps.validation_loss(module, {n: w.detach() for n, w in module.network.weights.items()}))
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("model", CELLS)
def test_a_fleet_without_series_has_no_losses(make_panel: Callable[..., Panel], model: str, lanes: int) -> None:
    """Every series of a shard may be too short to be tuned; then there is not one validation window either."""
    module = module_of("cpu", model, make_panel)
    weights = {name: weight.detach()[:0] for name, weight in module.network.weights.items()}
    module.keys_S, module.validation_SV = module.keys_S[:0], torch.zeros((0, 0), dtype=torch.int64)
    assert module.steps.validation_loss(module, weights).shape == (0,)


def test_gradients_are_clipped_to_each_series_own_norm(make_panel: Callable[..., Panel]) -> None:
    module = advance(module_of("cpu", "gru", make_panel, gradient_clip=1e-3), 1)
    squares_S = sum(moments_of(module, name)[0].square().flatten(1).sum(1) for name in module.network.weights)
    torch.testing.assert_close((squares_S.sqrt() / 0.1), torch.full((NUM_SERIES,), 1e-3), rtol=1e-4, atol=0)


def test_stopped_series_do_not_change(make_panel: Callable[..., Panel]) -> None:
    module = module_of("cpu", "lstm", make_panel)
    before = {name: weight.detach().clone() for name, weight in module.network.weights.items()}
    module.num_passes_S[1] = module.config.patience
    advance(module, 2)
    for name, weight in module.network.weights.items():
        assert torch.equal(weight[1], before[name][1])
        if name != "mixture_FM":  # one season leaves nothing to mix
            assert not torch.equal(weight[[0, 2]], before[name][[0, 2]])


def test_a_broken_series_keeps_its_step_and_stops_training(make_panel: Callable[..., Panel]) -> None:
    module = advance(module_of("cpu", "lstm", make_panel), 4)
    with torch.no_grad():
        module.network.weights["head_HO"][2, 0, 0] = torch.inf
    advance(module, 3)
    assert module.broken_step_S.tolist() == [-1, -1, 5]
    advance(module, 3)
    assert module.broken_step_S.tolist() == [-1, -1, 5]


def test_every_vector_width_learns_the_same(make_panel: Callable[..., Panel], lanes: int) -> None:
    expected, found = (
        advance(module_of(kernel, "gru", make_panel, hidden_size=20), 5) for kernel in ("reference", "cpu")
    )
    for name, weight in found.network.weights.items():
        assert (weight - expected.network.weights[name]).abs().median() < 1e-5


def test_forecasts_agree_with_the_reference(make_panel: Callable[..., Panel], lanes: int) -> None:
    from forecasting.fleet.fit import fit_candidates
    from forecasting.fleet.task import ForecastTask

    panel = make_panel(5)
    config = MemberConfig(segment_length=4, context_segments=3, max_steps=20)
    model, task = "lstm", ForecastTask(1, 6, QUANTILES[3], (8, 16))
    fitted = fit_candidates(panel, model, task, config, seed=1, dropped_S=np.zeros(5, dtype=np.int64))
    np.testing.assert_allclose(
        predict(fitted, panel, kernel="cpu"), predict(fitted, panel, kernel="reference"), rtol=1e-6
    )
