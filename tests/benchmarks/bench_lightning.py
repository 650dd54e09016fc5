"""Measure Lightning's overhead: a fit through its Trainer, over the same training and validation steps in a bare loop.

Both sides train the same module of the recipe's sizes to the same weights, on one thread. The loop has no Trainer, so
the difference is Lightning's. The series of a shard share the Trainer's fixed cost.
"""

import argparse
import sys
import time

import numpy as np
import torch

from forecasting.fleet import kernels
from forecasting.fleet.architectures import Dimensions, make_wiring
from forecasting.fleet.lightning import run_lightning
from forecasting.fleet.module import FleetModule, StepBudget
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.options import FitOptions
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.trainer import run_trainer
from forecasting.fleet.windows import window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded

CONFIG = MemberConfig(segment_length=24, context_segments=14, max_steps=400, evaluate_every=25, patience=1000)
QUANTILES = (0.1, 0.5, 0.9)
HORIZON, NUM_POINTS, SEASONS = 48, 1000, (24, 168)
SHORT_ROUNDS, FULL_ROUNDS = 5, 9


def main(arguments: list[str]) -> int:
    """Print a figure per size of shard; the target applies to the usual size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more rounds")
    num_rounds = FULL_ROUNDS if parser.parse_args(arguments).full else SHORT_ROUNDS
    torch.set_num_threads(1)
    print(f"{describe_machine()}, 1 thread, {num_rounds} rounds")
    for num_series, target in ((16, None), (64, "<=1.05")):
        through, bare = [], []
        for _ in range(num_rounds):
            seconds, trained = _time(_module(num_series), by_lightning=True)
            through.append(seconds)
            seconds, looped = _time(_module(num_series), by_lightning=False)
            bare.append(seconds)
            for name, weight in trained.kept.items():
                if not torch.equal(weight, looped.kept[name]):
                    print(f"the two sides learned different weights {name}", file=sys.stderr)
                    return 1
        Figure(
            benchmark="lightning",
            setting=f"{num_series} series, {CONFIG.max_steps} steps",
            figure=rounded(float(np.median(through))),
            unit="seconds of one fit",
            peer="the same steps without a Trainer",
            peer_figure=rounded(float(np.median(bare))),
            ratio=rounded(median_ratio(through, bare)),
            target=target,
        ).print()
    return 0


def _module(num_series: int) -> FleetModule:
    rng = np.random.default_rng(0)
    points = np.arange(NUM_POINTS)
    y_SN = 10 + np.sin(2 * np.pi * points / 24) + rng.normal(0, 0.3, (num_series, NUM_POINTS))
    ds_SN = np.repeat(np.arange(NUM_POINTS + HORIZON)[None], num_series, axis=0)
    calendar_SNC = np.zeros((num_series, NUM_POINTS + HORIZON, 0), np.float32)
    names = tuple(f"s{series}" for series in range(num_series))
    panel = Panel(names, y_SN, np.full(num_series, NUM_POINTS), calendar_SNC, ds_SN, HORIZON)
    windows = window_source(
        panel, measure_scaling(y_SN, season_length=SEASONS[0]), config=CONFIG, season_lengths=SEASONS
    )
    wiring, keys_S = make_wiring("lstm"), series_keys(names, seed=0)
    network = FleetNetwork(
        wiring,
        Dimensions(windows.num_inputs, CONFIG.context_segments, CONFIG.hidden_size, HORIZON, len(QUANTILES)),
        kernel=kernels.choose(wiring.cell, torch.device("cpu"), torch.float32, CONFIG.hidden_size),
        num_series=num_series,
        num_references=len(SEASONS),
    )
    network.initialise(keys_S)
    last = NUM_POINTS - HORIZON - 1
    return FleetModule(
        network,
        windows,
        config=CONFIG,
        quantiles=QUANTILES,
        keys_S=keys_S,
        first_S=torch.full((num_series,), 400),
        num_windows_S=torch.full((num_series,), last - 500),
        validation_SV=torch.arange(last - 64, last, 2).repeat(num_series, 1),
        budget=StepBudget(CONFIG.max_steps),
    )


def _time(module: FleetModule, *, by_lightning: bool) -> tuple[float, FleetModule]:
    num_passes = CONFIG.max_steps // CONFIG.evaluate_every
    began = time.perf_counter()
    options = FitOptions(show_progress=False, accelerator="cpu")
    if by_lightning:
        run_lightning(module, max_blocks=num_passes, device=torch.device("cpu"), shows_bar=False, options=options)
    else:
        run_trainer(module, max_blocks=num_passes, options=options)
    return time.perf_counter() - began, module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
