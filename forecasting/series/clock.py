"""The clock of `ds`: frequencies and cutoffs as text go in; widths in microseconds, steps or months, and values out."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

import polars as pl

from forecasting.errors import SpecError
from forecasting.schemas import STEP, TIMESTAMP
from forecasting.spec.frequency import DAY, MONTHS, UNITS
from forecasting.spec.spec import Clock


def clock_of(freq: str | int) -> Clock:
    return "step" if isinstance(freq, int) else "timestamp"


def dtype_of(clock: Clock) -> pl.DataType:
    return STEP if clock == "step" else TIMESTAMP


def fixed_width(freq: str | int) -> int | None:
    """Return the distance of two grid points in microseconds or steps; None where it varies with the calendar.

    >>> fixed_width("1h30m"), fixed_width(7), fixed_width("1q")
    (5400000000, 7, None)
    """
    if isinstance(freq, int):
        return freq
    parts = re.findall(r"(\d+)([a-z]+)", freq)
    return None if parts[0][1] in MONTHS else sum(int(number) * UNITS[unit] for number, unit in parts)


def num_months(freq: str | int) -> int | None:
    """Return the distance of two grid points in months; None where it is not a matter of months.

    >>> num_months("2q"), num_months("1w")
    (6, None)
    """
    parts = re.findall(r"(\d+)([a-z]+)", str(freq))
    return int(parts[0][0]) * MONTHS[parts[0][1]] if parts and parts[0][1] in MONTHS else None


def parse_clock(
    text: str, clock: Clock, *, zone: tzinfo | Callable[[], tzinfo] = UTC, subject: str = "cutoff"
) -> datetime | int:
    """Read a cutoff: an ISO 8601 time, or an integer.

    A time that carries an offset becomes the wall clock of `zone`, or of the zone that it returns, which only such a
    time asks for; one without stays as it is. Raises SpecError, led by `subject`.

    >>> parse_clock("2013-12-30T01:00:00+01:00", "timestamp"), parse_clock("42", "step")
    (datetime.datetime(2013, 12, 30, 0, 0), 42)
    """
    if clock == "step":
        if not re.fullmatch(r"[+-]?[0-9]+", text.strip()):
            raise SpecError(subject, [f"{text!r} must be an integer step such as 960, because the frequency is one"])
        return int(text)
    try:
        value = datetime.fromisoformat(text.strip())
        if value.tzinfo is None:
            return value
        return value.astimezone(zone() if callable(zone) else zone).replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise SpecError(subject, [f"{text!r} must be an ISO 8601 time such as 2013-12-29T23:00:00"]) from error


def format_clock(value: datetime | int) -> str:
    """Write a cutoff so that `parse_clock` reads the same value.

    >>> format_clock(datetime(2013, 12, 29, 23)), format_clock(960)
    ('2013-12-29T23:00:00', '960')
    """
    if isinstance(value, datetime):
        return (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat()
    return str(value)


def refuse_other_clock(value: datetime | int | None, *, freq: str | int, subject: str = "cutoff") -> None:
    """Raise SpecError where a cutoff is not of the clock that the frequency has."""
    fits = isinstance(value, int) if isinstance(freq, int) else isinstance(value, datetime) and value.tzinfo is None
    if value is not None and not fits:
        needs = "an integer step" if isinstance(freq, int) else "a timestamp without a zone"
        raise SpecError(subject, [f"{value!r} must be {needs}, because the frequency is {freq}"])


def is_day_or_coarser(freq: str | int) -> bool:
    width = fixed_width(freq)
    return clock_of(freq) == "timestamp" and (width is None or width >= DAY)
