"""Panels: aligned series with calendar, horizon and gaps."""

from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import SpecError
from forecasting.series.calendar import add_calendar, calendar_columns
from forecasting.series.panel import to_panel
from forecasting.series.regularise import regularise

START = datetime(2024, 1, 1)
HOUR = timedelta(hours=1)


def _features(triples: list[tuple], freq: str | int) -> pl.DataFrame:
    ids, times, values = zip(*triples, strict=True)
    observations = pl.LazyFrame({"unique_id": ids, "ds": times, "y": pl.Series(values, dtype=pl.Float64)})
    return add_calendar(regularise(observations, freq=freq), freq=freq).collect()


@pytest.fixture
def features() -> pl.DataFrame:
    long = [("long", START + HOUR * hour, float(hour)) for hour in range(6) if hour != 3]
    return _features([*long, ("short", START + 10 * HOUR, 7.0), ("short", START + 11 * HOUR, None)], "1h")


def test_every_series_ends_in_the_last_column(features: pl.DataFrame) -> None:
    panel = to_panel(features, freq="1h", horizon=2)
    nan = np.nan
    assert panel.unique_ids == ("long", "short")
    assert panel.horizon == 2
    np.testing.assert_array_equal(panel.y_SN, [[0, 1, 2, nan, 4, 5], [nan, nan, nan, nan, 7, nan]])
    np.testing.assert_array_equal(panel.length_S, [6, 2])
    assert panel.y_SN.dtype == np.float64
    assert panel.length_S.dtype == np.int64


def test_grid_reaches_over_the_horizon_and_is_nat_before_a_series(features: pl.DataFrame) -> None:
    panel = to_panel(features, freq="1h", horizon=2)
    assert panel.ds_SN.dtype == np.dtype("datetime64[us]")
    assert panel.ds_SN[0].tolist() == [START + HOUR * hour for hour in range(8)]
    assert panel.ds_SN[1].tolist() == [None] * 4 + [START + HOUR * hour for hour in range(10, 14)]


def test_calendar_of_every_column_is_that_of_its_time(features: pl.DataFrame) -> None:
    panel = to_panel(features, freq="1h", horizon=3)
    names = calendar_columns("1h")
    assert panel.calendar_SNC.shape == (2, 9, len(names))
    assert panel.calendar_SNC.dtype == np.float32
    for row in range(2):
        is_there = ~np.isnat(panel.ds_SN[row])
        expected = add_calendar(pl.LazyFrame({"ds": panel.ds_SN[row][is_there]}), freq="1h").select(names).collect()
        np.testing.assert_array_equal(panel.calendar_SNC[row][is_there], expected.to_numpy())
        assert not panel.calendar_SNC[row][~is_there].any()


def test_series_have_the_requested_order_regardless_of_the_order_of_features(features: pl.DataFrame) -> None:
    shuffled = features.sample(fraction=1, shuffle=True, seed=1)
    panel = to_panel(shuffled, freq="1h", horizon=1, unique_ids=["short", "long"])
    expected = to_panel(features, freq="1h", horizon=1).select(np.array([1, 0]))
    assert panel.unique_ids == ("short", "long")
    np.testing.assert_array_equal(panel.y_SN, expected.y_SN)
    np.testing.assert_array_equal(panel.ds_SN, expected.ds_SN)
    np.testing.assert_array_equal(panel.calendar_SNC, expected.calendar_SNC)
    assert to_panel(shuffled, freq="1h", horizon=1, unique_ids=["short"]).y_SN.shape == (1, 2)


@given(st.lists(st.integers(0, 59), max_size=8), st.randoms(use_true_random=False))
def test_runs_of_rows_in_any_order_make_the_same_panel(cuts: list[int], random: Random) -> None:
    triples = [(name, step, float(step)) for name, number in (("a", 30), ("b", 7), ("c", 23)) for step in range(number)]
    features = _features(triples, 1)
    bounds = [0, *sorted(cuts), features.height]
    stretches = [features[begin:end] for begin, end in pairwise(bounds)]
    random.shuffle(stretches)
    panel, expected = (to_panel(rows, freq=1, horizon=2) for rows in (pl.concat(stretches), features))
    np.testing.assert_array_equal(panel.y_SN, expected.y_SN)
    np.testing.assert_array_equal(panel.ds_SN, expected.ds_SN)


