"""The holidays of a country, of its part or of a market: their names by day, and the working days between them.

Names are English where the library `holidays` has them.
"""

# D consecutive days

import re
import warnings
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from holidays import HolidayBase

OLDEST_YEAR, NEWEST_YEAR = 1800, 2200
"""First and last year that have holidays at all."""

IntArray = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class HolidayCalendar:
    """Consecutive days.

    Attributes:
        first: The first one, in days since 1970.
        name_D: The name of the holiday on each day, of several the first; None on other days.
        is_weekend_D: Whether a day lies in the weekend.
        is_working_D: Whether a day is a working day: neither a holiday nor in a weekend, unless work has moved there.
    """

    first: int
    name_D: npt.NDArray[np.object_]
    is_weekend_D: Marks
    is_working_D: Marks


def find_calendar(code: str, first_day: int, last_day: int) -> HolidayCalendar:
    """Return the calendar of a code over whole years.

    Args:
        code: Such as `DE`, `DE-BY` or `XNYS`.
        first_day: A day since 1970.
        last_day: A later one.

    Returns:
        All days of these years, and of a year before and after. Years before 1800 and after 2200 have no holidays.

    Raises:
        ValueError: The code is not known.
    """
    years = np.array([first_day, last_day], dtype="datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return _find_calendar(code, max(int(years[0]) - 1, 1), min(int(years[1]) + 1, 9998))


@lru_cache(maxsize=256)
def _find_calendar(code: str, first_year: int, last_year: int) -> HolidayCalendar:
    found = load_holidays(code, first_year, last_year)
    first, end = _first_day(first_year), _first_day(last_year + 1)
    number_D = np.arange(first, end)
    name_D = np.full(end - first, None, dtype=object)
    for day, name in names_by_day(found).items():
        if first <= day < end:
            name_D[day - first] = name
    is_weekend_D = np.isin((number_D + 3) % 7, list(found.weekend))  # 1970 began on a Thursday
    has_holidays_D = (number_D >= _first_day(OLDEST_YEAR)) & (number_D < _first_day(NEWEST_YEAR + 1))
    days = number_D[has_holidays_D].astype("datetime64[D]").tolist()
    is_weekend_D[has_holidays_D] = [found.is_weekend(day) for day in days]  # weekends of some countries have changed
    is_moved_D = np.isin(number_D, [_number(day) for day in found.weekend_workdays])
    is_free_D = np.array([name is not None for name in name_D], dtype=bool) | is_weekend_D
    return HolidayCalendar(first, name_D, is_weekend_D, ~is_free_D | is_moved_D)


def load_holidays(code: str, first_year: int, last_year: int) -> "HolidayBase":
    """Return the holidays of some years.

    Args:
        code: Such as `DE`, `DE-BY` or `XNYS`.
        first_year: The first year.
        last_year: The last year.

    Returns:
        The library's holidays, with English names where it has them.

    Raises:
        ValueError: The code is not known; the message begins with what it must be.
    """
    import holidays

    years = range(max(first_year, OLDEST_YEAR), min(last_year, NEWEST_YEAR) + 1)
    country, _, part = code.partition("-")
    markets = holidays.list_supported_financial(include_aliases=True)
    countries = holidays.list_supported_countries(include_aliases=False)
    with warnings.catch_warnings():  # about years without any holidays
        warnings.simplefilter("ignore", UserWarning)
        if code in markets or code in {alias for names in markets.values() for alias in names}:
            return holidays.financial_holidays(code, years=years)
        if country in countries and (not part or part in countries[country]):
            languages = holidays.list_localized_countries(include_aliases=False).get(country, [])
            language = next((name for name in ("en_US", "en") if name in languages), None)
            return holidays.country_holidays(country, subdiv=part or None, years=years, language=language)
    parts = countries.get(country)
    if parts:
        known = f"; {country} has the parts {', '.join(parts)}"
    elif country in countries:
        known = f"; {country} has no parts"
    else:
        known = f": {', '.join([*countries, *markets])}"
    raise ValueError(f"must be a country such as DE, or a market such as XNYS, whose holidays are known{known}")


def names_by_day(found: "HolidayBase") -> dict[int, str]:
    """Return the usual names of holidays by day since 1970; of several holidays on one day, the first."""
    return {_number(day): usual_name(found.get_list(day)[0]) for day in sorted(found)}


def usual_name(holiday: str) -> str:
    """Return the name of a holiday without the remarks that apply to single years.

    >>> usual_name("Eid al-Fitr (observed, estimated)"), usual_name("Day off (substituted from 02/12/2011)")
    ('Eid al-Fitr (observed)', 'Day off')
    """
    return re.sub(r" \(estimated\)|,? ?estimated(?=\))| \(substituted from [^)]*\)", "", holiday)


def _number(day: date) -> int:
    return int(np.datetime64(day, "D").astype(int))


def _first_day(year: int) -> int:
    return _number(date(year, 1, 1))
