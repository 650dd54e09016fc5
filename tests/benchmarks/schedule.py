"""The learning rate of every side: a step and the number of steps in, the share of the first rate out."""

import math


def decay(step: int, num_steps: int) -> float:
    """Fall along the fleet's cosine, to a twentieth."""
    return 0.05 + 0.475 * (1 + math.cos(math.pi * step / num_steps))
