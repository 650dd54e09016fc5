"""Frequencies: the distance of two grid points, as a duration in Polars' notation or as an integer step.

A grid with closed times has its opening times after the duration, as in `1d Mon-Fri` or `1h Mon-Fri 08:00-18:00`.
"""

import re
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, get_args

from forecasting.spec.opening import MINUTES, Opening, check_holidays, parse_opening, parse_week

Clock = Literal["timestamp", "step"]
"""What `ds` counts: timestamps, or integer steps for series without dates."""
CLOCKS: tuple[Clock, ...] = get_args(Clock)

DAY = 86_400_000_000
"""Microseconds of a day."""
UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": DAY, "w": 7 * DAY}
"""Microseconds of each unit of fixed width."""
MONTHS = {"mo": 1, "q": 3, "y": 12}
"""Months of each unit whose width varies with the calendar."""
LARGEST_STEP = 10**15
"""Largest integer step between two grid points, and largest distance of a grid point from 0."""
MOST_YEARS = 1_000
"""Longest duration between two grid points, in years."""
SHORTEST_OF_WEEKS = UNITS["m"] * 5
"""Shortest distance at which weeks are customary seasons."""
LONGEST_SEASON = 100_000
"""Most grid points of a season."""

_YEAR = 31_556_952_000_000
"""Microseconds of an average year of the Gregorian calendar."""
_MOST_REACHED_YEARS, _MOST_REACHED_STEPS = 5_000, 10**18
"""Python's dates end with the year 9999, 64 bits with 9 × 10^18; sources may end in the year 2999 or at 10^15."""
_MUST_BE = "must be a duration such as '1h', '15m', '1d', '1w', '1mo' or '1q', or an integer step such as 1"
_OF_PANDAS = {
    alias: unit
    for unit, aliases in {
        "us": "us",
        "ms": "ms",
        "s": "s S",
        "m": "min T",
        "h": "h H",
        "d": "d D",
        "w": "w W",
        "mo": "M MS ME",
        "q": "Q QS QE",
        "y": "y Y YS YE A AS",
    }.items()
    for alias in aliases.split()
}
"""Units by pandas' aliases of offsets."""
_DURATION = re.compile(r"([1-9]\d*)(us|ms|mo|s|m|h|d|w|q|y)", re.ASCII)
BUSINESS_DAYS = "1d Mon-Fri"
_OF_BUSINESS_DAYS = ("1b", "B", "1B")
"""Spellings of business days."""
_WITH_OPENING = re.compile(r"(\S+) ((?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b.*)", re.ASCII)


def parse_frequency(freq: str | int) -> str | int:
    """Return a frequency in the form that Polars takes.

    Args:
        freq: A duration such as `1h`, `15m`, `1h30m` or `1mo`, which opening times may follow; `1b` for business days;
            or an integer step, as a number or as digits.

    Returns:
        The duration unchanged, with the opening times in one spelling; or the integer step.

    Raises:
        ValueError: `freq` is neither, is zero or negative, or is longer than 1,000 years or 10^15 steps.
    """
    if isinstance(freq, bool) or not isinstance(freq, (str, int)):
        raise ValueError(_MUST_BE + _spelling_of(freq))
    if isinstance(freq, int) or freq.strip().isdecimal():
        # Python refuses to convert more than 4300 digits.
        step = LARGEST_STEP + 1 if isinstance(freq, str) and len(freq.strip().lstrip("0")) > 16 else int(freq)
        if not 1 <= step <= LARGEST_STEP:
            raise ValueError("an integer step must be 1 or more" + (" and at most 10^15" if step > 1 else ""))
        return step
    if freq.strip() in _OF_BUSINESS_DAYS:
        return BUSINESS_DAYS
    if (found := _WITH_OPENING.fullmatch(freq)) is not None:
        return _with_opening(parse_frequency(found[1]), parse_opening(found[2]))
    parts = _DURATION.findall(freq)
    if not parts or "".join(number + unit for number, unit in parts) != freq:
        raise ValueError(_MUST_BE + _spelling_of(freq))
    if len(parts) > 1 and any(unit in MONTHS for _, unit in parts):
        raise ValueError("calendar units (mo, q, y) cannot be combined with others")
    if len(freq) > 100 or average_width(freq) > MOST_YEARS * _YEAR:
        raise ValueError(f"must be at most {MOST_YEARS} years")
    return freq


