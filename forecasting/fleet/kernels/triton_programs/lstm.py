"""LSTM over all time steps as two Triton programs, forward and backward; each (series, block of windows) is one.

Forward, with W the recurrent weights and a the input's projection, bias included:
    i = σ(a_i + h W_i)   f = σ(a_f + h W_f)   g = tanh(a_g + h W_g)   o = σ(a_o + h W_o)
    c' = f c + i g       h' = o tanh(c')

Backward, from the last step to the first; δx is the gradient of the loss by x, and δh' includes the output's own:
    δc' += δh' o (1 − tanh²c')
    δa_i = δc' g i(1 − i)   δa_f = δc' c f(1 − f)   δa_g = δc' i (1 − g²)   δa_o = δh' tanh(c') o(1 − o)
    δh = δa_i W_iᵀ + δa_f W_fᵀ + δa_g W_gᵀ + δa_o W_oᵀ     δc = δc' f
"""

# S series (one network each) · T steps · B windows · H hidden · G = 4H gates, in torch's order i, f, g, o

import torch
import triton
import triton.language as tl
from torch import Tensor

from forecasting.fleet.kernels.triton_programs.activations import sigmoid, tanh
from forecasting.fleet.kernels.triton_programs.blocks import empty_states, launch
from forecasting.fleet.kernels.triton_programs.programs import product_gradient, unchanged
from forecasting.fleet.kernels.triton_programs.prologue import last_gradient, place


def forward(
    gates_STBG: Tensor, hidden_SHG: Tensor, bias_hidden_S1G: Tensor | None, *, keeps_gates: bool, keeps_steps: bool
) -> tuple[Tensor, Tensor]:
    """Run the recurrence over all steps.

    Args:
        gates_STBG: The input's projection. With `keeps_gates` the activated gates replace it.
        hidden_SHG: Recurrent weights.
        bias_hidden_S1G: None: the only bias is part of the projection.
        keeps_gates: Whether to keep what `backward` needs.
        keeps_steps: Whether to return the states of all steps.

    Returns:
        The states, (S, T, B, H), or without `keeps_steps` possibly the last alone, (S, 1, B, H); and the cell states,
        (S, T, B, H), or an empty tensor without `keeps_gates`.
    """
    num_steps, num_windows = gates_STBG.shape[1:3]
    grid, constants = launch(gates_STBG, num_gates=4)
    states_STBH = empty_states(gates_STBG, constants, keeps_steps=keeps_steps)
    cells_STBH = gates_STBG.new_empty(states_STBH.shape if keeps_gates else 0)
    _forward[grid](
        gates_STBG,
        hidden_SHG,
        states_STBH,
        cells_STBH,
        num_windows,
        num_steps,
        states_STBH.shape[1],
        KEEPS_GATES=keeps_gates,
        **constants,
    )
    return states_STBH, cells_STBH


def backward(
    gates_STBG: Tensor, states_STBH: Tensor, cells_STBH: Tensor, hidden_SHG: Tensor, d_states: Tensor
) -> Tensor:
    """Run back through all steps.

    Args:
        gates_STBG: The activated gates.
        states_STBH: Not used.
        cells_STBH: The cell states.
        hidden_SHG: Recurrent weights.
        d_states: The gradient of all states, (S, T, B, H), or of the last, (S, B, H).

    Returns:
        The gradient of every step's gates before activation, (S, T, B, G).
    """
    num_steps, num_windows = gates_STBG.shape[1:3]
    grid, constants = launch(gates_STBG, num_gates=4)
    d_gates_STBG = torch.empty_like(gates_STBG)
    _backward[grid](
        gates_STBG,
        cells_STBH,
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
    cells_ptr: tl.tensor,
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
    G: tl.constexpr = 4 * H
    series, rows_B1, units_1H, is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)

    weights_ptr = hidden_ptr + series * (H * G)
    if RESIDENT:
        from_H1 = tl.arange(0, BLOCK_H)[:, None]
        weights_HH = weights_ptr + from_H1 * G + units_1H
        w_i, w_f, w_g, w_o = _load(weights_HH, (from_H1 < H) & is_unit_1H, H)

    gates_BH = gates_ptr + (series * num_steps * num_rows + rows_B1) * G + units_1H
    cells_BH = cells_ptr + (series * num_steps * num_rows + rows_B1) * H + units_1H
    states_B1 = states_ptr + (series * num_kept * num_rows + rows_B1) * H
    # Where one state is kept, every step overwrites it.
    per_state = tl.where(num_kept > 1, num_rows * H, 0)
    h = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    c = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    for step in tl.range(num_steps, num_stages=STAGES):
        i, f, g, o = _load(gates_BH, is_real_BH, H)
        if RESIDENT:
            i += tl.dot(h, w_i, input_precision=PRECISION)
            f += tl.dot(h, w_f, input_precision=PRECISION)
            g += tl.dot(h, w_g, input_precision=PRECISION)
            o += tl.dot(h, w_o, input_precision=PRECISION)
        else:
            tl.debug_barrier()  # other threads of the program wrote parts of the state
            for first in range(0, H, BLOCK_K):
                from_K = first + tl.arange(0, BLOCK_K)
                is_state_BK = is_window_B1 & (from_K < H)[None, :] & (step > 0)
                h_BK = tl.load(states_B1 - per_state + from_K[None, :], mask=is_state_BK, other=0.0)
                weights_KH = weights_ptr + from_K[:, None] * G + units_1H
                w_i, w_f, w_g, w_o = _load(weights_KH, (from_K < H)[:, None] & is_unit_1H, H)
                i = tl.dot(h_BK, w_i, i, input_precision=PRECISION)
                f = tl.dot(h_BK, w_f, f, input_precision=PRECISION)
                g = tl.dot(h_BK, w_g, g, input_precision=PRECISION)
                o = tl.dot(h_BK, w_o, o, input_precision=PRECISION)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * tanh(c)
        tl.store(states_B1 + units_1H, h, mask=is_real_BH)
        states_B1 += per_state
        if KEEPS_GATES:
            _store(gates_BH, i, f, g, o, is_real_BH, H)
            tl.store(cells_BH, c, mask=is_real_BH)
            cells_BH += num_rows * H
        gates_BH += num_rows * G


