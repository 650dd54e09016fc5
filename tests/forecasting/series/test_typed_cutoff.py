"""Which time a requested cutoff means, and when it is refused."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.errors import SpecError
from forecasting.series.clock import parse_clock
from forecasting.series.found_cutoff import find_newest
from forecasting.series.ingest import ingest
from forecasting.series.read import scan_frame
from forecasting.series.typed_cutoff import settle_cutoff
from forecasting.spec.frequency import clock_of
from forecasting.spec.spec import Spec, make_spec

NOW = datetime(2030, 1, 1)
MONDAY = datetime(2024, 4, 1)


def hours(first: datetime, num: int, *, step: float = 1) -> list[datetime]:
    return [first + timedelta(hours=step * number) for number in range(num)]


def days(first: datetime, num: int, *, step: int = 1) -> list[datetime]:
    return hours(first, num, step=24 * step)


def ends(num: int, *, months: int = 1) -> list[datetime]:
    """Return the last days of months, or of quarters, from January 2024 on."""
    after = [divmod(months * (number + 1), 12) for number in range(num)]
    return [datetime(2024 + year, month + 1, 1) - timedelta(days=1) for year, month in after]


WEEKDAYS = [day for day in days(MONDAY, 40) if day.weekday() < 5]  # until Friday, 10 May
OPEN = [hour for hour in hours(MONDAY, 24 * 40) if hour.weekday() < 5 and 8 <= hour.hour < 18]
JITTER = [day + timedelta(hours=6, minutes=day.day) for day in days(MONDAY, 40)]


def spec_of(freq: Any, **source: Any) -> Spec:
    fields = {"name": "x", "freq": freq, "season_lengths": [4], "horizon": 2, "source": {"uri": "x.csv"} | source}
    return make_spec(fields, subject="x")


def rows_of(spec: Spec, **series: list[Any]) -> pl.LazyFrame:
    frames = [pl.DataFrame({"unique_id": name, "ds": times, "y": 1.0}) for name, times in series.items()]
    return scan_frame(pl.concat(frames), spec.source, spec.clock)


CASES = {
    "an hour": ("1h", hours(MONDAY, 48), {}, "2024-04-02T10:30", "2024-04-02T10:00"),
    "a point": ("1h", hours(MONDAY, 48), {}, "2024-04-02T10:00", "2024-04-02T10:00"),
    "a quarter past": ("1h", hours(MONDAY + timedelta(minutes=15), 48), {}, "2024-04-02T10:00", "2024-04-02T09:15"),
    "a day": ("1d", days(MONDAY, 40), {}, "2024-04-20T23:59:59", "2024-04-20"),
    "a Sunday of business days": ("1b", WEEKDAYS, {}, "2024-05-05", "2024-05-03"),
    "the weekend after the newest day": ("1b", WEEKDAYS, {}, "2024-05-12", "2024-05-10"),
    "a midnight of opening hours": ("1h Mon-Fri 08:00-18:00", OPEN, {}, "2024-05-07", "2024-05-06T17:00"),
    "a weekend of opening hours": ("1h Mon-Fri 08:00-18:00", OPEN, {}, "2024-05-05T12:00", "2024-05-03T17:00"),
    "a week that begins on Monday": ("1w", days(MONDAY, 9, step=7), {}, "2024-04-24", "2024-04-22"),
    "a week that ends on Sunday": ("1w", days(datetime(2024, 4, 7), 9, step=7), {}, "2024-04-24", "2024-04-21"),
    "a month": ("1mo", [datetime(2024, month, 1) for month in range(1, 9)], {}, "2024-05-15", "2024-05-01"),
    "the end of a month": ("1mo", ends(8), {}, "2024-05-15", "2024-04-30"),
    "the end of a quarter": ("1q", ends(4, months=3), {}, "2024-08-15", "2024-06-30"),
    "a step": (5, list(range(0, 100, 5)), {}, "42", "40"),
    "a step of another anchor": (5, list(range(2, 100, 5)), {}, "41", "37"),
    "a day that is summed": ("1d", hours(MONDAY, 240), {"aggregate": "sum"}, "2024-04-03", "2024-04-03T23:00"),
    "a part of such a day": ("1d", hours(MONDAY, 240), {"aggregate": "sum"}, "2024-04-03T12:00", "2024-04-02T23:00"),
    "after its last row": ("1d", hours(MONDAY, 240), {"aggregate": "sum"}, "2024-04-03T23:30", "2024-04-03T23:00"),
    "the end of a day that is summed": (
        "1d",
        hours(MONDAY + timedelta(hours=1), 240),
        {"aggregate": "sum", "label": "end"},
        "2024-04-03",
        "2024-04-03",
    ),
    "a day with its row in the morning": ("1d", JITTER, {}, "2024-04-20", "2024-04-20T06:20"),
    "before that row": ("1d", JITTER, {}, "2024-04-20T03:00", "2024-04-19T06:19"),
    "a day without a row": ("1d", days(MONDAY, 9) + days(datetime(2024, 4, 14), 9), {}, "2024-04-12", "2024-04-12"),
    "an hour of another zone": (
        "1h",
        [time.replace(tzinfo=UTC) for time in hours(MONDAY, 48)],
        {},
        "2024-04-02T12:30+02:00",
        "2024-04-02T10:00",
    ),
    "an offset at declared hours": (
        "1h",
        hours(MONDAY, 48),
        {"timezone": "Europe/Berlin"},
        "2024-04-02T12:30+02:00",
        "2024-04-02T10:00",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_cutoff_means_the_newest_point_at_or_before_it(case: str) -> None:
    freq, times, source, typed, meant = CASES[case]
    spec = spec_of(freq, **source)
    rows, clock = rows_of(spec, a=times, b=times[: len(times) - 2]), clock_of(spec.freq)
    requested, expected = parse_clock(typed, clock), parse_clock(meant, clock)
    settled = settle_cutoff(rows, spec, requested, now=NOW)
    assert settled == expected
    assert settle_cutoff(rows, spec, settled, now=NOW) == settled
    ingested, again = (ingest(spec, rows=rows, cutoff=cutoff, now=NOW) for cutoff in (requested, settled))
    assert ingested.cutoff == again.cutoff == settled
    assert ingested.features.equals(again.features)
    assert ingested.features["ds"].max() <= max(settled, requested)  # type: ignore[operator]
    assert any("nothing after that is used" in note for note in ingested.unused) == (settled < requested)  # type: ignore[operator]
    assert not any("nothing after that is used" in note for note in again.unused)
    newest = find_newest(rows, spec, now=NOW)
    assert settle_cutoff(rows, spec, newest, now=NOW) == newest


LATER = {
    "an hour": ("1h", hours(MONDAY, 48), {}, "2024-04-03T00:00", "2024-04-02T23:00:00"),
    "far in the future": ("1d", days(MONDAY, 30), {}, "2030-01-01", "2024-04-30T00:00:00"),
    "a day": ("1d", days(MONDAY, 30), {}, "2024-05-01", "2024-04-30T00:00:00"),
    "a Monday": ("1b", WEEKDAYS, {}, "2024-05-13", "2024-05-10T00:00:00"),
    "an opening hour": ("1h Mon-Fri 08:00-18:00", OPEN, {}, "2024-05-13T08:00", "2024-05-10T17:00:00"),
    "a week": ("1w", days(MONDAY, 9, step=7), {}, "2024-06-03", "2024-05-27T00:00:00"),
    "a month": ("1mo", ends(8), {}, "2024-09-30", "2024-08-31T00:00:00"),
    "a quarter": ("1q", ends(4, months=3), {}, "2025-03-31", "2024-12-31T00:00:00"),
    "a step": (5, list(range(0, 100, 5)), {}, "100", "95"),
    "a day that is summed": ("1d", hours(MONDAY, 240), {"aggregate": "sum"}, "2024-04-11", "2024-04-10T00:00:00"),
    "an hour of another zone": (
        "1h",
        hours(MONDAY, 48),
        {"timezone": "Europe/Berlin"},
        "2024-04-02T22:00+00:00",
        "2024-04-02T23:00:00+02:00",
    ),
}


@pytest.mark.parametrize("case", LATER)
def test_a_cutoff_in_a_later_period_than_the_newest_measurement_is_refused(case: str) -> None:
    freq, times, source, typed, newest = LATER[case]
    spec = spec_of(freq, **source)
    rows, clock = rows_of(spec, a=times, b=times[: len(times) - 2]), clock_of(spec.freq)
    requested = parse_clock(typed, clock)
    message = f"finished period that is measured, {newest}; type that or an earlier time"
    with pytest.raises(SpecError, match=re.escape(message)):
        settle_cutoff(rows, spec, requested, now=NOW)
    with pytest.raises(SpecError, match=re.escape(message)):
        ingest(spec, rows=rows, cutoff=requested, now=NOW)
    # What the message says to type is accepted.
    assert ingest(spec, rows=rows, cutoff=parse_clock(newest, clock), now=NOW).features["ds"].max() is not None


def test_the_newest_grid_of_a_live_series_counts() -> None:
    spec = spec_of("1h")
    live, odd = hours(MONDAY, 480), hours(MONDAY + timedelta(minutes=30), 24)
    rows = rows_of(spec, live=live, odd=odd)
    for hour, minutes in ((300, 0), (22, 30)):
        requested = MONDAY + timedelta(hours=hour, minutes=45)
        assert settle_cutoff(rows, spec, requested, now=NOW) == MONDAY + timedelta(hours=hour, minutes=minutes)


def test_a_source_without_a_measurement_or_an_earlier_row_keeps_the_cutoff() -> None:
    spec = spec_of("1h")
    rows = pl.DataFrame({"unique_id": "a", "ds": [MONDAY], "y": [None]}, schema_overrides={"y": pl.Float64})
    late = datetime(2025, 1, 1)
    assert settle_cutoff(scan_frame(rows, spec.source, "timestamp"), spec, late, now=NOW) == late
    early = MONDAY - timedelta(days=1)
    assert settle_cutoff(rows_of(spec, a=hours(MONDAY, 9)), spec, early, now=NOW) == early


def test_a_cutoff_of_the_other_clock_is_refused() -> None:
    spec = spec_of("1h")
    with pytest.raises(SpecError, match="must be a timestamp without a zone"):
        settle_cutoff(rows_of(spec, a=hours(MONDAY, 9)), spec, 3, now=NOW)


@settings(max_examples=30, deadline=None)
@given(
    freq=st.sampled_from(["1h", "6h", "1d", "1b", "1w", "1mo", "1q", "1h Mon-Sat 09:00-17:00", "2d"]),
    shift=st.integers(0, 9),
    keeps=st.lists(st.booleans(), min_size=20, max_size=20),
    place=st.integers(0, 60 * 24 * 200),
    source=st.sampled_from([{}, {}, {"aggregate": "sum"}, {"aggregate": "last", "label": "end"}]),
)
def test_laws(freq: str, shift: int, keeps: list[bool], place: int, source: dict[str, Any]) -> None:
    spec = spec_of(freq, **source)
    step = {"1h": 1, "6h": 6, "1w": 168, "2d": 48, "1h Mon-Sat 09:00-17:00": 1}.get(freq, 24)
    times = [MONDAY + timedelta(hours=step * number + shift * (step >= 24)) for number in range(60)]
    times = [time for number, time in enumerate(times) if keeps[number % 20] or number in (0, 59)]
    rows = rows_of(spec, a=times, b=times[: len(times) // 2 + 1])
    newest, requested = find_newest(rows, spec, now=NOW), MONDAY + timedelta(minutes=place)
    try:
        settled = settle_cutoff(rows, spec, requested, now=NOW)
    except SpecError:
        is_later = requested > newest  # type: ignore[operator]
        assert is_later
        return
    assert settle_cutoff(rows, spec, settled, now=NOW) == settled
    assert settle_cutoff(rows, spec, newest, now=NOW) == newest
    later = settle_cutoff(rows, spec, max(newest, settled), now=NOW)  # type: ignore[type-var]
    assert settled <= later  # type: ignore[operator]


def test_dates_are_midnights() -> None:
    spec = spec_of("1d")
    rows = rows_of(spec, a=[date(2024, 4, 1) + timedelta(days=day) for day in range(30)])
    assert settle_cutoff(rows, spec, datetime(2024, 4, 9, 5), now=NOW) == datetime(2024, 4, 9)
