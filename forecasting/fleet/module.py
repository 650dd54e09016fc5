"""The Lightning module of a fleet: trains every series' own network; each stops, is kept and is set aside on its own.

Lightning drives epochs, device, checkpoints and progress. One `training_step` runs a whole look's optimiser steps
(manual optimisation), because Lightning's overhead per call would otherwise cost a small fleet half its time.
"""

# S series (one network each) · B windows · V validation windows

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from forecasting.fleet.losses import pinball_loss
from forecasting.fleet.network import FleetNetwork, forecast_windows
from forecasting.fleet.random import draw_bits
from forecasting.fleet.windows import WindowSource
from forecasting.training import TrainingConfig


@dataclass(frozen=True)
class Schedule:
    """How long to train: with validation up to `max_steps`, or each series exactly `num_steps_S`."""

    max_steps: int
    num_steps_S: Tensor | None = None


class FleetModule(lightning.LightningModule):
    """Trains one fleet; everything that decides about a series (best weights, stop, breakage) has an entry each."""

    keys_S: Tensor
    first_S: Tensor
    num_windows_S: Tensor
    validation_SV: Tensor
    quantiles_Q: Tensor
    best_loss_S: Tensor
    best_step_S: Tensor
    num_looks_S: Tensor
    broken_step_S: Tensor

    def __init__(
        self,
        network: FleetNetwork,
        windows: WindowSource,
        *,
        config: TrainingConfig,
        quantiles: tuple[float, ...],
        keys_S: Tensor,
        first_S: Tensor,
        num_windows_S: Tensor,
        validation_SV: Tensor,
        schedule: Schedule,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.windows, self.config, self.schedule = network, windows, config, schedule
        num_series = len(keys_S)
        for name, constant in {
            "keys_S": keys_S,
            "first_S": first_S,
            "num_windows_S": num_windows_S,
            "validation_SV": validation_SV,
            "quantiles_Q": torch.tensor(quantiles),
        }.items():
            self.register_buffer(name, constant, persistent=False)
        self.num_steps = 0
        self.register_buffer("best_loss_S", torch.full((num_series,), math.inf))
        self.register_buffer("best_step_S", torch.zeros(num_series, dtype=torch.int64))
        self.register_buffer("num_looks_S", torch.zeros(num_series, dtype=torch.int64))
        self.register_buffer("broken_step_S", torch.full((num_series,), -1, dtype=torch.int64))
        self.kept = _copy_weights(network)
        self.average = _copy_weights(network) if config.weight_average else None

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader(_OneBlock(), batch_size=None)

    def val_dataloader(self) -> DataLoader[int]:
        return DataLoader(_OneBlock(), batch_size=None)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)

    def on_fit_start(self) -> None:
        self.windows.to(self.device)

    def training_step(self, block: int, block_index: int) -> None:
        """Run the optimiser steps up to the next look at validation."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        for _ in range(min(self.config.evaluate_every, self.schedule.max_steps - self.num_steps)):
            self._optimiser_step(optimizer)

    def _optimiser_step(self, optimizer: torch.optim.Optimizer) -> None:
        batch_windows, step = self.config.batch_windows, self.num_steps
        counters_B = torch.arange(step * batch_windows, (step + 1) * batch_windows, device=self.device)
        bits_SB = draw_bits(self.keys_S, purpose="windows", counters_D=counters_B)
        windows = self.windows.gather(self.first_S[:, None] + bits_SB % self.num_windows_S[:, None])
        loss_S = pinball_loss(self.network(windows), windows.target_SBF, windows.is_observed_SBF, self.quantiles_Q)
        optimizer.zero_grad(set_to_none=True)
        loss_S.sum().backward()
        self._clip_gradients(loss_S.detach())
        for group in optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self._decay(step)
        optimizer.step()
        self.num_steps += 1
        if self.average is not None:
            # The first steps weigh less, so that the average does not remember the initial weights.
            keep = min(self.config.weight_average, (1 + step) / (10 + step))
            for name, weight in self.network.weights.items():
                self.average[name].lerp_(weight.detach(), 1 - keep)

    def _decay(self, step: int) -> float:
        """Fall along a cosine to a twentieth; a function of the configuration alone, so that a refit repeats it."""
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / self.config.max_steps))

    def _clip_gradients(self, loss_S: Tensor) -> None:
        """Clip each series' gradient by its own norm; a series whose loss or gradient is not finite gets none."""
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        squares_S = torch.stack([gradient.square().flatten(1).sum(1) for gradient in gradients]).sum(0)
        norm_S = squares_S.sqrt()
        is_finite_S = torch.isfinite(loss_S) & torch.isfinite(norm_S)
        is_new_S = ~is_finite_S & (self.broken_step_S < 0) & self._is_running()
        self.broken_step_S = torch.where(is_new_S, self.num_steps + 1, self.broken_step_S)
        factor_S = (self.config.gradient_clip / (norm_S + 1e-12)).clamp(max=1.0)
        is_sound_S = self.broken_step_S < 0
        for gradient in gradients:
            per_series = (-1, *(1,) * (gradient.dim() - 1))
            clipped = gradient * factor_S.view(per_series)
            gradient.copy_(torch.where(is_sound_S.view(per_series), clipped, 0.0))

    def validation_step(self, block: int, block_index: int) -> None:
        """Judge every series on its own validation windows, and keep the weights of those that improved."""
        weights = self.average if self.average is not None else self.network.weights
        weights_now = {name: weight.detach() for name, weight in weights.items()}
        if self.schedule.num_steps_S is not None:
            self._keep(weights_now, self.schedule.num_steps_S.to(self.device) == self.num_steps)
            return
        windows = self.windows.gather(self.validation_SV)
        predicted_SVFQ = forecast_windows(
            self.network.cell, windows, weights_now, num_quantiles=self.network.num_quantiles
        )
        loss_S = pinball_loss(predicted_SVFQ, windows.target_SBF, windows.is_observed_SBF, self.quantiles_Q)
        is_running_S = self._is_running() & (self.broken_step_S < 0)
        is_better_S = is_running_S & (loss_S < self.best_loss_S)
        self.best_loss_S = torch.where(is_better_S, loss_S, self.best_loss_S)
        self.num_looks_S = torch.where(is_better_S, 0, self.num_looks_S + 1)
        self._keep(weights_now, is_better_S)
        if not bool((self._is_running() & (self.broken_step_S < 0)).any()):
            self.trainer.should_stop = True

    def _is_running(self) -> Tensor:
        """Which series still learn; what happens to the others' weights while a neighbour goes on is of no account."""
        if self.schedule.num_steps_S is not None:
            return self.schedule.num_steps_S.to(self.device) > self.num_steps
        return self.num_looks_S < self.config.patience

    def _keep(self, weights_now: dict[str, Tensor], is_kept_S: Tensor) -> None:
        self.best_step_S = torch.where(is_kept_S, self.num_steps, self.best_step_S)
        for name, weight in weights_now.items():
            per_series = (-1, *(1,) * (weight.dim() - 1))
            self.kept[name].copy_(torch.where(is_kept_S.view(per_series), weight, self.kept[name]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["num_steps"] = self.num_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.num_steps = checkpoint["num_steps"]


def _copy_weights(network: FleetNetwork) -> nn.ParameterDict:
    return nn.ParameterDict(
        {name: nn.Parameter(weight.detach().clone(), requires_grad=False) for name, weight in network.weights.items()}
    )


class _OneBlock(torch.utils.data.IterableDataset[int]):
    """One item an epoch: an epoch is one look's optimiser steps."""

    def __iter__(self) -> Iterator[int]:
        yield 0

    def __len__(self) -> int:
        return 1