@triton.jit(do_not_specialize=["num_windows", "num_steps"])
def _backward(
    gates_ptr: tl.tensor,
    cells_ptr: tl.tensor,
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
    G: tl.constexpr = 4 * H
    series, rows_B1, units_1H, is_window_B1, is_unit_1H, is_real_BH, num_rows = place(num_windows, H, BLOCK_B, BLOCK_H)

    weights_ptr = hidden_ptr + series * (H * G)
    if RESIDENT:  # transposed: rows are a gate's units, columns the state's
        from_H1 = tl.arange(0, BLOCK_H)[:, None]
        weights_HH = weights_ptr + from_H1 + units_1H * G
        w_i, w_f, w_g, w_o = _load(weights_HH, (from_H1 < H) & is_unit_1H, H)

    last_row_B1 = ((series + 1) * num_steps - 1) * num_rows + rows_B1
    gates_BH = gates_ptr + last_row_B1 * G + units_1H
    cells_BH = cells_ptr + last_row_B1 * H + units_1H
    d_gates_B1 = d_gates_ptr + last_row_B1 * G
    dc = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    d_last_BH = d_states_ptr + (series * num_rows + rows_B1) * H + units_1H
    d_all_BH = d_states_ptr + last_row_B1 * H + units_1H
    d_states_BH, dh = last_gradient(d_last_BH, d_all_BH, is_real_BH, BLOCK_B, BLOCK_H, ONLY_LAST)
    c = tl.load(cells_BH, mask=is_real_BH, other=0.0)
    for step in tl.range(num_steps, num_stages=STAGES):
        i, f, g, o = _load(gates_BH, is_real_BH, H)
        cells_BH -= num_rows * H
        c_before = tl.load(cells_BH, mask=is_real_BH & (step + 1 < num_steps), other=0.0)
        if not ONLY_LAST:
            dh += tl.load(d_states_BH, mask=is_real_BH, other=0.0)
            d_states_BH -= num_rows * H
        squashed = tanh(c)
        dc += dh * o * (1 - squashed * squashed)
        d_i = dc * g * i * (1 - i)
        d_f = dc * c_before * f * (1 - f)
        d_g = dc * i * (1 - g * g)
        d_o = dh * squashed * o * (1 - o)
        dc *= f
        c = c_before
        _store(d_gates_B1 + units_1H, d_i, d_f, d_g, d_o, is_real_BH, H)
        if RESIDENT:
            dh = tl.dot(d_i, w_i, input_precision=PRECISION)
            dh = tl.dot(d_f, w_f, dh, input_precision=PRECISION)
            dh = tl.dot(d_g, w_g, dh, input_precision=PRECISION)
            dh = tl.dot(d_o, w_o, dh, input_precision=PRECISION)
        else:  # the four products are one, over all gates
            tl.debug_barrier()
            dh = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
            for first in range(0, G, BLOCK_K):
                from_K = first + tl.arange(0, BLOCK_K)
                d_BK = tl.load(d_gates_B1 + from_K[None, :], mask=is_window_B1 & (from_K < G)[None, :], other=0.0)
                weights_KH = weights_ptr + from_K[:, None] + units_1H * G
                w_KH = tl.load(weights_KH, mask=(from_K < G)[:, None] & is_unit_1H, other=0.0)
                dh = tl.dot(d_BK, w_KH, dh, input_precision=PRECISION)
        gates_BH -= num_rows * G
        d_gates_B1 -= num_rows * G


@triton.jit
def _load(pointers: tl.tensor, mask: tl.tensor, H: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Load the same columns of the four gates."""
    i = tl.load(pointers, mask=mask, other=0.0)
    f = tl.load(pointers + H, mask=mask, other=0.0)
    g = tl.load(pointers + 2 * H, mask=mask, other=0.0)
    o = tl.load(pointers + 3 * H, mask=mask, other=0.0)
    return i, f, g, o


@triton.jit
def _store(
    pointers: tl.tensor,
    i: tl.tensor,
    f: tl.tensor,
    g: tl.tensor,
    o: tl.tensor,
    mask: tl.tensor,
    H: tl.constexpr,
) -> None:
    tl.store(pointers, i, mask=mask)
    tl.store(pointers + H, f, mask=mask)
    tl.store(pointers + 2 * H, g, mask=mask)
    tl.store(pointers + 3 * H, o, mask=mask)
