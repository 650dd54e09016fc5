"""The GPU recurrence: windows of every series in, hidden states out; one Triton program keeps a series' steps on chip.

A step of the reference is a dozen launches that each read and write device memory; here the whole loop over time is one
launch, forward and backward, and a program holds its series' recurrent weights and state close to the arithmetic. What
has no recurrence stays with cuBLAS: the input's projection before it, all weight gradients after it.

Memory, in floats for each of S·B·T: training LSTM 10H + I + 1, GRU 9H + I + 1, of which 4H live during the backward
pass only, Elman and IndRNN 3H + I + 1, of which H; prediction LSTM 4H + I + 1, GRU 3H + I + 1, Elman and IndRNN
H + I + 1, and H more for the states of all steps.
"""

# S series (one network each) · B windows · T steps · I inputs · J = I + 1 · R = T·B rows · H hidden · G gates
# D gradients by gates, at least G

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from forecasting.fleet.cells import Cell, Weights

NAME = "gpu"
MAX_HIDDEN = 128
"""The most hidden units that the programs are laid out for."""

_PROGRAMS = {name: f"forecasting.fleet.kernels.triton_programs.{name}" for name in ("lstm", "gru", "elman", "indrnn")}


def serves(cell: Cell, device: torch.device, dtype: torch.dtype, hidden_size: int) -> bool:
    """Return whether `run` can: one of `_PROGRAMS`, up to 128 units, float32, Triton, an NVIDIA GPU from Ampere on."""
    if dtype != torch.float32 or device.type != "cuda" or not 1 <= hidden_size <= MAX_HIDDEN:
        return False
    if torch.version.cuda is None or (device.index or 0) >= torch.cuda.device_count():
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0) and _programs(cell) is not None


def run(cell: Cell, x_SBTI: Tensor, weights: Weights, *, only_last: bool = False) -> Tensor:
    """Run each series' own network over its windows; return all steps' states, (S, B, T, H), or the last's, (S, B, H).

    Differentiable once, by the inputs and by every weight. Series never mix, and results are the same at every run.
    """
    programs = _programs(cell)
    assert programs is not None, f"no Triton, or no programs for {cell.name!r}: ask serves() first"
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
        programs: ModuleType,
        is_training: bool,
        only_last: bool,
        x_SBTI: Tensor,
        input_SIG: Tensor,
        bias_input_S1G: Tensor,
        hidden_SHG: Tensor,
        bias_hidden_S1G: Tensor | None,
    ) -> Tensor:
        num_series, num_windows, num_steps, num_inputs = x_SBTI.shape
        # Time comes before windows: the states shifted by one step, which the weight gradients need, are then a view.
        # The bias is the weight of an input that is always one; so one product yields both gradients, too.
        x_STBJ = x_SBTI.new_empty(num_series, num_steps, num_windows, num_inputs + 1)
        x_STBJ[..., :num_inputs] = x_SBTI.transpose(1, 2)
        x_STBJ[..., num_inputs] = 1.0
        x_SRJ = x_STBJ.view(num_series, num_steps * num_windows, num_inputs + 1)
        # The projection needs no earlier step, so it is one large product for cuBLAS rather than T small ones in a
        # program, whose shared memory is full of recurrent weights: with I near H the projection's are as many.
        gates_SRG = torch.bmm(x_SRJ, torch.cat([input_SIG, bias_input_S1G], dim=1))
        gates_STBG = gates_SRG.view(num_series, num_steps, num_windows, -1)
        hidden_SHG = hidden_SHG.contiguous()
        bias_hidden = None if bias_hidden_S1G is None else bias_hidden_S1G.contiguous()
        states_STBH: Tensor
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

        # Gate gradients are written out and multiplied here. Summed inside the programs they would need G·H
        # accumulators more, 32 registers a thread at H 64 and all there are at 128; and the order of the sum
        # would depend on how windows are cut into blocks.
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


def _programs(cell: Cell) -> ModuleType | None:
    """Import a cell's programs on first use; there are none for other cells, nor without triton."""
    if cell.name not in _PROGRAMS:
        return None
    try:
        return importlib.import_module(_PROGRAMS[cell.name])
    except ImportError:
        return None
