"""Accepted rows, rejects with their reasons, and the cutoff."""

import math
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import SourceError, SpecError
from forecasting.series.judge import MIN_REACH
from forecasting.series.reasons import Reason
from forecasting.series.spans import newest_observation
from forecasting.series.validate import validate

START = datetime(2024, 1, 1)
HOUR = timedelta(hours=1)


def _hours(number: int, unique_id: str = "a") -> list[tuple[Any, Any, Any]]:
    return [(unique_id, START + HOUR * hour, float(hour)) for hour in range(number)]


def _reasons(rejects: pl.DataFrame) -> dict[int, str]:
    return dict(rejects.select("source_row", "reason").iter_rows())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ((None, "2024-01-01 00:00", "1"), Reason.NO_ID),
        (("", "2024-01-01 00:00", "1"), Reason.NO_ID),
        (("  ", "2024-01-01 00:00", "1"), Reason.NO_ID),
        (("a", None, "1"), Reason.NO_TIME),
        (("a", " ", "1"), Reason.NO_TIME),
        (("a", "not-a-date", "1"), Reason.BAD_TIME),
        (("a", "2024-02-30", "1"), Reason.BAD_TIME),
        (("a", "9999-12-31", "1"), Reason.OUT_OF_RANGE),
        (("a", "2024-01-01 04:00", "abc"), Reason.NOT_A_NUMBER),
        (("a", "2024-01-01 04:00", "N/A"), Reason.NOT_A_NUMBER),
        (("a", "2024-01-01 04:00", "NaN"), Reason.NAN),
        (("a", "2024-01-01 04:00", "-inf"), Reason.INFINITE),
        (("a", "2024-01-01 04:00", "1e999"), Reason.INFINITE),
        (("a", "2024-01-01 01:00", "2.0"), Reason.REPEATED),
        (("a", "2024-01-01 01:00", "7"), Reason.CONFLICT),
        (("a", "2024-01-01 01:00", None), Reason.NO_MEASUREMENT),
        (("a", "2024-01-01 04:30", "1"), Reason.OFF_GRID),
        (("a", "2030-01-01 04:00", "1"), Reason.FAR_AWAY),
    ],
)
def test_bad_row_is_refused_with_its_reason_and_affects_only_itself(accept: Callable, bad: Any, reason: Reason) -> None:
    good = [("a", f"2024-01-01 0{hour}:00", str(hour + 1)) for hour in range(4)]
    accepted, rejects = accept([*good, bad], freq="1h")
    assert accepted["y"].to_list() == [1, 2, 3, 4]
    assert rejects.rows() == [("rows.parquet", 5, *bad, reason.value)]


def test_a_step_off_its_grid_is_refused_with_the_option_that_applies_to_steps(accept: Callable) -> None:
    _, rejects = accept([*(("a", 2 * step, 1.0) for step in range(9)), ("a", 5, 1.0)], freq=2)
    assert rejects["reason"].to_list() == [Reason.OFF_STEPS]
    assert "--freq" in Reason.OFF_STEPS
    assert "snap" not in Reason.OFF_STEPS


