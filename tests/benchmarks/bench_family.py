"""Compare every design as a fleet with a loop that trains one network after the other in torch operations.

Both sides take the same optimiser steps over the same windows from the same weights, on one thread. The loop runs the
reference recurrence of a single series, without Lightning. Losses on validation windows must agree, series by series.
The fleet uses the fastest kernel that supports the design. For recurrences that torch has as a module, `bench_fleet`
measures the loop of that module.
"""

import argparse
import statistics
import sys
import time
from dataclasses import replace

import numpy as np
import torch

from forecasting.fleet.assembly import assemble
from forecasting.fleet.module import FleetModule, StepBudget
from forecasting.fleet.plan import plan_training
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.task import ForecastTask
from forecasting.spec.spec import NETWORKS
from forecasting.spec.training import Design, KernelName
from tests.benchmarks.cases import CASES, HORIZON, SEASON_LENGTH, SEED, make_panel
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded

CASE = CASES["segments"]
QUANTILES = (0.1, 0.5, 0.9)
DESIGNS = {model: (model, Design()) for model in NETWORKS} | {
    "lstm, two layers": ("lstm", Design(layers=2)),
    "indrnn, two layers": ("indrnn", Design(layers=2)),
    "lstm, head next": ("lstm", Design(head="next")),
    "lstm, head every_step": ("lstm", Design(head="every_step")),
    "lstm, stream": ("lstm", Design(stream=True)),
}
NUM_SERIES, NUM_LOOPED = 64, 3
SHORT_STEPS, FULL_STEPS, NUM_ROUNDS = 5, 20, 3
MOST_LOSSES_DIFFER = 0.01


def main(arguments: list[str]) -> int:
    """Print a figure per design; return 1 if losses do not agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more steps, and variants of the models too")
    is_full = parser.parse_args(arguments).full
    num_steps = FULL_STEPS if is_full else SHORT_STEPS
    torch.set_num_threads(1)
    print(f"{describe_machine()}, 1 thread, {CASE}, {NUM_ROUNDS} rounds of {num_steps} steps")
    has_failed = False
    for name, (model, design) in DESIGNS.items():
        if name not in NETWORKS and not is_full:
            _figure(name).print()
            continue
        fleet = _module(model, design, list(range(NUM_SERIES)), num_steps, kernel="auto")
        loop = [_module(model, design, [row], num_steps, kernel="reference") for row in range(NUM_LOOPED)]
        ours, theirs = [], []
        for _ in range(NUM_ROUNDS):
            ours.append(_advance([fleet], num_steps) / NUM_SERIES)
            theirs.append(_advance(loop, num_steps) / NUM_LOOPED)
        losses = [_loss(fleet)[:NUM_LOOPED], torch.cat([_loss(module) for module in loop])]
        if ((losses[0] / losses[1] - 1).abs() > MOST_LOSSES_DIFFER).any():
            print(f"error: {name}: the fleet's losses are {losses[0]}, the loop's {losses[1]}", file=sys.stderr)
            has_failed = True
        print(f"{name}: kernel '{fleet.network.kernel.NAME}', {_count(fleet)} weights a series", flush=True)
        figure, peer_figure = rounded(statistics.median(ours)), rounded(statistics.median(theirs))
        ratio = rounded(median_ratio(theirs, ours))
        replace(_figure(name), figure=figure, peer_figure=peer_figure, ratio=ratio).print()
    return int(has_failed)


def _figure(name: str) -> Figure:
    return Figure(
        benchmark="family",
        setting=f"{name}, {CASE}",
        figure=None,
        unit="ms per series and step",
        peer="one network at a time, torch operations",
        peer_figure=None,
        ratio=None,
        target=None,
    )


def _module(model: str, design: Design, rows: list[int], num_steps: int, *, kernel: KernelName) -> FleetModule:
    panel = make_panel(CASE, rows)
    config = CASE.config(num_steps * (NUM_ROUNDS + 1)).model_copy(update={"design": design})
    scaling, nothing_S = measure_scaling(panel.y_SN, season_length=SEASON_LENGTH), np.zeros(len(rows), dtype=np.int64)
    plan = plan_training(panel, scaling, model=model, config=config, dropped_S=nothing_S, with_validation=True)
    task = ForecastTask(1, HORIZON, QUANTILES, (SEASON_LENGTH,))
    ready = assemble(panel, scaling, model=model, task=task, config=config, vocabulary={})
    network = ready.make_network(num_series=len(rows), device=torch.device("cpu"), kernel=kernel)
    keys_S = series_keys(panel.unique_ids, seed=SEED)
    network.initialise(keys_S)
    module = FleetModule(
        network,
        ready.windows,
        config=config,
        quantiles=QUANTILES,
        keys_S=keys_S,
        first_S=torch.from_numpy(plan.first_S),
        num_windows_S=torch.from_numpy(plan.num_windows_S),
        validation_SV=torch.from_numpy(plan.validation_SV),
        budget=StepBudget(config.max_steps),
    )
    _advance([module], num_steps)  # what is there only once is not counted
    return module


def _count(module: FleetModule) -> int:
    """Count the numbers in a series' network."""
    return sum(weight[0].numel() for weight in module.network.weights.values())


def _advance(modules: list[FleetModule], num_steps: int) -> float:
    """Return the milliseconds that a step of all takes."""
    began = time.perf_counter()
    for module in modules:
        module.steps.advance(module, num_steps)
        module.num_steps += num_steps
    return 1000 * (time.perf_counter() - began) / num_steps


@torch.no_grad()
def _loss(module: FleetModule) -> torch.Tensor:
    weights = {name: weight.detach() for name, weight in module.network.weights.items()}
    return module.steps.validation_loss(module, weights)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
