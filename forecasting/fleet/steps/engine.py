"""Run whole optimiser steps in the CPU engine.

One call per series runs all steps up to the next validation pass: gathering, recurrence, head, loss, clipping, Adam and
averaging. The series' weights stay in the cache, and no Python runs in between. Series are divided among threads.
"""

# S series · B windows · V validation windows · F horizon steps · Q quantiles

import ctypes
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from forecasting.fleet.native import library, structures
from forecasting.fleet.random import purpose_keys
from forecasting.fleet.steps import FleetInTraining
from forecasting.fleet.windows import WindowSource


class EngineSteps:
    """Steps in the CPU engine. Adam's moments stay in the state of torch's optimiser, which checkpoints save."""

    def advance(self, module: FleetInTraining, num_steps: int) -> None:
        """Run optimiser steps in place, in one call of the engine per range of series."""
        optimizer = module.optimizer
        (group,) = optimizer.param_groups
        values = dict(module.network.weights.items())
        states = {name: _adam_state(optimizer, value) for name, value in values.items()}
        trained = {
            name: structures.Trained(
                structures.pointer(value.data),
                structures.pointer(states[name]["exp_avg"]),
                structures.pointer(states[name]["exp_avg_sq"]),
                structures.pointer(module.average[name].data if module.average is not None else None),
            )
            for name, value in values.items()
        }
        steps = range(module.num_steps, module.num_steps + num_steps)
        beta1, beta2 = group["betas"]
        tables = [
            torch.tensor(column, dtype=torch.float32)
            for column in (
                [module.step_size(step) / (1 - beta1 ** (step + 1)) for step in steps],
                [math.sqrt(1 - beta2 ** (step + 1)) for step in steps],
                [module.averaging(step) for step in steps],
            )
        ]
        keys_S = purpose_keys(module.keys_S, purpose="windows")
        is_running_S = module.is_running(torch.tensor(module.num_steps)).to(torch.uint8)
        read = (keys_S, module.first_S, module.num_windows_S, is_running_S, module.broken_step_S, *tables)
        step_tables = structures.StepTables(
            *map(structures.pointer, read),
            module.num_steps,
            num_steps,
            module.config.gradient_clip,
            beta1,
            beta2,
            group["eps"],
        )
        network, _kept = _network(
            _cell_of(module),
            module.windows,
            trained,
            module.quantiles_Q,
            num_windows=module.config.batch_windows,
            hidden_size=module.network.dimensions.hidden_size,
        )
        call = library.require().fleetcast_train
        library.run(
            lambda begin, end: int(call(ctypes.byref(network), ctypes.byref(step_tables), begin, end)),
            num_series=len(keys_S),
        )
        for state in states.values():
            state["step"].fill_(module.num_steps + num_steps)

    def validation_loss(self, module: FleetInTraining, weights: dict[str, Tensor]) -> Tensor:
        """Return the loss of each series on its validation windows, (S,)."""
        loss_S = torch.zeros(len(module.keys_S))
        _forecast(_cell_of(module), module.windows, weights, module.quantiles_Q, module.validation_SV, None, loss_S)
        return loss_S


def _cell_of(module: FleetInTraining) -> str:
    cell = module.network.wiring.cell
    assert cell is not None, "the engine was chosen for its recurrence"
    return cell.name


def forecast(
    cell: str, windows: WindowSource, weights: Mapping[str, Tensor], origins_SB: Tensor, *, quantiles_Q: Tensor
) -> Tensor:
    """Forecast windows.

    Args:
        cell: The networks' cell.
        windows: The source of the windows.
        weights: Parameters by name.
        origins_SB: The column of the panel at which each window ends.
        quantiles_Q: The networks' quantiles.

    Returns:
        Quantiles in the unit of the loss, (S, B, F, Q).
    """
    quantiles_SBFQ = torch.empty(*origins_SB.shape, windows.horizon, len(quantiles_Q))
    _forecast(cell, windows, weights, quantiles_Q, origins_SB, quantiles_SBFQ, None)
    return quantiles_SBFQ


def _forecast(
    cell: str,
    windows: WindowSource,
    weights: Mapping[str, Tensor],
    quantiles_Q: Tensor,
    origins_SB: Tensor,
    quantiles_SBFQ: Tensor | None,
    loss_S: Tensor | None,
) -> None:
    given = {name: weight.contiguous() for name, weight in weights.items()}
    trained = {name: structures.Trained(structures.pointer(weight), None, None, None) for name, weight in given.items()}
    origins_SB = origins_SB.contiguous()
    network, _kept = _network(
        cell,
        windows,
        trained,
        quantiles_Q,
        num_windows=origins_SB.shape[1],
        hidden_size=given["head_HO"].shape[1],
    )
    written, lost = structures.pointer(quantiles_SBFQ), structures.pointer(loss_S)
    call = library.require().fleetcast_forecast
    library.run(
        lambda begin, end: int(call(ctypes.byref(network), structures.pointer(origins_SB), begin, end, written, lost)),
        num_series=len(origins_SB),
    )


def _network(
    cell: str,
    windows: WindowSource,
    trained: Mapping[str, structures.Trained],
    quantiles_Q: Tensor,
    *,
    num_windows: int,
    hidden_size: int,
) -> tuple[structures.Network, list[Tensor]]:
    """Describe a fleet to the engine; the caller keeps the returned tensors alive while the engine runs."""
    kept = [
        windows.y_SN,
        windows.is_observed_SN,
        windows.calendar_SNC,
        windows.error_unit_S,
        torch.tensor(windows.season_lengths),
        quantiles_Q,
    ]
    window_tensors = structures.WindowTensors(
        *map(structures.pointer, kept[:5]),
        windows.y_SN.shape[1],
        windows.calendar_SNC.shape[-1],
        windows.horizon,
        windows.segment_length,
        len(windows.season_lengths),
        windows.padding,
    )
    shape = structures.shape_of(
        cell,
        num_windows=num_windows,
        num_steps=windows.context_segments,
        num_inputs=windows.num_inputs,
        hidden_size=hidden_size,
    )
    parameters = (structures.Trained * len(structures.PARAMETERS))(
        *(each if each is not None else structures.Trained() for each in structures.in_order(trained))
    )
    return structures.Network(
        shape, window_tensors, parameters, structures.pointer(quantiles_Q), len(quantiles_Q)
    ), kept


def _adam_state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    state: dict[str, Tensor] = optimizer.state[parameter]
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    return state
