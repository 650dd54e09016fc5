"""How a recurrence is cut for a GPU: sizes in; the compile-time constants, warps and stages of a launch out."""

# B windows · H hidden · G gates

from functools import cache
from typing import Any

import torch

LEAST_ROOM = 99 << 10
"""Bytes of shared memory that one program may have on any GPU from Ampere on."""
MOST_RESIDENT = 64
"""Hidden units up to which all recurrent weights stay in shared memory over all steps."""


def cut(num_windows: int, hidden_size: int, num_gates: int, *, room: int) -> dict[str, Any]:
    """Return what a launch needs to know about sizes; the numbers of series and of steps are not part of it.

    PRECISION: "tf32x3" multiplies on tensor cores, in three products of ten bits each that together round as float32
    does (errors of 2e-7, as with "ieee", which takes the ordinary units; one product alone, "tf32", errs by 2e-4).
    Forward it takes about as long, backward a third to a half.

    RESIDENT: the compiler keeps the recurrent weights in shared memory, for tensor cores as two parts of each, and
    reads them from there as products need them; registers could not hold them. Where a GPU has not the room at H 64,
    ordinary units serve. At H 128 the weights are more than any processor has: BLOCK_K rows at a time stream through
    shared memory at every step, from the second-level cache, which holds the weights of all running programs.

    BLOCK_B: sixteen windows are the least that tensor cores take; more programs hide each other's waits better than
    more windows in one, but streamed weights should serve more windows. A warp has as many hidden values as its
    registers hold, with gates, gradients and parts of weights.

    STAGES: while a step computes, the gates of the next two are on their way.

    Measured on an H200 with Triton 3.6 over fleets of LSTMs and GRUs, H 16 to 128: of three to eighteen cuts each,
    these were the fastest or within 3 % of it.
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
    """Return the bytes of shared memory that one program may have on a device; the system keeps one KiB of each."""
    if device.type != "cuda":
        return LEAST_ROOM
    return int(torch.cuda.get_device_properties(device).shared_memory_per_multiprocessor) - 1024


def _shared_bytes(block_b: int, block_h: int, num_gates: int, stages: int) -> int:
    """Count what tensor cores are given where weights are resident: the two parts of the weights and of the state, and
    for each step ahead what the backward pass reads of it."""
    return 8 * num_gates * block_h**2 + 4 * block_b * block_h * (2 + 5 * (stages - 1))
