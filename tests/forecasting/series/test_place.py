"""Times of a day or coarser belong to their periods; finer ones are exact, or move to the nearest grid point."""

import calendar
import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forecasting.errors import SourceError, SpecError
from forecasting.series.grid import future_grid
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_frame
from forecasting.series.reasons import Reason
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

NOW = datetime(2300, 1, 1)


def read(
    times: Sequence[datetime],
    values: Sequence[float | None] | None = None,
    *,
    freq: str,
    cutoff: Any = None,
    **fields: Any,
) -> Ingested:
    """Ingest the rows of one series."""
    y = list(map(float, range(len(times)))) if values is None else list(values)
    frame = pl.DataFrame({"unique_id": "a", "ds": pl.Series(times, dtype=pl.Datetime("us")), "y": y})
    source = Source(uri="x.parquet", **fields)
    spec = make_spec({"name": "x", "freq": freq, "season_lengths": [1], "horizon": 2, "source": source}, subject="x")
    return ingest(spec, rows=scan_frame(frame, source, "timestamp"), now=NOW, cutoff=cutoff)


def times_of(ingested: Ingested) -> list[datetime]:
    return ingested.observations["ds"].to_list()


def following(ingested: Ingested, freq: str) -> list[datetime]:
    grid = ingested.features.lazy().select("unique_id", "ds")
    return future_grid(grid, freq=freq, horizon=3).collect()["ds"].to_list()


def day(number: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2024, 1, 1) + timedelta(days=number, hours=hour, minutes=minute)


def last_business_day(year: int, month: int) -> datetime:
    last = date(year, month, calendar.monthrange(year, month)[1])
    while last.weekday() > 4:
        last -= timedelta(days=1)
    return datetime.combine(last, time())


