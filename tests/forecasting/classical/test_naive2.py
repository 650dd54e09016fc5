"""Naive2: the seasonality test, the classical indices and the forecast, as the M4 organisers define them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.classical.naive2 import is_seasonal, naive2, seasonal_indices

PATTERN = np.array([0.5, 1.0, 2.0, 0.5])


def seasonal_series(num_points: int, *, season: np.ndarray = PATTERN) -> np.ndarray:
    return 100 * np.resize(season, num_points)


def test_series_with_a_season_repeats_its_shape_at_its_last_adjusted_level(make_panel) -> None:
    y = seasonal_series(22)
    np.testing.assert_allclose(
        naive2(make_panel([y], horizon=6), season_length=4)[0], 100 * np.resize(PATTERN, 28)[22:]
    )


def test_series_without_a_season_repeats_its_last_value(make_panel) -> None:
    noise = np.random.default_rng(0).normal(10, 1, 400)
    assert naive2(make_panel([noise]), season_length=4)[0].tolist() == [noise[-1]] * 4


@pytest.mark.parametrize("season", [PATTERN, PATTERN[:3]])
def test_indices_recover_an_even_and_an_odd_season_at_any_phase_of_the_end(season: np.ndarray) -> None:
    for num_points in range(24, 30):
        indices = seasonal_indices(seasonal_series(num_points, season=season), season_length=len(season))
        np.testing.assert_allclose(indices, season / season.mean())


def test_indices_are_mean_ratios_to_a_centred_average_with_half_weights_at_its_ends() -> None:
    y = np.random.default_rng(2).gamma(5, 10, 18)
    ratios: list[list[float]] = [[], [], [], []]
    for t in range(2, 16):
        ratios[t % 4].append(y[t] / ((y[t - 2] / 2 + y[t - 1] + y[t] + y[t + 1] + y[t + 2] / 2) / 4))
    figure = np.array([np.mean(of_phase) for of_phase in ratios])
    np.testing.assert_allclose(seasonal_indices(y, season_length=4), figure / figure.mean())


def test_seasonality_needs_three_seasons_more_than_one_phase_and_a_lag_of_the_acf() -> None:
    december = np.eye(12)[11]
    assert is_seasonal(seasonal_series(36, season=december), season_length=12)
    assert not is_seasonal(seasonal_series(35, season=december), season_length=12)
    assert not is_seasonal(seasonal_series(40), season_length=1)
    weekly = seasonal_series(520, season=1 + np.arange(52.0))
    assert not is_seasonal(weekly, season_length=52)
    assert not is_seasonal(np.full(40, 3.0), season_length=4)


def test_about_a_tenth_of_white_noise_series_pass_as_seasonal() -> None:
    noises = np.random.default_rng(1).normal(size=(600, 120))
    assert np.mean([is_seasonal(noise, season_length=6) for noise in noises]) == pytest.approx(0.1, abs=0.05)


def test_series_with_a_gap_or_no_point_has_no_forecast_and_zeros_are_allowed(make_panel) -> None:
    gappy = seasonal_series(40)
    gappy[5] = math.nan
    forecast_SF = naive2(make_panel([gappy, [], np.resize([0.0, 0.0, 8.0, 0.0], 40)]), season_length=4)
    assert np.isnan(forecast_SF[:2]).all()
    assert np.isfinite(forecast_SF[2]).all()


def test_test_of_seasonality_does_not_depend_on_the_magnitude(make_panel) -> None:
    y = seasonal_series(40)
    for factor in (2.0**-900, 2.0**-500, 2.0**500, 2.0**900):
        assert is_seasonal(y * factor, season_length=4)
    noise = np.random.default_rng(0).normal(size=40)
    assert [is_seasonal(noise * factor, season_length=4) for factor in (1.0, 2.0**900)] == [False, False]


@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(1e-3, 1e3))
def test_forecast_scales_with_the_series(make_panel, seed: int, factor: float) -> None:
    y = seasonal_series(40) * np.random.default_rng(seed).gamma(50, 0.02, 40)
    ours, scaled = (naive2(make_panel([values]), season_length=4) for values in (y, y * factor))
    np.testing.assert_allclose(scaled, ours * factor, rtol=1e-9)
