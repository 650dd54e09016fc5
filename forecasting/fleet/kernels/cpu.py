"""The fused recurrence on a CPU: windows of every series in, hidden states out, with backpropagation through time.

LSTM, GRU, Elman with tanh and IndRNN, in float32. Activations come from a rational tanh whose absolute error is below
5e-7; Elman's, which nothing else gates, from one that is within 1e-7. A series' numbers do not depend on its
neighbours, nor on the number of threads, to the last bit.
"""

# S series · B windows · T steps · I inputs · H hidden

import ctypes
from typing import Any

import torch
from torch import Tensor

from forecasting.fleet.cells.cell import Cell, Weights
from forecasting.fleet.native import CELLS, library

NAME = "cpu"
NUM_RECURRENT = 4
"""How many of a network's parameters are the recurrence's, the first ones."""


def serves(cell: Cell, device: torch.device, dtype: torch.dtype, hidden_size: int) -> bool:
    """Return whether this kernel can run a cell: one that the engine knows, in float32, where the engine was built."""
    return device.type == "cpu" and dtype == torch.float32 and cell.name in CELLS and library.find() is not None


def run(cell: Cell, x_SBTI: Tensor, weights: Weights, *, only_last: bool = False) -> Tensor:
    """Run each series' own network over its windows; return (S, B, T, H), or the last step's (S, B, H).

    Differentiable with respect to the inputs and every weight.
    """
    hidden_size = weights["bias_input_1G"].shape[-1] // cell.num_gates
    recurrent = library.in_order(weights, NUM_RECURRENT)
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
        shape = library.shape_of(
            cell, num_windows=num_windows, num_steps=num_steps, num_inputs=num_inputs, hidden_size=hidden_size
        )
        stash = None
        if any(ctx.needs_input_grad):
            stash = x_SBTI.new_empty(num_series, engine.fleetcast_stash_floats(ctypes.byref(shape)))
        sizes = (num_series, num_windows, hidden_size) if only_last else (*x_SBTI.shape[:3], hidden_size)
        outputs = x_SBTI.new_empty(sizes)
        parameters = library.Parameters(*(library.pointer(weight) for weight in weights))
        everything, last = (None, outputs) if only_last else (outputs, None)
        tensors = map(library.pointer, (x_SBTI, everything, last, stash))
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
        parameters = library.Parameters(*(library.pointer(weight) for weight in weights))
        everything, last = (None, gradient) if ctx.only_last else (gradient, None)
        read = (x_SBTI, stash, everything, last)
        arguments = (
            ctypes.byref(ctx.shape),
            ctypes.byref(parameters),
            *map(library.pointer, (*read, dx_SBTI, *gradients)),
        )
        library.run(lambda begin, end: int(engine.fleetcast_backward(*arguments, begin, end)), num_series=len(x_SBTI))
        return (None, None, None, dx_SBTI, *gradients)
