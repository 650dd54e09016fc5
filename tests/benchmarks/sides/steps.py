"""Steps alone, on a GPU: a fleet's module as in a fit, and optimiser steps without validation or Lightning."""

from collections.abc import Callable
from typing import Any

import torch

from forecasting.fleet import kernels
from forecasting.fleet.architectures import Dimensions, make_wiring
from forecasting.fleet.module import FleetModule, StepBudget
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.steps.graphs import GraphedSteps
from forecasting.fleet.steps.operations import TorchSteps
from forecasting.fleet.windows import window_source
from forecasting.spec.training import KernelName
from tests.benchmarks.cases import CASES, HORIZON, MEDIAN, SEASON_LENGTH, SEED, gather_windows

WARM_STEPS = 5
"""Steps until programs are compiled and the graph is captured."""


def prepare(
    *, case: str, cell: str, rows: list[int], num_steps: int, kernel: KernelName, is_graphed: bool = True
) -> Callable[[], dict[str, Any]]:
    """Take the first steps; return a function that takes `num_steps` more and returns the GPU's peak bytes."""
    device = torch.device("cuda")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    num_runs = 100  # more than are run, so that the schedule does not end
    gathered, config = gather_windows(CASES[case], cell, rows, num_steps=1), CASES[case].config(num_runs * num_steps)
    scaling = measure_scaling(gathered.panel.y_SN, season_length=SEASON_LENGTH)
    source = window_source(gathered.panel, scaling, config=config, season_lengths=(SEASON_LENGTH,))
    wiring = make_wiring(cell)
    network = FleetNetwork(
        wiring,
        Dimensions(source.num_inputs, config.context_segments, config.hidden_size, HORIZON, len(MEDIAN)),
        kernel=kernels.choose(wiring.cell, device, torch.float32, config.hidden_size, wanted=kernel),
        num_series=len(rows),
        num_references=1,
    )
    network.load_weights(gathered.weights)
    module = FleetModule(
        network,
        source,
        config=config,
        quantiles=MEDIAN,
        keys_S=series_keys(gathered.panel.unique_ids, seed=SEED),
        first_S=torch.from_numpy(gathered.first_S),
        num_windows_S=torch.from_numpy(gathered.num_windows_S),
        validation_SV=torch.from_numpy(gathered.validation_SV),
        budget=StepBudget(config.max_steps),
    ).to(device)
    module.start()
    assert isinstance(module.steps, TorchSteps)

    def run(num_steps: int = num_steps) -> dict[str, Any]:
        module.steps.advance(module, num_steps)
        module.num_steps += num_steps
        torch.cuda.synchronize()
        return {"bytes": torch.cuda.max_memory_allocated(), "kernel": network.kernel.NAME}

    run(1)
    module.steps.graphed = GraphedSteps(device, may_capture=is_graphed)
    run(WARM_STEPS)
    assert module.steps.graphed.is_captured == is_graphed
    return run
