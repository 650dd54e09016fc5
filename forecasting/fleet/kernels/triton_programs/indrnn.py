"""Independently recurrent network over all time steps as two Triton programs; each (series, block of windows) is one.

Forward, with u the recurrent weights and a the input's projection, bias included:  h' = max(0, a + u h)
Backward, from the last step to the first, δh' with the output's own added:         δa = δh' where h' > 0   δh = u δa
"""

# S series (one network each) · T steps · B windows · H hidden · R = T·B rows · G = H gates

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_B = 16
"""Windows of a program: no product asks for more, and more programs hide each other's waits."""


def forward(
    gates_STBG: Tensor, own_S1H: Tensor, bias_hidden_S1G: Tensor | None, *, keeps_gates: bool, keeps_steps: bool
) -> tuple[Tensor, Tensor]:
    """Return the states after every step, (S, T, B, H), or without `keeps_steps` the last alone; and nothing.

    `gates_STBG` holds the input's projection. States are all that `backward` needs.
    """
    num_series, num_steps, num_windows, hidden_size = gates_STBG.shape
    num_kept = num_steps if keeps_steps else 1
    states_STBH = gates_STBG.new_empty(num_series, num_kept, num_windows, hidden_size)
    _forward[num_series, triton.cdiv(num_windows, BLOCK_B)](
        gates_STBG, own_S1H, states_STBH, num_windows, num_steps, num_kept, **_cut(hidden_size)
    )
    return states_STBH, gates_STBG.new_empty(0)


def backward(gates_STBG: Tensor, states_STBH: Tensor, nothing: Tensor, own_S1H: Tensor, d_states: Tensor) -> Tensor:
    """Return the gradient by every step's sum before activation, (S, T, B, H).

    `d_states` is the gradient by the states of all steps, (S, T, B, H), or of the last alone, (S, B, H).
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


def input_columns(d_gates: Tensor) -> Tensor:
    """Return the gradient by the input's projection, of the gradient by the gates."""
    return d_gates


def hidden_gradient(before_SRH: Tensor, d_gates_SRG: Tensor) -> Tensor:
    """Return the gradient by the recurrent weights, of the states before steps and the gradients at them."""
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
    series = tl.program_id(0).to(tl.int64)
    rows_B1 = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    units_1H = tl.arange(0, BLOCK_H)[None, :]
    is_real_BH = (rows_B1 < num_windows) & (units_1H < H)
    num_rows = num_windows.to(tl.int64)
    own_1H = tl.load(own_ptr + series * H + units_1H, mask=units_1H < H, other=0.0)
    gates_BH = gates_ptr + (series * num_steps * num_rows + rows_B1) * H + units_1H
    states_BH = states_ptr + (series * num_kept * num_rows + rows_B1) * H + units_1H
    per_state = tl.where(num_kept > 1, num_rows * H, 0)
    h = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    for _ in tl.range(num_steps):
        total = tl.load(gates_BH, mask=is_real_BH, other=0.0) + own_1H * h
        h = tl.where(total < 0, 0.0, total)  # NaN stays what it is
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
    series = tl.program_id(0).to(tl.int64)
    rows_B1 = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    units_1H = tl.arange(0, BLOCK_H)[None, :]
    is_real_BH = (rows_B1 < num_windows) & (units_1H < H)
    num_rows = num_windows.to(tl.int64)
    own_1H = tl.load(own_ptr + series * H + units_1H, mask=units_1H < H, other=0.0)
    last_BH = (((series + 1) * num_steps - 1) * num_rows + rows_B1) * H + units_1H
    states_BH, d_gates_BH = states_ptr + last_BH, d_gates_ptr + last_BH
    if ONLY_LAST:
        d_states_BH = d_states_ptr + (series * num_rows + rows_B1) * H + units_1H
        dh = tl.load(d_states_BH, mask=is_real_BH, other=0.0)
    else:
        d_states_BH = d_states_ptr + last_BH
        dh = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
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
