"""Choose the grid, blocks and compile-time constants of a Triton launch from the sizes of a recurrence."""

# S series · T steps · B windows · H hidden · G gates

from functools import cache
from typing import Any

import torch
from torch import Tensor

LEAST_ROOM = 99 << 10
"""Bytes of shared memory that a program can use on every GPU from Ampere on."""
MOST_RESIDENT = 64
"""Largest number of hidden units at which the recurrent weights stay in shared memory for all steps."""


def launch(gates_STBG: Tensor, num_gates: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """Lay out a launch over all series and windows.

    Args:
        gates_STBG: The gates of all steps, on the device.
        num_gates: Gates of a unit.

    Returns:
        The grid, (series, blocks of windows), and the constants of `cut`.
    """
    num_series, _, num_windows, width = gates_STBG.shape
    constants = cut(num_windows, width // num_gates, num_gates, room=room_on(gates_STBG.device))
    return (num_series, -(-num_windows // constants["BLOCK_B"])), constants


def empty_states(gates_STBG: Tensor, constants: dict[str, Any], *, keeps_steps: bool) -> Tensor:
    """Allocate the states that a forward program writes.

    Args:
        gates_STBG: The gates of all steps.
        constants: Those of `cut`.
        keeps_steps: Whether the caller needs the states of all steps.

    Returns:
        All steps' states, (S, T, B, H); or one, (S, 1, B, H), where the weights are resident and no more are needed.
        Streamed weights need all, because a step reads the state before it from memory that it must not overwrite.
    """
    num_series, num_steps, num_windows, _ = gates_STBG.shape
    num_kept = num_steps if keeps_steps or not constants["RESIDENT"] else 1
    return gates_STBG.new_empty(num_series, num_kept, num_windows, constants["H"])


def cut(num_windows: int, hidden_size: int, num_gates: int, *, room: int) -> dict[str, Any]:
    """Return the compile-time constants of a launch, which do not depend on the numbers of series and steps.

    PRECISION: "tf32x3" multiplies on tensor cores in three products of ten bits each. Together they round as float32
    does, with errors of 2e-7, as "ieee" does on ordinary units; a single product, "tf32", has errors of 2e-4.
    "tf32x3" takes about as long forward as "ieee", and a third to a half of the time backward.

    RESIDENT: the compiler keeps the recurrent weights in shared memory, because registers cannot hold them; tensor
    cores need each weight in two parts. Where a GPU has too little room at H 64, ordinary units are used. At H 128 no
    processor can hold the weights: at every step they stream through shared memory, BLOCK_K rows at a time, from the
    second-level cache, which holds the weights of all running programs.

    BLOCK_B: tensor cores need at least sixteen windows. Many programs hide each other's latency better than many
    windows in one, but streamed weights are better shared by more windows. The number of warps follows from the hidden
    values that a warp's registers can hold beside gates, gradients and parts of weights.

    STAGES: while a step computes, the gates of the next two steps are loaded.

    Measured on an H200 with Triton 3.6 over fleets of LSTMs and GRUs with H 16 to 128: of three to eighteen choices
    each, these are the fastest or within 3 % of the fastest.

    Args:
        num_windows: Windows of a series.
        hidden_size: Hidden units, at most 128.
        num_gates: Gates of a unit.
        room: Bytes of shared memory that a program can use.

    Returns:
        The constants, warps and stages by name.
    """
    block_h = max(16, 1 << (hidden_size - 1).bit_length())
    is_resident = block_h <= MOST_RESIDENT
    block_b = 16 if is_resident or num_windows <= 16 else 32
    fitting = [stages for stages in (3, 1) if _shared_bytes(block_b, block_h, num_gates, stages) <= room]
    return {
        "H": hidden_size,
        "BLOCK_B": block_b,
        "BLOCK_H": block_h,
        "BLOCK_K": 16,
        "RESIDENT": is_resident,
        "STAGES": fitting[0] if is_resident and fitting else 1,
        "PRECISION": "tf32x3" if fitting or not is_resident else "ieee",
        "num_warps": max(1, block_b * block_h // (256 if is_resident else 512)),
        "num_stages": 3,
    }


@cache
def room_on(device: torch.device) -> int:
    """Return the bytes of shared memory that a program can use on a device; the system reserves one KiB."""
    if device.type != "cuda":
        return LEAST_ROOM
    return int(torch.cuda.get_device_properties(device).shared_memory_per_multiprocessor) - 1024


def _shared_bytes(block_b: int, block_h: int, num_gates: int, stages: int) -> int:
    """Return the bytes of weights and states in two parts each, and of the prefetched steps of a backward pass."""
    return 8 * num_gates * block_h**2 + 4 * block_b * block_h * (2 + 5 * (stages - 1))
