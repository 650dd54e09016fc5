"""How many points of a series are the context of its first window, and how many are for validation."""

# S series

import numpy as np
import numpy.typing as npt

from forecasting.spec.training import MemberConfig

MIN_WINDOWS = 8
"""Fewest training windows that justify a network."""

ENOUGH_WINDOWS = 64
"""Training windows of a series from which a whole context is preferred to more windows."""

IntS = npt.NDArray[np.int64]


def shortest_context(length_S: IntS, *, config: MemberConfig, horizon: int) -> IntS:
    """Return the grid points between the start of each series and the origin of its first training window, (S,).

    Args:
        length_S: Grid points of each series.
        config: Configuration of the member.
        horizon: Steps ahead.

    Returns:
        The points of the plan with validation windows; a plan without them has at least as many.
    """
    validation_S = validation_points(length_S, horizon=horizon, segment=config.segment_length)
    return context_points(length_S - validation_S - horizon, config)


def validation_points(length_S: IntS, *, horizon: int, segment: int) -> IntS:
    """Return the last points of each series that validation has: two horizons, or a tenth of a long series, (S,)."""
    largest_S = length_S - horizon - segment - (MIN_WINDOWS - 1)
    wanted_S = np.maximum(length_S // 10, 2 * horizon).clip(max=np.maximum(length_S // 3, horizon))
    return wanted_S.clip(max=largest_S)


def context_points(room_S: IntS, config: MemberConfig) -> IntS:
    """Return the points of the first window's context: a whole one, if enough windows are left."""
    segment = config.segment_length
    return np.clip(room_S - (ENOUGH_WINDOWS - 1), segment, segment * config.context_segments)
