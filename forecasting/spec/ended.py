"""How long a series may have no measurement before it has ended."""

from forecasting.spec.frequency import average_width, num_months

_SLACK = 0.1
"""Share of a step by which a duration may fall short of whole months: 30 days are one."""


def steps_to_end(length: str | int | None, *, freq: str | int, default: int) -> int:
    """Return the most grid points from a series' last measurement to the cutoff before it has ended.

    Args:
        length: `source.ended_after`: a duration, or a number of steps.
        freq: The frequency of the grid.
        default: The number where none is given.

    Returns:
        Grid points.

    Raises:
        ValueError: A duration is given, but the frequency is an integer step.

    >>> steps_to_end("36h", freq="1d", default=0), steps_to_end("90d", freq="1mo", default=0)
    (1, 3)
    """
    if length is None:
        return default
    if isinstance(length, int):
        return length
    if isinstance(freq, int):
        raise ValueError(
            f"source.ended_after = {length!r}: must be a number of steps, because the frequency is an integer step"
        )
    months, of_grid = num_months(length), num_months(freq)
    if months is not None and of_grid is not None:
        return months // of_grid
    steps = average_width(length) / average_width(freq)
    return int(steps + _SLACK) if of_grid is not None or months is not None else int(steps)
