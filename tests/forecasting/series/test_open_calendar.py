"""Grids with closed times: the points ahead against independent calendars, and panels without closed times."""

from datetime import datetime, time, timedelta

import holidays
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import SpecError
from forecasting.fleet.smoothing import grid_index
from forecasting.series.grid import future_grid
from forecasting.series.open_calendar import holidays_of, make_open_calendar, open_points_ahead
from forecasting.series.panel import to_panel
from forecasting.series.regularise import regularise
from forecasting.spec.frequency import learned_frequency

GERMAN = sorted(holidays.country_holidays("DE", years=range(1960, 2040)))
YEAR_ENDS = [datetime(year, 12, 20) for year in (1969, 1999, 2015, 2020, 2024)]  # 2015 and 2020 have 53 weeks
LEAP_DAYS = [datetime(year, 2, 26) for year in (2000, 2024)]


def continue_from(*times: datetime, freq: str, horizon: int) -> list[datetime]:
    """Return the grid points that follow one series."""
    rows = pl.LazyFrame({"unique_id": "a", "ds": list(times)}, schema_overrides={"ds": pl.Datetime("us")})
    return future_grid(rows, freq=freq, horizon=horizon).collect()["ds"].to_list()


@pytest.mark.parametrize("begin", YEAR_ENDS + LEAP_DAYS)
@pytest.mark.parametrize(
    ("freq", "mask", "closed"),
    [
        ("1d Mon-Fri", "1111100", []),
        ("1d Mon-Sat", "1111110", []),
        ("1d Mon-Thu,Sun", "1111001", []),
        ("1d Mon-Fri closed DE", "1111100", GERMAN),
        ("1d Mon-Sun closed DE", "1111111", GERMAN),
    ],
)
def test_days_ahead_are_those_of_numpy_and_pandas(begin: datetime, freq: str, mask: str, closed: list) -> None:
    points = continue_from(begin, freq=freq, horizon=300)
    expected = np.busday_offset(begin.date(), np.arange(1, 301), roll="backward", weekmask=mask, holidays=closed)
    assert points == [datetime.combine(day, time()) for day in expected.tolist()]
    of_pandas = pd.offsets.CustomBusinessDay(weekmask=mask, holidays=closed)
    assert points[:12] == pd.date_range(begin + timedelta(days=1), periods=12, freq=of_pandas).to_pydatetime().tolist()


def test_hours_ahead_are_those_of_pandas() -> None:
    of_pandas = pd.offsets.CustomBusinessHour(start="08:00", end="18:00", holidays=GERMAN)
    expected = pd.date_range(datetime(2024, 12, 20, 16), periods=100, freq=of_pandas).to_pydatetime().tolist()
    freq = "1h Mon-Fri 08:00-18:00 closed DE"
    assert continue_from(datetime(2024, 12, 20, 15), freq=freq, horizon=100) == expected
    # The readings of another series are taken at ten to.
    shifted = [each - timedelta(minutes=10) for each in expected]
    # A reading at ten to eight lies before opening time.
    points = continue_from(datetime(2024, 12, 20, 14, 50), freq=freq, horizon=90)
    assert points[:2] == shifted[:2]
    assert {(each.hour, each.minute) for each in points} == {(hour, 50) for hour in range(8, 18)}


def test_hours_begin_when_the_day_opens() -> None:
    freq = "1h Mon-Fri 09:30-16:00 closed XNYS"
    points = continue_from(datetime(2024, 7, 3, 14, 30), freq=freq, horizon=8)
    assert points[0] == datetime(2024, 7, 3, 15, 30)
    assert points[1:] == [datetime(2024, 7, 5, hour, 30) for hour in range(9, 16)]
    # A reading at ten past lies in the hour that began at half past.
    points = continue_from(datetime(2024, 7, 3, 15, 10), freq=freq, horizon=8)
    assert points == [datetime(2024, 7, 3, 16, 10), *(datetime(2024, 7, 5, hour, 10) for hour in range(10, 17))]


