"""Anchors of grids, and the points that follow them."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.grid import anchor_series, future_grid, make_grid


def _frame(times: list[datetime] | list[int], unique_id: str = "a") -> pl.LazyFrame:
    return pl.LazyFrame({"unique_id": [unique_id] * len(times), "ds": times})


def _on_grid(times: list[datetime] | list[int], freq: str | int) -> list[bool]:
    grid = make_grid(freq)
    rows = _frame(times)
    placed = rows.join(anchor_series(rows, freq=freq), on="unique_id", maintain_order="left")
    return placed.select(good=grid.ds(grid.number(pl.col("ds"))) == pl.col("ds")).collect()["good"].to_list()


def _next(times: list[datetime] | list[int], freq: str | int, horizon: int = 4) -> list[object]:
    return future_grid(_frame(times), freq=freq, horizon=horizon).collect()["ds"].to_list()


def _days(*texts: str) -> list[datetime]:
    return [datetime.fromisoformat(text) for text in texts]


@pytest.mark.parametrize(
    ("freq", "times"),
    [
        ("1mo", _days("2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30", "2024-02-29")),
        ("1mo", _days("2023-01-30", "2023-02-28", "2023-03-30", "2023-04-30", "2024-02-29")),
        ("1mo", _days("2023-01-29", "2023-02-26", "2023-03-29", "2023-04-28", "2024-02-27")),
        ("1mo", _days("2023-01-15 06:00", "2023-02-15 06:00", "2023-07-15 06:00")),
        ("1q", _days("2023-03-31", "2023-06-30", "2023-09-30", "2023-12-31")),
        ("1q", _days("2023-02-28", "2023-05-31", "2023-08-31", "2023-11-30", "2024-02-29")),
        ("1y", _days("2020-02-29", "2021-02-28", "2022-02-28", "2024-02-29")),
        ("2y", _days("2019-06-30", "2021-06-30", "2025-06-30")),
        ("1w", _days("2024-01-04", "2024-01-11", "2024-02-01")),
        ("1h", _days("2024-01-01 00:17", "2024-01-01 01:17", "1969-12-31 05:17")),
        (7, [3, 10, 24, -4]),
    ],
)
def test_times_lie_on_one_grid(freq: str | int, times: list[datetime]) -> None:
    assert all(_on_grid(times, freq))


@pytest.mark.parametrize(
    ("freq", "times", "good"),
    [
        ("1h", _days("2024-01-01 00:30", "2024-01-01 01:00", "2024-01-01 02:00"), [False, True, True]),
        ("1w", _days("2024-01-04", "2024-01-12", "2024-01-18"), [True, False, True]),
        ("1mo", _days("2024-01-31", "2024-02-29", "2024-03-30", "2024-04-30"), [True, True, False, True]),
        ("1mo", _days("2024-01-01", "2024-02-01", "2024-03-01 01:00"), [True, True, False]),
        ("1q", _days("2024-01-01", "2024-04-01", "2024-05-01", "2024-07-01"), [True, True, False, True]),
        (5, [10, 15, 17, 25], [True, True, False, True]),
    ],
)
def test_bad_row_does_not_move_the_grid(freq: str | int, times: list[datetime], good: list[bool]) -> None:
    assert _on_grid(times, freq) == good


def test_earliest_row_decides_between_equally_frequent_anchors() -> None:
    assert _on_grid(_days("2024-01-01 00:40", "2024-01-01 01:00"), "1h") == [True, False]
    assert _on_grid([1, 10], 5) == [True, False]


@pytest.mark.parametrize(
    ("freq", "times", "expected"),
    [
        ("1mo", _days("2024-03-31", "2024-04-30"), _days("2024-05-31", "2024-06-30", "2024-07-31", "2024-08-31")),
        ("1mo", _days("2024-11-30", "2024-12-30"), _days("2025-01-30", "2025-02-28", "2025-03-30", "2025-04-30")),
        ("1mo", _days("2024-01-30", "2024-02-28"), _days("2024-03-30", "2024-04-29", "2024-05-30", "2024-06-29")),
        ("1q", _days("2024-06-30", "2024-09-30"), _days("2024-12-31", "2025-03-31", "2025-06-30", "2025-09-30")),
        ("1q", _days("2024-01-01"), _days("2024-04-01", "2024-07-01", "2024-10-01", "2025-01-01")),
        ("1y", _days("2023-12-31"), _days("2024-12-31", "2025-12-31", "2026-12-31", "2027-12-31")),
        ("1w", _days("2024-01-04"), _days("2024-01-11", "2024-01-18", "2024-01-25", "2024-02-01")),
        (
            "12h",
            _days("2024-02-29 07:00"),
            _days("2024-02-29 19:00", "2024-03-01 07:00", "2024-03-01 19:00", "2024-03-02 07:00"),
        ),
        (3, [1, 4], [7, 10, 13, 16]),
    ],
)
def test_horizon_continues_the_grid_of_its_series(
    freq: str | int, times: list[datetime], expected: list[datetime]
) -> None:
    assert _next(times, freq) == expected


def test_every_series_has_its_own_anchor_and_end() -> None:
    both = pl.concat([_frame(_days("2024-01-01", "2024-01-08"), "b"), _frame(_days("2024-01-04"), "a")])
    future = future_grid(both, freq="1w", horizon=2).collect()
    assert future["unique_id"].to_list() == ["a", "a", "b", "b"]
    assert future["step"].to_list() == [1, 2, 1, 2]
    assert future["ds"].to_list() == _days("2024-01-11", "2024-01-18", "2024-01-15", "2024-01-22")


MONTHLY_DAYS = st.one_of(st.integers(1, 31), st.integers(-15, -1))


@given(
    months=st.sampled_from([1, 2, 3, 6, 12]),
    start=st.integers(1900 * 12, 2100 * 12),
    day=MONTHLY_DAYS,
    minute=st.integers(0, 1439),
    numbers=st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True),
)
def test_months_of_one_rule_are_all_on_the_grid(
    months: int, start: int, day: int, minute: int, numbers: list[int]
) -> None:
    times = [_month_day(start + months * number, day) + timedelta(minutes=minute) for number in numbers]
    assert all(_on_grid(times, f"{months}mo"))


@given(
    width=st.sampled_from(["1us", "7s", "15m", "1h", "1d", "1w", "1d12h"]),
    start=st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    numbers=st.lists(st.integers(0, 60), min_size=1, max_size=20, unique=True),
)
def test_rows_of_even_distance_are_all_on_the_grid(width: str, start: datetime, numbers: list[int]) -> None:
    every = make_grid(width).width  # type: ignore[union-attr]
    times = [start + timedelta(microseconds=every * number) for number in numbers]
    assert all(_on_grid(times, width))
    assert _next(times, width, 1) == [max(times) + timedelta(microseconds=every)]


def _month_day(month: int, day: int) -> datetime:
    first = datetime(month // 12, month % 12 + 1, 1)
    length = ((first + timedelta(days=31)).replace(day=1) - first).days
    return first + timedelta(days=(min(day, length) if day > 0 else length + day) - 1)
