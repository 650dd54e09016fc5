"""Cutoffs as text, and the clock of a frequency."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import SpecError
from forecasting.series.clock import format_clock, is_day_or_coarser, parse_clock, refuse_other_clock
from forecasting.spec.frequency import fixed_width


@given(st.datetimes())
def test_written_timestamp_is_read_back(value: datetime) -> None:
    assert parse_clock(format_clock(value), "timestamp") == value


@given(st.integers())
def test_written_step_is_read_back(value: int) -> None:
    assert parse_clock(format_clock(value), "step") == value


def test_time_with_a_zone_becomes_naive_utc() -> None:
    assert parse_clock("2013-12-30T01:30:00+01:00", "timestamp") == datetime(2013, 12, 30, 0, 30)
    assert parse_clock("2013-12-30T01:30:00Z", "timestamp") == datetime(2013, 12, 30, 1, 30)


def test_time_with_a_zone_becomes_the_wall_clock_of_the_requested_zone() -> None:
    at = parse_clock("2013-07-01T04:00:00Z", "timestamp", zone=ZoneInfo("America/New_York"))
    assert at == datetime(2013, 7, 1, 0, 0)


def test_date_is_its_midnight() -> None:
    assert parse_clock("2013-12-30", "timestamp") == datetime(2013, 12, 30)


def test_value_with_a_zone_is_written_as_utc() -> None:
    assert format_clock(datetime(2013, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2013-01-01T00:00:00"


@pytest.mark.parametrize(("text", "clock"), [("soon", "timestamp"), ("12", "timestamp"), ("1.5", "step"), ("", "step")])
def test_text_that_is_not_on_the_clock_is_refused_with_its_value(text: str, clock: str) -> None:
    with pytest.raises(SpecError, match=f"cutoff: '{text}' must be"):
        parse_clock(text, clock)  # type: ignore[arg-type]


def test_time_that_its_zone_moves_out_of_the_calendar_is_refused() -> None:
    with pytest.raises(SpecError, match="ISO 8601"):
        parse_clock("0001-01-01T00:00:00+05:00", "timestamp")


@pytest.mark.parametrize(
    ("value", "freq"), [(5, "1h"), (datetime(2013, 1, 1), 1), (datetime(2013, 1, 1, tzinfo=UTC), "1h")]
)
def test_cutoff_of_the_other_clock_is_refused(value: datetime | int, freq: str | int) -> None:
    with pytest.raises(SpecError, match="because the frequency is"):
        refuse_other_clock(value, freq=freq)


@pytest.mark.parametrize(
    ("freq", "width"),
    [("15m", 900_000_000), ("1d12h", 129_600_000_000), ("1w", 604_800_000_000), ("2mo", None), (3, 3)],
)
def test_widths_are_microseconds_or_steps_and_vary_for_months(freq: str | int, width: int | None) -> None:
    assert fixed_width(freq) == width


def test_days_weeks_and_months_are_a_day_or_coarser() -> None:
    assert [is_day_or_coarser(freq) for freq in ("23h", "24h", "1d", "1w", "1mo", 1)] == [False, *[True] * 4, False]
