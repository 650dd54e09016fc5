"""The beginning of every Triton program: which series and windows it computes, and the gradient at its last step."""

# B windows of a program · H hidden units, padded to a power of two

import triton
import triton.language as tl


@triton.jit
def place(
    num_windows: tl.tensor, H: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_H: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Locate a program in the grid of (series, blocks of windows).

    Args:
        num_windows: Windows of a series.
        H: Hidden units.
        BLOCK_B: Windows of a program.
        BLOCK_H: Hidden units, padded.

    Returns:
        The series; the windows (B, 1); the units (1, H); masks of real windows, of real units and of both; and the
        number of windows as a 64-bit integer, because a fleet's gates exceed 2³¹ elements.
    """
    series = tl.program_id(0).to(tl.int64)
    rows_B1 = (tl.program_id(1) * BLOCK_B + tl.arange(0, BLOCK_B))[:, None]
    units_1H = tl.arange(0, BLOCK_H)[None, :]
    is_window_B1 = rows_B1 < num_windows
    is_unit_1H = units_1H < H
    return series, rows_B1, units_1H, is_window_B1, is_unit_1H, is_window_B1 & is_unit_1H, num_windows.to(tl.int64)


@triton.jit
def last_gradient(
    d_last_BH: tl.tensor,
    d_all_BH: tl.tensor,
    is_real_BH: tl.tensor,
    BLOCK_B: tl.constexpr,
    BLOCK_H: tl.constexpr,
    ONLY_LAST: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Start the gradient of the states at the last step.

    Args:
        d_last_BH: Pointers into the gradient of the last states alone, (S, B, H).
        d_all_BH: Pointers to the last step in the gradient of all states, (S, T, B, H).
        is_real_BH: Mask of real windows and units.
        BLOCK_B: Windows of a program.
        BLOCK_H: Hidden units, padded.
        ONLY_LAST: Whether the gradient is that of the last states alone.

    Returns:
        The pointers that apply, and the gradient to start from: the loaded one, or zero if the loop over time loads
        the gradient of each step.
    """
    if ONLY_LAST:
        d_states_BH = d_last_BH
        dh = tl.load(d_states_BH, mask=is_real_BH, other=0.0)
    else:
        d_states_BH = d_all_BH
        dh = tl.full([BLOCK_B, BLOCK_H], 0.0, tl.float32)
    return d_states_BH, dh
