"""Series on even grids, with gaps as null."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.calendar import add_calendar
from forecasting.series.judge import MIN_REACH, REACH_PER_ROW
from forecasting.series.regularise import regularise
from forecasting.series.validate import validate

START = datetime(2024, 1, 1)
HOUR = timedelta(hours=1)


def _features(rows: pl.LazyFrame, *, freq: str | int, cutoff: datetime | int | None = None) -> pl.DataFrame:
    accepted = validate(rows, freq=freq, cutoff=cutoff).accepted
    return add_calendar(regularise(accepted, freq=freq), freq=freq).collect(engine="streaming")


def test_gap_stays_null_and_is_marked(make_rows: Callable) -> None:
    grid = _features(
        make_rows([("a", START, 1.0), ("a", START + 2 * HOUR, None), ("a", START + 3 * HOUR, 4.0)]), freq="1h"
    )
    assert grid["ds"].to_list() == [START + HOUR * hour for hour in range(4)]
    assert grid["y"].to_list() == [1.0, None, None, 4.0]
    assert grid["is_observed"].to_list() == [True, False, False, True]


def test_series_reaches_from_its_first_to_its_last_row_even_if_these_are_gaps(make_rows: Callable) -> None:
    grid = _features(make_rows([("a", 3, None), ("a", 5, 1.0), ("a", 8, None), ("b", 7, 2.0)]), freq=1)
    assert grid.select("unique_id", "ds").rows() == [*(("a", step) for step in range(3, 9)), ("b", 7)]
    assert grid.schema["ds"] == pl.Int64


def test_month_ends_are_filled_with_month_ends(make_rows: Callable) -> None:
    days = [datetime(2024, 1, 31), datetime(2024, 3, 31), datetime(2024, 6, 30)]
    grid = _features(make_rows([("a", day, 1.0) for day in days]), freq="1mo")
    assert [day.strftime("%m-%d") for day in grid["ds"]] == ["01-31", "02-29", "03-31", "04-30", "05-31", "06-30"]


def test_columns_are_those_of_the_features_table(make_rows: Callable) -> None:
    grid = regularise(validate(make_rows([("a", START, 1.0)]), freq="1h").accepted, freq="1h")
    assert grid.collect_schema() == {
        "unique_id": pl.String, "ds": pl.Datetime("us"), "y": pl.Float64, "is_observed": pl.Boolean
    }  # fmt: skip


def test_no_observations_make_an_empty_grid(make_rows: Callable) -> None:
    for freq in ("1h", "1mo"):
        assert _features(make_rows([("a", START, float("nan"))]), freq=freq).is_empty()


def test_building_the_lazy_frame_collects_nothing(monkeypatch: pytest.MonkeyPatch, make_rows: Callable) -> None:
    rows = make_rows([("a", START, 1.0)])
    monkeypatch.setattr(pl.LazyFrame, "collect", lambda *_, **__: pytest.fail("collected"))
    add_calendar(regularise(rows.select("unique_id", "ds", "y"), freq="1h"), freq="1h")


values = st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(float("nan")))
hours = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 200), values), min_size=1, max_size=40)


@given(points=hours, freq=st.sampled_from(["1h", "3h", "1d", "1mo", "15m"]))
def test_every_accepted_row_lies_on_an_even_grid_without_holes(
    make_rows: Callable, points: list[tuple[str, int, float | None]], freq: str
) -> None:
    rows = make_rows([(name, START + HOUR * hour, y) for name, hour, y in points])
    accepted = validate(rows.with_columns(pl.col("y").cast(pl.Float64)), freq=freq).accepted.collect()
    grid = regularise(accepted.lazy(), freq=freq).collect()
    assert (
        grid.join(accepted, on=["unique_id", "ds", "y"], how="semi", nulls_equal=True)
        .sort("unique_id", "ds")
        .equals(grid.join(accepted, on=["unique_id", "ds"], how="semi"))
    )
    assert len(grid.join(accepted, on=["unique_id", "ds"], how="semi")) == len(accepted)
    assert grid["is_observed"].sum() == accepted["y"].count()
    for (_,), series in grid.group_by("unique_id"):
        every = pl.datetime_range(series["ds"][0], series["ds"][-1], freq, eager=True)
        assert series["ds"].to_list() == every.to_list()


@given(steps=st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=30), freq=st.integers(1, 10**9))
def test_size_of_a_grid_is_bounded_for_any_rows(make_rows: Callable, steps: list[int], freq: int) -> None:
    accepted = validate(make_rows([("a", step, 1.0) for step in steps]), freq=freq).accepted
    grid, kept = pl.collect_all([regularise(accepted, freq=freq), accepted])
    assert len(kept) >= 1
    assert len(grid) <= 2 * max(MIN_REACH, REACH_PER_ROW * len(steps)) + 1


later_rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(61, 400 * 60), st.one_of(st.none(), st.floats())),
    max_size=30,
)


@given(
    points=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 60), values), min_size=1, max_size=30),
    later=later_rows,
    otherwise=later_rows,
    freq=st.sampled_from(["1m", "15m", "1h", "1d", "1mo"]),
)
def test_rows_after_the_cutoff_change_no_feature_at_or_before_it(
    make_rows: Callable, points: list[Any], later: list[Any], otherwise: list[Any], freq: str
) -> None:
    cutoff = START + HOUR

    def features(after: list[Any]) -> pl.DataFrame:
        rows = make_rows([(name, START + timedelta(minutes=minute), y) for name, minute, y in [*points, *after]])
        return _features(rows.with_columns(pl.col("y").cast(pl.Float64)), freq=freq, cutoff=cutoff)

    known = features([])
    assert features(later).equals(known)
    assert features(otherwise).equals(known)
    assert known.filter(pl.col("ds") > cutoff).is_empty()
