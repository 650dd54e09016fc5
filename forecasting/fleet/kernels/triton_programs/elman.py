"""Elman network over all time steps as two Triton programs; each (series, block of windows) is one.

Forward, with W the recurrent weights and a the input's projection, bias included:  h' = tanh(a + h W)
Backward, from the last step to the first, δh' with the output's own added:         δa = δh' (1 − h'²)   δh = δa Wᵀ
"""

# S series (one network each) · T steps · B windows · H hidden · G = H gates

import torch
import triton
import triton.language as tl
from torch import Tensor

from forecasting.fleet.kernels.triton_programs.activations import tanh
from forecasting.fleet.kernels.triton_programs.blocks import empty_states, launch
from forecasting.fleet.kernels.triton_programs.programs import product_gradient, unchanged
from forecasting.fleet.kernels.triton_programs.prologue import last_gradient, place


def forward(
    gates_STBG: Tensor, hidden_SHG: Tensor, bias_hidden_S1G: Tensor | None, *, keeps_gates: bool, keeps_steps: bool
) -> tuple[Tensor, Tensor]:
    """Run the recurrence over all steps.

    Args:
        gates_STBG: The input's projection.
        hidden_SHG: Recurrent weights.
        bias_hidden_S1G: None.
        keeps_gates: Without effect: `backward` needs the states only.
        keeps_steps: Whether to return the states of all steps.

    Returns:
        The states, (S, T, B, H), or without `keeps_steps` possibly the last alone, (S, 1, B, H); and an empty tensor.
    """
    num_steps, num_windows = gates_STBG.shape[1:3]
    grid, constants = launch(gates_STBG, num_gates=1)
    states_STBH = empty_states(gates_STBG, constants, keeps_steps=keeps_steps)
    _forward[grid](gates_STBG, hidden_SHG, states_STBH, num_windows, num_steps, states_STBH.shape[1], **constants)
    return states_STBH, gates_STBG.new_empty(0)


def backward(gates_STBG: Tensor, states_STBH: Tensor, nothing: Tensor, hidden_SHG: Tensor, d_states: Tensor) -> Tensor:
    """Run back through all steps.

    Args:
        gates_STBG: The input's projection, for its sizes only.
        states_STBH: The states after every step.
        nothing: The empty tensor of `forward`.
        hidden_SHG: Recurrent weights.
        d_states: The gradient of all states, (S, T, B, H), or of the last, (S, B, H).

    Returns:
        The gradient of every step's sum before activation, (S, T, B, H).
    """
    num_steps, num_windows = gates_STBG.shape[1:3]
    grid, constants = launch(gates_STBG, num_gates=1)
    d_gates_STBG = torch.empty_like(states_STBH)
    _backward[grid](
        states_STBH,
        hidden_SHG,
        d_states,
        d_gates_STBG,
        num_windows,
        num_steps,
        ONLY_LAST=d_states.dim() == 3,
        **constants,
    )
    return d_gates_STBG


input_columns = unchanged
hidden_gradient = product_gradient