def open_frequency(freq: str | int, *, week: str | None = None, holidays: str | None = None) -> str | int:
    """Return a frequency with other opening times.

    Args:
        freq: A frequency that `parse_frequency` has returned.
        week: Days and hours, as `parse_week` reads them; those of the frequency where not given.
        holidays: Whose holidays are closed; those of the frequency where not given.

    Returns:
        The frequency; without opening times where nothing is closed.

    Raises:
        ValueError: The times cannot be read, or do not consist of whole steps.

    >>> open_frequency("1d", week="Mon-Sat"), open_frequency("1d Mon-Fri", week="Mon-Sun")
    ('1d Mon-Sat', '1d')
    """
    if week is None and holidays is None:
        return freq
    known = opening_of(freq) or Opening()
    opening = Opening(
        known.week if week is None else parse_week(week),
        known.holidays if holidays is None else check_holidays(holidays),
    )
    return _with_opening(step_of(freq), opening)


@lru_cache(maxsize=256)
def opening_of(freq: str | int) -> Opening | None:
    """Return when a grid of a frequency has points; None where it always has.

    >>> str(opening_of("1h Mon-Fri 08:00-18:00")), opening_of("1d")
    ('Mon-Fri 08:00-18:00', None)
    """
    found = _WITH_OPENING.fullmatch(str(freq))
    return None if found is None else parse_opening(found[2])


def step_of(freq: str | int) -> str | int:
    """Return a frequency without its opening times.

    >>> step_of("1d Mon-Fri"), step_of(7)
    ('1d', 7)
    """
    return freq if isinstance(freq, int) else freq.partition(" ")[0]


def learned_frequency(freq: str | int) -> str | int:
    """Return the frequency of the grid that models learn on, where holidays are gaps and weekdays keep their places.

    >>> learned_frequency("1d Mon-Fri closed DE"), learned_frequency("1d Mon-Sun closed DE"), learned_frequency("1h")
    ('1d Mon-Fri', '1d', '1h')
    """
    opening = opening_of(freq)
    return freq if opening is None else _with_opening(step_of(freq), Opening(opening.week))


def clock_of(freq: str | int) -> Clock:
    """Return what `ds` counts at a frequency: integer steps if the frequency is one, otherwise timestamps."""
    return "step" if isinstance(freq, int) else "timestamp"


def check_reach(freq: str | int, num_steps: int) -> None:
    """Check that a forecast stays within the range of dates and 64-bit integers.

    Args:
        freq: A frequency that `parse_frequency` has returned.
        num_steps: The number of grid points ahead.

    Raises:
        ValueError: The steps reach more than 5,000 years ahead, or beyond 10^18.
    """
    if isinstance(freq, int):
        if freq * num_steps > _MOST_REACHED_STEPS:
            raise ValueError(f"times the frequency {freq} must be at most 10^18")
    elif average_width(freq) * num_steps > _MOST_REACHED_YEARS * _YEAR:
        raise ValueError(f"steps of {freq} must reach at most {_MOST_REACHED_YEARS} years ahead")


def fixed_width(freq: str | int) -> int | None:
    """Return the distance of two grid points if it is always the same, but for what is closed between them.

    Args:
        freq: A frequency that `parse_frequency` has returned.

    Returns:
        Microseconds for a duration, steps for an integer step; None where the distance varies with the calendar.

    >>> fixed_width("1h30m"), fixed_width(7), fixed_width("1q")
    (5400000000, 7, None)
    """
    if isinstance(freq, int):
        return freq
    parts = _parts(freq)
    return None if parts[0][1] in MONTHS else sum(int(number) * UNITS[unit] for number, unit in parts)


def num_months(freq: str | int) -> int | None:
    """Return the distance of two grid points in months; None if the frequency is not one of months.

    >>> num_months("2q"), num_months("1w")
    (6, None)
    """
    parts = _parts(str(freq))
    return int(parts[0][0]) * MONTHS[parts[0][1]] if parts and parts[0][1] in MONTHS else None


def spell_width(width: int) -> str:
    """Write a number of microseconds, 1 or more, as a duration in the largest unit that divides it.

    >>> spell_width(900_000_000), spell_width(7 * DAY)
    ('15m', '1w')
    """
    unit = next(unit for unit in ("w", "d", "h", "m", "s", "ms", "us") if width % UNITS[unit] == 0)
    return f"{width // UNITS[unit]}{unit}"


def spell_months(months: int) -> str:
    """Write a number of months, 1 or more, as a duration in the largest unit that divides it.

    >>> spell_months(1), spell_months(3), spell_months(24)
    ('1mo', '1q', '2y')
    """
    unit = next(unit for unit in ("y", "q", "mo") if months % MONTHS[unit] == 0)
    return f"{months // MONTHS[unit]}{unit}"


