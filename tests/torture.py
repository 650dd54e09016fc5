"""A CSV file of awkward series and rows, and what is expected of each kind.

Everything is daily, with a season of a week. `CASES` holds the kinds by name; `write_csv` writes them into one file
whose rows are shuffled by a seed.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import sin
from pathlib import Path

END = date(2024, 6, 28)
"""The newest day of most series."""
HORIZON, SEASON = 7, 7
HEADER = "item,day,sold"

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """A series with something awkward about it, or rows that no series can be found for.

    Attributes:
        rows: Day and measurement of each row, as text.
        lines: Further lines of the file as they are.
        name: The series; None where the case's own name is the series.
        is_special: Whether the product must give a reason for how it treats the series or the rows.
    """

    rows: Rows
    lines: tuple[str, ...] = ()
    name: str | None = None
    is_special: bool = False


def day(back: int) -> str:
    """Return the day so many days before the newest one."""
    return (END - timedelta(days=back)).isoformat()


def wave(index: int) -> float:
    """Return a value with a weekly season, a slow trend and a little noise that looks random."""
    return 50 + 10 * sin(index * 2 * 3.14159265 / SEASON) + 0.05 * index + 3 * sin(index * index)


def series(
    value: Callable[[int], float | str], *, num: int = 120, until: int = 0, skip: Callable[[int], bool] | None = None
) -> Rows:
    """Return rows of `num` days up to `until` days before the newest one."""
    rows = []
    for index in range(num):
        if skip is None or not skip(index):
            measured = value(index)
            rows.append((day(until + num - 1 - index), measured if isinstance(measured, str) else repr(measured)))
    return rows


def replaced(*edits: tuple[int, str | None, str | None]) -> Rows:
    """Return an ordinary series with other texts for the day or the measurement at some places."""
    rows = series(wave)
    for place, when, measured in edits:
        old_day, old_value = rows[place]
        rows[place] = (old_day if when is None else when, old_value if measured is None else measured)
    return rows


def with_rows(*rows: tuple[str, str]) -> Rows:
    """Return an ordinary series and some more rows."""
    return [*series(wave), *rows]


GOOD: Mapping[str, Case] = {
    "good weekly": Case(series(wave)),
    "good rising": Case(series(lambda index: 10 + 0.3 * index + sin(index * index))),
    "good counts": Case(series(lambda index: float(round(8 + 5 * sin(index * 0.9) + 2 * sin(index * index))))),
    "good negative": Case(series(lambda index: -wave(index))),
}
"""Series whose forecasts must not depend on the others."""

VALUES: Mapping[str, Case] = {
    "constant": Case(series(lambda _: 5.0), is_special=True),
    "all zero": Case(series(lambda _: 0.0), is_special=True),
    "all null": Case(series(lambda _: ""), is_special=True),
    "one point": Case(series(wave, num=1), is_special=True),
    "two points": Case(series(wave, num=2), is_special=True),
    "three points": Case(series(wave, num=3), is_special=True),
    "one season": Case(series(wave, num=7), is_special=True),
    "one season and a day": Case(series(wave, num=8), is_special=True),
    "two seasons": Case(series(wave, num=14), is_special=True),
    "three weeks": Case(series(wave, num=21)),
    "one value, then nulls": Case(series(lambda index: "3.5" if index == 60 else ""), is_special=True),
    "constant, then a jump": Case(series(lambda index: 1.0 if index < 119 else 100.0)),
    "tiny": Case(series(lambda index: 1e-12 * wave(index))),
    "huge": Case(series(lambda index: 1e15 * wave(index))),
    "denormal": Case(series(lambda _: "5e-324"), is_special=True),
    "largest float": Case(replaced((80, None, "1.7976931348623157e308")), is_special=True),
    "one 1e300": Case(replaced((90, None, "1e300")), is_special=True),
    "newest is 1e300": Case(replaced((119, None, "1e300")), is_special=True),
    "all 1e300": Case(series(lambda index: 1e300 * wave(index))),
    "twenty decades": Case(series(lambda index: 10.0 ** (index % 20 - 10))),
    "level far above its noise": Case(series(lambda index: 1e12 + wave(index))),
    "exponential": Case(series(lambda index: 1.1**index)),
    "alternating": Case(series(lambda index: float(index % 2))),
    "exact season": Case(series(lambda index: float(index % SEASON))),
    "a spike": Case(replaced((100, None, "5000"))),
    "a step": Case(series(lambda index: 10.0 + sin(index) if index < 60 else 90.0 + sin(index))),
    "rare demand": Case(series(lambda index: float(index % 11 == 0))),
    "one sale": Case(series(lambda index: float(index == 70))),
    "zero but for the newest": Case(series(lambda index: float(index == 119))),
    "zero since a month": Case(series(lambda index: wave(index) if index < 90 else 0.0)),
    "negative zero": Case(series(lambda index: -0.0 if index % 2 else 1.0)),
    "nulls here and there": Case(series(lambda index: "" if index % 9 == 0 else repr(wave(index)))),
    "nulls at the end": Case(series(lambda index: "" if index > 116 else repr(wave(index)))),
    "nulls at the beginning": Case(series(lambda index: "" if index < 30 else repr(wave(index)))),
    "every other day null": Case(series(lambda index: "" if index % 2 else repr(wave(index)))),
}

ABSENT: Mapping[str, Case] = {
    "a month is absent": Case(series(wave, skip=lambda index: 50 <= index < 80)),
    "weekends are absent": Case(series(wave, skip=lambda index: (END - timedelta(days=119 - index)).weekday() > 4)),
    "most is absent": Case(series(wave, skip=lambda index: index % 10 != 0 and index != 119)),
    "lags by two days": Case(series(wave, num=118, until=2)),
    "lags by ten days": Case(series(wave, num=110, until=10)),
    "ended a year ago": Case(series(wave, until=400)),
    "began last week": Case(series(wave, num=6), is_special=True),
    "two islands": Case([*series(wave, num=40, until=300), *series(wave, num=60)]),
    "first row ten years before": Case([("2014-01-01", "50"), *series(wave)]),
}

NUMBERS: Mapping[str, Case] = {
    "written nan": Case(replaced((70, None, "NaN"))),
    "written inf": Case(replaced((70, None, "inf")), is_special=True),
    "written minus infinity": Case(replaced((70, None, "-Infinity")), is_special=True),
    "word": Case(replaced((70, None, "closed")), is_special=True),
    "dash": Case(replaced((70, None, "-")), is_special=True),
    "null word": Case(replaced((70, None, "NULL")), is_special=True),
    "thousands sign": Case(replaced((70, None, '"1,231.17"')), is_special=True),
    "decimal comma": Case(replaced((70, None, '"1231,17"')), is_special=True),
    "apostrophe": Case(replaced((70, None, "1'231.17")), is_special=True),
    "currency": Case(replaced((70, None, "$51.20")), is_special=True),
    "percent": Case(replaced((70, None, "51.2%")), is_special=True),
    "unit": Case(replaced((70, None, "51 kg")), is_special=True),
    "hexadecimal": Case(replaced((70, None, "0x1F")), is_special=True),
    "underscore": Case(replaced((70, None, "1_000")), is_special=True),
    "full-width digits": Case(replaced((70, None, "５１")), is_special=True),
    "two numbers": Case(replaced((70, None, "51 52")), is_special=True),
    "boolean": Case(replaced((70, None, "true")), is_special=True),
    "plus sign": Case(replaced((70, None, "+51.5"))),
    "blanks around": Case(replaced((70, None, "  51.5 "))),
    "exponent": Case(replaced((70, None, "5.15E+01"))),
    "too large for a float": Case(replaced((70, None, "1e999")), is_special=True),
    "newest is a word": Case(replaced((119, None, "closed")), is_special=True),
    "a tenth are words": Case(replaced(*((place, None, "n/a?") for place in range(5, 120, 10))), is_special=True),
    "all are words": Case(series(lambda _: "closed"), is_special=True),
}

TIMES: Mapping[str, Case] = {
    "newest first": Case(series(wave)[::-1]),
    "time of day on every row": Case([(f"{when} 00:00:00", value) for when, value in series(wave)]),
    "month end at 24:00": Case(replaced((70, f"{day(50)} 24:00:00", None))),
    "time missing": Case(with_rows(("", "50")), is_special=True),
    "time is a word": Case(with_rows(("yesterday", "50")), is_special=True),
    "30 February": Case(with_rows(("2024-02-30", "50")), is_special=True),
    "month 13": Case(with_rows(("2024-13-01", "50")), is_special=True),
    "leap day of 2023": Case(with_rows(("2023-02-29", "50")), is_special=True),
    "year 0": Case(with_rows(("0000-01-01", "50")), is_special=True),
    "year 1": Case(with_rows(("0001-01-01", "50")), is_special=True),
    "year 1900": Case(with_rows(("1900-01-01", "50")), is_special=True),
    "year 2203": Case(with_rows(("2203-12-01", "50")), is_special=True),
    "year 9999": Case(with_rows(("9999-12-31", "50")), is_special=True),
    "year 20240": Case(with_rows(("20240-06-01", "50")), is_special=True),
    "day first": Case(with_rows(("28.02.2024", "50")), is_special=True),
    "slashes": Case(with_rows(("05/06/2024", "50")), is_special=True),
    "seconds since 1970": Case(with_rows(("1717200000", "50")), is_special=True),
    "week": Case(with_rows(("2024-W20", "50")), is_special=True),
    "repeats a row": Case([*series(wave), *series(wave)[50:52]], is_special=True),
    "another value for a day": Case(with_rows((day(40), "9999")), is_special=True),
    "noon of another day": Case(replaced((70, f"{day(49)} 12:00:00", None))),
    "two times in a day": Case(with_rows((f"{day(40)} 12:00:00", "9999")), is_special=True),
    "newest is in the future": Case(with_rows(("2999-01-01", "50")), is_special=True),
}

NAMES: Mapping[str, Case] = {
    "comma": Case(series(wave), name="salt, pepper"),
    "quotes": Case(series(wave), name='12" pipe'),
    "line break": Case(series(wave), name="two\nlines"),
    "apostrophe name": Case(series(wave), name="O'Brien'; DROP TABLE forecasts; --"),
    "path": Case(series(wave), name="../../etc/passwd"),
    "slash": Case(series(wave), name="a/b\\c"),
    "emoji": Case(series(wave), name="🥐 croissant"),
    "right to left": Case(series(wave), name="קפה"),
    "long name": Case(series(wave), name="x" * 500),
    "number": Case(series(wave), name="101"),
    "percent name": Case(series(wave), name="%s {0} $HOME"),
    "formula": Case(series(wave), name="=1+1"),
    "star": Case(series(wave), name="*"),
    "tab": Case(series(wave), name="a\tb"),
    "word null": Case(series(wave), name="null"),
    "word nan": Case(series(wave), name="nan"),
    "hash": Case(series(wave), name="# comment"),
    "upper case": Case(series(wave), name="GOOD weekly", is_special=True),
    "decomposed": Case(series(wave), name="Cafe\u0301", is_special=True),
    "composed": Case(series(wave), name="Caf\u00e9", is_special=True),
    "empty name": Case([(day(3), "50")], name="", is_special=True),
    "blank name": Case([(day(3), "50")], name="   ", is_special=True),
}

LINES: Mapping[str, Case] = {
    "too many fields": Case([], (f"good weekly,{day(200)},1,2",), is_special=True),
    "too few fields": Case([], (f"good weekly,{day(201)}",), is_special=True),
    "one field": Case([], ("total",), is_special=True),
    "stray quote": Case([], (f'good weekly,{day(202)},5"0',), is_special=True),
    "header again": Case([], (HEADER,), is_special=True),
    "comment": Case([], ("# exported by hand",), is_special=True),
}

CASES: Mapping[str, Case] = {**GOOD, **VALUES, **ABSENT, **NUMBERS, **TIMES, **NAMES, **LINES}


def name_of(label: str) -> str:
    """Return the series of a case."""
    name = CASES[label].name
    return label if name is None else name


def write_csv(path: Path, labels: Iterable[str] = CASES, *, seed: int = 0) -> int:
    """Write the rows of some cases as a CSV file, shuffled, and return how many there are."""
    lines = []
    for label in labels:
        case = CASES[label]
        lines += [",".join((_quoted(name_of(label)), when, value)) for when, value in case.rows]
        lines += case.lines
    random.Random(seed).shuffle(lines)
    path.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return len(lines)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(sign in name for sign in ',"\n#') else name
