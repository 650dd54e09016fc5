"""Independently recurrent network over all time steps as two Triton programs; each (series, block of windows) is one.

Forward, with u the recurrent weights and a the input's projection, bias included:  h' = max(0, a + u h)
Backward, from the last step to the first, δh' with the output's own added:         δa = δh' where h' > 0   δh = u δa
"""

# S series (one network each) · T steps · B windows · H hidden · R = T·B rows · G = H gates

import torch
import triton
import triton.language as tl
from torch import Tensor

from forecasting.fleet.kernels.triton_programs.programs import unchanged
from forecasting.fleet.kernels.triton_programs.prologue import last_gradient, place

BLOCK_B = 16
"""Windows of a program: no product needs more, and many programs hide each other's latency."""


def forward(
    gates_STBG: Tensor, own_S1H: Tensor, bias_hidden_S1G: Tensor | None, *, keeps_gates: bool, keeps_steps: bool
) -> tuple[Tensor, Tensor]:
    """Run the recurrence over all steps.

    Args:
        gates_STBG: The input's projection.
        own_S1H: Each unit's recurrent weight.
        bias_hidden_S1G: None.
        keeps_gates: Without effect: `backward` needs the states only.
        keeps_steps: Whether to return the states of all steps.

    Returns:
        The states, (S, T, B, H), or without `keeps_steps` the last alone, (S, 1, B, H); and an empty tensor.
    """
    num_series, num_steps, num_windows, hidden_size = gates_STBG.shape
    num_kept = num_steps if keeps_steps else 1
    states_STBH = gates_STBG.new_empty(num_series, num_kept, num_windows, hidden_size)
    _forward[num_series, triton.cdiv(num_windows, BLOCK_B)](
        gates_STBG, own_S1H, states_STBH, num_windows, num_steps, num_kept, **_cut(hidden_size)
    )
    return states_STBH, gates_STBG.new_empty(0)


def backward(gates_STBG: Tensor, states_STBH: Tensor, nothing: Tensor, own_S1H: Tensor, d_states: Tensor) -> Tensor:
    """Run back through all steps.

    Args:
        gates_STBG: Not used.
        states_STBH: The states after every step.
        nothing: The empty tensor of `forward`.
        own_S1H: Each unit's recurrent weight.
        d_states: The gradient of all states, (S, T, B, H), or of the last, (S, B, H).

    Returns:
        The gradient of every step's sum before activation, (S, T, B, H).
    """
    num_series, num_steps, num_windows, hidden_size = states_STBH.shape
    d_gates_STBG = torch.empty_like(states_STBH)
    _backward[num_series, triton.cdiv(num_windows, BLOCK_B)](
        states_STBH,
        own_S1H,
        d_states,
        d_gates_STBG,
        num_windows,
        num_steps,
        ONLY_LAST=d_states.dim() == 3,
        **_cut(hidden_size),
    )
    return d_gates_STBG


input_columns = unchanged


def hidden_gradient(before_SRH: Tensor, d_gates_SRG: Tensor) -> Tensor:
    """Return the gradient of each unit's recurrent weight, (S, 1, H), from the states before each step."""
    return (before_SRH * d_gates_SRG).sum(1, keepdim=True)


def _cut(hidden_size: int) -> dict[str, int]:
    block_h = 1 << (hidden_size - 1).bit_length()
    return {"H": hidden_size, "BLOCK_H": block_h, "BLOCK_B": BLOCK_B, "num_warps": max(1, min(8, block_h // 16))}


@triton.jit(do_not_specialize=["num_windows", "num_steps", "num_kept"])
def _forward(
    gates_ptr: tl.tensor,
    own_ptr: tl.tensor,
    states_ptr: tl.tensor,
    num_windows: tl.tensor,
    num_steps: tl.tensor,
    num_kept: tl.tensor,
    H: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_B: tl.constexpr,
) -> None:
    series, rows_B1, units_1H, _is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)
    own_1H = tl.load(own_ptr + series * H + units_1H, mask=is_unit_1H, other=0.0)
    gates_BH = gates_ptr + (series * num_steps * num_rows + rows_B1) * H + units_1H
    states_BH = states_ptr + (series * num_kept * num_rows + rows_B1) * H + units_1H
    per_state = tl.where(num_kept > 1, num_rows * H, 0)
    h = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    for _ in tl.range(num_steps):
        total = tl.load(gates_BH, mask=is_real_BH, other=0.0) + own_1H * h
        h = tl.where(total < 0, 0.0, total)  # the comparison keeps NaN
        tl.store(states_BH, h, mask=is_real_BH)
        states_BH += per_state
        gates_BH += num_rows * H


@triton.jit(do_not_specialize=["num_windows", "num_steps"])
def _backward(
    states_ptr: tl.tensor,
    own_ptr: tl.tensor,
    d_states_ptr: tl.tensor,
    d_gates_ptr: tl.tensor,
    num_windows: tl.tensor,
    num_steps: tl.tensor,
    H: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_B: tl.constexpr,
    ONLY_LAST: tl.constexpr,
) -> None:
    series, rows_B1, units_1H, _is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)
    own_1H = tl.load(own_ptr + series * H + units_1H, mask=is_unit_1H, other=0.0)
    last_row_B1 = ((series + 1) * num_steps - 1) * num_rows + rows_B1
    last_BH = last_row_B1 * H + units_1H
    states_BH, d_gates_BH = states_ptr + last_BH, d_gates_ptr + last_BH
    d_last_BH = d_states_ptr + (series * num_rows + rows_B1) * H + units_1H
    d_all_BH = d_states_ptr + last_BH
    d_states_BH, dh = last_gradient(d_last_BH, d_all_BH, is_real_BH, BLOCK_B, BLOCK_H, ONLY_LAST)
    for _ in tl.range(num_steps):
        if not ONLY_LAST:
            dh += tl.load(d_states_BH, mask=is_real_BH, other=0.0)
            d_states_BH -= num_rows * H
        h = tl.load(states_BH, mask=is_real_BH, other=0.0)
        d_sum = tl.where(h <= 0, 0.0, dh)
        tl.store(d_gates_BH, d_sum, mask=is_real_BH)
        dh = own_1H * d_sum
        states_BH -= num_rows * H
        d_gates_BH -= num_rows * H
