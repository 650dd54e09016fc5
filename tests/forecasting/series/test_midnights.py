"""The zone of days that are stored as midnights in UTC."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import forecasting as fc
from forecasting.series.midnights import find_zone


def midnights(zone: str, first: datetime, num: int, *, hour: int = 0) -> pl.Series:
    days = [(first + timedelta(days=number)).replace(hour=hour, tzinfo=ZoneInfo(zone)) for number in range(num)]
    return pl.Series([day.astimezone(UTC).replace(tzinfo=None) for day in days])


@pytest.mark.parametrize("zone", ["Europe/Paris", "Europe/London", "America/New_York", "Australia/Sydney"])
def test_zone_of_midnights_has_their_clock_changes(zone: str) -> None:
    found = find_zone(midnights(zone, datetime(2022, 1, 1), 400))
    assert found is not None
    later = midnights(zone, datetime(2023, 1, 1), 400)
    assert later.equals(midnights(found, datetime(2023, 1, 1), 400))


def test_times_that_are_no_midnights_or_do_not_change_have_no_zone() -> None:
    assert find_zone(midnights("Europe/Paris", datetime(2022, 1, 1), 60)) is None  # no change within
    assert find_zone(midnights("Europe/Paris", datetime(2022, 1, 1), 400, hour=11)) is None
    paris = midnights("Europe/Paris", datetime(2022, 1, 1), 400)
    odd = paris.set(pl.Series([number == 50 for number in range(400)]), paris[50] + timedelta(hours=1))
    assert find_zone(odd.sort()) is None


def test_zones_that_differ_later_are_not_chosen_from() -> None:
    """Mexico ended its summer time in 2022; its border towns kept it."""
    assert find_zone(midnights("America/Chihuahua", datetime(2021, 1, 1), 300)) is None


def test_forecasts_and_actuals_of_such_days_are_on_the_same_days() -> None:
    instants = midnights("Europe/Paris", datetime(2022, 9, 1), 215).dt.replace_time_zone("UTC")
    frame = pl.DataFrame({"ds": instants, "y": [float(number % 7) for number in range(215)]})
    options = {"freq": "1d", "season_lengths": 7, "horizon": 10, "recipe": "fast", "models": ["elman"]}
    with pytest.warns(fc.DataWarning, match="midnights in UTC of Europe/"):
        result = fc.forecast(
            frame.head(205), **options, statistics=[], overrides={"max_steps": 1}, processes=1, progress=False
        )  # the clocks change on the fourth day ahead
    assert result.forecasts["ds"].to_list() == frame["ds"].tail(10).to_list()
    assert result.evaluate(frame).num_compared == 10
