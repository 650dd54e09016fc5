"""The training of a fleet: every series' network stops, is kept and is set aside on its own.

A block has all optimiser steps up to the next validation pass; `forecasting.fleet.trainer` drives the blocks.
"""

# S series (one network each) · B windows · V validation windows

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from forecasting.fleet.engine import runs_in_engine
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.steps import Steps
from forecasting.fleet.steps.adam import Adam
from forecasting.fleet.steps.engine import EngineSteps
from forecasting.fleet.steps.operations import TorchSteps
from forecasting.fleet.steps.optimised import Optimised
from forecasting.fleet.steps.streams import StreamSteps
from forecasting.fleet.windows import WindowSource
from forecasting.spec.training import MemberConfig


@dataclass(frozen=True)
class StepBudget:
    """How long to train: up to `max_steps` with validation, or exactly `num_steps_S` for each series."""

    max_steps: int
    num_steps_S: Tensor | None = None


class FleetModule(Optimised):
    """Trains one fleet; best weights, early stopping and breakage are decided for each series.

    Args:
        network: The networks, with initial weights.
        windows: Windows of the series, in the order of the networks.
        config: Configuration of the member.
        quantiles: Levels of the quantiles.
        keys_S: Each series' key of random numbers.
        first_S: Column of each series' first training origin.
        num_windows_S: Number of each series' training origins, which are consecutive columns.
        validation_SV: Columns of the validation origins; V is 0 where the budget fixes the steps.
        budget: How long to train.
    """

    keys_S: Tensor
    first_S: Tensor
    num_windows_S: Tensor
    validation_SV: Tensor
    quantiles_Q: Tensor
    best_loss_S: Tensor
    best_step_S: Tensor
    num_passes_S: Tensor
    broken_step_S: Tensor
    num_steps_S: Tensor | None
    has_validation = True

    def __init__(
        self,
        network: FleetNetwork,
        windows: WindowSource,
        *,
        config: MemberConfig,
        quantiles: tuple[float, ...],
        keys_S: Tensor,
        first_S: Tensor,
        num_windows_S: Tensor,
        validation_SV: Tensor,
        budget: StepBudget,
    ) -> None:
        in_engine = runs_in_engine(network.kernel.NAME, network.wiring, is_smoothed=windows.smoothing is not None)
        super().__init__(network, windows, adam=Adam(config.learning_rate), in_engine=in_engine)
        self.config, self.budget, num_series = config, budget, len(keys_S)
        self.steps: Steps = EngineSteps() if in_engine else TorchSteps()
        if network.wiring.is_stream:
            self.steps = StreamSteps()
        for name, constant in {
            "keys_S": keys_S,
            "first_S": first_S,
            "num_windows_S": num_windows_S,
            "validation_SV": validation_SV,
            "quantiles_Q": torch.tensor(quantiles, dtype=torch.float32),
            "num_steps_S": budget.num_steps_S,
        }.items():
            self.register_buffer(name, constant, persistent=False)
        self.register_buffer("best_loss_S", torch.full((num_series,), math.inf))
        self.register_buffer("best_step_S", torch.zeros(num_series, dtype=torch.int64))
        self.register_buffer("num_passes_S", torch.zeros(num_series, dtype=torch.int64))
        self.register_buffer("broken_step_S", torch.full((num_series,), -1, dtype=torch.int64))
        self.kept = _copy_weights(network)
        self.average = _copy_weights(network) if config.weight_average else None

    def run_block(self) -> None:
        """Run the optimiser steps up to the next validation pass."""
        num_steps = min(self.config.evaluate_every, self.max_steps - self.num_steps)
        self.steps.advance(self, num_steps)
        self.num_steps += num_steps

    @property
    def max_steps(self) -> int:
        """Largest number of optimiser steps."""
        return self.budget.max_steps

    def step_size(self, step: int) -> float:
        """Return the step size at a step: a cosine from the learning rate to a twentieth of it, the same in a refit."""
        decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / self.config.max_steps))
        return self.config.learning_rate * decay

    def averaging(self, step: int) -> float:
        """Return the share of a step's new weights in their average; early steps weigh more, and are soon forgotten."""
        return 1 - min(self.config.weight_average, (1 + step) / (10 + step))

    def validate(self) -> None:
        """Judge every series on its own validation windows, and keep the weights of series that improved."""
        weights = self.average if self.average is not None else self.network.weights
        weights_now = {name: weight.detach() for name, weight in weights.items()}
        if self.num_steps_S is not None:
            self._keep(weights_now, self.num_steps_S == self.num_steps)
            return
        loss_S = self.steps.validation_loss(self, weights_now)
        is_running_S = self.is_running(self.num_steps) & (self.broken_step_S < 0)
        is_better_S = is_running_S & (loss_S < self.best_loss_S)
        self.best_loss_S.copy_(torch.where(is_better_S, loss_S, self.best_loss_S))
        self.num_passes_S.copy_(torch.where(is_better_S, 0, self.num_passes_S + 1))
        self._keep(weights_now, is_better_S)
        if not bool((self.is_running(self.num_steps) & (self.broken_step_S < 0)).any()):
            self.is_done = True

    def is_running(self, step: int | Tensor) -> Tensor:
        """Return whether each series still trains, (S,); the weights of the others may change but are not kept."""
        if self.num_steps_S is not None:
            return self.num_steps_S > step
        return self.num_passes_S < self.config.patience

    def _keep(self, weights_now: dict[str, Tensor], is_kept_S: Tensor) -> None:
        kept_K = is_kept_S.nonzero()[:, 0]
        self.best_step_S[kept_K] = self.num_steps
        for name, weight in weights_now.items():
            self.kept[name].index_copy_(0, kept_K, weight.index_select(0, kept_K))

    def progress(self) -> dict[str, Any]:
        """Return the number of steps, and the states of streams."""
        progress: dict[str, Any] = {"num_steps": self.num_steps}
        if isinstance(self.steps, StreamSteps):
            progress["states"] = self.steps.states
        return progress

    def resume(self, progress: dict[str, Any]) -> None:
        """Restore what `progress` returned."""
        self.num_steps = progress["num_steps"]
        if isinstance(self.steps, StreamSteps):
            self.steps.states = progress["states"]


def _copy_weights(network: FleetNetwork) -> nn.ParameterDict:
    return nn.ParameterDict(
        {name: nn.Parameter(weight.detach().clone(), requires_grad=False) for name, weight in network.weights.items()}
    )