def test_accepted_rows_are_sorted_and_typed(accept: Callable) -> None:
    rows = [("b", "2024-01-01", "1"), ("a", "2024-01-02", ""), ("a", "2024-01-01", " 3 ")]
    accepted, rejects = accept(rows, freq="1d")
    assert accepted.schema == {"unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64}
    assert accepted.rows() == [("a", START, 3.0), ("a", START + 24 * HOUR, None), ("b", START, 1.0)]
    assert rejects.is_empty()


def test_rejects_have_the_columns_of_their_table(accept: Callable) -> None:
    _, rejects = accept([("a", START, math.nan)], freq="1h")
    expected = {
        "source_file": pl.String,
        "source_row": pl.Int64,
        **dict.fromkeys(("unique_id", "ds", "y", "reason"), pl.String),
    }
    assert rejects.schema == expected
    assert rejects.row(0)[2:] == ("a", "2024-01-01T00:00:00", "NaN", Reason.NAN.value)


def test_first_of_conflicting_duplicates_is_kept(accept: Callable) -> None:
    rows = [("a", START, 5.0), ("a", START, 1.0), ("a", START, 5.0), ("a", START + HOUR, 2.0)]
    accepted, rejects = accept(rows, freq="1h")
    assert accepted["y"].to_list() == [5.0, 2.0]
    assert _reasons(rejects) == {2: Reason.CONFLICT, 3: Reason.REPEATED}


def test_measurement_is_kept_instead_of_an_earlier_gap_at_the_same_time(accept: Callable) -> None:
    accepted, rejects = accept([("a", START, None), ("a", START, 1.0), ("a", START, None)], freq="1h")
    assert accepted["y"].to_list() == [1.0]
    assert _reasons(rejects) == {1: Reason.NO_MEASUREMENT, 3: Reason.NO_MEASUREMENT}


def test_two_gaps_at_the_same_time_are_repeats(accept: Callable) -> None:
    accepted, rejects = accept([("a", START, None), ("a", START, None), ("a", START + HOUR, 1.0)], freq="1h")
    assert accepted["y"].to_list() == [None, 1.0]
    assert _reasons(rejects) == {2: Reason.REPEATED}


@pytest.mark.parametrize("bad", ["abc", "NaN", "-inf"])
def test_row_without_a_number_does_not_replace_an_accepted_row(accept: Callable, bad: str) -> None:
    accepted, rejects = accept([("a", "2024-01-01", bad), ("a", "2024-01-01", "1")], freq="1d")
    assert accepted["y"].to_list() == [1.0]
    assert list(_reasons(rejects)) == [1]


def test_equal_rows_of_two_series_are_not_duplicates(accept: Callable) -> None:
    accepted, rejects = accept(
        [*_hours(3, "a"), *_hours(3, "b"), ("c", START + 2 * HOUR, 2.0), ("d", START + 2 * HOUR, 2.0)], freq="1h"
    )
    assert len(accepted) == 8
    assert rejects.is_empty()


def test_each_series_has_its_own_grid(accept: Callable) -> None:
    late = [("b", time + timedelta(minutes=17), y) for _, time, y in _hours(5)]
    accepted, rejects = accept([*_hours(5), *late, ("b", START + HOUR, 9.0)], freq="1h")
    assert len(accepted) == 10
    assert _reasons(rejects) == {11: Reason.OFF_GRID}


def test_duplicates_of_one_time_do_not_outvote_the_grid(accept: Callable) -> None:
    odd = [("a", START + timedelta(minutes=30), 1.0)] * 5
    accepted, rejects = accept([*odd, *_hours(3)], freq="1h")
    assert len(accepted) == 3
    assert Counter(_reasons(rejects).values()) == {Reason.OFF_GRID: 1, Reason.REPEATED: 4}


def test_steps_are_validated_like_timestamps(accept: Callable) -> None:
    rows = [("a", 10, 1.0), ("a", 12, 2.0), ("a", 13, 3.0), ("a", 10, 1.0), ("a", 10**16, 1.0), ("a", None, 1.0)]
    accepted, rejects = accept(rows, freq=2)
    assert accepted.schema["ds"] == pl.Int64
    assert accepted["ds"].to_list() == [10, 12]
    assert list(_reasons(rejects).values()) == [
        Reason.OFF_STEPS, Reason.REPEATED, Reason.STEP_OUT_OF_RANGE, Reason.NO_TIME
    ]  # fmt: skip


def test_steps_as_text_must_be_whole_numbers(accept: Callable) -> None:
    accepted, rejects = accept([("a", "1", "1"), ("a", "2.5", "1"), ("a", "3", "1")], freq=1)
    assert accepted["ds"].to_list() == [1, 3]
    assert _reasons(rejects) == {2: Reason.BAD_STEP}


def test_local_midnights_of_a_year_lie_on_one_daily_grid(make_rows: Callable) -> None:
    days = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 12, 31), "1d", eager=True)
    rows = make_rows(_hours(len(days))).with_columns(ds=days.dt.replace_time_zone("Europe/Paris"))
    validated = validate(rows, freq="1d")
    assert validated.rejects.collect().is_empty()
    assert validated.accepted.collect()["ds"].to_list() == days.to_list()


def test_times_with_a_zone_become_utc(make_rows: Callable) -> None:
    rows = make_rows(_hours(3)).with_columns(pl.col("ds").dt.replace_time_zone("Europe/Berlin"))
    accepted = validate(rows, freq="1h").accepted.collect()
    assert accepted["ds"].to_list() == [START - HOUR, START, START + HOUR]


@pytest.mark.parametrize("freq", ["1d", "1w", "1mo"])
def test_dates_are_midnights_for_days_and_coarser(accept: Callable, freq: str) -> None:
    accepted, _ = accept([("a", date(2024, 1, 1), 1.0)], freq=freq)
    assert accepted["ds"].to_list() == [START]


def test_dates_are_refused_for_hourly_frequencies(accept: Callable) -> None:
    with pytest.raises(SourceError, match="dates without a time of day, but the frequency 1h"):
        accept([("a", date(2024, 1, 1), 1.0)], freq="1h")


def test_frame_of_the_other_clock_is_refused(accept: Callable) -> None:
    with pytest.raises(SourceError, match=r"ds has Datetime.* but needs whole numbers"):
        accept(_hours(3), freq=1)
    with pytest.raises(SourceError, match="ds has Int64 but needs timestamps"):
        accept([("a", 1, 1.0)], freq="1h")
    with pytest.raises(SpecError, match="cutoff: 3 must be a timestamp"):
        accept(_hours(3), freq="1h", cutoff=3)


