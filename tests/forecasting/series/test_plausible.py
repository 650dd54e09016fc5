"""Times after the wall clock, and times in a wrong century."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.reasons import Reason
from forecasting.series.spans import newest_observation
from forecasting.series.validate import validate

NOW = datetime(2024, 6, 3, 10, 20)
FREQS = ("15m", "1h", "1d", "1w", "1mo", "1q", "1y")


def _series(name: str, first: datetime, num_points: int, freq: str) -> list[tuple[str, datetime, float]]:
    last = pl.select(pl.lit(first).dt.offset_by(f"{num_points}{freq.lstrip('15')}" if freq != "15m" else "2d")).item()
    times = pl.datetime_range(first, last, freq, eager=True).head(num_points)
    return [(name, time, float(place)) for place, time in enumerate(times)]


def _refused(accept: Callable, rows: Sequence[Any], freq: str | int, **options: Any) -> dict[int, str]:
    _, rejects = accept(rows, freq=freq, **options)
    return dict(rejects.select("source_row", "reason").iter_rows())


@pytest.mark.parametrize("freq", FREQS)
@pytest.mark.parametrize("year", [1, 1753, 1900, 2203])
def test_row_in_a_wrong_century_is_refused_at_every_frequency(accept: Callable, freq: str, year: int) -> None:
    rows = _series("a", datetime(2018, 1, 1), 72, freq)
    assert _refused(accept, [*rows, ("a", datetime(year, 11, 1), 0.0)], freq) == {73: Reason.FAR_AWAY}


@pytest.mark.parametrize("freq", ["1d", "1w", "1mo"])
def test_wrong_century_is_found_in_a_long_history_too(accept: Callable, freq: str) -> None:
    rows = [row for row in _series("a", datetime(1960, 1, 1), 24_000, freq) if row[1] < datetime(2024, 1, 1)]
    assert _refused(accept, [*rows, ("a", datetime(1900, 1, 1), 0.0)], freq) == {len(rows) + 1: Reason.FAR_AWAY}


def test_wrong_centuries_at_both_ends_are_refused_and_do_not_anchor_the_grid(accept: Callable) -> None:
    rows = _series("a", datetime(2018, 1, 15), 3, "1mo")
    wrong = [("a", datetime(1900, 1, 1), 0.0), ("a", datetime(2099, 12, 1), 0.0)]
    assert _refused(accept, [*rows, *wrong], "1mo") == {4: Reason.FAR_AWAY, 5: Reason.FAR_AWAY}


@pytest.mark.parametrize("freq", FREQS)
def test_outage_over_half_a_series_is_kept(accept: Callable, freq: str) -> None:
    rows = _series("a", datetime(1990, 1, 1), 80, freq)
    assert _refused(accept, rows[:20] + rows[60:], freq) == {}


def test_series_that_rests_for_decades_is_kept_where_both_parts_are_long(accept: Callable) -> None:
    rows = _series("a", datetime(1980, 1, 1), 60, "1mo") + _series("a", datetime(2018, 1, 1), 60, "1mo")
    assert _refused(accept, rows, "1mo") == {}


def test_series_that_ended_decades_ago_is_kept_beside_live_ones(accept: Callable) -> None:
    live = [row for name in "bcd" for row in _series(name, datetime(2018, 1, 1), 60, "1mo")]
    ended = [*_series("a", datetime(1960, 1, 1), 30, "1mo"), ("e", datetime(1970, 1, 1), 1.0)]
    assert _refused(accept, [*live, *ended], "1mo") == {}


def test_row_after_decades_is_kept_where_the_other_series_live_then(accept: Callable) -> None:
    live = [row for name in "bcd" for row in _series(name, datetime(2018, 1, 1), 60, "1mo")]
    back = [*_series("a", datetime(1990, 1, 1), 30, "1mo"), ("a", datetime(2022, 1, 1), 1.0)]
    assert _refused(accept, [*live, *back], "1mo") == {}
    assert _refused(accept, back, "1mo") == {31: Reason.FAR_AWAY}


def test_two_points_are_judged_by_the_other_series_alone(accept: Callable) -> None:
    two = [("a", datetime(1900, 1, 1), 1.0), ("a", datetime(2020, 1, 1), 2.0)]
    assert _refused(accept, two, "1mo") == {}
    live = [row for name in "bcd" for row in _series(name, datetime(2018, 1, 1), 60, "1mo")]
    assert _refused(accept, [*two, *live], "1mo") == {1: Reason.FAR_AWAY}


def test_steps_have_no_centuries(accept: Callable) -> None:
    assert _refused(accept, [("a", step, 1.0) for step in (1, 2, 3, 4_000)], 1) == {}


@pytest.mark.parametrize(
    ("freq", "zone", "time", "is_refused"),
    [
        ("1h", None, NOW + timedelta(hours=14), False),
        ("1h", None, NOW + timedelta(hours=14, minutes=1), True),
        ("1h", "UTC", NOW, False),
        ("1h", "UTC", NOW + timedelta(minutes=1), True),
        ("1d", None, datetime(2024, 6, 4), False),
        ("1d", "UTC", datetime(2024, 6, 5), True),
        ("1w", None, datetime(2024, 6, 9), False),
        ("1w", None, datetime(2024, 6, 11), True),
        ("1mo", None, datetime(2024, 6, 30), False),
        ("1mo", None, datetime(2024, 7, 1), True),
        ("1q", None, datetime(2024, 6, 30), False),
        ("1y", None, datetime(2024, 12, 31), False),
        ("1y", None, datetime(2025, 1, 1), True),
    ],
)
def test_measurement_of_a_period_that_has_not_begun_is_refused(
    make_rows: Callable, freq: str, zone: str | None, time: datetime, is_refused: bool
) -> None:
    rows = make_rows([("a", time, 1.0)]).with_columns(pl.col("ds").dt.replace_time_zone(zone))
    reasons = validate(rows, freq=freq, now=NOW).rejects.collect()["reason"].to_list()
    assert reasons == ([Reason.FUTURE] if is_refused else [])


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("2024-06-03T11:00:00Z", True),
        ("2024-06-03 12:00:00+02:00", False),
        ("2024-06-03 13:00:00+02:00", True),
        ("2024-06-03 13:00:00", False),
        ("2024-06-05 13:00:00", True),
    ],
)
def test_texts_with_offsets_have_a_known_zone(accept: Callable, text: str, is_refused: bool) -> None:
    assert _refused(accept, [("a", text, "1")], "1h", now=NOW) == ({1: Reason.FUTURE} if is_refused else {})


def test_row_without_y_may_lie_in_the_future_and_steps_always_may(accept: Callable) -> None:
    later = NOW + timedelta(days=30)
    assert _refused(accept, [("a", later, None)], "1h", now=NOW) == {}
    assert _refused(accept, [("a", later.isoformat(), " ")], "1h", now=NOW) == {}
    assert _refused(accept, [("a", 10**9, 1.0)], 1, now=NOW) == {}


def test_future_measurement_is_not_the_newest(make_rows: Callable) -> None:
    rows = make_rows([("a", datetime(2024, 5, 1), 1.0), ("a", datetime(2024, 8, 1), 1.0)])
    assert newest_observation(rows, freq="1mo", now=NOW) == datetime(2024, 5, 1)
    assert newest_observation(rows, freq="1mo", now=datetime(2024, 9, 1)) == datetime(2024, 8, 1)


@given(
    freq=st.sampled_from(["1h", "1d", "1w", "1mo"]),
    lengths=st.lists(st.integers(40, 120), min_size=1, max_size=4),
    data=st.data(),
)
def test_wrong_centuries_never_change_what_is_accepted(
    accept: Callable, freq: str, lengths: list[int], data: st.DataObject
) -> None:
    good = [row for place, size in enumerate(lengths) for row in _series(f"s{place}", datetime(2018, 1, 1), size, freq)]
    years = st.one_of(st.integers(1, 1950), st.integers(2100, 2900))
    wrong = data.draw(st.lists(st.tuples(st.integers(0, len(lengths) - 1), years), min_size=1, max_size=2))
    bad = [(f"s{place}", datetime(year, 1, 1), 0.0) for place, year in dict(wrong).items()]
    accepted, rejects = accept([*good, *bad], freq=freq)
    assert accepted.equals(accept(good, freq=freq)[0])
    assert rejects["source_row"].to_list() == list(range(len(good) + 1, len(good) + len(bad) + 1))
