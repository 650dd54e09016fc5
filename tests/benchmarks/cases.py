"""The cases that the fleet and its peers train on: panel, windows and initial weights.

Peers read windows that are gathered beforehand, outside the measured time, from the same source and in the same order
as the fleet gathers them within its own time.
"""

# S series · N grid points · K windows of all optimiser steps, B a step · V validation windows · T steps · I inputs
# F horizon steps · M season lengths

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from forecasting.fleet.architectures import Dimensions, make_wiring
from forecasting.fleet.kernels import reference
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.plan import plan_training
from forecasting.fleet.random import draw_bits, series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import WindowBatch, window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig

HORIZON = SEASON_LENGTH = 24
NUM_POINTS = 1000
SEED = 0
MEDIAN = (0.5,)
GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Case:
    """A size of network and windows; a segment is the points of one recurrent step."""

    name: str
    hidden_size: int
    num_recurrent_steps: int
    batch_windows: int
    segment_length: int
    num_calendar: int

    @property
    def num_inputs(self) -> int:
        """Points, their change since a season ago, the share observed, and the calendar."""
        return 2 * self.segment_length + 1 + self.num_calendar

    def __str__(self) -> str:
        sizes = f"H {self.hidden_size}, T {self.num_recurrent_steps}, B {self.batch_windows}, I {self.num_inputs}"
        return f"{self.name}: {sizes}"

    def count_flops(self, cell: str) -> int:
        """Count the operations of the matrix products of one series' recurrence in one step.

        In the forward pass, inputs and state are each multiplied by their weights. In the backward pass, each of these
        products has one for the weights' gradient, and the state has one more for its own. The inputs need no gradient.

        Args:
            cell: Name of the recurrent cell.

        Returns:
            Floating-point operations.
        """
        num_rows, num_gates = self.batch_windows * self.num_recurrent_steps, GATES[cell] * self.hidden_size
        forward = weights = num_rows * (self.num_inputs + self.hidden_size) * num_gates
        state = num_rows * self.hidden_size * num_gates
        return 2 * (forward + weights + state)

    def config(self, num_steps: int) -> MemberConfig:
        """Return a configuration of exactly `num_steps` steps, one validation pass, and no effective clipping."""
        return MemberConfig(
            hidden_size=self.hidden_size,
            segment_length=self.segment_length,
            context_segments=self.num_recurrent_steps,
            batch_windows=self.batch_windows,
            max_steps=num_steps,
            evaluate_every=num_steps,
            gradient_clip=1e9,
            last_value=False,
        )

    def config_of_prior(self) -> MemberConfig:
        """Return the configuration of a prior whose steps read `batch_windows` windows."""
        return MemberConfig(
            hidden_size=self.hidden_size,
            segment_length=self.segment_length,
            context_segments=self.num_recurrent_steps,
            prior_windows=self.batch_windows,
            last_value=False,
            start="prior",
        )


CASES = {
    case.name: case
    for case in (
        Case("small", hidden_size=16, num_recurrent_steps=24, batch_windows=8, segment_length=1, num_calendar=0),
        Case("day", hidden_size=32, num_recurrent_steps=48, batch_windows=32, segment_length=1, num_calendar=1),
        Case("segments", hidden_size=32, num_recurrent_steps=14, batch_windows=32, segment_length=12, num_calendar=1),
        Case("wide", hidden_size=64, num_recurrent_steps=48, batch_windows=32, segment_length=1, num_calendar=1),
    )
}
PRIOR = Case("prior", hidden_size=48, num_recurrent_steps=14, batch_windows=128, segment_length=12, num_calendar=1)

TASK = ForecastTask(1, HORIZON, MEDIAN, (SEASON_LENGTH,))


def make_panel(case: Case, rows: list[int]) -> Panel:
    """Return reproducible series: a season, and autocorrelated noise."""
    points_N = np.arange(NUM_POINTS)
    wave_SN = 10 + 3 * np.sin(2 * np.pi * (points_N + np.array(rows)[:, None]) / SEASON_LENGTH)
    y_SN = wave_SN + _noise(rows)
    ds_SN = np.repeat(np.arange(NUM_POINTS + HORIZON)[None], len(rows), axis=0)
    hour_SN1 = np.sin(2 * np.pi * ds_SN[..., None] / SEASON_LENGTH).astype(np.float32)
    names = tuple(f"s{row}" for row in rows)
    lengths_S = np.full(len(rows), NUM_POINTS)
    return Panel(names, y_SN, lengths_S, hour_SN1[..., : case.num_calendar], ds_SN, HORIZON)


def _noise(rows: list[int]) -> npt.NDArray[np.float64]:
    shocks_SN = np.stack([np.random.default_rng(row).normal(0, 0.3, NUM_POINTS) for row in rows])
    noise_SN = np.zeros_like(shocks_SN)
    for point in range(1, NUM_POINTS):
        noise_SN[:, point] = 0.9 * noise_SN[:, point - 1] + shocks_SN[:, point]
    return noise_SN


@dataclass(frozen=True)
class Gathered:
    """Every series' windows of all optimiser steps in order, its validation windows and its initial weights.

    `origins_SK` and `validation_SV` are columns of the panel.
    """

    panel: Panel
    training: WindowBatch
    validation: WindowBatch
    first_S: npt.NDArray[np.int64]
    num_windows_S: npt.NDArray[np.int64]
    validation_SV: npt.NDArray[np.int64]
    weights: dict[str, Tensor]

    def to(self, device: str) -> Self:
        """Return the same with its windows on a device."""
        moved = [
            WindowBatch(**{name: tensor.to(device) for name, tensor in vars(windows).items() if tensor is not None})
            for windows in (self.training, self.validation)
        ]
        return replace(self, training=moved[0], validation=moved[1])


def gather_windows(case: Case, cell: str, rows: list[int], *, num_steps: int) -> Gathered:
    """Gather what the fleet of the same rows reads in the same number of steps."""
    panel, config = make_panel(case, rows), case.config(num_steps)
    scaling = measure_scaling(panel.y_SN, season_length=SEASON_LENGTH)
    nothing_S = np.zeros(len(rows), dtype=np.int64)
    plan = plan_training(panel, scaling, model=cell, config=config, dropped_S=nothing_S, with_validation=True)
    source = window_source(panel, scaling, config=config, season_lengths=(SEASON_LENGTH,))
    keys_S = series_keys(panel.unique_ids, seed=SEED)
    bits_SK = draw_bits(keys_S, purpose="windows", counters_D=torch.arange(num_steps * case.batch_windows))
    origins_SK = torch.from_numpy(plan.first_S)[:, None] + bits_SK % torch.from_numpy(plan.num_windows_S)[:, None]
    network = FleetNetwork(
        make_wiring(cell),
        Dimensions(source.num_inputs, config.context_segments, case.hidden_size, HORIZON, len(MEDIAN)),
        kernel=reference,
        num_series=len(rows),
        num_references=1,
    )
    network.initialise(keys_S)
    assert source.num_inputs == case.num_inputs
    return Gathered(
        panel=panel,
        training=source.gather(origins_SK),
        validation=source.gather(torch.from_numpy(plan.validation_SV)),
        first_S=plan.first_S,
        num_windows_S=plan.num_windows_S,
        validation_SV=plan.validation_SV,
        weights={name: weight.detach() for name, weight in network.weights.items()},
    )
