"""The newest forecasts of a spec, for all series or some."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from forecasting.errors import NothingStored, UserError
from forecasting.store.latest import latest_forecasts
from forecasting.store.publish import publish
from forecasting.store.slices import Slice

START = datetime(2024, 1, 1)


def put(store, rows, *, spec="demo", generation=0):
    clock = "step" if isinstance(rows["run_cutoff"][0], int) else "timestamp"
    slice_ = Slice(spec, run_cutoff=rows["run_cutoff"][0])
    publish(store, "forecasts", clock, rows, slice=slice_, application=spec, generation=generation)


def test_forecasts_are_those_of_champions_in_the_newest_run(store, forecasts_of):
    put(store, forecasts_of("b", "a", forecast=1.0))
    put(store, forecasts_of("b", "a", run_cutoff=START + timedelta(hours=2), forecast=2.0), generation=1)
    rows = latest_forecasts(store, spec="demo")
    assert rows["unique_id"].to_list() == ["a"] * 4 + ["b"] * 4
    assert rows["forecast"].to_list() == [1.0, 1.0, 2.0, 2.0] * 2
    assert rows["model"].unique().to_list() == ["lstm"]


def test_series_are_selected_and_unknown_ones_refused(store, forecasts_of):
    put(store, forecasts_of("a", "b", "o'c"))
    assert latest_forecasts(store, spec="demo", series=["o'c"])["unique_id"].unique().to_list() == ["o'c"]
    with pytest.raises(UserError, match="1 of 2 series are not among the 3 known: 'x'"):
        latest_forecasts(store, spec="demo", series=["a", "x"])


def test_held_forecast_marks_the_earlier_one_in_its_place(store, forecasts_of):
    put(store, forecasts_of("a", "b", run_cutoff=5, forecast=1.0))
    newer = forecasts_of("a", "b", run_cutoff=6, forecast=2.0)
    is_held = (pl.col("unique_id") == "a") & pl.col("is_champion")
    newer = newer.with_columns(held=pl.when(is_held).then(pl.lit("why")), is_champion=pl.col("is_champion") & ~is_held)
    put(store, newer, generation=1)
    rows = latest_forecasts(store, spec="demo").select("unique_id", "ds", "forecast", "run_cutoff", "held").rows()
    assert rows == [
        ("a", 6, 1.0, 5, None), ("a", 7, 1.0, 5, "why"),
        ("b", 6, 1.0, 5, None), ("b", 7, 2.0, 6, None), ("b", 8, 2.0, 6, None),
    ]  # fmt: skip


def test_held_forecast_that_was_replaced_or_followed_by_a_good_one_leaves_no_mark(store, forecasts_of):
    held = forecasts_of("a", run_cutoff=6).with_columns(held=pl.lit("why"), is_champion=pl.lit(False))
    put(store, held)
    put(store, forecasts_of("a", run_cutoff=7, forecast=3.0), generation=1)
    rows = latest_forecasts(store, spec="demo")
    assert rows.select("ds", "forecast", "held").rows() == [(8, 3.0, None), (9, 3.0, None)]


def test_spec_of_integer_steps_is_found(store, forecasts_of):
    put(store, forecasts_of("a", run_cutoff=5, spec="counts"), spec="counts")
    assert latest_forecasts(store, spec="counts")["ds"].to_list() == [6, 7]


def test_spec_without_forecasts_is_refused_with_those_that_have_some(store, forecasts_of):
    with pytest.raises(NothingStored, match=r"spec 'd'emo' has no forecasts in .*store; specs with forecasts: none"):
        latest_forecasts(store, spec="d'emo")
    put(store, forecasts_of("a"))
    with pytest.raises(NothingStored, match="specs with forecasts: demo"):
        latest_forecasts(store, spec="other")