@given(
    freq=st.sampled_from(
        ["1d Mon-Fri closed US", "1h Mon-Fri 09:30-16:00; Sat 10:30-12:30 closed DE-BY", "30m Tue,Thu", "1d Mon-Sat"]
    ),
    first=st.integers(-300_000, 300_000),
)
def test_numbers_of_open_slots_are_consecutive_and_return_to_their_slots(freq: str, first: int) -> None:
    calendar = make_open_calendar(freq)
    assert calendar is not None
    slot = np.arange(first, first + 2_000)
    is_open = calendar.is_open(slot)
    number = calendar.count_before(slot[is_open])
    assert (np.diff(number) == 1).all()
    assert (calendar.slot_of(number) == slot[is_open]).all()


def test_closed_days_are_no_gaps_and_other_absent_days_are() -> None:
    days = pd.bdate_range("2024-12-02", "2025-01-31", freq="C", holidays=GERMAN)
    days = days.delete(5)  # 9 December
    rows = pl.LazyFrame({"unique_id": "a", "ds": days.to_pydatetime().tolist(), "y": 1.0})
    grid = regularise(rows, freq="1d Mon-Fri closed DE").collect()
    assert grid.filter(~pl.col("is_observed"))["ds"].to_list() == [datetime(2024, 12, 9)]
    assert grid.height == len(days) + 1


def test_panel_of_business_days_has_no_weekends_and_holidays_as_gaps() -> None:
    days = pd.bdate_range("2024-09-23", "2024-12-23", freq="C", holidays=GERMAN)
    late = days[:-2] + pd.Timedelta(hours=16)
    rows = pl.concat(
        pl.DataFrame({"unique_id": name, "ds": each.to_pydatetime().tolist(), "y": 1.0})
        for name, each in (("a", days), ("b", late))
    )
    waves = [pl.lit(0.0, pl.Float32).alias(f"{name}_{wave}") for name in ("week", "year") for wave in ("sin", "cos")]
    freq = "1d Mon-Fri closed DE"
    panel = to_panel(rows.with_columns(waves), freq=freq, horizon=4)
    assert np.isfinite(panel.y_SN[0]).sum() == len(days)
    assert panel.ds_SN[0, :-4][np.isnan(panel.y_SN[0])].tolist() == [datetime(2024, 10, 3)]
    assert (panel.length_S - [len(days) + 1, len(days) - 1] == 0).all()
    index_N = grid_index(panel.ds_SN[0], freq)
    assert (np.diff(index_N) == 1).all()
    points_SF, number_SF = open_points_ahead(panel.last_ds, freq=freq, horizon=4)
    ahead = ["2024-12-24", "2024-12-27", "2024-12-30", "2024-12-31"]
    assert points_SF[0].tolist() == [datetime.fromisoformat(each) for each in ahead]
    assert points_SF[1].tolist() == [datetime(2024, 12, day, 16) for day in (20, 23, 24, 27)]
    assert number_SF.tolist() == [[1, 4, 5, 6], [1, 2, 3, 6]]


@pytest.mark.parametrize("freq", ["1d Mon-Sun closed DE", "1h Mon-Fri 08:00-18:00 closed DE", "1d Mon-Fri closed US"])
def test_open_points_ahead_are_those_of_the_grid(freq: str) -> None:
    begin = datetime(2024, 12, 23, 10 if freq.startswith("1h") else 0)
    last_S = np.array([begin, "NaT"], dtype="datetime64[us]")
    points_SF, number_SF = open_points_ahead(last_S, freq=freq, horizon=40)
    assert points_SF[0].tolist() == continue_from(begin, freq=freq, horizon=40)
    assert np.isnat(points_SF[1]).all()
    learned = continue_from(begin, freq=str(learned_frequency(freq)), horizon=100)
    assert [learned[number - 1] for number in number_SF[0]] == points_SF[0].tolist()


def test_unknown_holidays_are_refused_with_those_that_are_known() -> None:
    with pytest.raises(SpecError, match=r"source.closed_holidays: 'QQ' must be a country such as DE"):
        holidays_of("QQ")
    with pytest.raises(SpecError, match=r"'DE-XX'.*DE has the parts BB, BE"):
        holidays_of("DE-XX")