def customary_seasons(freq: str | int) -> tuple[int, ...]:
    """Return the season lengths that are customary at a frequency, the first one first.

    These are the day and the week at five minutes or more, the hour and the day below; the week at days; and the year
    at weeks, months and quarters. Years have none, which is a season of 1. Days and weeks have their open steps.

    Args:
        freq: A frequency that `parse_frequency` has returned.

    Returns:
        Grid points of each season; empty where no season is customary, as for integer steps.

    >>> customary_seasons("1h"), customary_seasons("1m"), customary_seasons("1q"), customary_seasons("5h")
    ((24, 168), (60, 1440), (4,), ())
    """
    if isinstance(freq, int):
        return ()
    months, width = num_months(freq), fixed_width(freq)
    if (opening := opening_of(freq)) is not None:
        assert width is not None
        return _open_seasons(width, opening)
    if width is None:
        assert months is not None
        return (12 // months,) if 12 % months == 0 else (1,) if months % 12 == 0 else ()
    if width >= DAY:
        return {DAY: (7,), 7 * DAY: (52,), 14 * DAY: (26,)}.get(width, ())
    periods = (DAY, 7 * DAY) if width >= SHORTEST_OF_WEEKS else (UNITS["h"], DAY)
    seasons = tuple(period // width for period in periods)
    return seasons if all(period % width == 0 for period in periods) and max(seasons) <= LONGEST_SEASON else ()


def _open_seasons(width: int, opening: Opening) -> tuple[int, ...]:
    """Return the open steps of a day, where all open days have as many, and those of a week."""
    minute = UNITS["m"]
    counts = [sum(-((begin - end) * minute // width) for begin, end in hours) for hours in opening.week if hours]
    hour = [UNITS["h"] // width] if width < SHORTEST_OF_WEEKS and UNITS["h"] % width == 0 else []
    day = counts[:1] if width < DAY and len(set(counts)) == 1 else []
    week = [sum(counts)] if not hour and len(counts) > 1 else []
    return tuple(length for length in (*hour, *day, *week) if 1 < length <= LONGEST_SEASON)


def _with_opening(freq: str | int, opening: Opening) -> str | int:
    """Return a frequency with opening times; raise ValueError where it cannot have them."""
    if opening.is_always:
        return freq
    width = None if isinstance(freq, int) else fixed_width(freq)
    if width is None or DAY % width:
        raise ValueError("opening times (source.open, source.closed_holidays) need a frequency that divides a day")
    minutes = sorted(opening.beginnings)
    if width == DAY and opening.has_hours:
        raise ValueError(
            f"opening hours need a frequency below a day, such as '1h'; at {freq}, write days alone, such as"
            f" '{Opening(tuple(hours and ((0, MINUTES),) for hours in opening.week))}'"
        )
    if len({minute * UNITS["m"] % width for minute in minutes}) > 1:
        raise ValueError(f"opening times must begin whole steps of {freq} apart: {opening}")
    return f"{freq} {opening}"


def varies_within(freq: str | int, category: str) -> bool:
    """Return whether neighbouring grid points can differ in a calendar category.

    Args:
        freq: A frequency that `parse_frequency` has returned.
        category: `hour`, `weekday`, `month` or `holiday`.

    Returns:
        False if a grid point spans several values of the category, and for integer steps.

    >>> varies_within("1h", "weekday"), varies_within("1w", "weekday"), varies_within("1q", "month")
    (True, False, True)
    """
    if isinstance(freq, int):
        return False
    return average_width(freq) <= {"hour": UNITS["h"], "month": _YEAR // 2}.get(category, DAY)


def _spelling_of(freq: Any) -> str:
    """Return how to write a timedelta, or an offset of pandas, as the end of a message; empty for anything else.

    >>> _spelling_of("MS"), _spelling_of("W-SUN"), _spelling_of(timedelta(minutes=90)), _spelling_of("soon")
    ("; write '1mo'", "; write '1w'", "; write '90m'", '')
    """
    if isinstance(freq, timedelta):
        width = freq // timedelta(microseconds=1)
        return f"; write '{spell_width(width)}'" if width > 0 else ""
    found = re.fullmatch(r"([1-9]\d*)?([A-Za-z]+)(-[A-Z]{3})?", str(getattr(freq, "freqstr", freq)).strip(), re.ASCII)
    if found is not None and found[2] in ("B", "b", "C", "bh", "BH", "cbh"):
        unit = "1h" if found[2].lower().endswith("h") else "1b"
        return f"; write '{unit}', with source.open (--open) for other days or hours than those from Monday to Friday"
    if found is None or found[2] not in _OF_PANDAS:
        return ""
    return f"; write '{found[1] or 1}{_OF_PANDAS[found[2]]}'"


def average_width(duration: str) -> int:
    """Return the microseconds of a duration that `parse_frequency` accepts; months have the length of an average one.

    >>> average_width("1d") == DAY, average_width("12mo") == average_width("1y")
    (True, True)
    """
    sizes = UNITS | {unit: num * _YEAR // 12 for unit, num in MONTHS.items()}
    return sum(int(number) * sizes[unit] for number, unit in _parts(duration))


def _parts(freq: str) -> list[tuple[str, str]]:
    """Return the numbers and units of a duration, without opening times that follow it."""
    return _DURATION.findall(freq.partition(" ")[0])
