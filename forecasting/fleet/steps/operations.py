"""Run optimiser steps in torch operations, on any device and with any kernel: the reference for the CPU engine.

On a GPU a step is captured as a CUDA graph and replayed (`forecasting.fleet.steps.graphs`).
"""

# S series · B windows

import torch
from torch import Tensor

from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.losses import pinball_loss
from forecasting.fleet.network import forecast_windows
from forecasting.fleet.random import draw_bits
from forecasting.fleet.steps import FleetInTraining
from forecasting.fleet.steps.graphs import GraphedSteps


class TorchSteps:
    """Steps in torch. A step reads its number, step size and averaging from tensors, so that it can be captured."""

    def __init__(self) -> None:
        self._step: Tensor | None = None
        self.graphed: GraphedSteps | None = None

    def advance(self, module: FleetInTraining, num_steps: int) -> None:
        """Run optimiser steps in place."""
        optimizer = module.optimizer
        assert optimizer is not None, "the engine does not run these steps"
        device = module.device
        if self._step is None:
            self._step = torch.tensor(module.num_steps, device=device)
            steps = range(module.max_steps)
            self._rates = torch.tensor([module.step_size(step) for step in steps], device=device)
            self._fresh = torch.tensor([module.averaging(step) for step in steps], device=device)
            for group in optimizer.param_groups:
                group["lr"] = self._rates[0].clone() if group["capturable"] else float(self._rates[0])
            if device.type == "cuda":
                self.graphed = GraphedSteps(device)
        if self.graphed is not None:
            self.graphed.run(lambda: self._one_step(module, optimizer), num_steps)
        else:
            for _ in range(num_steps):
                self._one_step(module, optimizer)

    def _one_step(self, module: FleetInTraining, optimizer: torch.optim.Optimizer) -> None:
        assert self._step is not None, "advance sets it"
        batch_windows, step = module.config.batch_windows, self._step
        counters_B = step * batch_windows + torch.arange(batch_windows, device=step.device)
        bits_SB = draw_bits(module.keys_S, purpose="windows", counters_D=counters_B)
        origins_SB = module.first_S[:, None] + bits_SB % module.num_windows_S[:, None]
        windows = module.windows.gather(
            origins_SB, weights=dict(module.network.weights.items()), every_step=module.network.wiring.is_dense
        )
        predicted_SBFQ = module.network(
            windows, Noise(module.keys_S, step, batch_windows, max_steps=module.config.max_steps)
        )
        loss_S = pinball_loss(predicted_SBFQ, windows.target_SBF, windows.is_observed_SBF, module.quantiles_Q)
        optimizer.zero_grad(set_to_none=True)
        loss_S.sum().backward()
        clip_gradients(module, loss_S.detach(), step)
        for group in optimizer.param_groups:
            if group["capturable"]:
                group["lr"].copy_(self._rates.index_select(0, step.view(1))[0])
            else:
                group["lr"] = float(self._rates[step])
        optimizer.step()
        module.network.bound()
        if module.average is not None:
            for name, weight in module.network.weights.items():
                module.average[name].lerp_(weight.detach(), self._fresh.index_select(0, step.view(1)))
        step.add_(1)

    def validation_loss(self, module: FleetInTraining, weights: dict[str, Tensor]) -> Tensor:
        """Return the loss of each series on its validation windows, (S,)."""
        network, windows = module.network, module.windows.gather(module.validation_SV, weights=weights)
        predicted_SVFQ = forecast_windows(network.wiring, network.dimensions, windows, weights, kernel=network.kernel)
        return pinball_loss(predicted_SVFQ, windows.target_SBF, windows.is_observed_SBF, module.quantiles_Q)


def clip_gradients(module: FleetInTraining, loss_S: Tensor, step: Tensor) -> None:
    """Clip the gradient of each series by its own norm, in place; a series that is not finite gets a gradient of zero.

    Args:
        module: The fleet in training; `broken_step_S` receives the step of a series that is not finite.
        loss_S: The loss of each series.
        step: Number of the step.
    """
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
