"""Run whole optimiser steps of a fleet in the CPU engine.

One call per series runs all steps up to the next validation pass: gathering, recurrence, head, loss, clipping, Adam and
averaging. The series' weights stay in the cache, and no Python runs in between. Series are divided among threads.
"""

# S series · B windows · V validation windows · F horizon steps · Q quantiles

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor

from forecasting.fleet.categories import HIDDEN_SHARE
from forecasting.fleet.native import library, structures
from forecasting.fleet.random import purpose_keys
from forecasting.fleet.steps import FleetInTraining
from forecasting.fleet.steps.handover import cell_of, describe_network, describe_optimiser, describe_state
from forecasting.fleet.windows import WindowSource


class EngineSteps:
    """Steps in the CPU engine."""

    def advance(self, module: FleetInTraining, num_steps: int) -> None:
        """Run optimiser steps in place, in one call of the engine per range of series."""
        steps = range(module.num_steps, module.num_steps + num_steps)
        read = [
            purpose_keys(module.keys_S, purpose="windows"),
            purpose_keys(module.keys_S, purpose="hide categories"),
            module.first_S,
            module.num_windows_S,
            module.is_running(torch.tensor(module.num_steps)).to(torch.uint8),
            module.broken_step_S,
        ]
        optimiser, _rates = describe_optimiser(module.adam, steps, clip=module.config.gradient_clip, schedule=module)
        assert module.moments is not None, "the engine was chosen for this fleet"
        tables = structures.StepTables(*map(structures.pointer, read), HIDDEN_SHARE, optimiser)
        network, _kept = describe_network(
            cell_of(module.network),
            module.windows,
            dict(module.network.weights.items()),
            describe_state(module.network, module.moments, module.average),
            module.quantiles_Q,
            num_windows=module.config.batch_windows,
        )
        call = library.require().fleetcast_train
        library.run(
            lambda begin, end: int(call(ctypes.byref(network), ctypes.byref(tables), begin, end)),
            num_series=len(module.keys_S),
        )

    def validation_loss(self, module: FleetInTraining, weights: dict[str, Tensor]) -> Tensor:
        """Return the loss of each series on its validation windows, (S,)."""
        loss_S = torch.zeros(len(module.keys_S))
        cell = cell_of(module.network)
        _forecast(cell, module.windows, weights, module.quantiles_Q, module.validation_SV, None, loss_S)
        return loss_S


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
    network, _kept = describe_network(cell, windows, given, trained, quantiles_Q, num_windows=origins_SB.shape[1])
    written, lost = structures.pointer(quantiles_SBFQ), structures.pointer(loss_S)
    call = library.require().fleetcast_forecast
    library.run(
        lambda begin, end: int(call(ctypes.byref(network), structures.pointer(origins_SB), begin, end, written, lost)),
        num_series=len(origins_SB),
    )
