"""The newest forecasts of a spec, for all series or some."""

from datetime import datetime, timedelta

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


def test_spec_of_integer_steps_is_found(store, forecasts_of):
    put(store, forecasts_of("a", run_cutoff=5, spec="counts"), spec="counts")
    assert latest_forecasts(store, spec="counts")["ds"].to_list() == [6, 7]


def test_spec_without_forecasts_is_refused_with_those_that_have_some(store, forecasts_of):
    with pytest.raises(NothingStored, match=r"spec 'd'emo' has no forecasts in .*store; specs with forecasts: none"):
        latest_forecasts(store, spec="d'emo")
    put(store, forecasts_of("a"))
    with pytest.raises(NothingStored, match="specs with forecasts: demo"):
        latest_forecasts(store, spec="other")
