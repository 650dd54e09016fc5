"""Train on streams by truncated backpropagation through time (Williams & Peng 1990; Mikolov et al. 2010).

Each optimiser step reads the next stretch of every series from the state after the last one. Gradients end at the start
of the stretch, so memory does not grow with the series. At the end of a stream training starts again at its beginning.
Every step of a stretch forecasts its own horizon.
"""

# S series · B = 1 · T steps of a stretch · F horizon steps · Q quantiles · V validation windows

import torch
from torch import Tensor

from forecasting.fleet.architectures import Recurrent
from forecasting.fleet.architectures.layers import States
from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.losses import pinball_loss
from forecasting.fleet.steps import FleetInTraining
from forecasting.fleet.steps.operations import clip_gradients
from forecasting.fleet.stream import count_stretches, forecast_outputs, read, stretch, stretches


class StreamSteps:
    """Steps on streams; checkpoints include the states between stretches."""

    def __init__(self) -> None:
        self.states: States | None = None

    def advance(self, module: FleetInTraining, num_steps: int) -> None:
        """Run optimiser steps in place, one stretch of every series per step."""
        optimizer = module.optimizer
        assert optimizer is not None, "the engine does not run streams"
        for step in range(module.num_steps, module.num_steps + num_steps):
            for group in optimizer.param_groups:
                rate = module.step_size(step)
                group["lr"] = torch.tensor(rate, device=module.device) if group["capturable"] else rate
            self._one_step(module, optimizer, step)

    def _one_step(self, module: FleetInTraining, optimizer: torch.optim.Optimizer, step: int) -> None:
        wiring, windows, weights = _wiring_of(module), module.windows, dict(module.network.weights.items())
        last_S = module.first_S + module.num_windows_S - 1
        part = stretch(windows, last_S, step % count_stretches(windows, last_S))
        batch = windows.gather(part.ends_S1, weights=weights, every_step=True)
        noise = Noise(module.keys_S, step, 1, max_steps=module.config.max_steps)
        outputs_SBTH, states = read(wiring, batch, weights, self.states, part.begins_S, noise=noise)
        predicted_SBFQ = forecast_outputs(wiring, outputs_SBTH.flatten(1, 2), batch, weights, module.network.dimensions)
        loss_S = pinball_loss(predicted_SBFQ, batch.target_SBF, batch.is_observed_SBF, module.quantiles_Q)
        optimizer.zero_grad(set_to_none=True)
        loss_S.sum().backward()
        clip_gradients(module, loss_S.detach(), torch.tensor(step, device=module.device))
        optimizer.step()
        module.network.bound()
        if module.average is not None:
            for name, weight in module.network.weights.items():
                module.average[name].lerp_(weight.detach(), module.averaging(step))
        self.states = [tuple(state.detach() for state in layer) for layer in states]

    @torch.no_grad()
    def validation_loss(self, module: FleetInTraining, weights: dict[str, Tensor]) -> Tensor:
        """Return the loss of each series over the steps of its stream that end among its validation windows, (S,)."""
        wiring, windows = _wiring_of(module), module.windows
        first_S, last_S = module.validation_SV.amin(1), module.validation_SV.amax(1)
        total_S, count_S = (torch.zeros(len(first_S), device=module.device) for _ in range(2))
        states: States | None = None
        steps_T = windows.segment_length * torch.arange(1 - windows.context_segments, 1, device=module.device)
        for part in stretches(windows, last_S):
            is_judged_ST = (part.ends_S1 + steps_T >= first_S[:, None]) & (part.ends_S1 > 0)
            batch = windows.gather(part.ends_S1, weights=weights, every_step=bool(is_judged_ST.any()))
            outputs_SBTH, states = read(wiring, batch, weights, states, part.begins_S)
            if not is_judged_ST.any():
                continue
            predicted_SBFQ = forecast_outputs(
                wiring, outputs_SBTH.flatten(1, 2), batch, weights, module.network.dimensions
            )
            seen_SBF = batch.is_observed_SBF * is_judged_ST.unsqueeze(-1)
            num_seen_S = seen_SBF.sum((1, 2))
            total_S += num_seen_S * pinball_loss(predicted_SBFQ, batch.target_SBF, seen_SBF, module.quantiles_Q)
            count_S += num_seen_S
        return total_S / count_S.clamp(min=1)


def _wiring_of(module: FleetInTraining) -> Recurrent:
    wiring = module.network.wiring
    assert isinstance(wiring, Recurrent), "only recurrent layers with a head read streams"
    return wiring
