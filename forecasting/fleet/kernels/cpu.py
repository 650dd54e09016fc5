"""Run a recurrence and its backpropagation through time in the CPU engine.

It supports LSTM, GRU, Elman with tanh and IndRNN in float32. Gates use a rational approximation of tanh with an
absolute error below 5e-7; the Elman cell, which has no gates, uses one within 1e-7. The result of a series has the
same bits with any other series beside it and with any number of threads.
"""

# S series · B windows · T steps · I inputs · H hidden

import ctypes
from typing import Any

import torch
from torch import Tensor

from forecasting.fleet.cells.cell import Cell, Weights
from forecasting.fleet.native import CELLS, library, structures

NAME = "cpu"
NUM_RECURRENT = 4
"""Number of parameters of the recurrence; they are the first of `structures.PARAMETERS`."""


def supports(cell: Cell, device: torch.device, dtype: torch.dtype, hidden_size: int) -> bool:
    """Return whether the engine is built and has the cell in float32."""
    return device.type == "cpu" and dtype == torch.float32 and cell.name in CELLS and library.find() is not None


def run(cell: Cell, x_SBTI: Tensor, weights: Weights, *, only_last: bool = False) -> Tensor:
    """Run each series' own network over its windows; differentiable by the inputs and by every weight.

    Args:
        cell: One of `CELLS`.
        x_SBTI: Inputs of all steps.
        weights: The cell's parameters by name.
        only_last: Whether to return the output of the last step alone.

    Returns:
        The outputs of all steps, (S, B, T, H), or of the last, (S, B, H).
    """
    hidden_size = weights["bias_input_1G"].shape[-1] // cell.num_gates
    recurrent = structures.in_order(weights, NUM_RECURRENT)
    outputs: Tensor = _Recurrence.apply(cell.name, hidden_size, only_last, x_SBTI, *recurrent)  # type: ignore[no-untyped-call]
    return outputs


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: str, hidden_size: int, only_last: bool, x_SBTI: Tensor, *weights: Tensor | None
    ) -> Tensor:
        engine = library.require()
        x_SBTI, *weights = (None if tensor is None else tensor.contiguous() for tensor in (x_SBTI, *weights))  # type: ignore[assignment]
        num_series, num_windows, num_steps, num_inputs = x_SBTI.shape
        shape = structures.shape_of(
            cell, num_windows=num_windows, num_steps=num_steps, num_inputs=num_inputs, hidden_size=hidden_size
        )
        stash = None
        if any(ctx.needs_input_grad):
            stash = x_SBTI.new_empty(num_series, engine.fleetcast_stash_floats(ctypes.byref(shape)))
        sizes = (num_series, num_windows, hidden_size) if only_last else (*x_SBTI.shape[:3], hidden_size)
        outputs = x_SBTI.new_empty(sizes)
        parameters = structures.Parameters(*(structures.pointer(weight) for weight in weights))
        everything, last = (None, outputs) if only_last else (outputs, None)
        tensors = map(structures.pointer, (x_SBTI, everything, last, stash))
        arguments = (ctypes.byref(shape), ctypes.byref(parameters), *tensors)
        library.run(lambda begin, end: int(engine.fleetcast_forward(*arguments, begin, end)), num_series=num_series)
        ctx.save_for_backward(x_SBTI, stash, *weights)
        ctx.shape, ctx.only_last = shape, only_last
        return outputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_SBTI, stash, *weights = ctx.saved_tensors
        engine, gradient = library.require(), gradient.contiguous()
        dx_SBTI = torch.empty_like(x_SBTI) if ctx.needs_input_grad[3] else None
        gradients = [None if weight is None else torch.empty_like(weight) for weight in weights]
        parameters = structures.Parameters(*(structures.pointer(weight) for weight in weights))
        everything, last = (None, gradient) if ctx.only_last else (gradient, None)
        read = (x_SBTI, stash, everything, last)
        arguments = (
            ctypes.byref(ctx.shape),
            ctypes.byref(parameters),
            *map(structures.pointer, (*read, dx_SBTI, *gradients)),
        )
        library.run(lambda begin, end: int(engine.fleetcast_backward(*arguments, begin, end)), num_series=len(x_SBTI))
        return (None, None, None, dx_SBTI, *gradients)
