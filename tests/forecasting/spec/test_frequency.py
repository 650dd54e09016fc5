"""Frequencies: which ones are accepted, and how far their steps may reach."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from forecasting.spec.frequency import LARGEST_STEP, check_reach, parse_frequency


@pytest.mark.parametrize("freq", ["1h", "15m", "1d", "1w", "1mo", "1q", "2y", "1h30m", "250ms", "1000y", "12000mo"])
def test_duration_is_returned_unchanged(freq: str) -> None:
    assert parse_frequency(freq) == freq
    pl.Series([0]).cast(pl.Datetime("us")).dt.offset_by(freq)


@pytest.mark.parametrize("freq", [1, "1", 7, " 7 ", LARGEST_STEP, "0001000000000000000"])
def test_digits_become_an_integer_step(freq: str | int) -> None:
    assert parse_frequency(freq) == int(freq)


@pytest.mark.parametrize("freq", [LARGEST_STEP + 1, str(LARGEST_STEP + 1), 999999999999999999999, "9" * 5000])
def test_step_beyond_any_data_is_refused(freq: str | int) -> None:
    with pytest.raises(ValueError, match=r"must be 1 or more and at most 10\^15"):
        parse_frequency(freq)


@pytest.mark.parametrize(
    "freq", ["99999999999999w", "9999999y", "1001y", "12013mo", "366000d", "1h366000d", "9" * 5000 + "h"]
)
def test_duration_beyond_any_calendar_is_refused(freq: str) -> None:
    with pytest.raises(ValueError, match="must be at most 1000 years"):
        parse_frequency(freq)


@pytest.mark.parametrize(
    ("freq", "spelling"),
    [
        *(("h", "1h"), ("D", "1d"), ("MS", "1mo"), ("M", "1mo"), ("W-SUN", "1w"), ("15min", "15m"), ("QS-OCT", "1q")),
        *((timedelta(hours=1), "1h"), (timedelta(minutes=90), "90m"), (timedelta(days=14), "2w")),
    ],
)
def test_spelling_of_another_library_is_refused_with_the_one_to_write(freq: Any, spelling: str) -> None:
    with pytest.raises(ValueError, match=f"must be a duration .*; write '{spelling}'$"):
        parse_frequency(freq)
    assert parse_frequency(spelling) == spelling


@pytest.mark.parametrize("freq", ["0h", "soon", "h1", "", 1.5, None, timedelta(0), timedelta(days=-1)])
def test_frequency_without_a_spelling_is_refused_without_one(freq: Any) -> None:
    with pytest.raises(ValueError, match=r"integer step such as 1$"):
        parse_frequency(freq)


@pytest.mark.parametrize(
    ("freq", "most"), [("1000y", 5), ("1h", 43_829_100), ("1q", 20_000), (LARGEST_STEP, 1000), (1, 10**18)]
)
def test_steps_reach_as_far_as_dates_and_numbers_do(freq: Any, most: int) -> None:
    check_reach(freq, most)
    with pytest.raises(ValueError, match="at most"):
        check_reach(freq, most + 1)
