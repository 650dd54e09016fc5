"""Values on the clock of `ds`: cutoffs as text, and whether they match a frequency."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from forecasting.errors import SpecError
from forecasting.spec.frequency import DAY, Clock, clock_of, fixed_width, opening_of


def parse_clock(
    text: str, clock: Clock, *, zone: tzinfo | Callable[[], tzinfo] = UTC, subject: str = "cutoff"
) -> datetime | int:
    """Read a cutoff from text.

    Args:
        text: An ISO 8601 time, or an integer step.
        clock: Which of the two is needed.
        zone: The zone to whose wall clock a time with an offset is converted; or a function that returns it, called
            only for such a time.
        subject: What an error's message begins with, such as the name of an option.

    Returns:
        A naive datetime or an integer. A time without an offset is returned unchanged.

    Raises:
        SpecError: The text is not of the clock.

    >>> parse_clock("2013-12-30T01:00:00+01:00", "timestamp"), parse_clock("42", "step")
    (datetime.datetime(2013, 12, 30, 0, 0), 42)
    """
    if clock == "step":
        if not re.fullmatch(r"[+-]?[0-9]+", text.strip()):
            raise SpecError(
                subject, [f"{text!r} must be an integer such as 960, because the frequency is an integer step"]
            )
        return int(text)
    try:
        value = datetime.fromisoformat(text.strip())
        if value.tzinfo is None:
            return value
        return value.astimezone(zone() if callable(zone) else zone).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise SpecError(subject, [f"{text!r} must be an ISO 8601 time such as 2013-12-29T23:00:00"]) from error


def format_clock(value: datetime | int) -> str:
    """Write a cutoff as text that `parse_clock` reads back.

    Args:
        value: An integer step or a datetime; one with a zone is converted to UTC.

    Returns:
        The integer, or an ISO 8601 time without a zone.

    >>> format_clock(datetime(2013, 12, 29, 23)), format_clock(960)
    ('2013-12-29T23:00:00', '960')
    """
    if isinstance(value, datetime):
        return (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat()
    return str(value)


def refuse_other_clock(value: datetime | int | None, *, freq: str | int, subject: str = "cutoff") -> None:
    """Check that a cutoff is of the frequency's clock.

    Args:
        value: The cutoff; None is always accepted.
        freq: A duration needs a naive datetime, an integer step an integer.
        subject: What the error's message begins with.

    Raises:
        SpecError: The cutoff is of the other clock, or has a zone.
    """
    fits = isinstance(value, int) if isinstance(freq, int) else isinstance(value, datetime) and value.tzinfo is None
    if value is not None and not fits:
        needs = "an integer step" if isinstance(freq, int) else "a timestamp without a zone"
        raise SpecError(subject, [f"{value!r} must be {needs}, because the frequency is {freq}"])


def keeps_wall_clock(freq: str | int) -> bool:
    """Return whether times keep the wall clock of their zone: those of days, and of grids with opening hours."""
    return is_day_or_coarser(freq) or opening_of(freq) is not None


def is_day_or_coarser(freq: str | int) -> bool:
    """Return whether two grid points are at least a day apart; False for integer steps."""
    width = fixed_width(freq)
    return clock_of(freq) == "timestamp" and (width is None or width >= DAY)
