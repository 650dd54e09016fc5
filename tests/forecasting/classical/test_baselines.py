"""Baselines: the values they repeat, the width of their quantiles, and that every series has a forecast."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.classical.baselines import ENOUGH_ERRORS, can_forecast, forecast_simplest, naive, seasonal_naive
from forecasting.series.panel import Panel
from forecasting.spec.quantiles import DEFAULT_QUANTILES

NAN = math.nan
MEDIAN = (0.5,)


def points(panel: Panel, season_length: int) -> list[float]:
    return seasonal_naive(panel, season_length=season_length, quantiles=MEDIAN)[0, :, 0].tolist()


def test_seasonal_naive_repeats_the_last_season_over_the_whole_horizon(make_panel) -> None:
    assert points(make_panel([[7.0, 8.0, 9.0, 1.0, 2.0, 3.0]], horizon=7), 3) == [1, 2, 3, 1, 2, 3, 1]


def test_gap_in_the_last_season_takes_the_newest_earlier_season_that_has_a_value(make_panel) -> None:
    values = [10.0, 20.0, 11.0, 21.0, NAN, 22.0, NAN, 23.0]
    assert points(make_panel([values]), 2) == [11, 23, 11, 23]


def test_phase_that_was_never_observed_takes_the_phase_before_it(make_panel) -> None:
    values = [NAN, 20.0, 30.0, NAN, 21.0, 31.0]
    assert points(make_panel([values], horizon=3), 3) == [31, 21, 31]
    values = [20.0, NAN, NAN, 21.0, NAN, NAN, 22.0, NAN, NAN, 23.0, NAN, NAN]
    assert points(make_panel([values], horizon=3), 3) == [23, 23, 23]


@pytest.mark.parametrize("num_points", [3, 4])
def test_seasonal_naive_forecasts_series_with_more_observed_points_than_a_season(make_panel, num_points: int) -> None:
    panel = make_panel([[1.0] * num_points + [NAN] * 8, [5.0] * 12])
    assert can_forecast(panel, season_length=3).tolist() == [num_points > 3, True]
    is_served_SF = ~np.isnan(seasonal_naive(panel, season_length=3, quantiles=MEDIAN)[:, :, 0])
    assert is_served_SF.all(axis=1).tolist() == [num_points > 3, True]
    assert is_served_SF.any(axis=1).tolist() == [num_points > 3, True]


def test_panel_shorter_than_a_season_has_no_forecast(make_panel) -> None:
    assert np.isnan(seasonal_naive(make_panel([[1.0, 2.0]]), season_length=24, quantiles=MEDIAN)).all()


def test_neighbours_and_leading_columns_do_not_change_a_series(make_panel) -> None:
    rng = np.random.default_rng(1)
    short, long = rng.normal(size=50), rng.normal(size=203)
    short[[3, 20, 47, 49]] = NAN
    alone = seasonal_naive(make_panel([short], horizon=30), season_length=7, quantiles=DEFAULT_QUANTILES)
    among = seasonal_naive(make_panel([long, short, long], horizon=30), season_length=7, quantiles=DEFAULT_QUANTILES)
    np.testing.assert_array_equal(among[1], alone[0])


def test_median_equals_the_point_and_quantiles_follow_the_past_errors(make_panel) -> None:
    changes = np.random.default_rng(2).permutation(np.arange(1.0, 40.0))
    panel = make_panel([np.concatenate([[0.0], np.cumsum(changes)])], horizon=1)
    quantiles = seasonal_naive(panel, season_length=1, quantiles=(0.1, 0.25, 0.5, 0.9))[0, 0]
    # Of 39 errors, 1 to 39, the p quantile has the rank 40 p; their median is 20.
    assert quantiles.tolist() == pytest.approx([780 - 16, 780 - 10, 780, 780 + 16])


def test_errors_of_the_steps_own_phase_are_used_where_there_are_enough(make_panel) -> None:
    rng = np.random.default_rng(3)
    noisy = rng.normal(0, 5, ENOUGH_ERRORS + 1)
    values = np.column_stack([np.zeros_like(noisy), noisy]).ravel()
    spread = np.ptp(seasonal_naive(make_panel([values]), season_length=2, quantiles=(0.1, 0.5, 0.9))[0], axis=-1)
    assert spread[0] == 0
    assert spread[1] > 5
    fewer = np.ptp(seasonal_naive(make_panel([values[2:]]), season_length=2, quantiles=(0.1, 0.5, 0.9))[0], axis=-1)
    assert fewer[0] == fewer[1] > 0


def test_quantiles_widen_with_the_seasons_that_the_point_reaches_back(make_panel) -> None:
    walk = np.cumsum(np.random.default_rng(4).normal(size=(400, 3)), axis=0).ravel()
    spread = np.ptp(
        seasonal_naive(make_panel([walk], horizon=12), season_length=3, quantiles=(0.1, 0.5, 0.9))[0], axis=-1
    )
    assert spread[9:].min() > 1.5 * spread[:3].max()
    stale = np.concatenate([walk, np.full(9, NAN)])
    late = np.ptp(
        seasonal_naive(make_panel([stale], horizon=3), season_length=3, quantiles=(0.1, 0.5, 0.9))[0], axis=-1
    )
    np.testing.assert_allclose(late, spread[9:])


def test_errors_over_one_season_are_widened_where_those_over_several_are_few(make_panel) -> None:
    values = np.random.default_rng(5).normal(size=14)
    spread = np.ptp(naive(make_panel([values], horizon=9), quantiles=(0.1, 0.5, 0.9))[0], axis=-1)
    np.testing.assert_allclose(spread, spread[0] * np.sqrt(np.arange(1, 10)))


def test_single_error_gives_flat_quantiles(make_panel) -> None:
    quantiles_FQ = seasonal_naive(make_panel([[1.0, 2.0, 3.0, 9.0]]), season_length=3, quantiles=DEFAULT_QUANTILES)[0]
    assert (quantiles_FQ == quantiles_FQ[:, :1]).all()


def test_eighty_percent_interval_of_a_random_walk_covers_about_eighty_percent(make_panel) -> None:
    walks = np.cumsum(np.random.default_rng(6).normal(size=(3000, 31)), axis=1)
    low, _, high = naive(make_panel(walks[:, :-1], horizon=1), quantiles=(0.1, 0.5, 0.9))[:, 0].T
    coverage = np.mean((walks[:, -1] >= low) & (walks[:, -1] <= high))
    assert coverage == pytest.approx(0.8, abs=0.04)


@given(
    seed=st.integers(0, 2**32 - 1),
    factor=st.floats(1e-3, 1e3),
    season_length=st.integers(1, 8),
    num_points=st.integers(1, 70),
    share_of_gaps=st.floats(0, 0.9),
    horizon=st.integers(1, 20),
)
def test_quantiles_scale_with_the_series_never_cross_and_hold_the_point(
    make_panel, seed: int, factor: float, season_length: int, num_points: int, share_of_gaps: float, horizon: int
) -> None:
    rng = np.random.default_rng(seed)
    y_SN = rng.gamma(2, 10, (3, num_points))
    y_SN[rng.random((3, num_points)) < share_of_gaps] = NAN
    panel = make_panel(y_SN, horizon=horizon)
    ours = seasonal_naive(panel, season_length=season_length, quantiles=DEFAULT_QUANTILES)
    scaled = seasonal_naive(
        make_panel(y_SN * factor, horizon=horizon), season_length=season_length, quantiles=DEFAULT_QUANTILES
    )
    np.testing.assert_allclose(scaled, ours * factor, rtol=1e-9, atol=1e-9 * factor)
    is_served = can_forecast(panel, season_length=season_length)
    assert (np.isfinite(ours) == is_served[:, None, None]).all()
    assert (np.diff(ours[is_served], axis=-1) >= 0).all()
    medians = ours[is_served][:, :, DEFAULT_QUANTILES.index(0.5)]
    assert all(np.isin(medians[row], y_SN[s]).all() for row, s in enumerate(np.flatnonzero(is_served)))


def test_simplest_model_that_can_forecast_a_series_is_chosen_with_the_reason(make_panel) -> None:
    panel = make_panel(
        [
            [float(n % 4) for n in range(12)],
            [1.0, 2.0, 3.0],
            [5.0],
            [NAN, NAN],
            [],
            [6.0] * 12,
        ],
        horizon=3,
    )
    quantiles_SFQ, models, reasons = forecast_simplest(panel, season_lengths=(4, 2), quantiles=(0.1, 0.5, 0.9))
    assert models == ("seasonal_naive_4", "seasonal_naive_2", "naive", "none", "none", "seasonal_naive_4")
    assert reasons == (
        None,
        "series has 3 observed points; seasonal_naive_4 needs 5",
        "series has 1 observed point; seasonal_naive_4 needs 5",
        "series has no observed point",
        "series has no observed point",
        None,
    )
    assert quantiles_SFQ[0, :, 1].tolist() == [0, 1, 2]
    assert quantiles_SFQ[1, :, 1].tolist() == [2, 3, 2]
    assert (quantiles_SFQ[2] == 5).all()
    assert np.isnan(quantiles_SFQ[3:5]).all()
    assert (quantiles_SFQ[5] == 6).all()


def test_season_lengths_are_tried_in_their_order(make_panel) -> None:
    panel = make_panel([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    assert forecast_simplest(panel, season_lengths=(2, 4), quantiles=MEDIAN)[1] == ("seasonal_naive_2",)
    assert forecast_simplest(panel, season_lengths=(4, 2), quantiles=MEDIAN)[1] == ("seasonal_naive_4",)


def test_naive_repeats_the_last_observed_value(make_panel) -> None:
    panel = make_panel([[4.0, 7.0, NAN, NAN]])
    assert naive(panel, quantiles=MEDIAN)[0, :, 0].tolist() == [7.0] * 4


def test_panel_without_series_or_points_has_no_forecast(make_panel) -> None:
    quantiles_SFQ, models, reasons = forecast_simplest(make_panel([]), season_lengths=(4,), quantiles=MEDIAN)
    assert (quantiles_SFQ.shape, models, reasons) == ((0, 4, 1), (), ())
    assert forecast_simplest(make_panel([[], []]), season_lengths=(4,), quantiles=MEDIAN)[1] == ("none", "none")