def test_horizon_of_a_series_without_features_follows_the_run_cutoff(features: pl.DataFrame) -> None:
    panel = to_panel(features, freq="1h", horizon=2, unique_ids=["long", "none"], run_cutoff=START + 20 * HOUR)
    assert panel.length_S.tolist() == [6, 0]
    assert np.isnan(panel.y_SN[1]).all()
    assert np.isnat(panel.ds_SN[1, :-2]).all()
    assert panel.ds_SN[1, -2:].tolist() == [START + 21 * HOUR, START + 22 * HOUR]
    assert panel.ds_SN[0, -1] == np.datetime64(START + 7 * HOUR, "us")
    assert panel.calendar_SNC[1, -1].any()


def test_series_without_features_has_no_horizon_without_a_run_cutoff(features: pl.DataFrame) -> None:
    panel = to_panel(features, freq="1h", horizon=2, unique_ids=["none"])
    assert panel.y_SN.shape == (1, 1)
    assert np.isnat(panel.ds_SN).all()


def test_steps_have_no_calendar_and_the_smallest_integer_before_a_series() -> None:
    features = _features([("a", 2, 1.0), ("a", 6, 2.0), ("b", 5, 3.0)], 2)
    panel = to_panel(features, freq=2, horizon=2, unique_ids=["a", "b", "c"], run_cutoff=6)
    nothing = np.iinfo(np.int64).min
    assert panel.calendar_SNC.shape == (3, 5, 0)
    assert panel.ds_SN.tolist() == [
        [2, 4, 6, 8, 10], [nothing, nothing, 5, 7, 9], [nothing, nothing, nothing, 8, 10]
    ]  # fmt: skip
    assert panel.ds_SN.dtype == np.int64


def test_month_ends_continue_over_the_horizon() -> None:
    features = _features([("a", datetime(2024, 1, 31), 1.0), ("a", datetime(2024, 4, 30), 2.0)], "1mo")
    ds = to_panel(features, freq="1mo", horizon=2).ds_SN[0].tolist()
    assert [day.strftime("%m-%d") for day in ds] == ["01-31", "02-29", "03-31", "04-30", "05-31", "06-30"]


def test_no_series_make_an_empty_panel(features: pl.DataFrame) -> None:
    panel = to_panel(features.clear(), freq="1h", horizon=2)
    assert panel.unique_ids == ()
    assert panel.ds_SN.shape == (0, 3)


def test_cutoff_of_the_other_clock_is_refused(features: pl.DataFrame) -> None:
    with pytest.raises(SpecError, match="run_cutoff"):
        to_panel(features, freq="1h", horizon=2, run_cutoff=5)


def test_dropped_grid_points_leave_no_trace(features: pl.DataFrame) -> None:
    panel = to_panel(features, freq="1h", horizon=2)
    earlier = panel.until(2)
    np.testing.assert_array_equal(earlier.length_S, [4, 0])
    np.testing.assert_array_equal(earlier.y_SN[0], panel.y_SN[0, :4])
    assert earlier.ds_SN[0].tolist() == [START + HOUR * hour for hour in range(6)]
    assert earlier.calendar_SNC.shape[1] == 6
    assert panel.until(0) is panel


def test_panel_agrees_with_its_features_for_any_lengths() -> None:
    rng = np.random.default_rng(0)
    triples = [
        (name, int(begin) + step, float(rng.normal()))
        for name, begin, number in zip("cab", rng.integers(-50, 50, 3), rng.integers(1, 40, 3), strict=True)
        for step in range(number)
    ]
    panel = to_panel(_features(triples, 1), freq=1, horizon=1)
    found = {
        (name, int(panel.ds_SN[row, column])): panel.y_SN[row, column]
        for row, name in enumerate(panel.unique_ids)
        for column in range(panel.y_SN.shape[1] - panel.length_S[row], panel.y_SN.shape[1])
    }
    assert found == {(name, step): y for name, step, y in triples}
