"""The learning rate of every side, as a share of the first rate."""

import math


def decay(step: int, num_steps: int) -> float:
    """Return the share of the first rate at a step: the fleet's cosine decay to a twentieth."""
    return 0.05 + 0.475 * (1 + math.cos(math.pi * step / num_steps))
