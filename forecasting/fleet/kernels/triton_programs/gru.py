"""GRU over all time steps as two Triton programs, forward and backward; each (series, block of windows) is one.

Forward, with W and b the recurrent weights and biases and a the input's projection, bias included:
    r = σ(a_r + h W_r + b_r)   z = σ(a_z + h W_z + b_z)   m = h W_n + b_n   n = tanh(a_n + r m)
    h' = n + z (h − n)

Backward, from the last step to the first; δx is the gradient of the loss by x, and δh' includes the output's own:
    δa_n = δh' (1 − z)(1 − n²)   δm = δa_n r   δa_r = δa_n m r(1 − r)   δa_z = δh' (h − n) z(1 − z)
    δh = δh' z + δa_r W_rᵀ + δa_z W_zᵀ + δm W_nᵀ
"""

# S series (one network each) · T steps · B windows · H hidden · G = 3H gates, in torch's order r, z, n
# D = 4H gradients: r, z, m, n; the recurrent weights feed the first three, the input's all but m

import torch
import triton
import triton.language as tl
from torch import Tensor

from forecasting.fleet.kernels.triton_programs.activations import sigmoid, tanh
from forecasting.fleet.kernels.triton_programs.blocks import empty_states, launch
from forecasting.fleet.kernels.triton_programs.programs import product_gradient
from forecasting.fleet.kernels.triton_programs.prologue import last_gradient, place


def forward(
    gates_STBG: Tensor, hidden_SHG: Tensor, bias_hidden_S1G: Tensor | None, *, keeps_gates: bool, keeps_steps: bool
) -> tuple[Tensor, Tensor]:
    """Run the recurrence over all steps.

    Args:
        gates_STBG: The input's projection. With `keeps_gates` the activated gates replace it.
        hidden_SHG: Recurrent weights.
        bias_hidden_S1G: Recurrent biases.
        keeps_gates: Whether to keep what `backward` needs.
        keeps_steps: Whether to return the states of all steps.

    Returns:
        The states, (S, T, B, H), or without `keeps_steps` possibly the last alone, (S, 1, B, H); and m, (S, T, B, H),
        or an empty tensor without `keeps_gates`.
    """
    num_steps, num_windows = gates_STBG.shape[1:3]
    grid, constants = launch(gates_STBG, num_gates=3)
    states_STBH = empty_states(gates_STBG, constants, keeps_steps=keeps_steps)
    memories_STBH = gates_STBG.new_empty(states_STBH.shape if keeps_gates else 0)
    _forward[grid](
        gates_STBG,
        hidden_SHG,
        bias_hidden_S1G,
        states_STBH,
        memories_STBH,
        num_windows,
        num_steps,
        states_STBH.shape[1],
        KEEPS_GATES=keeps_gates,
        **constants,
    )
    return states_STBH, memories_STBH


def backward(
    gates_STBG: Tensor, states_STBH: Tensor, memories_STBH: Tensor, hidden_SHG: Tensor, d_states: Tensor
) -> Tensor:
    """Run back through all steps.

    Args:
        gates_STBG: The activated gates.
        states_STBH: The states after every step.
        memories_STBH: m of every step.
        hidden_SHG: Recurrent weights.
        d_states: The gradient of all states, (S, T, B, H), or of the last, (S, B, H).

    Returns:
        The gradient of every step's gates before activation, (S, T, B, D).
    """
    num_steps, num_windows = gates_STBG.shape[1:3]
    grid, constants = launch(gates_STBG, num_gates=3)
    d_gates_STBD = gates_STBG.new_empty(*gates_STBG.shape[:3], 4 * constants["H"])
    _backward[grid](
        gates_STBG,
        memories_STBH,
        states_STBH,
        hidden_SHG,
        d_states,
        d_gates_STBD,
        num_windows,
        num_steps,
        ONLY_LAST=d_states.dim() == 3,
        **constants,
    )
    return d_gates_STBD


def input_columns(d_gates: Tensor) -> Tensor:
    """Return the gradient of the input's projection, (…, G), from that of the gates, (…, D)."""
    hidden_size = d_gates.shape[-1] // 4
    return torch.cat([d_gates[..., : 2 * hidden_size], d_gates[..., 3 * hidden_size :]], dim=-1)


hidden_gradient = product_gradient


