"""Categories of times and series: known dates, holidays, and missing values."""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from forecasting.errors import SpecError
from forecasting.series.categories import MISSING, Coded, calendar_values, code_panel
from forecasting.series.panel import to_panel
from forecasting.spec.categories import Categories


def times(*texts: str) -> npt.NDArray[np.datetime64]:
    return np.array([texts], dtype="datetime64[us]")


def named(coded: Coded | None, name: str) -> list[str | None]:
    """Return the values of a category of the only series."""
    assert coded is not None
    place = coded.names.index(name)
    return [None if code == MISSING else coded.values[place][code] for code in coded.code_SNK[0, :, place]]


def test_times_have_the_hour_weekday_and_month_of_their_wall_clock() -> None:
    ds_SN = times("1969-12-31T23:59", "1970-01-01T00:00", "2013-11-28T13:30", "NaT")
    coded = code_panel(ds_SN, [()], Categories(calendar=("hour", "weekday", "month")))
    assert named(coded, "hour") == ["23", "00", "13", None]
    assert named(coded, "weekday") == ["Wednesday", "Thursday", "Thursday", None]
    assert named(coded, "month") == ["December", "January", "November", None]


def test_holidays_are_those_of_the_country_and_its_subdivision() -> None:
    ds_SN = times("2013-11-28T13:00", "2013-11-29", "2013-07-04", "2013-07-05T23:00", "1066-10-14")
    american = code_panel(ds_SN, [()], Categories(calendar=("holiday",), country="US"))
    assert named(american, "holiday") == ["Thanksgiving Day", "none", "Independence Day", "none", "none"]
    epiphany = times("2024-01-06")
    german = Categories(calendar=("holiday",), country="DE")
    assert named(code_panel(epiphany, [()], german), "holiday") == ["none"]
    bavarian = Categories(calendar=("holiday",), country="DE", subdivision="BY")
    assert named(code_panel(epiphany, [()], bavarian), "holiday") == ["Epiphany"]


@pytest.mark.parametrize("country", ["AE", "ID", "CN", "UA", "US"])
def test_future_holidays_have_the_names_of_past_ones(country: str) -> None:
    """The library marks lunar dates as estimated, and substitute days with the dates that they replace."""
    categories = Categories(calendar=("holiday",), country=country)

    def names(first: str, last: str) -> set[str | None]:
        days = np.arange(first, last, dtype="datetime64[D]").astype("datetime64[us]")[None]
        return set(named(code_panel(days, [()], categories), "holiday"))

    assert names("2026", "2029") <= names("2008", "2025")
    assert None not in names("2008", "2029")


def test_vocabulary_of_holidays_does_not_depend_on_the_series() -> None:
    american = Categories(calendar=("holiday",), country="US")
    values = calendar_values("holiday", american)
    assert values[0] == "none"
    assert len(values) == len(set(values)) > 10
    short, long = (code_panel(times(*each), [()], american) for each in (("2020-01-01",), ("1990-01-01", "2030-01-01")))
    assert short is not None
    assert long is not None
    assert short.values == long.values == (values,)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"country": "XX"}, "categories.country: 'XX' must be the ISO 3166-1 code of a country"),
        ({"country": "DE", "subdivision": "QQ"}, "categories.subdivision: 'QQ' must be one of BB, BE"),
    ],
)
def test_country_without_known_holidays_is_refused(fields: dict[str, str], expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        code_panel(times("2024-01-06"), [()], Categories(calendar=("holiday",), **fields))


def test_panel_has_the_categories_of_its_series_and_keeps_them_when_cut() -> None:
    features = pl.DataFrame(
        {
            "unique_id": ["a", "a", "b", "b", "b"],
            "ds": [datetime(2024, 1, day) for day in (5, 6, 4, 5, 6)],
            "y": [1.0, 2.0, 3.0, 4.0, 5.0],
            **{name: [0.0] * 5 for name in ("week_sin", "week_cos", "year_sin", "year_cos")},
            "categories": [
                *[[{"name": "region", "value": "north"}]] * 2,
                *[[{"name": "class", "value": "7"}, {"name": "region", "value": "south"}]] * 3,
            ],
        }
    )
    categories = Categories(static=("region", "class"), calendar=("weekday",))
    panel = to_panel(features, freq="1d", horizon=2, unique_ids=["b", "a", "none"], categories=categories)
    assert panel.coded is not None
    assert panel.coded.names == ("weekday", "region", "class")
    assert panel.coded.code_SNK.shape == (3, 5, 3)
    rows = {name: panel.select(np.array([row])).coded for row, name in enumerate(panel.unique_ids)}
    assert named(rows["b"], "weekday") == ["Thursday", "Friday", "Saturday", "Sunday", "Monday"]
    assert named(rows["a"], "weekday")[0] is None
    assert named(rows["a"], "region") == ["north"] * 5, "before it begins, too"
    assert named(rows["a"], "class") == [None] * 5
    assert named(rows["b"], "class") == ["7"] * 5
    assert named(rows["none"], "region") == [None] * 5
    earlier = panel.until(2).coded
    assert earlier is not None
    np.testing.assert_array_equal(earlier.code_SNK, panel.coded.code_SNK[:, :3])


def test_panel_without_categories_has_no_codes() -> None:
    assert code_panel(times("2024-01-01"), [()], Categories()) is None