MONTHS = [(2022 + month // 12, month % 12 + 1) for month in range(30)]
MONTH_ENDS = [datetime(year, month, calendar.monthrange(year, month)[1]) for year, month in MONTHS]


def test_last_business_days_are_months_and_their_forecasts_are_month_ends() -> None:
    ingested = read([last_business_day(*month) for month in MONTHS], freq="1mo")
    assert ingested.rejects.is_empty()
    assert times_of(ingested) == MONTH_ENDS
    assert following(ingested, "1mo") == [datetime(2024, 7, 31), datetime(2024, 8, 31), datetime(2024, 9, 30)]
    assert ingested.cutoff == datetime(2024, 6, 30)


@pytest.mark.parametrize("wanted", [15, 30])
def test_months_on_one_day_keep_that_day(wanted: int) -> None:
    times = [datetime(year, month, min(wanted, end.day)) for (year, month), end in zip(MONTHS, MONTH_ENDS, strict=True)]
    ingested = read(times, freq="1mo")
    assert times_of(ingested) == times
    assert following(ingested, "1mo")[0] == datetime(2024, 7, wanted)


def test_thursdays_that_a_holiday_moved_are_still_their_weeks() -> None:
    thursdays = [day(3 + 7 * week) for week in range(40)]
    moved = [each - timedelta(days=2 if week % 11 == 5 else 0) for week, each in enumerate(thursdays)]
    assert times_of(read(moved, freq="1w")) == thursdays
    assert read(moved, freq="1w").rejects.is_empty()


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_sunday_weeks_keep_a_row_on_another_day(extra: int) -> None:
    sundays = [day(6 + 7 * week) for week in range(30)]
    moved = [each + timedelta(days=extra if week == 12 else 0) for week, each in enumerate(sundays)]
    assert times_of(read(moved, freq="1w")) == sundays


def anywhere(begins: Sequence[datetime]) -> list[datetime]:
    """Return a time somewhere in each period but the last."""
    rng = random.Random(3)
    return [begin + rng.random() * (end - begin) for begin, end in itertools.pairwise(begins)]


@pytest.mark.parametrize(
    ("freq", "begins"),
    [
        ("1d", [day(number) for number in range(50)]),
        ("1w", [day(7 * number) for number in range(50)]),
        ("1mo", [datetime(year, month, 1) for year, month in MONTHS]),
        ("1q", [datetime(2000 + number // 4, number % 4 * 3 + 1, 1) for number in range(50)]),
        ("1y", [datetime(1970 + number, 1, 1) for number in range(50)]),
    ],
)
def test_a_time_belongs_to_its_period_wherever_in_it_it_lies(freq: str, begins: list[datetime]) -> None:
    times = anywhere(begins)
    ingested = read(times, freq=freq)
    assert times_of(ingested) == begins[:-1]
    assert ingested.rejects.is_empty()
    assert ingested.cutoff == times[-1]  # nothing after it has been read
    assert following(ingested, freq)[0] == begins[-1]


@pytest.mark.parametrize("zone", ["Europe/London", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_midnights_of_another_zone_cost_no_day(zone: str) -> None:
    local = [datetime(2022, 1, 15, tzinfo=ZoneInfo(zone)) + timedelta(days=number) for number in range(500)]
    ingested = read([each.astimezone(ZoneInfo("UTC")).replace(tzinfo=None) for each in local], freq="1d")
    assert ingested.rejects.is_empty()
    assert ingested.features.height == 500


def test_several_times_in_a_period_need_an_aggregate() -> None:
    hours = [day(number, hour) for number in range(10) for hour in (8, 12, 20)]
    with pytest.raises(SourceError, match=r"20 of 30 rows share .* of 1d .*'a'; source\.aggregate = sum, mean"):
        read(hours, freq="1d")
    with pytest.raises(SpecError, match=r"source\.aggregate = 'median'"):
        make_spec({"name": "x", "source": {"uri": "x.csv", "aggregate": "median"}}, subject="x")


def test_a_single_row_in_a_period_of_another_is_refused_and_the_one_on_the_grid_is_kept() -> None:
    times = [day(number) for number in range(250)]
    ingested = read([*times, day(9, 9), day(8, 23)], freq="1d")
    assert times_of(ingested) == times
    assert ingested.observations["y"].to_list() == list(range(250))
    assert ingested.rejects.select("source_row", "reason").rows() == [(251, Reason.SHARED), (252, Reason.SHARED)]


HOW: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "mean": statistics.mean,
    "last": lambda values: values[-1],
    "first": lambda values: values[0],
    "max": max,
    "min": min,
}


@example({1: None, 169: None, 0: 0}, "first")
@given(
    st.dictionaries(st.integers(0, 24 * 20), st.one_of(st.none(), st.integers(-9, 9)), min_size=2),
    st.sampled_from(sorted(HOW)),
)
def test_an_aggregate_is_that_of_the_measurements_of_each_period(rows: dict[int, int | None], how: str) -> None:
    rows = rows | {-23: 1, -22: 2, -21: 3}  # times that do not lie on one grid
    times = {datetime(2024, 1, 2, 0, 30) + timedelta(hours=hour): y for hour, y in sorted(rows.items())}
    ingested = read(list(times), list(times.values()), freq="1d", aggregate=how, unfinished="use", missing_rows="gap")
    newest = max(each for each, y in times.items() if y is not None)
    # If half of the rows lie on one grid, the cutoff is the newest measurement's point of it where that is later.
    clocks = [each.time() for each in times]
    points = {datetime.combine(newest.date(), clock) for clock in set(clocks) if 2 * clocks.count(clock) >= len(clocks)}
    assert isinstance(ingested.cutoff, datetime)
    assert ingested.cutoff in {newest, *(max(newest, point) for point in points)}
    expected: dict[date, list[float]] = {}
    for each, y in times.items():
        if each <= ingested.cutoff:
            expected.setdefault(each.date(), []).extend([] if y is None else [y])
    found = {each.date(): y for each, y in ingested.observations.select("ds", "y").iter_rows()}
    assert found == {each: pytest.approx(HOW[how](values)) if values else None for each, values in expected.items()}
    assert ingested.rejects.is_empty()


def test_an_aggregate_of_minutes_is_one_of_hours() -> None:
    times = [day(0, 0, minute) for minute in range(0, 180, 10)]
    ingested = read(times, [1.0] * 18, freq="1h", aggregate="sum")
    assert ingested.observations.select("ds", "y").rows() == [(day(0, hour), 6) for hour in range(3)]


def test_quarters_of_an_hour_at_a_frequency_of_an_hour_name_the_aggregate() -> None:
    times = [day(0, 0, minute) for minute in range(0, 60 * 20, 15)]
    with pytest.raises(
        SourceError, match=r"(?s)60 of 80 rows are refused.*source\.aggregate = sum, mean.*source\.snap"
    ):
        read(times, freq="1h")


def test_the_end_of_an_interval_belongs_to_the_period_that_it_ends() -> None:
    ends = [day(0, hour) for hour in range(1, 24 * 5 + 1)]
    ingested = read(ends, [1.0] * len(ends), freq="1d", aggregate="sum", label="end")
    assert ingested.observations.select("ds", "y").rows() == [(day(number), 24) for number in range(5)]
    starts = read(ends, [1.0] * len(ends), freq="1d", aggregate="sum")
    assert starts.observations["y"].to_list() == [23, 24, 24, 24, 24]  # the sixth day has one hour alone


def test_ends_of_months_on_the_first_and_on_the_last_day_are_the_same_months() -> None:
    firsts = [datetime(2024, month, 1) for month in range(1, 12)]
    mixed = [*firsts[:4], datetime(2024, 4, 30), *firsts[5:]]
    assert times_of(read(mixed, freq="1mo", label="end")) == firsts
    with pytest.raises(SourceError, match="share their period"):
        read([*mixed[:4], datetime(2024, 4, 20), *mixed[5:]], freq="1mo", label="start")


def test_hours_that_are_late_are_refused_unless_they_snap_to_the_nearest_point() -> None:
    rng = random.Random(25)
    exact = [day(0) + timedelta(minutes=5 * number) for number in range(500)]
    late = [each + timedelta(seconds=rng.randint(0, 20)) for each in exact]
    assert all("source.snap = nearest" in reason for reason in read(late, freq="5m", allow_rejects=1).rejects["reason"])
    ingested = read(late, freq="5m", snap="nearest")
    assert times_of(ingested) == exact
    assert ingested.rejects.is_empty()
    assert following(ingested, "5m")[0] == day(0) + timedelta(minutes=2500)
    early = read(late, freq="5m", snap="nearest", snap_tolerance="10s", allow_rejects=1)
    is_near = [(each - point).seconds <= 10 for each, point in zip(late, exact, strict=True)]
    assert times_of(early) == [point for point, near in zip(exact, is_near, strict=True) if near]
    assert set(early.rejects["reason"]) == {Reason.OFF_GRID}


def test_snapped_times_keep_the_grid_of_most_others_and_the_nearest_row() -> None:
    quarter_past = [day(0, hour, 15) for hour in range(120)]
    odd = [*quarter_past, quarter_past[5] + timedelta(minutes=2), quarter_past[-1] + timedelta(minutes=55)]
    ingested = read(odd, freq="1h", snap="nearest")
    assert times_of(ingested) == [*quarter_past, day(5, 0, 15)]
    assert ingested.rejects.select("source_row", "reason").rows() == [(121, Reason.SHARED)]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"snap_tolerance": "20s"}, 'source.snap_tolerance = .*needs snap = "nearest"'),
        ({"snap": "nearest", "snap_tolerance": "1mo"}, "source.snap_tolerance = .*duration of fixed length"),
        ({"snap": "nearest", "snap_tolerance": "soon"}, "source.snap_tolerance = "),
    ],
)
def test_a_tolerance_that_cannot_be_used_is_refused(fields: dict[str, str], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        make_spec({"name": "x", "source": {"uri": "x.csv"} | fields}, subject="x")


@given(
    st.sampled_from(["1d", "2d", "1w", "2w", "1mo", "2mo", "1q", "1y", "1h", "5m"]),
    st.datetimes(datetime(2000, 1, 1), datetime(2010, 1, 1)),
    st.sets(st.integers(0, 40), min_size=1),
    st.sampled_from(["start", "end"]),
)
def test_times_on_one_grid_do_not_move(freq: str, begin: datetime, numbers: set[int], label: Any) -> None:
    grid = pl.LazyFrame({"unique_id": ["a"], "ds": pl.Series([begin], dtype=pl.Datetime("us"))})
    points = [begin, *future_grid(grid, freq=freq, horizon=41).collect()["ds"].to_list()]
    times = [points[number] for number in sorted(numbers)]
    ingested = read(times, freq=freq, label=label, **({"snap": "nearest"} if freq in ("1h", "5m") else {}))
    assert times_of(ingested) == times


def test_a_row_after_the_cutoff_moves_nothing() -> None:
    times = anywhere([day(number) for number in range(50)])
    early = read(times[:30], freq="1d")
    assert read(times, freq="1d", cutoff=times[29]).features.equals(early.features)
    months = [last_business_day(*month) for month in MONTHS]
    until = read(months, freq="1mo", cutoff=datetime(2024, 6, 29))
    assert times_of(until)[-1] == datetime(2024, 5, 31)  # the end of June had not been reached