def test_rows_after_the_cutoff_are_neither_accepted_nor_refused(accept: Callable) -> None:
    rows = [*_hours(4), ("a", START + 2 * HOUR, math.nan), ("a", START + HOUR, math.nan), ("a", None, 1.0)]
    accepted, rejects = accept(rows, freq="1h", cutoff=START + HOUR)
    assert accepted["y"].to_list() == [0.0, 1.0]
    assert _reasons(rejects) == {6: Reason.NAN, 7: Reason.NO_TIME}


def test_only_rows_up_to_the_cutoff_anchor_the_grid(accept: Callable) -> None:
    later = [("a", START + 100 * HOUR + timedelta(minutes=30, hours=hour), 1.0) for hour in range(50)]
    accepted, rejects = accept([*_hours(3), *later], freq="1h", cutoff=START + 3 * HOUR)
    assert len(accepted) == 3
    assert rejects.is_empty()


def test_wrong_year_is_refused_and_long_outage_is_not(accept: Callable) -> None:
    outage = [("a", START + HOUR * (MIN_REACH // 2) + HOUR * hour, 1.0) for hour in range(20)]
    accepted, rejects = accept([*_hours(20), *outage, ("a", datetime(2999, 1, 1), 1.0)], freq="1h")
    assert len(accepted) == 40
    assert _reasons(rejects) == {41: Reason.FAR_AWAY}


def test_sparse_series_keeps_every_row_within_its_reach(accept: Callable) -> None:
    rows = [("a", step * MIN_REACH, 1.0) for step in range(3)]
    accepted, _ = accept(rows, freq=1)
    assert len(accepted) == 3
    accepted, rejects = accept([*rows, ("a", 3 * MIN_REACH, 1.0)], freq=1)
    assert accepted["ds"].to_list() == [0, MIN_REACH, 2 * MIN_REACH]
    assert _reasons(rejects) == {4: Reason.FAR_AWAY}


def test_building_the_lazy_frames_collects_nothing(monkeypatch: pytest.MonkeyPatch, make_rows: Callable) -> None:
    rows = make_rows(_hours(3))
    monkeypatch.setattr(pl.LazyFrame, "collect", lambda *_, **__: pytest.fail("collected"))
    validate(rows, freq="1h", cutoff=START)


def test_newest_observation_is_measured_accepted_and_not_after_the_limit(make_rows: Callable) -> None:
    odd = ("a", START + 2 * HOUR + timedelta(minutes=1), 1.0)
    rows = make_rows([*_hours(3), odd, ("a", START + 3 * HOUR, None), ("a", START + 4 * HOUR, math.nan)])
    assert newest_observation(rows, freq="1h") == START + 2 * HOUR
    assert newest_observation(rows, freq="1h", not_after=START + timedelta(minutes=90)) == START + HOUR
    assert newest_observation(rows, freq="1h", not_after=START - HOUR) is None


def test_newest_step_is_an_integer(make_rows: Callable) -> None:
    assert newest_observation(make_rows([("a", 4, 1.0), ("b", 7, 2.0)]), freq=1) == 7


messy_rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "", None]),
        st.one_of(
            st.none(),
            st.sampled_from(["", "soon", "2024-01-01 00:30", "2999-01-01 00:00", "2013-01"]),
            st.integers(0, 30).map(lambda hour: (START + HOUR * hour).isoformat()),
        ),
        st.sampled_from([None, "", "x", "NaN", "inf", "0", "1.0", "2"]),
    ),
    min_size=1,
    max_size=40,
)


@given(rows=messy_rows, hour=st.one_of(st.none(), st.integers(0, 30)), freq=st.sampled_from(["1h", "15m", "1d", "1mo"]))
def test_every_row_up_to_the_cutoff_is_accepted_or_refused_once(
    make_rows: Callable, rows: list[Any], hour: int | None, freq: str
) -> None:
    cutoff = None if hour is None else START + HOUR * hour
    validated = validate(make_rows(rows), freq=freq, cutoff=cutoff)
    accepted, rejects = pl.collect_all([validated.accepted, validated.rejects])

    def is_known(time: str | None) -> bool:
        try:
            return cutoff is None or datetime.fromisoformat(time or "") <= cutoff
        except ValueError:
            return time != "2013-01" or cutoff >= datetime(2013, 1, 1)

    known = [number for number, (_, time, _) in enumerate(rows, start=1) if is_known(time)]
    assert len(accepted) + len(rejects) == len(known)
    assert rejects["source_row"].is_unique().all()
    assert set(rejects["source_row"]) <= set(known)
    assert not accepted.select("unique_id", "ds").is_duplicated().any()
    assert rejects.select("unique_id", "ds", "y").rows() == [rows[row - 1] for row in rejects["source_row"]]
