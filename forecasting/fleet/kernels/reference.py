"""Run a recurrence in torch operations: the reference with which the faster kernels must agree."""

# S series (one network each) · B windows · T steps · I inputs · H hidden · G gates

import torch
from torch import Tensor

from forecasting.fleet.cells.cell import Cell, Weights

NAME = "reference"


def supports(cell: Cell, device: torch.device, dtype: torch.dtype, hidden_size: int) -> bool:
    """Return True, because torch operations run every cell on every device."""
    return True


def run(cell: Cell, x_SBTI: Tensor, weights: Weights, *, only_last: bool = False) -> Tensor:
    """Run each series' own network over its windows; return all outputs, (S, B, T, H), or the last, (S, B, H)."""
    outputs, _ = unroll(cell, x_SBTI, weights)
    return outputs[-1] if only_last else torch.stack(outputs, dim=2)


def unroll(
    cell: Cell, x_SBTI: Tensor, weights: Weights, state: tuple[Tensor, ...] | None = None
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Run each series' own network over its windows, from a state or from zeros.

    Args:
        cell: The recurrent cell.
        x_SBTI: Inputs of all steps.
        weights: The cell's parameters by name.
        state: The state before the first step, or None for the cell's initial state.

    Returns:
        The outputs of each step, (S, B, H), and the state after the last step.
    """
    num_series, num_windows, num_steps, num_inputs = x_SBTI.shape
    hidden_size = weights["bias_input_1G"].shape[-1] // cell.num_gates
    # One product projects the inputs of all steps. Time is the second axis, so that each step reads contiguous memory.
    x_SRI = x_SBTI.transpose(1, 2).reshape(num_series, num_steps * num_windows, num_inputs)
    projected_SRG = torch.baddbmm(weights["bias_input_1G"], x_SRI, weights["input_IG"])
    projected_STBG = projected_SRG.view(num_series, num_steps, num_windows, -1)
    if state is None:
        state = cell.initial_state(x_SBTI.new_empty(num_series, num_windows, hidden_size))
    outputs: list[Tensor] = []
    for input_SBG in projected_STBG.unbind(dim=1):
        state = cell.step(input_SBG, state, weights)
        outputs.append(state[0])
    return outputs, state
