"""How old the newest measurement is, in open periods that are over."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from forecasting.series.checks import check_stale
from forecasting.series.freshness import current_time, measure_ages
from forecasting.series.grid import is_closed
from forecasting.spec.frequency import fixed_width
from forecasting.spec.spec import Spec, make_spec


def spec_of(freq: str, *checks: Any, timezone: str = "UTC", **source: Any) -> Spec:
    described = {"name": "x", "source": {"uri": "/x.csv", **source}, "freq": freq, "season_lengths": [1], "horizon": 2}
    return make_spec(described | {"checks": list(checks), "schedule": {"timezone": timezone}}, subject="x")


def newest_at(*times: str) -> pl.DataFrame:
    ids = [f"s{place}" for place in range(len(times))]
    return pl.DataFrame({"unique_id": ids, "newest": [datetime.fromisoformat(time) for time in times]}).with_columns(
        pl.col("newest").cast(pl.Datetime("us"))
    )


def age(freq: str, newest: str, moment: str, **source: Any) -> int:
    spec = spec_of(freq, **source)
    value: int = measure_ages(newest_at(newest), spec, moment=datetime.fromisoformat(moment))["age"].item()
    return value


@pytest.mark.parametrize(
    ("freq", "newest", "moment", "expected"),
    [
        ("1h", "2024-01-01T10:00", "2024-01-01T11:00", 0),
        ("1h", "2024-01-01T10:00", "2024-01-01T11:59", 0),
        ("1h", "2024-01-01T10:00", "2024-01-01T12:00", 1),
        ("1h", "2024-01-01T10:15", "2024-01-01T12:10", 0),  # hours that begin at a quarter past
        ("1h", "2024-01-01T10:15", "2024-01-01T12:15", 1),
        ("1d", "2024-01-01", "2024-01-02T04:30", 0),
        ("1d", "2024-01-01T06:00", "2024-01-03T04:30", 1),
        ("1w", "2024-01-04", "2024-01-08T00:00", 0),  # weeks on Thursdays
        ("1w", "2024-01-04", "2024-01-14T23:00", 0),
        ("1w", "2024-01-04", "2024-01-15T00:00", 1),
        ("1mo", "2024-01-31", "2024-02-29T12:00", 0),
        ("1mo", "2024-01-31", "2024-03-01T00:00", 1),
        ("1h", "2024-01-01T12:00", "2024-01-01T11:00", 0),  # newer than what is over
    ],
)
def test_only_periods_that_are_over_count(freq: str, newest: str, moment: str, expected: int) -> None:
    assert age(freq, newest, moment) == expected


def test_closed_days_holidays_and_hours_do_not_count() -> None:
    friday, monday, tuesday = "2024-01-05", "2024-01-08T06:00", "2024-01-09T06:00"
    assert age("1d", friday, monday, open="Mon-Fri") == 0
    assert age("1d", friday, tuesday, open="Mon-Fri") == 1
    assert age("1d", friday, tuesday) == 3
    assert age("1d", "2023-12-29", "2024-01-02T06:00", open="Mon-Fri", closed_holidays="DE") == 0
    hours = {"open": "Mon-Fri 08:00-18:00"}
    assert age("1h", "2024-01-05T17:00", "2024-01-08T08:30", **hours) == 0
    assert age("1h", "2024-01-05T17:00", "2024-01-08T09:00", **hours) == 1
    assert age("1h", "2024-01-05T16:00", "2024-01-06T12:00", **hours) == 1


def test_ends_of_intervals_are_over_at_their_time() -> None:
    assert age("1d", "2024-01-02", "2024-01-02T00:00", label="end") == 0
    assert age("1d", "2024-01-02", "2024-01-03T00:00", label="end") == 1


def test_current_time_is_that_of_the_source_or_else_of_the_schedule() -> None:
    now = datetime(2024, 1, 1, 23, 30)
    spec = spec_of("1d", timezone="Asia/Tokyo")
    assert current_time(spec, ZoneInfo("America/New_York"), now=now) == datetime(2024, 1, 1, 18, 30)
    assert current_time(spec, UTC, now=now) == now
    assert current_time(spec, None, now=now) == datetime(2024, 1, 2, 8, 30)


def test_check_is_of_the_newest_of_all_series_or_of_each() -> None:
    newest = newest_at("2024-01-01T00:00", "2024-01-01T05:00", "2024-01-01T01:00")
    moment = datetime(2024, 1, 1, 8)
    (whole,) = check_stale(newest, spec_of("1h", {"kind": "freshness", "max": 1}), moment=moment).iter_rows(named=True)
    assert (whole["verdict"], whole["found"], whole["bound"]) == ("fail", 2, 1)
    assert whole["message"] == (
        "the newest measurement, 2024-01-01 05:00:00, is followed by 2 periods of 1h that were over at"
        " 2024-01-01 08:00:00; max = 1"
    )
    each = spec_of("1h", {"kind": "freshness", "max": 2, "per_series": True, "on_failure": "set_aside"})
    verdicts = check_stale(newest, each, moment=moment, ended=["s0"])
    assert verdicts.drop_nulls("unique_id").select("unique_id", "found").rows() == [("s2", 6)]
    named = spec_of("1h", {"kind": "freshness", "max": 2, "series": "s2"})
    assert check_stale(newest, named, moment=moment)["verdict"].to_list() == ["fail"]


def test_requested_cutoff_has_no_age() -> None:
    verdicts = check_stale(newest_at("2024-01-01"), spec_of("1d", {"kind": "freshness", "max": 0}), moment=None)
    assert verdicts.select("verdict", "message").rows()[0][0] == "skipped"
    assert "the cutoff was requested" in verdicts["message"][0]


def test_source_without_a_measurement_is_stale() -> None:
    spec = spec_of("1d", {"kind": "freshness", "max": 0})
    verdicts = check_stale(newest_at().cast({"newest": pl.Datetime("us")}), spec, moment=datetime(2024, 1, 1))
    assert verdicts["verdict"].to_list() == ["fail"]


@given(
    st.sampled_from([("1h", None), ("1h", "Mon-Fri 08:00-18:00"), ("1d", "Mon-Fri"), ("15m", "Mon,Wed 06:00-07:00")]),
    st.integers(0, 3000),
    st.integers(0, 20 * 24 * 60),
    st.sampled_from([0, 7, 14]),
)
def test_age_is_the_number_of_open_points_whose_periods_are_over(
    grid: tuple[str, str | None], place: int, minutes: int, shift: int
) -> None:
    freq, opening = grid
    spec = spec_of(freq, **({} if opening is None else {"open": opening}))
    width = timedelta(microseconds=fixed_width(spec.freq) or 0)
    shift = shift if opening is None and freq == "1h" else 0  # hours that begin a few minutes past
    newest = datetime(2024, 1, 1) + place * width + timedelta(minutes=shift)
    moment = newest + timedelta(minutes=minutes)
    steps = range(1, timedelta(minutes=minutes) // width + 1)
    later = pl.DataFrame({"ds": [newest + step * width for step in steps]}, schema={"ds": pl.Datetime("us")})
    closed = pl.lit(False) if opening is None else is_closed(spec.freq, pl.col("ds"))
    is_counted = ~closed & (pl.col("ds") + width <= moment)
    expected = later.filter(is_counted).height
    assume(not pl.DataFrame({"ds": [newest]}).select(closed).item())
    found = measure_ages(newest_at(newest.isoformat()), spec, moment=moment)["age"].item()
    assert found == expected
