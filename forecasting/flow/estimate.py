"""The estimate of how long a work still takes, once it means something."""

LEAST_SECONDS, LEAST_SHARE = 5.0, 0.1
"""Before both are reached, a start-up or a first slow fit may make most of the time so far."""
SECONDS_ENOUGH = 60.0
"""After so long, any share gives an estimate: long work should not be without one for its first tenth."""


def seconds_left(seconds: float, share: float) -> float | None:
    """Estimate the seconds that work still takes, if it goes on at its rate.

    Args:
        seconds: How long it has taken so far.
        share: Share of the work that is done, 0 to 1.

    Returns:
        The seconds; None where it is done, or where too little is done to know.

    >>> seconds_left(10.0, 0.25), seconds_left(3.0, 0.25), seconds_left(30.0, 0.01)
    (30.0, None, None)
    """
    is_enough = seconds >= SECONDS_ENOUGH or (seconds >= LEAST_SECONDS and share >= LEAST_SHARE)
    return seconds * (1 - share) / share if is_enough and 0 < share < 1 else None
