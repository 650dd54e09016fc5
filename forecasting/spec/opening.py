"""Opening times: the days and hours of a week in which a grid has points, and the holidays on which it has none."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MINUTES = 24 * 60
"""Minutes of a day."""
Hours = tuple[tuple[int, int], ...]
"""Intervals of a day in minutes after midnight, sorted and disjoint; each begins before it ends."""

_ALL_DAY: Hours = ((0, MINUTES),)
_FULL_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MUST_BE = "must be days, or days and hours, such as 'Mon-Sat' or 'Mon-Fri 08:00-18:00; Sat 09:00-14:00'"
_CLOSED = re.compile(r"(?:^| )closed ([A-Z][A-Z0-9]{1,4}(?:-[A-Za-z0-9_]+)?)$")


@dataclass(frozen=True)
class Opening:
    """When something is open.

    Attributes:
        week: The hours of each day, from Monday; a closed day has none.
        holidays: Whose holidays are closed, such as `DE` or `DE-BY`; None closes no holiday.
    """

    week: tuple[Hours, ...] = (_ALL_DAY,) * 7
    holidays: str | None = None

    @property
    def is_always(self) -> bool:
        """Whether nothing is closed."""
        return self.holidays is None and all(hours == _ALL_DAY for hours in self.week)

    @property
    def has_hours(self) -> bool:
        """Whether a day is open for a part of it."""
        return any(hours not in ((), _ALL_DAY) for hours in self.week)

    @property
    def beginnings(self) -> set[int]:
        """The minutes at which days open."""
        return {begin for hours in self.week for begin, _ in hours}

    def __str__(self) -> str:
        closed = [] if self.holidays is None else [f"closed {self.holidays}"]
        return " ".join([spell_week(self.week), *closed])


@lru_cache(maxsize=64)
def parse_week(text: str) -> tuple[Hours, ...]:
    """Read the days and hours of a week, in a notation like that of OpenStreetMap's opening hours.

    Args:
        text: Days, hours or both, such as `Mon-Fri 08:00-12:00,13:00-17:00; Sat 09:00-14:00`.

    Returns:
        The hours of each day, from Monday.

    Raises:
        ValueError: The text is not that, or leaves no time open.

    >>> spell_week(parse_week("monday-friday 8:00-18:00; sa 09:00-14:00"))
    'Mon-Fri 08:00-18:00; Sat 09:00-14:00'
    """
    week: dict[int, Hours] = {}
    for rule in text.split(";"):
        found = re.fullmatch(r"\s*([A-Za-z][A-Za-z,\s-]*?)?\s*(\d[\d:,\s-]*)?", rule)
        if found is None or not any(found.groups()):
            raise ValueError(_MUST_BE)
        days = _read_days(found[1]) if found[1] else list(range(7))
        hours = _read_hours(found[2]) if found[2] else _ALL_DAY
        if twice := [WEEKDAYS[day] for day in days if day in week]:
            raise ValueError(f"gives {', '.join(twice)} twice")
        week |= dict.fromkeys(days, hours)
    return tuple(week.get(day, ()) for day in range(7))


def spell_week(week: Sequence[Hours]) -> str:
    """Write the hours of a week as text that `parse_week` reads.

    >>> spell_week(parse_week("Sun-Thu"))
    'Mon-Thu,Sun'
    """
    rules = []
    for hours in dict.fromkeys(week):
        if hours:
            days = spell_days([day for day in range(7) if week[day] == hours])
            spans = ",".join(f"{_spell_minute(begin)}-{_spell_minute(end)}" for begin, end in hours)
            rules.append(days if hours == _ALL_DAY else f"{days} {spans}")
    return "; ".join(rules)


def spell_days(days: Sequence[int]) -> str:
    """Write days, numbered from Monday and sorted, as ranges.

    >>> spell_days([0, 1, 2, 5]), spell_days([6])
    ('Mon-Wed,Sat', 'Sun')
    """
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ",".join(WEEKDAYS[run[0]] + (f"-{WEEKDAYS[run[-1]]}" if len(run) > 1 else "") for run in runs)


@lru_cache(maxsize=64)
def parse_opening(text: str) -> Opening:
    """Read what `str` of an opening writes. Raises ValueError for anything else.

    >>> parse_opening("Mon-Fri closed DE-BY").holidays
    'DE-BY'
    """
    closed = _CLOSED.search(text)
    week = text if closed is None else text[: closed.start()]
    return Opening(parse_week(week), None if closed is None else check_holidays(closed[1]))


def check_holidays(code: str) -> str:
    """Return the code of a country, of its part or of a market; raise ValueError for anything else."""
    if not _CLOSED.search(f"closed {code}"):
        raise ValueError("must be a country such as 'DE', a part of it such as 'DE-BY', or a market such as 'XNYS'")
    return code


def _read_days(text: str) -> list[int]:
    days: list[int] = []
    for part in text.split(","):
        first, dash, last = (each.strip().lower() for each in part.partition("-"))
        numbers = [_day_of(first), _day_of(last or first)]
        days += [(numbers[0] + step) % 7 for step in range((numbers[1] - numbers[0]) % 7 + 1)]
        if dash and not last:
            raise ValueError(_MUST_BE)
    if len(set(days)) < len(days):
        raise ValueError("gives a day twice")
    return days


def _day_of(name: str) -> int:
    for day, full in enumerate(_FULL_NAMES):
        if name in (full, full[:3], full[:2]):
            return day
    raise ValueError(_MUST_BE)


def _read_hours(text: str) -> Hours:
    spans = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)\s*", part)
        if found is None or int(found[2]) > 59 or int(found[4]) > 59:
            raise ValueError(_MUST_BE)
        begin, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
        if begin >= end or end > MINUTES:
            raise ValueError(
                f"has {part.strip()}, which must end after it begins and by 24:00; a night is two parts, such as"
                " 00:00-06:00,22:00-24:00"
            )
        spans.append((begin, end))
    spans.sort()
    merged = spans[:1]
    for begin, end in spans[1:]:
        if begin < merged[-1][1]:
            raise ValueError(f"has hours that overlap: {text.strip()}")
        if begin == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return tuple(merged)


def _spell_minute(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
