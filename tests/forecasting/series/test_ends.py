"""One cutoff for a run, series that lag or have ended, and rows that wait: every row of a source is counted."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.series.ends import find_lagging
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.read import scan_frame
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec, make_spec

BEGIN = datetime(2024, 1, 1)
NOW = datetime(2026, 1, 1)
N = 14
"""Days after which a series has ended: two horizons and two seasons."""


def day(number: int) -> datetime:
    return BEGIN + timedelta(days=number)


def spec_of(**source: Any) -> Spec:
    fields = {"name": "x", "freq": "1d", "season_lengths": [7], "horizon": 7}
    return make_spec(fields | {"source": {"uri": "x.parquet"} | source}, subject="x")


def scan(frame: pl.DataFrame) -> pl.LazyFrame:
    return scan_frame(frame, Source(uri="x.parquet"), "timestamp")


def rows_of(days: dict[str, Any]) -> pl.LazyFrame:
    """Return rows by series and day; the measurement is the number of the day."""
    pairs = [(name, number) for name, numbers in days.items() for number in numbers]
    frame = pl.DataFrame(
        {
            "unique_id": pl.Series([name for name, _ in pairs], dtype=pl.String),
            "ds": pl.Series([day(number) for _, number in pairs], dtype=pl.Datetime("us")),
            "y": pl.Series([float(number) for _, number in pairs], dtype=pl.Float64),
        }
    )
    return scan(frame)


def read(days: dict[str, Any], *, cutoff: datetime | None = None, now: datetime = NOW, **source: Any) -> Ingested:
    return ingest(spec_of(**source), rows=rows_of(days), cutoff=cutoff, now=now)


def fleet(**others: Any) -> dict[str, Any]:
    return {f"s{number}": range(100) for number in range(6)} | others


def ends_of(ingested: Ingested) -> dict[str, datetime]:
    return dict(ingested.features.group_by("unique_id").agg(pl.col("ds").max()).iter_rows())


def test_cutoff_is_the_newest_day_that_half_of_the_live_series_have() -> None:
    assert read({"a": range(50), "b": range(50), "c": range(51), "d": range(52)}).cutoff == day(50)
    assert read({"a": range(50), "b": range(51)}).cutoff == day(50)
    assert read({"a": range(50)}).cutoff == day(49)


def test_series_that_lags_has_gaps_up_to_the_cutoff_and_is_counted() -> None:
    ingested = read(fleet(late=range(95)))
    assert set(ends_of(ingested).values()) == {day(99)}
    assert ingested.features.filter(unique_id="late")["y"].to_list()[-6:] == [94, *[None] * 5]
    assert find_lagging(ingested.features) == ["late"]
    assert ingested.ended == {}


def test_rows_after_the_cutoff_wait_and_are_named_with_the_option() -> None:
    ingested = read(fleet(eager=range(103)))
    assert ingested.cutoff == day(99)
    (note,) = ingested.unused
    assert note.startswith("3 rows of 1 series, such as 'eager', up to 2024-04-12 00:00:00, are not used")
    assert "--cutoff" in note
    assert str(ingested.counts) == "703 rows read, 700 used, 3 after the cutoff"
    assert read(fleet(eager=range(103)), cutoff=day(102)).observations["ds"].max() == day(102)


@pytest.mark.parametrize("late", [101, 100 + N, 160, 400])
def test_one_odd_newest_row_does_not_end_the_others(late: int) -> None:
    ingested = read(fleet(odd=[*range(100), late]))
    assert ingested.cutoff == day(99)
    assert ingested.ended == {}
    assert "'odd'" in ingested.unused[0]


@pytest.mark.parametrize("late", [105, 160, 400])
def test_series_of_one_late_row_alone_does_not_decide(late: int) -> None:
    ingested = read(fleet(only=[late]))
    assert (ingested.cutoff, ingested.ended) == (day(99), {})


def test_single_series_ends_with_its_newest_row_even_after_an_outage() -> None:
    assert read({"a": [*range(50), 90]}).cutoff == day(90)


def test_series_that_ended_long_ago_do_not_hold_the_cutoff_back() -> None:
    ingested = read({f"old{number}": range(30) for number in range(20)} | {"live": range(500)})
    assert ingested.cutoff == day(499)
    assert len(ingested.ended) == 20
    assert ingested.unused[0].startswith("20 of 21 series get no forecast, such as 'old0', which has ended: ")


def test_sparse_series_end_with_the_newest_day_on_which_as_many_have_a_row_as_usual() -> None:
    sparse = {f"s{number}": range(number % 5, 500, 5) for number in range(50)}
    sparse["s0"] = [*sparse["s0"], 505]
    assert read(sparse, missing_rows="gap").cutoff == day(499)
    assert read({"a": range(0, 500, 5), "b": range(3, 497, 5), "c": range(1, 490, 5)}).cutoff == day(495)


@pytest.mark.parametrize(
    ("source", "has_ended"),
    [
        ({}, False),
        ({"ended_after": N - 1}, True),
        ({"ended_after": "14d"}, False),
        ({"ended_after": "327h"}, True),
        ({"ended_after": N - 1, "ended": "forecast"}, False),
    ],
)
def test_series_has_ended_without_a_measurement_for_longer_than_the_source_says(
    source: dict[str, Any], has_ended: bool
) -> None:
    ingested = read(fleet(old=range(100 - N)), **source)
    assert ("old" in ingested.ended) == has_ended
    own_end = has_ended or source.get("ended") == "forecast"
    assert ends_of(ingested)["old"] == (day(99 - N) if own_end else day(99))


def test_any_series_that_lags_can_be_forecast_from_its_own_end() -> None:
    ingested = read({"a": range(100), "b": range(99), "c": range(60)}, ended_after=0, ended="forecast")
    assert (ingested.cutoff, ingested.ended) == (day(99), {})
    assert ends_of(ingested) == {"a": day(99), "b": day(98), "c": day(59)}


def test_nulls_and_filled_zeros_do_not_keep_a_series_alive() -> None:
    rows = rows_of(fleet(old=range(100))).with_columns(
        y=pl.when((pl.col("unique_id") == "old") & (pl.col("ds") > day(80))).then(None).otherwise("y")
    )
    for meaning in ("gap", "zero"):
        assert list(ingest(spec_of(missing_rows=meaning), rows=rows, now=NOW).ended) == ["old"]
        assert list(read(fleet(old=range(80)), missing_rows=meaning).ended) == ["old"]


def test_series_that_has_ended_keeps_its_grid_for_the_row_that_says_so() -> None:
    spec = make_spec(
        {"name": "x", "freq": "1mo", "season_lengths": [12], "horizon": 3, "source": {"uri": "x.parquet"}}, subject="x"
    )
    months = pl.datetime_range(datetime(2015, 1, 1), datetime(2023, 12, 1), "1mo", eager=True)
    live = pl.DataFrame({"unique_id": "live", "ds": months, "y": 1.0})
    old = pl.DataFrame({"unique_id": "old", "ds": months[:40].dt.offset_by("29d"), "y": 1.0})
    frame = pl.concat([live, old.filter(pl.col("ds").dt.month() != 2)])
    ingested = ingest(spec, rows=scan(frame), now=NOW)
    assert list(ingested.ended) == ["old"]
    hidden = ingested.without_ended(spec).features.filter(unique_id="old")
    assert hidden["y"].null_count() == hidden.height
    assert hidden["ds"].max() == datetime(2023, 11, 30)  # the next one is the 30th of the month after the cutoff
    assert ingested.without_ended(spec).features.columns == ingested.features.columns


ENDS = st.lists(
    st.tuples(
        st.integers(0, 60),  # first day
        st.integers(1, 60),  # number of days
        st.sets(st.integers(0, 200), max_size=2),  # further rows
        st.booleans(),  # whether every third row is absent
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(ENDS, st.integers(1, 200), st.booleans())
def test_every_row_is_counted_once_and_nothing_after_the_cutoff_is_read(
    ends: list[tuple[int, int, set[int], bool]], today: int, gives_cutoff: bool
) -> None:
    days: dict[str, Any] = {}
    for number, (first, length, more, is_sparse) in enumerate(ends):
        usual = range(first, first + length, 3 if is_sparse else 1)
        days[f"s{number}"] = sorted({*usual, *more})
    now = day(today) + timedelta(hours=4, minutes=30)
    known = [number for numbers in days.values() for number in numbers if number < today]
    if not known:
        return
    cutoff = day(max(known)) if gives_cutoff else None
    ingested = read(days, cutoff=cutoff, now=now, allow_rejects=1)
    counts = ingested.counts
    assert counts is not None
    assert counts.read == sum(map(len, days.values()))
    assert counts.read == counts.used + counts.after_cutoff + counts.unfinished + sum(counts.not_used.values())
    assert counts.used == ingested.observations.height
    assert counts.unfinished == sum(today in numbers for numbers in days.values())
    assert ingested.observations["ds"].max() <= ingested.cutoff <= day(today - 1)  # type: ignore[operator]
    features = ingested.without_ended(spec_of()).features
    assert set(features.group_by("unique_id").agg(pl.col("ds").max())["ds"]) <= {ingested.cutoff}
    last = ingested.observations.group_by("unique_id").agg(pl.col("ds").max())
    reach = timedelta(days=N)
    assert set(ingested.ended) == set(last.filter(ingested.cutoff - pl.col("ds") > reach)["unique_id"])  # type: ignore[operator]
    assert len(ingested.ended) < last.height
    if cutoff is None:  # it is at or before the newest day that half of the series that are not ended have
        live = last.filter(~pl.col("unique_id").is_in(list(ingested.ended)))
        assert (live["ds"] == ingested.cutoff).any()


def test_series_without_any_measurement_are_named_as_those_without_a_forecast() -> None:
    rows = rows_of(fleet(none=range(100), hidden=range(100), gone=range(20)))
    rows = rows.with_columns(y=pl.when(pl.col("unique_id") != "none").then("y"))
    ignore = [{"from": "2024", "to": "2024", "series": ["hidden"]}]
    unused = ingest(spec_of(ignore=ignore), rows=rows, now=NOW).unused
    assert [note for note in unused if "missing or ignored" in note] == [
        "2 of 9 series get no forecast, such as 'hidden', because all their measurements are missing or ignored"
    ]
    assert not [note for note in read(fleet()).unused if "missing or ignored" in note]
