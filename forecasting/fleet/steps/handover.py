"""What the CPU engine is given: networks, their windows, and the optimiser, as the structures of fleet.h."""

import ctypes
import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from forecasting.fleet.embedding_shapes import embedding_name
from forecasting.fleet.native import structures
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.steps.adam import Adam, Moments
from forecasting.fleet.windows import WindowSource


class Schedule(Protocol):
    """How step sizes and averages change over the steps of a training."""

    def step_size(self, step: int) -> float:
        """Return the optimiser's step size at a step."""
        ...

    def averaging(self, step: int) -> float:
        """Return the share of a step's new weights in their average."""
        ...


def cell_of(network: FleetNetwork) -> str:
    """Return the name of the networks' cell."""
    cell = network.wiring.cell
    assert cell is not None, "the engine was chosen for its recurrence"
    return cell.name


def describe_network(
    cell: str,
    windows: WindowSource,
    weights: Mapping[str, Tensor],
    trained: Mapping[str, structures.Trained],
    quantiles_Q: Tensor,
    *,
    num_windows: int,
) -> tuple[structures.Network, list[object]]:
    """Describe networks and the windows that they read.

    Args:
        cell: The networks' cell.
        windows: The source of the windows.
        weights: Parameters by name.
        trained: Where each parameter's arrays lie.
        quantiles_Q: The networks' quantiles.
        num_windows: Windows in a batch.

    Returns:
        The description, and what the caller keeps alive while the engine runs.
    """
    tensors = [
        windows.y_SN,
        windows.is_observed_SN,
        windows.calendar_SNC,
        windows.error_unit_S,
        windows.began_S,
        windows.flat_S,
        torch.tensor(windows.season_lengths),
        None if windows.row_SNK is None else windows.row_SNK.contiguous(),
    ]
    num_categories = 0 if windows.row_SNK is None else windows.row_SNK.shape[-1]
    window_tensors = structures.WindowTensors(
        *map(structures.pointer, tensors),
        windows.y_SN.shape[1],
        windows.calendar_SNC.shape[-1],
        windows.horizon,
        windows.segment_length,
        len(windows.season_lengths),
        windows.padding,
        num_categories,
        windows.vector_size,
    )
    shape = structures.shape_of(
        cell,
        num_windows=num_windows,
        num_steps=windows.context_segments,
        num_inputs=windows.num_inputs,
        hidden_size=weights["head_HO"].shape[1],
    )
    parameters = (structures.Trained * len(structures.PARAMETERS))(
        *(each if each is not None else structures.Trained() for each in structures.in_order(trained))
    )
    names = [embedding_name(number) for number in range(num_categories)]
    tables = (structures.Table * num_categories)(
        *(structures.Table(trained[name], weights[name].shape[1]) for name in names)
    )
    network = structures.Network(
        shape,
        window_tensors,
        parameters,
        ctypes.cast(tables, structures.Pointer),
        structures.pointer(quantiles_Q),
        len(quantiles_Q),
    )
    return network, [*tensors, quantiles_Q, tables]


def describe_state(
    network: FleetNetwork, moments: Moments, average: nn.ParameterDict | None
) -> dict[str, structures.Trained]:
    """Describe the arrays of networks in training.

    Args:
        network: The networks.
        moments: Adam's moments of their parameters.
        average: The average of the weights over steps, where there is one.

    Returns:
        Where each parameter's arrays lie, by name.
    """
    described = {}
    for name, value in network.weights.items():
        averaged = average[name].data if average is not None else None
        arrays = (value.data, moments.first[name].data, moments.second[name].data, averaged)
        described[name] = structures.Trained(*map(structures.pointer, arrays))
    return described


def describe_optimiser(
    adam: Adam, steps: range, *, clip: float, schedule: Schedule
) -> tuple[structures.Optimiser, list[Tensor]]:
    """Describe the optimiser in the steps of a call.

    Args:
        adam: Its constants.
        steps: Numbers of the steps.
        clip: Largest norm of the gradient.
        schedule: Step sizes and averages.

    Returns:
        The description, and what the caller keeps alive while the engine runs.
    """
    beta1, beta2 = adam.betas
    kept = [
        torch.tensor(column, dtype=torch.float32)
        for column in (
            [schedule.step_size(step) / (1 - beta1 ** (step + 1)) for step in steps],
            [math.sqrt(1 - beta2 ** (step + 1)) for step in steps],
            [schedule.averaging(step) for step in steps],
            [1 - schedule.step_size(step) * adam.decay for step in steps],
        )
    ]
    pointers = map(structures.pointer, kept)
    return structures.Optimiser(*pointers, steps.start, len(steps), clip, beta1, beta2, adam.epsilon), kept
