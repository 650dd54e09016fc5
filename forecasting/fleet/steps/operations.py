"""Optimiser steps in torch operations, on any device and with any kernel: the arbiter of the engine's whole steps.

On a GPU one step is captured as a CUDA graph and replayed, so that hundreds of small launches do not set the pace.
"""

# S series · B windows

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from forecasting.fleet.losses import pinball_loss
from forecasting.fleet.network import forecast_windows
from forecasting.fleet.random import draw_bits

if TYPE_CHECKING:
    from forecasting.fleet.module import FleetModule

WARM_UP_STEPS = 3
"""Steps taken before a CUDA graph is captured, as torch.cuda.graph asks for."""


class TorchSteps:
    """Each step reads its number, step size and averaging from tensors, so that a captured step can be replayed."""

    def __init__(self) -> None:
        self._step: Tensor | None = None
        self._replay: Callable[[], None] | None = None
        self._may_capture = True
        self._stream: torch.cuda.Stream | None = None

    def advance(self, module: "FleetModule", num_steps: int) -> None:
        optimizer: Any = module.optimizers(use_pl_optimizer=False)
        device = module.device
        if self._step is None:
            self._step = torch.tensor(module.num_steps, device=device)
            steps = range(module.schedule.max_steps)
            self._rates = torch.tensor([module.step_size(step) for step in steps], device=device)
            self._fresh = torch.tensor([module.averaging(step) for step in steps], device=device)
            for group in optimizer.param_groups:
                group["lr"] = self._rates[0].clone() if group["capturable"] else float(self._rates[0])
        if device.type == "cuda":
            self._advance_on_gpu(module, optimizer, num_steps)
        else:
            for _ in range(num_steps):
                self._one_step(module, optimizer)

    def _advance_on_gpu(self, module: "FleetModule", optimizer: torch.optim.Optimizer, num_steps: int) -> None:
        """Take steps on a stream of their own, as a capture asks for; nothing waits for the device until a look."""
        self._stream = self._stream or torch.cuda.Stream(module.device)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for number in range(num_steps):
                if self._may_capture and self._replay is None and number >= WARM_UP_STEPS:
                    self._replay = self._capture(module, optimizer)
                if self._replay is not None:
                    self._replay()
                else:
                    self._one_step(module, optimizer)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _one_step(self, module: "FleetModule", optimizer: torch.optim.Optimizer) -> None:
        assert self._step is not None, "advance sets it"
        batch_windows, step = module.config.batch_windows, self._step
        counters_B = step * batch_windows + torch.arange(batch_windows, device=step.device)
        bits_SB = draw_bits(module.keys_S, purpose="windows", counters_D=counters_B)
        windows = module.windows.gather(module.first_S[:, None] + bits_SB % module.num_windows_S[:, None])
        predicted_SBFQ = module.network(windows)
        loss_S = pinball_loss(predicted_SBFQ, windows.target_SBF, windows.is_observed_SBF, module.quantiles_Q)
        optimizer.zero_grad(set_to_none=True)
        loss_S.sum().backward()
        _clip_gradients(module, loss_S.detach(), step)
        for group in optimizer.param_groups:
            if group["capturable"]:
                group["lr"].copy_(self._rates.index_select(0, step.view(1))[0])
            else:
                group["lr"] = float(self._rates[step])
        optimizer.step()
        if module.average is not None:
            for name, weight in module.network.weights.items():
                module.average[name].lerp_(weight.detach(), self._fresh.index_select(0, step.view(1)))
        step.add_(1)

    def _capture(self, module: "FleetModule", optimizer: torch.optim.Optimizer) -> Callable[[], None] | None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._one_step(module, optimizer)
        except RuntimeError as error:
            self._may_capture = False
            logging.getLogger(__name__).warning("steps run one by one: they cannot be captured as a graph: %s", error)
            return None
        return graph.replay

    def validation_loss(self, module: "FleetModule", weights: dict[str, Tensor]) -> Tensor:
        network, windows = module.network, module.windows.gather(module.validation_SV)
        predicted_SVFQ = forecast_windows(
            network.cell, windows, weights, kernel=network.kernel, num_quantiles=network.num_quantiles
        )
        return pinball_loss(predicted_SVFQ, windows.target_SBF, windows.is_observed_SBF, module.quantiles_Q)


def _clip_gradients(module: "FleetModule", loss_S: Tensor, step: Tensor) -> None:
    """Clip each series' gradient by its own norm; a series whose loss or gradient is not finite gets none."""
    gradients = [parameter.grad for parameter in module.network.parameters() if parameter.grad is not None]
    squares_S = torch.stack([gradient.square().flatten(1).sum(1) for gradient in gradients]).sum(0)
    norm_S = squares_S.sqrt()
    is_finite_S = torch.isfinite(loss_S) & torch.isfinite(norm_S)
    is_new_S = ~is_finite_S & (module.broken_step_S < 0) & module.is_running(step)
    module.broken_step_S.copy_(torch.where(is_new_S, step + 1, module.broken_step_S))
    factor_S = (module.config.gradient_clip / (norm_S + 1e-12)).clamp(max=1.0)
    is_sound_S = module.broken_step_S < 0
    for gradient in gradients:
        per_series = (-1, *(1,) * (gradient.dim() - 1))
        clipped = gradient * factor_S.view(per_series)
        gradient.copy_(torch.where(is_sound_S.view(per_series), clipped, 0.0))