@triton.jit(do_not_specialize=["num_windows", "num_steps", "num_kept"])
def _forward(
    gates_ptr: tl.tensor,
    hidden_ptr: tl.tensor,
    states_ptr: tl.tensor,
    num_windows: tl.tensor,
    num_steps: tl.tensor,
    num_kept: tl.tensor,
    H: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
    RESIDENT: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    series, rows_B1, units_1H, is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)

    weights_ptr = hidden_ptr + series * (H * H)
    if RESIDENT:
        from_H1 = tl.arange(0, BLOCK_H)[:, None]
        w = tl.load(weights_ptr + from_H1 * H + units_1H, mask=(from_H1 < H) & is_unit_1H, other=0.0)

    gates_BH = gates_ptr + (series * num_steps * num_rows + rows_B1) * H + units_1H
    states_B1 = states_ptr + (series * num_kept * num_rows + rows_B1) * H
    per_state = tl.where(num_kept > 1, num_rows * H, 0)
    h = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    for step in tl.range(num_steps, num_stages=STAGES):
        total = tl.load(gates_BH, mask=is_real_BH, other=0.0)
        if RESIDENT:
            total += tl.dot(h, w, input_precision=PRECISION)
        else:
            tl.debug_barrier()  # other threads of the program wrote parts of the state
            for first in range(0, H, BLOCK_K):
                from_K = first + tl.arange(0, BLOCK_K)
                is_state_BK = is_window_B1 & (from_K < H)[None, :] & (step > 0)
                h_BK = tl.load(states_B1 - per_state + from_K[None, :], mask=is_state_BK, other=0.0)
                weights_KH = weights_ptr + from_K[:, None] * H + units_1H
                w_KH = tl.load(weights_KH, mask=(from_K < H)[:, None] & is_unit_1H, other=0.0)
                total = tl.dot(h_BK, w_KH, total, input_precision=PRECISION)
        h = tanh(total)
        tl.store(states_B1 + units_1H, h, mask=is_real_BH)
        states_B1 += per_state
        gates_BH += num_rows * H


@triton.jit(do_not_specialize=["num_windows", "num_steps"])
def _backward(
    states_ptr: tl.tensor,
    hidden_ptr: tl.tensor,
    d_states_ptr: tl.tensor,
    d_gates_ptr: tl.tensor,
    num_windows: tl.tensor,
    num_steps: tl.tensor,
    H: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
    RESIDENT: tl.constexpr,
    STAGES: tl.constexpr,
    PRECISION: tl.constexpr,
    ONLY_LAST: tl.constexpr,
) -> None:
    series, rows_B1, units_1H, is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)

    weights_ptr = hidden_ptr + series * (H * H)
    if RESIDENT:  # transposed: rows are the sums' units, columns the state's
        from_H1 = tl.arange(0, BLOCK_H)[:, None]
        w = tl.load(weights_ptr + from_H1 + units_1H * H, mask=(from_H1 < H) & is_unit_1H, other=0.0)

    last_row_B1 = ((series + 1) * num_steps - 1) * num_rows + rows_B1
    states_BH = states_ptr + last_row_B1 * H + units_1H
    d_gates_B1 = d_gates_ptr + last_row_B1 * H
    d_last_BH = d_states_ptr + (series * num_rows + rows_B1) * H + units_1H
    d_all_BH = d_states_ptr + last_row_B1 * H + units_1H
    d_states_BH, dh = last_gradient(d_last_BH, d_all_BH, is_real_BH, BLOCK_B, BLOCK_H, ONLY_LAST)
    for _ in tl.range(num_steps, num_stages=STAGES):
        if not ONLY_LAST:
            dh += tl.load(d_states_BH, mask=is_real_BH, other=0.0)
            d_states_BH -= num_rows * H
        h = tl.load(states_BH, mask=is_real_BH, other=0.0)
        d_sum = dh * (1 - h * h)
        tl.store(d_gates_B1 + units_1H, d_sum, mask=is_real_BH)
        if RESIDENT:
            dh = tl.dot(d_sum, w, input_precision=PRECISION)
        else:
            tl.debug_barrier()
            dh = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
            for first in range(0, H, BLOCK_K):
                from_K = first + tl.arange(0, BLOCK_K)
                d_BK = tl.load(d_gates_B1 + from_K[None, :], mask=is_window_B1 & (from_K < H)[None, :], other=0.0)
                weights_KH = weights_ptr + from_K[:, None] + units_1H * H
                w_KH = tl.load(weights_KH, mask=(from_K < H)[:, None] & is_unit_1H, other=0.0)
                dh = tl.dot(d_BK, w_KH, dh, input_precision=PRECISION)
        states_BH -= num_rows * H
        d_gates_B1 -= num_rows * H
