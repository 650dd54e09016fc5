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
from forecasting.fleet.kernels.triton_programs.blocks import cut, room_on


def forward(
    gates_STBG: Tensor, hidden_SHG: Tensor, bias_hidden_S1G: Tensor | None, *, keeps_gates: bool, keeps_steps: bool
) -> tuple[Tensor, Tensor]:
    """Return the states after every step, (S, T, B, H), or without `keeps_steps` perhaps the last alone; and nothing.

    `gates_STBG` holds the input's projection. States are all that `backward` needs.
    """
    num_series, num_steps, num_windows, hidden_size = gates_STBG.shape
    constants = cut(num_windows, hidden_size, 1, room=room_on(gates_STBG.device))
    num_kept = num_steps if keeps_steps or not constants["RESIDENT"] else 1
    states_STBH = gates_STBG.new_empty(num_series, num_kept, num_windows, hidden_size)
    _forward[num_series, triton.cdiv(num_windows, constants["BLOCK_B"])](
        gates_STBG, hidden_SHG, states_STBH, num_windows, num_steps, num_kept, **constants
    )
    return states_STBH, gates_STBG.new_empty(0)


def backward(gates_STBG: Tensor, states_STBH: Tensor, nothing: Tensor, hidden_SHG: Tensor, d_states: Tensor) -> Tensor:
    """Return the gradient by every step's sum before activation, (S, T, B, H).

    `d_states` is the gradient by the states of all steps, (S, T, B, H), or of the last alone, (S, B, H).
    """
    num_series, num_steps, num_windows, hidden_size = states_STBH.shape
    constants = cut(num_windows, hidden_size, 1, room=room_on(states_STBH.device))
    d_gates_STBG = torch.empty_like(states_STBH)
    _backward[num_series, triton.cdiv(num_windows, constants["BLOCK_B"])](
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


def input_columns(d_gates: Tensor) -> Tensor:
    """Return the gradient by the input's projection, of the gradient by the gates."""
    return d_gates


def hidden_gradient(before_SRH: Tensor, d_gates_SRG: Tensor) -> Tensor:
    """Return the gradient by the recurrent weights, of the states before steps and the gradients at them."""
    return torch.bmm(before_SRH.mT, d_gates_SRG)


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
    series = tl.program_id(0).to(tl.int64)
    rows_B1 = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    units_1H = tl.arange(0, BLOCK_H)[None, :]
    is_window_B1 = rows_B1 < num_windows
    is_unit_1H = units_1H < H
    is_real_BH = is_window_B1 & is_unit_1H
    num_rows = num_windows.to(tl.int64)

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
    series = tl.program_id(0).to(tl.int64)
    rows_B1 = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    units_1H = tl.arange(0, BLOCK_H)[None, :]
    is_window_B1 = rows_B1 < num_windows
    is_unit_1H = units_1H < H
    is_real_BH = is_window_B1 & is_unit_1H
    num_rows = num_windows.to(tl.int64)

    weights_ptr = hidden_ptr + series * (H * H)
    if RESIDENT:  # transposed: rows are the sums' units, columns the state's
        from_H1 = tl.arange(0, BLOCK_H)[:, None]
        w = tl.load(weights_ptr + from_H1 + units_1H * H, mask=(from_H1 < H) & is_unit_1H, other=0.0)

    last_row_B1 = ((series + 1) * num_steps - 1) * num_rows + rows_B1
    states_BH = states_ptr + last_row_B1 * H + units_1H
    d_gates_B1 = d_gates_ptr + last_row_B1 * H
    if ONLY_LAST:
        d_states_BH = d_states_ptr + (series * num_rows + rows_B1) * H + units_1H
        dh = tl.load(d_states_BH, mask=is_real_BH, other=0.0)
    else:
        d_states_BH = d_states_ptr + last_row_B1 * H + units_1H
        dh = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
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
