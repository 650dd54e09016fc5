"""Categories of a panel as integer codes: calendar categories of its times and static categories of its series.

Calendar categories are those of the naive wall clock of `ds`. Holidays come from the library `holidays`, with English
names where it has them.
"""

# S series · N grid points · K categories

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from forecasting.errors import SpecError
from forecasting.series.holiday_calendar import NEWEST_YEAR, OLDEST_YEAR, load_holidays, names_by_day
from forecasting.spec.categories import Categories

MISSING = -1
"""Code of a holiday outside the vocabulary, of a series without a value, and of times before a series begins."""

NO_HOLIDAY = "none"
FIRST_YEAR, LAST_YEAR = 1990, 2049
"""First and last year whose holidays make up the vocabulary, which is thereby the same for all series."""

_HOURS = tuple(f"{hour:02d}" for hour in range(24))
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


@dataclass(frozen=True)
class Coded:
    """The categories of a panel.

    Attributes:
        names: The names of K categories.
        values: The values of each category.
        code_SNK: Indices into the values of each category, (S, N, K) int32; `MISSING` for no value.
    """

    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    code_SNK: npt.NDArray[np.int32]

    def columns(self, part: slice) -> Self:
        """Return the categories of some of the grid points."""
        return replace(self, code_SNK=self.code_SNK[:, part])

    def rows(self, rows_S: npt.NDArray[np.int64]) -> Self:
        """Return the categories of some of the series, in the order of `rows_S`."""
        return replace(self, code_SNK=self.code_SNK[rows_S])


def code_panel(
    ds_SN: npt.NDArray[np.generic], static_SK: Sequence[Sequence[str | None]], categories: Categories
) -> Coded | None:
    """Encode the categories of a panel's grid.

    Args:
        ds_SN: The grid points, (S, N) datetime64[us]; NaT before a series begins.
        static_SK: Each series' values of the static categories, in the order of `categories.static`. They also apply
            before the series begins.
        categories: The categories to encode.

    Returns:
        The codes, calendar categories first; None if the spec has no categories.
    """
    if not (categories.calendar or categories.static):
        return None
    values: list[tuple[str, ...]] = []
    codes: list[npt.NDArray[np.int32]] = []
    for name in categories.calendar:
        known = calendar_values(name, categories)
        codes.append(_calendar_codes(name, ds_SN, known, categories))
        values.append(known)
    for place in range(len(categories.static)):
        of_series = [series[place] for series in static_SK]
        known = tuple(sorted({value for value in of_series if value is not None}))
        number = {value: code for code, value in enumerate(known)}
        code_S = np.array([MISSING if value is None else number[value] for value in of_series], dtype=np.int32)
        codes.append(np.broadcast_to(code_S[:, None], ds_SN.shape))
        values.append(known)
    return Coded((*categories.calendar, *categories.static), tuple(values), np.stack(codes, axis=-1))


def calendar_values(name: str, categories: Categories) -> tuple[str, ...]:
    """Return the values of a calendar category.

    Args:
        name: `hour`, `weekday`, `month` or `holiday`.
        categories: The spec's categories, with the country of the holidays.

    Returns:
        The values in the order of their codes; holidays follow "none", the most frequent ones first.

    Raises:
        SpecError: The country's holidays are not known.

    >>> calendar_values("weekday", Categories(calendar=("weekday",)))[:2]
    ('Monday', 'Tuesday')
    """
    if name == "holiday":
        named = _holidays(categories.country or "", categories.subdivision, FIRST_YEAR, LAST_YEAR)
        names, counts = np.unique(list(named.values()), return_counts=True)
        frequent = sorted(zip(-counts, names.tolist(), strict=True))
        return (NO_HOLIDAY, *(holiday for _, holiday in frequent))
    return {"hour": _HOURS, "weekday": _WEEKDAYS, "month": _MONTHS}[name]


def check_categories(categories: Categories) -> None:
    """Raise SpecError if the holidays of the spec's country or subdivision are not known."""
    if categories.country is not None:
        _holidays(categories.country, categories.subdivision, FIRST_YEAR, LAST_YEAR)


def _calendar_codes(
    name: str, ds_SN: npt.NDArray[np.generic], known: tuple[str, ...], categories: Categories
) -> npt.NDArray[np.int32]:
    is_missing_SN = np.isnat(ds_SN)
    safe_SN = np.where(is_missing_SN, np.datetime64("1970-01-01", "us"), ds_SN)
    if name == "hour":
        code_SN = safe_SN.astype("datetime64[h]").astype(np.int64) % 24
    elif name == "month":
        code_SN = safe_SN.astype("datetime64[M]").astype(np.int64) % 12
    else:
        day_SN = safe_SN.astype("datetime64[D]").astype(np.int64)
        # 1970 began on a Thursday.
        code_SN = (day_SN + 3) % 7 if name == "weekday" else _holiday_codes(day_SN, known, categories)
    return np.where(is_missing_SN, MISSING, code_SN).astype(np.int32)


def _holiday_codes(
    day_SN: npt.NDArray[np.int64], known: tuple[str, ...], categories: Categories
) -> npt.NDArray[np.int64]:
    """Return the holiday codes of days since 1970; a holiday outside the vocabulary is `MISSING`."""
    first, last = int(day_SN.min(initial=0)), int(day_SN.max(initial=0))
    years = np.array([first, last], dtype="datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    from_year, until_year = np.clip(years, OLDEST_YEAR, NEWEST_YEAR).tolist()
    named = _holidays(categories.country or "", categories.subdivision, from_year, until_year)
    number = {value: code for code, value in enumerate(known)}
    code_D = np.zeros(last - first + 1, dtype=np.int64)
    for day, holiday in named.items():
        if first <= day <= last:
            code_D[day - first] = number.get(holiday, MISSING)
    return code_D[day_SN - first]


@lru_cache(maxsize=16)
def _holidays(country: str, subdivision: str | None, first_year: int, last_year: int) -> dict[int, str]:
    """Return the names of holidays by day since 1970; of several holidays on one day, the first."""
    import holidays

    supported = holidays.list_supported_countries(include_aliases=False)
    if country not in supported:
        needed = "must be the ISO 3166-1 code of a country whose holidays are known, such as US or GB"
        raise SpecError("categories.country", [f"'{country}' {needed}"])
    if subdivision is not None and subdivision not in supported[country]:
        known = ", ".join(supported[country])
        needed = f"must be one of {known}" if known else f"must be left out, because {country} has no subdivisions"
        raise SpecError("categories.subdivision", [f"'{subdivision}' {needed}"])
    code = country if subdivision is None else f"{country}-{subdivision}"
    return names_by_day(load_holidays(code, first_year, last_year))
