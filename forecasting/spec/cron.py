"""The check of cron expressions: a refused expression is reported with the field that no scheduler can read.

The grammar is Airflow's: that of croniter, without seconds, years and hashes. Croniter itself cannot be used, because
it is installed only with Airflow.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: Mapping[str, int] = {}


_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)
_DAY, _MONTH, _WEEKDAY = _FIELDS[2:]
_ITEM = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?", re.ASCII)
_NTH_WEEKDAY = re.compile(r"(?:l(?P<last>\w+)|(?P<nth>\w+)#[1-5])", re.ASCII)
_LONGEST_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def check_cron(cron: str) -> str:
    """Check that a cron expression can be read and comes due at some time.

    Args:
        cron: Five fields, or one of `PRESETS`.

    Returns:
        The expression unchanged.

    Raises:
        ValueError: A field cannot be read, or the expression never comes due.

    >>> check_cron("*/15 6-22 * * MON-FRI")
    '*/15 6-22 * * MON-FRI'
    """
    if cron in PRESETS:
        return cron
    texts = cron.split()
    if len(texts) != len(_FIELDS):
        raise ValueError(
            f"must be a cron expression of five fields such as '0 6 * * *', or one of {', '.join(PRESETS)}"
        )
    problems = [
        f"cron field '{text}' ({field.name}) {problem}"
        for field, text in zip(_FIELDS, texts, strict=True)
        if (problem := _find_problem(field, text.casefold()))
    ]
    if problems:
        raise ValueError("; ".join(problems))
    _refuse_date_that_never_comes(*(text.casefold() for text in texts[2:]))
    return cron


def _find_problem(field: _Field, text: str) -> str | None:
    if text == "?" and field in (_DAY, _WEEKDAY):
        return None
    items = text.split(",")
    if "" in items:
        return "has an empty item"
    nth = [match for item in items if field is _WEEKDAY and (match := _NTH_WEEKDAY.fullmatch(item))]
    if nth and len(nth) < len(items):
        return "must not mix days of the week with the last or the nth of a month"
    if nth:
        values = [match["last"] or match["nth"] for match in nth]
        return next((problem for value in values if (problem := _find_value_problem(field, value))), None)
    return next((problem for item in items if (problem := _find_item_problem(field, item))), None)


def _find_item_problem(field: _Field, item: str) -> str | None:
    if item == "l" and field is _DAY:
        return None
    match = _ITEM.fullmatch(item)
    if match is None:
        return f"cannot be read: '{item}' is not a value, a range or a step such as 5, 1-5 or */5"
    if match["step"] is not None and int(match["step"]) == 0:
        return "must have a step of 1 or more"
    values = (value for value in match.group("first", "last") if value is not None)
    return next((problem for value in values if (problem := _find_value_problem(field, value))), None)


def _find_value_problem(field: _Field, value: str) -> str | None:
    if value.isdecimal():
        return None if field.low <= int(value) <= field.high else f"must lie between {field.low} and {field.high}"
    if value in field.names:
        return None
    known = f"; names are {', '.join(name.upper() for name in field.names)}" if field.names else ""
    return f"cannot be read: '{value}' is not a number between {field.low} and {field.high}{known}"


def _refuse_date_that_never_comes(days: str, months: str, weekdays: str) -> None:
    """Raise ValueError if none of the months has the days; days of the week make an expression due by themselves."""
    is_every_weekday = weekdays == "?" or "*" in weekdays.split(",")
    if not is_every_weekday or days == "?" or "l" in days.split(","):
        return
    first_day = min(min(_span(_DAY, item)) for item in days.split(","))
    named = {month for item in months.split(",") for month in _span(_MONTH, item)}
    if first_day > max(_LONGEST_MONTHS.get(month, 31) for month in named):
        raise ValueError(f"day {first_day} never comes in the months of cron field '{months}'")


def _span(field: _Field, item: str) -> list[int]:
    """List the values of an item; a range may wrap around the end of its field."""
    match = _ITEM.fullmatch(item)
    assert match is not None, "items are checked first"
    numbers = [_number(field, value) for value in match.group("first", "last") if value is not None]
    step = int(match["step"] or 1)
    if not numbers:
        return list(range(field.low, field.high + 1, step))
    first = numbers[0]
    last = numbers[1] if len(numbers) > 1 else field.high if match["step"] else first
    size = field.high - field.low + 1
    return [(value - field.low) % size + field.low for value in range(first, last + size * (last < first) + 1, step)]


def _number(field: _Field, value: str) -> int:
    return int(value) if value.isdecimal() else field.names[value]