@triton.jit(do_not_specialize=["num_windows", "num_steps", "num_kept"])
def _forward(
    gates_ptr: tl.tensor,
    hidden_ptr: tl.tensor,
    bias_ptr: tl.tensor,
    states_ptr: tl.tensor,
    aside_ptr: tl.tensor,
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
    KEEPS_GATES: tl.constexpr,
) -> None:
    G: tl.constexpr = 3 * H
    series, rows_B1, units_1H, is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)

    weights_ptr = hidden_ptr + series * (H * G)
    if RESIDENT:
        from_H1 = tl.arange(0, BLOCK_H)[:, None]
        w_r, w_z, w_n = _load(weights_ptr + from_H1 * G + units_1H, (from_H1 < H) & is_unit_1H, H)
    b_r, b_z, b_n = _load(bias_ptr + series * G + units_1H, is_unit_1H, H)

    gates_BH = gates_ptr + (series * num_steps * num_rows + rows_B1) * G + units_1H
    aside_BH = aside_ptr + (series * num_steps * num_rows + rows_B1) * H + units_1H
    states_B1 = states_ptr + (series * num_kept * num_rows + rows_B1) * H
    per_state = tl.where(num_kept > 1, num_rows * H, 0)
    h = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    for step in tl.range(num_steps, num_stages=STAGES):
        r, z, n = _load(gates_BH, is_real_BH, H)
        r += b_r
        z += b_z
        m = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32) + b_n
        if RESIDENT:
            r = tl.dot(h, w_r, r, input_precision=PRECISION)
            z = tl.dot(h, w_z, z, input_precision=PRECISION)
            m = tl.dot(h, w_n, m, input_precision=PRECISION)
        else:
            tl.debug_barrier()
            for first in range(0, H, BLOCK_K):
                from_K = first + tl.arange(0, BLOCK_K)
                is_state_BK = is_window_B1 & (from_K < H)[None, :] & (step > 0)
                h_BK = tl.load(states_B1 - per_state + from_K[None, :], mask=is_state_BK, other=0.0)
                weights_KH = weights_ptr + from_K[:, None] * G + units_1H
                w_r, w_z, w_n = _load(weights_KH, (from_K < H)[:, None] & is_unit_1H, H)
                r = tl.dot(h_BK, w_r, r, input_precision=PRECISION)
                z = tl.dot(h_BK, w_z, z, input_precision=PRECISION)
                m = tl.dot(h_BK, w_n, m, input_precision=PRECISION)
        r, z = sigmoid(r), sigmoid(z)
        n = tanh(n + r * m)
        h = n + z * (h - n)
        tl.store(states_B1 + units_1H, h, mask=is_real_BH)
        states_B1 += per_state
        if KEEPS_GATES:
            _store(gates_BH, r, z, n, is_real_BH, H)
            tl.store(aside_BH, m, mask=is_real_BH)
            aside_BH += num_rows * H
        gates_BH += num_rows * G


@triton.jit(do_not_specialize=["num_windows", "num_steps"])
def _backward(
    gates_ptr: tl.tensor,
    aside_ptr: tl.tensor,
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
    G: tl.constexpr = 3 * H
    D: tl.constexpr = 4 * H
    series, rows_B1, units_1H, is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)

    weights_ptr = hidden_ptr + series * (H * G)
    if RESIDENT:  # transposed
        from_H1 = tl.arange(0, BLOCK_H)[:, None]
        w_r, w_z, w_n = _load(weights_ptr + from_H1 + units_1H * G, (from_H1 < H) & is_unit_1H, H)

    last_row_B1 = ((series + 1) * num_steps - 1) * num_rows + rows_B1
    gates_BH = gates_ptr + last_row_B1 * G + units_1H
    aside_BH = aside_ptr + last_row_B1 * H + units_1H
    states_BH = states_ptr + last_row_B1 * H + units_1H
    d_gates_B1 = d_gates_ptr + last_row_B1 * D
    d_last_BH = d_states_ptr + (series * num_rows + rows_B1) * H + units_1H
    d_all_BH = d_states_ptr + last_row_B1 * H + units_1H
    d_states_BH, dh = last_gradient(d_last_BH, d_all_BH, is_real_BH, BLOCK_B, BLOCK_H, ONLY_LAST)
    for step in tl.range(num_steps, num_stages=STAGES):
        r, z, n = _load(gates_BH, is_real_BH, H)
        m = tl.load(aside_BH, mask=is_real_BH, other=0.0)
        states_BH -= num_rows * H
        h = tl.load(states_BH, mask=is_real_BH & (step + 1 < num_steps), other=0.0)
        if not ONLY_LAST:
            dh += tl.load(d_states_BH, mask=is_real_BH, other=0.0)
            d_states_BH -= num_rows * H
        d_n = dh * (1 - z) * (1 - n * n)
        d_m = d_n * r
        d_r = d_n * m * r * (1 - r)
        d_z = dh * (h - n) * z * (1 - z)
        dh *= z
        _store(d_gates_B1 + units_1H, d_r, d_z, d_m, is_real_BH, H)
        tl.store(d_gates_B1 + 3 * H + units_1H, d_n, mask=is_real_BH)
        if RESIDENT:
            dh = tl.dot(d_r, w_r, dh, input_precision=PRECISION)
            dh = tl.dot(d_z, w_z, dh, input_precision=PRECISION)
            dh = tl.dot(d_m, w_n, dh, input_precision=PRECISION)
        else:
            tl.debug_barrier()
            for first in range(0, G, BLOCK_K):
                from_K = first + tl.arange(0, BLOCK_K)
                d_BK = tl.load(d_gates_B1 + from_K[None, :], mask=is_window_B1 & (from_K < G)[None, :], other=0.0)
                weights_KH = weights_ptr + from_K[:, None] + units_1H * G
                w_KH = tl.load(weights_KH, mask=(from_K < G)[:, None] & is_unit_1H, other=0.0)
                dh = tl.dot(d_BK, w_KH, dh, input_precision=PRECISION)
        gates_BH -= num_rows * G
        aside_BH -= num_rows * H
        d_gates_B1 -= num_rows * D


@triton.jit
def _load(pointers: tl.tensor, mask: tl.tensor, H: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Load the same columns of the three gates."""
    r = tl.load(pointers, mask=mask, other=0.0)
    z = tl.load(pointers + H, mask=mask, other=0.0)
    n = tl.load(pointers + 2 * H, mask=mask, other=0.0)
    return r, z, n


@triton.jit
def _store(pointers: tl.tensor, r: tl.tensor, z: tl.tensor, n: tl.tensor, mask: tl.tensor, H: tl.constexpr) -> None:
    tl.store(pointers, r, mask=mask)
    tl.store(pointers + H, z, mask=mask)
    tl.store(pointers + 2 * H, n, mask=mask)
