"""Training as one fleet against a plain loop of nn.LSTM, one network per series, in the same process and threads.

Both sides see the same windows, take the same optimiser steps of Adam; their final
losses are printed side by side. The fleet's side includes everything: window gathering, clipping, Lightning.
"""

# S series · B windows · T steps · I inputs · H hidden · F horizon · Q quantiles

import json
import math
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from forecasting.fleet.fit import FitOptions, fit_candidates
from forecasting.fleet.fitted import Architecture
from forecasting.fleet.losses import pinball_loss
from forecasting.fleet.plan import plan_training
from forecasting.fleet.random import draw_bits, series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.windows import WindowBatch, window_source
from forecasting.series.panel import Panel
from forecasting.training import TrainingConfig

NUM_SERIES, NUM_STEPS, NUM_PAIRS, HORIZON = 32, 20, 3, 24
QUANTILES = (0.1, 0.5, 0.9)
THREADS = 1


@dataclass(frozen=True)
class Setting:
    name: str
    config: TrainingConfig


def setting(name: str, *, hidden: int, steps: int, batch: int, segment: int) -> Setting:
    return Setting(
        name,
        TrainingConfig(
            hidden_size=hidden,
            segment_length=segment,
            context_segments=steps,
            batch_windows=batch,
            max_steps=NUM_STEPS,
            evaluate_every=NUM_STEPS,
            validation_windows=1,
            gradient_clip=1e9,
        ),
    )


SETTINGS = (
    setting("small: H 16, T 24, B 8, I 3", hidden=16, steps=24, batch=8, segment=1),
    setting("segments: H 16, T 14, B 16, I 49", hidden=16, steps=14, batch=16, segment=24),
)


def main() -> None:
    torch.set_num_threads(THREADS)
    print(f"torch {torch.__version__}, {THREADS} threads, {NUM_SERIES} series, {NUM_STEPS} steps, horizon {HORIZON}")
    for case in SETTINGS:
        ratios, fleet_seconds, loop_seconds = [], [], []
        for _ in range(NUM_PAIRS):
            fleet_second, fleet_loss = _time_fleet(case.config)
            loop_second, loop_loss = _time_loop(case.config)
            fleet_seconds.append(fleet_second)
            loop_seconds.append(loop_second)
            ratios.append(loop_second / fleet_second)
        print(f"{case.name}: validation loss after the last step: fleet {fleet_loss:.4f}, loop {loop_loss:.4f}")
        per_step = 1000 / (NUM_SERIES * NUM_STEPS)
        print(
            json.dumps(
                {
                    "benchmark": "fleet",
                    "setting": case.name,
                    "figure": round(statistics.median(fleet_seconds) * per_step, 4),
                    "unit": "ms per series and step",
                    "peer": "loop of nn.LSTM",
                    "peer_figure": round(statistics.median(loop_seconds) * per_step, 4),
                    "ratio": round(statistics.median(ratios), 3),
                    "target": ">=1",
                }
            )
        )


def _panel() -> Panel:
    points = np.arange(600)
    noise = np.random.default_rng(0).normal(0, 0.3, (NUM_SERIES, len(points)))
    y_SN = 10 + 3 * np.sin(2 * np.pi * (points + np.arange(NUM_SERIES)[:, None]) / 24) + noise
    ds_SN = np.repeat(np.arange(len(points) + HORIZON)[None], NUM_SERIES, axis=0)
    names = tuple(f"s{series}" for series in range(NUM_SERIES))
    lengths = np.full(NUM_SERIES, len(points))
    return Panel(names, y_SN, lengths, np.zeros((*ds_SN.shape, 0), np.float32), ds_SN, HORIZON)


def _time_fleet(config: TrainingConfig) -> tuple[float, float]:
    panel, architecture = _panel(), Architecture("lstm", 1, HORIZON, QUANTILES, (24,))
    dropped_S = np.zeros(NUM_SERIES, dtype=np.int64)
    began = time.perf_counter()
    fitted = fit_candidates(panel, architecture, config, seed=0, dropped_S=dropped_S, options=FitOptions())
    return time.perf_counter() - began, float(fitted.validation_loss_S.mean())


class _Network(nn.Module):
    """One series' network, as anybody would write it with torch.nn."""

    def __init__(self, num_inputs: int, hidden_size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, HORIZON * len(QUANTILES))
        with torch.no_grad():  # as small as the fleet's, so that both begin at the seasonal reference
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, windows: WindowBatch) -> Tensor:
        outputs, _ = self.lstm(windows.x_SBTI[0])
        head = self.head(outputs[:, -1]).view(1, -1, HORIZON, len(QUANTILES))
        return windows.reference_SBFM.mean(-1, keepdim=True) + head


def _time_loop(config: TrainingConfig) -> tuple[float, float]:
    panel, quantiles_Q = _panel(), torch.tensor(QUANTILES)
    began, losses = time.perf_counter(), []
    for row in range(NUM_SERIES):
        one = panel.select(np.array([row]))
        scaling = measure_scaling(one.y_SN, season_length=24)
        plan = plan_training(
            one, scaling, model="lstm", config=config, dropped_S=np.zeros(1, dtype=np.int64), with_validation=True
        )
        source = window_source(one, scaling, config=config, season_lengths=(24,))
        keys_S = series_keys(one.unique_ids, seed=0)
        network = _Network(source.num_inputs, config.hidden_size)
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
        for step in range(NUM_STEPS):
            counters_B = torch.arange(step * config.batch_windows, (step + 1) * config.batch_windows)
            bits_SB = draw_bits(keys_S, purpose="windows", counters_D=counters_B)
            windows = source.gather(torch.from_numpy(plan.first_S)[:, None] + bits_SB % int(plan.num_windows_S[0]))
            loss = pinball_loss(network(windows), windows.target_SBF, windows.is_observed_SBF, quantiles_Q).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * (0.05 + 0.475 * (1 + math.cos(math.pi * step / NUM_STEPS)))
            optimizer.step()
        with torch.no_grad():
            windows = source.gather(torch.from_numpy(plan.validation_SV))
            loss_S = pinball_loss(network(windows), windows.target_SBF, windows.is_observed_SBF, quantiles_Q)
        losses.append(float(loss_S))
    return time.perf_counter() - began, statistics.mean(losses)


if __name__ == "__main__":
    main()
