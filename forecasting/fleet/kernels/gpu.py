"""Run a recurrence on a GPU: one Triton program per series and block of windows computes all steps.

One step of the reference is a dozen launches, each of which reads and writes device memory. Here the loop over time is
one launch, forward and backward, and recurrent weights and state stay on the chip. cuBLAS computes what has no
recurrence: the input's projection beforehand, and all weight gradients afterwards.

Memory, in floats per series, window and step:

| cell | training | of which in the backward pass only | prediction |
|---|---|---|---|
| LSTM | 10H + I + 1 | 4H | 4H + I + 1 |
| GRU | 9H + I + 1 | 4H | 3H + I + 1 |
| Elman, IndRNN | 3H + I + 1 | H | H + I + 1 |

Prediction needs H more for the states of all steps.
"""

# S series (one network each) · B windows · T steps · I inputs · J = I + 1 · R = T·B rows · H hidden · G gates
# D gradients by gates, at least G

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from forecasting.fleet.cells import Cell, Weights
from forecasting.fleet.kernels.triton_programs.programs import Programs

NAME = "gpu"
MAX_HIDDEN = 128
"""Largest number of hidden units of the programs."""


def supports(cell: Cell, device: torch.device, dtype: torch.dtype, hidden_size: int) -> bool:
    """Return whether the cell has programs, for float32, up to 128 units, and an NVIDIA GPU from Ampere on."""
    if dtype != torch.float32 or device.type != "cuda" or not 1 <= hidden_size <= MAX_HIDDEN:
        return False
    if torch.version.cuda is None or (device.index or 0) >= torch.cuda.device_count():
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0) and _programs(cell) is not None


def run(cell: Cell, x_SBTI: Tensor, weights: Weights, *, only_last: bool = False) -> Tensor:
    """Run each series' own network over its windows; once differentiable by the inputs and by every weight.

    Series never mix, and repeated runs have the same bits.

    Args:
        cell: A cell that has programs.
        x_SBTI: Inputs of all steps, on the GPU.
        weights: The cell's parameters by name.
        only_last: Whether to return the output of the last step alone.

    Returns:
        The outputs of all steps, (S, B, T, H), or of the last, (S, B, H).
    """
    programs = _programs(cell)
    assert programs is not None, f"no Triton, or no programs for {cell.name!r}: call supports() first"
    hidden = weights["hidden_HG"] if "hidden_HG" in weights else weights["recurrent_1H"]
    parameters = [weights["input_IG"], weights["bias_input_1G"], hidden, weights.get("bias_hidden_1G")]
    needs_gradient = any(tensor is not None and tensor.requires_grad for tensor in (x_SBTI, *parameters))
    is_training = torch.is_grad_enabled() and needs_gradient
    states: Tensor = _Recurrence.apply(programs, is_training, only_last, x_SBTI, *parameters)  # type: ignore[no-untyped-call]
    return states


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        programs: Programs,
        is_training: bool,
        only_last: bool,
        x_SBTI: Tensor,
        input_SIG: Tensor,
        bias_input_S1G: Tensor,
        hidden_SHG: Tensor,
        bias_hidden_S1G: Tensor | None,
    ) -> Tensor:
        num_series, num_windows, num_steps, num_inputs = x_SBTI.shape
        # Time precedes windows, so that the states shifted by one step, which the weight gradients need, are a view.
        # The bias is the weight of a constant input of one, so that one product yields both gradients.
        x_STBJ = x_SBTI.new_empty(num_series, num_steps, num_windows, num_inputs + 1)
        x_STBJ[..., :num_inputs] = x_SBTI.transpose(1, 2)
        x_STBJ[..., num_inputs] = 1.0
        x_SRJ = x_STBJ.view(num_series, num_steps * num_windows, num_inputs + 1)
        # The projection depends on no earlier step: one large product of cuBLAS replaces T small ones in a program,
        # whose shared memory holds the recurrent weights. With I near H the projection has as many weights.
        gates_SRG = torch.bmm(x_SRJ, torch.cat([input_SIG, bias_input_S1G], dim=1))
        gates_STBG = gates_SRG.view(num_series, num_steps, num_windows, -1)
        hidden_SHG = hidden_SHG.contiguous()
        bias_hidden = None if bias_hidden_S1G is None else bias_hidden_S1G.contiguous()
        with torch.cuda.device_of(x_SBTI):
            states_STBH, aside_STBH = programs.forward(
                gates_STBG, hidden_SHG, bias_hidden, keeps_gates=is_training, keeps_steps=is_training or not only_last
            )
        if is_training:
            ctx.programs, ctx.only_last = programs, only_last
            ctx.save_for_backward(x_SRJ, input_SIG, hidden_SHG, gates_STBG, states_STBH, aside_STBH)
        return states_STBH[:, -1] if only_last else states_STBH.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x_SRJ, input_SIG, hidden_SHG, gates_STBG, states_STBH, aside_STBH = ctx.saved_tensors
        num_series, num_steps, num_windows, hidden_size = states_STBH.shape
        num_rows, num_gates = num_steps * num_windows, gates_STBG.shape[-1]
        d_states = d_outputs.contiguous() if ctx.only_last else d_outputs.transpose(1, 2).contiguous()
        with torch.cuda.device_of(d_states):
            d_gates_STBD = ctx.programs.backward(gates_STBG, states_STBH, aside_STBH, hidden_SHG, d_states)
        d_gates_SRD = d_gates_STBD.view(num_series, num_rows, -1)

        # The programs write gate gradients to memory and the products follow here. Sums inside the programs would need
        # G·H more accumulators: 32 registers of a thread at H 64, all of them at H 128. Their order would also depend
        # on the blocks of windows.
        needs_x, needs_input, needs_bias, needs_hidden, needs_bias_hidden = ctx.needs_input_grad[3:]
        d_x = d_input = d_bias = d_hidden = d_bias_hidden = None
        if needs_x:
            d_x_SRI = torch.bmm(ctx.programs.input_columns(d_gates_SRD), input_SIG.mT)
            d_x = d_x_SRI.view(num_series, num_steps, num_windows, -1).transpose(1, 2)
        if needs_input or needs_bias or needs_bias_hidden:
            d_SJD = torch.bmm(x_SRJ.mT, d_gates_SRD)
            d_SJG = ctx.programs.input_columns(d_SJD)
            d_input, d_bias, d_bias_hidden = d_SJG[:, :-1], d_SJG[:, -1:], d_SJD[:, -1:, :num_gates]
        if needs_hidden:
            before_SRH = states_STBH.view(num_series, num_rows, hidden_size)[:, : num_rows - num_windows]
            d_hidden = ctx.programs.hidden_gradient(before_SRH, d_gates_SRD[:, num_windows:, :num_gates])
        return (
            *(None, None, None),
            d_x,
            d_input if needs_input else None,
            d_bias if needs_bias else None,
            d_hidden,
            d_bias_hidden if needs_bias_hidden else None,
        )


def _programs(cell: Cell) -> Programs | None:
    """Import the programs on first use; return None for another cell, or without Triton."""
    try:
        from forecasting.fleet.kernels.triton_programs import elman, gru, indrnn, lstm
    except ImportError:
        return None
    programs: dict[str, Programs] = {"lstm": lstm, "gru": gru, "elman": elman, "indrnn": indrnn}
    return programs.get(cell.name)
