"""Ridge regressions: they learn what covariates do, keep series apart, and survive any series."""

import math
from dataclasses import replace

import numpy as np
import pytest

from forecasting.classical.ridge import forecast_ridge, forecast_ridge_variants, least_points, ridge_seconds
from forecasting.series.panel import Panel

NAN = math.nan
FEW = (0.1, 0.5, 0.9)
SEASONS = [([7], 8, 150), ([24, 168], 30, 1600), ([12], 10, 600), ([1], 5, 100), ([7, 365], 5, 500), ([52], 6, 143)]


def seasonal(seed: int, num_points: int, season: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50 + 10 * np.sin(2 * np.pi * np.arange(num_points) / season) + rng.normal(0, 1, num_points)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def with_covariates(panel: Panel, covariate_SNK: np.ndarray) -> Panel:
    return replace(panel, covariate_SNK=covariate_SNK)


def forecast(panel: Panel, seasons: list[int], quantiles: tuple[float, ...] = FEW) -> np.ndarray:
    return forecast_ridge(panel, season_lengths=seasons, quantiles=quantiles)


@pytest.mark.parametrize(("seasons", "horizon", "num_points"), SEASONS)
def test_effect_of_a_covariate_is_learned_and_applied_over_the_horizon(
    make_panel, seasons, horizon, num_points
) -> None:
    x_T = noise(1, num_points + horizon)
    truth_T = seasonal(2, num_points + horizon, max(seasons[0], 2)) + 8 * x_T
    panel = make_panel([truth_T[:num_points]], horizon=horizon)
    error = np.abs(forecast(with_covariates(panel, x_T[None, :, None]), seasons)[0, :, 1] - truth_T[num_points:]).mean()
    blind = np.abs(forecast(panel, seasons)[0, :, 1] - truth_T[num_points:]).mean()
    assert error < blind * 0.9


def test_effect_of_a_promotion_is_multiplied_with_the_level_of_a_weekday(make_panel) -> None:
    rng = np.random.default_rng(3)
    promoted_T = np.repeat(rng.random(60) < 0.4, 7).astype(float)
    truth_T = np.tile([100.0, 60, 60, 60, 80, 200, 300], 60) * np.exp(0.5 * promoted_T + rng.normal(0, 0.02, 420))
    promoted_T[-14:-7], promoted_T[-7:] = 1.0, 0.0
    truth_T[-14:] = np.tile([100.0, 60, 60, 60, 80, 200, 300], 2) * np.exp(0.5 * promoted_T[-14:])
    panel = make_panel([truth_T[:-14]], horizon=14)
    found_F = forecast(with_covariates(panel, promoted_T[None, :, None]), [7])[0, :, 1]
    np.testing.assert_allclose(found_F, truth_T[-14:], rtol=0.12)


def test_square_of_a_covariate_is_an_input(make_panel) -> None:
    cold_T = np.convolve(noise(4, 720), np.ones(5) / 2, "same")
    truth_T = 20 + 3 * cold_T**2 + noise(5, 720) / 10
    panel = with_covariates(make_panel([truth_T[:700]], horizon=20), cold_T[None, :, None])
    error = np.abs(forecast(panel, [7])[0, :, 1] - truth_T[700:]).mean()
    assert error < np.abs(np.median(truth_T[:700]) - truth_T[700:]).mean() * 0.6


def test_forecast_is_zero_where_a_covariate_has_always_come_with_zero(make_panel) -> None:
    is_open_T = (np.arange(320) % 7 != 6).astype(float)
    is_open_T[[40, 111, 205, 302, 303]] = 0.0
    y_T = seasonal(6, 320, 7) * is_open_T
    panel = with_covariates(make_panel([y_T[:300]], horizon=20), is_open_T[None, :, None])
    found_FQ = forecast(panel, [7])[0]
    assert (found_FQ[is_open_T[300:] == 0] == 0).all()
    np.testing.assert_allclose(found_FQ[is_open_T[300:] == 1, 1], y_T[300:][is_open_T[300:] == 1], rtol=0.15)


@pytest.mark.parametrize(("seasons", "horizon", "num_points"), SEASONS)
def test_series_alone_has_the_same_bits_as_among_others_of_any_kind(make_panel, seasons, horizon, num_points) -> None:
    fine = seasonal(7, num_points, max(seasons[0], 2))
    gaps = np.where(noise(8, num_points) > 0.8, NAN, fine)
    last = np.where(np.arange(num_points) < num_points - 1, NAN, 5.0)
    series = [
        fine,
        gaps,
        [7.0] * num_points,
        [0.0] * num_points,
        fine * 1e300,
        fine * 1e-310,
        [NAN] * num_points,
        last,
        [],
    ]
    covariate_SNK = noise(9, len(series), num_points + horizon, 3)
    covariate_SNK[:, :, 1] = covariate_SNK[:, :, 1] > 1
    covariate_SNK[:, ::6, 2] = NAN
    panel = with_covariates(make_panel(series, horizon=horizon), covariate_SNK)
    for kept_SNK in (covariate_SNK, None, covariate_SNK[:, :, :0]):
        panel = replace(panel, covariate_SNK=kept_SNK)
        among_SFQ = forecast(panel, seasons)
        is_there_S = np.isfinite(among_SFQ).all((1, 2))
        assert is_there_S.tolist() == [True] * 6 + [False] * 3
        assert np.isnan(among_SFQ[~is_there_S]).all()
        assert (np.diff(among_SFQ[is_there_S], axis=2) >= 0).all()
        assert (among_SFQ[2] == 7).all()
        assert (among_SFQ[3] == 0).all()
        for row in range(len(series)):
            np.testing.assert_array_equal(forecast(panel.select(np.array([row])), seasons)[0], among_SFQ[row])


@pytest.mark.parametrize(("seasons", "horizon", "num_points"), SEASONS)
def test_fewest_points_are_enough_and_one_less_is_not(make_panel, seasons, horizon, num_points) -> None:
    needed = least_points(horizon=horizon, season_lengths=seasons)
    assert needed <= num_points
    values = seasonal(10, needed, max(seasons[0], 2))
    panel = make_panel([values, values[1:], [NAN, *values[1:]]], horizon=horizon)
    assert np.isfinite(forecast(panel, seasons)).all((1, 2)).tolist() == [True, False, False]
    num_known = [ridge_seconds(num, horizon, seasons, 2) > 0 for num in (needed, needed - 1)]
    assert num_known == [True, False]


def test_covariate_that_is_constant_in_the_history_changes_no_bit(make_panel) -> None:
    panel = make_panel([seasonal(11, 300, 7)], horizon=14)
    kept_SNK, flat_SNK = noise(12, 1, 314, 1), np.full((1, 314, 2), 3.0)
    flat_SNK[:, 300:, 1] = 4.0
    flat_SNK[:, :9, 1] = NAN
    without = forecast(with_covariates(panel, kept_SNK), [7])
    both_SNK = np.concatenate([flat_SNK, kept_SNK], axis=2)
    np.testing.assert_array_equal(forecast(with_covariates(panel, both_SNK), [7]), without)
    np.testing.assert_array_equal(forecast(with_covariates(panel, flat_SNK), [7]), forecast(panel, [7]))


def test_forecast_stays_near_the_range_of_the_series_and_is_never_negative_where_that_is_not(make_panel) -> None:
    x_SNK = noise(13, 1, 314, 1)
    y_N = 20 + 5 * x_SNK[0, :300, 0] + noise(14, 300)
    x_SNK[0, 300:307], x_SNK[0, 307:] = 1e6, -1e6
    found_FQ = forecast(with_covariates(make_panel([y_N], horizon=14), x_SNK), [7])[0]
    half = np.ptp(y_N) / 2
    assert found_FQ.max() <= y_N.max() + half
    assert found_FQ.min() >= max(y_N.min() - half, 0)


@pytest.mark.parametrize("seasons", [[7], [12]])
def test_intervals_have_about_their_nominal_coverage(make_panel, seasons) -> None:
    y_SN = np.stack([seasonal(20 + seed, 624, seasons[0]) for seed in range(8)])
    found_SFQ = forecast(make_panel(list(y_SN[:, :600]), horizon=24), seasons)
    is_covered = (y_SN[:, 600:] >= found_SFQ[:, :, 0]) & (y_SN[:, 600:] <= found_SFQ[:, :, 2])
    assert is_covered.mean() == pytest.approx(0.8, abs=0.1)


def test_nothing_after_the_cutoff_but_covariates_is_read(make_panel) -> None:
    values = seasonal(15, 340, 7)
    longer = with_covariates(make_panel([values], horizon=14), noise(16, 1, 354, 2))
    shorter = with_covariates(make_panel([values[:320]], horizon=14), longer.covariate_SNK[:, :334])
    np.testing.assert_array_equal(forecast(longer.until(20), [7]), forecast(shorter, [7]))


def test_seconds_grow_with_points_horizon_and_covariates() -> None:
    assert ridge_seconds(500, 14, [7], 0) < ridge_seconds(1000, 14, [7], 0) < ridge_seconds(1000, 14, [7], 3)
    assert ridge_seconds(9000, 24, [24, 168], 2) < ridge_seconds(9000, 168, [24, 168], 2)


def test_panel_without_series_has_no_forecast(make_panel) -> None:
    assert forecast(make_panel([]), [7]).shape == (0, 4, 3)


@pytest.mark.parametrize(("seasons", "horizon", "num_points"), SEASONS[:3])
def test_variants_of_the_horizon_have_the_equations_of_the_first_one(make_panel, seasons, horizon, num_points) -> None:
    covariate_SNK = noise(1, 2, num_points + horizon, 2)
    covariate_SNK[:, :, 1] = covariate_SNK[:, :, 1] > 0.5
    truth_SN = [seasonal(seed, num_points, seasons[0]) + 8 * covariate_SNK[seed, :num_points, 0] for seed in (0, 1)]
    panels = [with_covariates(make_panel(truth_SN, horizon=horizon), covariate_SNK.copy()) for _ in range(3)]
    for number, panel in enumerate(panels):
        panel.covariate_SNK[:, -horizon:, 0] += number
    found = forecast_ridge_variants(panels, season_lengths=seasons, quantiles=FEW)
    assert np.array_equal(found[0], forecast(panels[0], seasons))
    for panel, one in zip(panels, found, strict=True):
        np.testing.assert_allclose(one, forecast(panel, seasons), rtol=0.005)
    assert not np.array_equal(found[0], found[1])


class TestVintages:
    """Covariates whose horizon is that of the origin of each window, such as forecasts of the weather."""

    @staticmethod
    def panel(make_panel, num_points: int, horizon: int, *, is_noise: bool) -> tuple[Panel, np.ndarray]:
        """A series that follows a covariate, whose forecasts are the truth or noise, and the truth."""
        x_T = noise(21, num_points + horizon)
        truth_T = 50 + 10 * x_T
        panel = with_covariates(make_panel([truth_T[:num_points]], horizon=horizon), x_T[None, :, None].copy())
        assert panel.covariate_SNK is not None
        ahead_NFK = panel.covariates_ahead_of(0)
        if is_noise:
            ahead_NFK = noise(22, *ahead_NFK.shape)
            panel.covariate_SNK[0, num_points:] = ahead_NFK[-1]
        return replace(panel, vintage_SNFV=ahead_NFK[None], vintages=(0,)), truth_T[num_points:]

    @pytest.mark.parametrize(("seasons", "horizon", "num_points"), SEASONS[:2])
    def test_windows_learn_how_good_forecasts_of_a_covariate_are(
        self, make_panel, seasons, horizon, num_points
    ) -> None:
        panel, _ = self.panel(make_panel, num_points, horizon, is_noise=True)
        assert panel.covariate_SNK is not None
        warmer_SNK = panel.covariate_SNK.copy()
        warmer_SNK[0, num_points:] += 1

        def effect(**changed: object) -> float:
            """Return what one more unit of the covariate within the horizon does to the forecast; its effect is 10."""
            one, other = (replace(panel, covariate_SNK=each, **changed) for each in (panel.covariate_SNK, warmer_SNK))
            return float((forecast(other, seasons) - forecast(one, seasons))[0, :, 1].mean())

        trusting = effect(vintage_SNFV=None, vintages=())
        assert trusting > 3
        assert abs(effect()) < 0.2 * trusting

    @pytest.mark.parametrize(("seasons", "horizon", "num_points"), SEASONS[1:2])
    def test_perfect_forecasts_are_the_covariate_itself(self, make_panel, seasons, horizon, num_points) -> None:
        panel, _ = self.panel(make_panel, num_points, horizon, is_noise=False)
        found, expected = (forecast(each, seasons) for each in (panel, replace(panel, vintage_SNFV=None, vintages=())))
        np.testing.assert_allclose(found, expected, rtol=0.02)
