"""Frequencies: text or a number goes in; the form that Polars takes, and how far many of its steps reach, come out."""

import re

DAY = 86_400_000_000
"""Microseconds of a day."""
UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": DAY, "w": 7 * DAY}
MONTHS = {"mo": 1, "q": 3, "y": 12}
LARGEST_STEP = 10**15
"""Largest step from one grid point to the next, and largest distance of a grid point from 0."""
MOST_YEARS = 1_000
"""Years from one grid point to the next, at most."""

_YEAR = 31_556_952_000_000
"""Microseconds of a year of the Gregorian calendar, on average."""
_MOST_REACHED_YEARS, _MOST_REACHED_STEPS = 5_000, 10**18
"""Python's dates end with the year 9999, 64 bits with 9 × 10^18; data may begin in the year 2999 or at 10^15."""
_DURATION = re.compile(r"([1-9]\d*)(us|ms|mo|s|m|h|d|w|q|y)", re.ASCII)


def parse_frequency(freq: str | int) -> str | int:
    """Return a frequency in the form that Polars takes: a duration such as `1h`, `15m`, `1mo`, or an integer step.

    A string of digits is an integer step. Raises ValueError for anything else, for zero and negative values, and for
    steps beyond any data.
    """
    if isinstance(freq, bool) or not isinstance(freq, (str, int)):
        raise ValueError("must be a duration such as '1h', '1d', '1w' or '1mo', or an integer step such as 1")
    if isinstance(freq, int) or freq.strip().isdecimal():
        # Python converts no more than 4300 digits.
        step = LARGEST_STEP + 1 if isinstance(freq, str) and len(freq.strip().lstrip("0")) > 16 else int(freq)
        if not 1 <= step <= LARGEST_STEP:
            raise ValueError("an integer step must be 1 or more" + (" and at most 10^15" if step > 1 else ""))
        return step
    parts = _DURATION.findall(freq)
    if not parts or "".join(number + unit for number, unit in parts) != freq:
        raise ValueError(
            "must be a duration such as '1h', '15m', '1d', '1w', '1mo' or '1q', or an integer step such as 1"
        )
    if len(parts) > 1 and any(unit in MONTHS for _, unit in parts):
        raise ValueError("calendar units (mo, q, y) cannot be combined with others")
    if len(freq) > 100 or _width(freq) > MOST_YEARS * _YEAR:
        raise ValueError(f"must be at most {MOST_YEARS} years")
    return freq


def check_reach(freq: str | int, num_steps: int) -> None:
    """Raise ValueError where so many steps of a frequency would leave what dates and numbers can be."""
    if isinstance(freq, int):
        if freq * num_steps > _MOST_REACHED_STEPS:
            raise ValueError(f"times the frequency {freq} must be at most 10^18")
    elif _width(freq) * num_steps > _MOST_REACHED_YEARS * _YEAR:
        raise ValueError(f"steps of {freq} must reach at most {_MOST_REACHED_YEARS} years ahead")


def varies_within(freq: str | int, category: str) -> bool:
    """Return whether a category of times may be another at the next grid point, but is the same for whole stretches.

    >>> varies_within("1h", "weekday"), varies_within("1w", "weekday"), varies_within("1q", "month")
    (True, False, True)
    """
    if isinstance(freq, int):
        return False
    return _width(freq) <= {"hour": UNITS["h"], "month": _YEAR // 2}.get(category, DAY)


def _width(duration: str) -> int:
    """Return the microseconds of a duration, of a month those of an average one."""
    sizes = UNITS | {unit: num * _YEAR // 12 for unit, num in MONTHS.items()}
    return sum(int(number) * sizes[unit] for number, unit in _DURATION.findall(duration))
