"""How a recurrence is cut for a GPU: sizes in; the compile-time constants, warps and stages of a launch out."""

# B windows · H hidden

from typing import Any

PRECISION = "ieee"
"""How products round: "ieee" as float32 does; "tf32x3" on tensor cores, nearly so; "tf32" keeps ten bits."""


def cut(num_windows: int, hidden_size: int) -> dict[str, Any]:
    """Return what a launch needs to know about sizes; the numbers of series and of steps are not part of it.

    RESIDENT: the compiler keeps all recurrent weights in shared memory over all steps (LSTM: 4 KiB at H 16, 16 at 32,
    64 at 64) and reads them from there as products need them; registers could not hold them. With a step's operands a
    program stays under 99 KiB, which every GPU from Ampere on has; an H100 runs two at H 64 side by side. At H 128 the
    weights are 256 KiB, more than any processor has: BLOCK_K rows at a time stream through shared memory at every step,
    from the second-level cache, which holds the weights of all running programs, and ahead of the products, which take
    about four times as long.

    BLOCK_B: every weight read from shared memory serves up to four windows of a thread; with more windows than 32 in a
    program, a small fleet would leave processors idle. A warp per 128 hidden values needs 64 to 128 registers a thread.

    STAGES: while a step computes, the next one's gates are on their way; at H 64 they would take the second program's
    room, and that one hides the wait better.
    """
    block_b = min(max(8, _next_power_of_two(num_windows)), 32)
    block_h = max(16, _next_power_of_two(hidden_size))
    return {
        "H": hidden_size,
        "BLOCK_B": block_b,
        "BLOCK_H": block_h,
        "BLOCK_K": 16,
        "RESIDENT": block_h <= 64,
        "STAGES": 3 if block_h <= 32 else 1,
        "PRECISION": PRECISION,
        "num_warps": min(max(1, block_b * block_h // 128), 16),
        "num_stages": 3,
    }


def _next_power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
