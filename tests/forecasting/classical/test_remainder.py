"""Effects of covariates: taken out of series and added to forecasts, which nothing after the end of a series moves."""

from dataclasses import replace
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.classical import remainder
from forecasting.classical.baselines import seasonal_naive
from forecasting.classical.remainder import Remainder, WithEffects, without_effects
from forecasting.series.panel import Panel

HORIZON, SEASON = 14, 7


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def weeks(num_points: int, level: float = 50.0) -> np.ndarray:
    return level + 10 * np.sin(2 * np.pi * np.arange(num_points) / SEASON)


def with_covariates(panel: Panel, *covariates: np.ndarray) -> Panel:
    """Give each series the covariate of its row."""
    return replace(panel, covariate_SNK=np.stack(covariates)[:, :, None])


def remainder_of(panel: Panel) -> Remainder:
    return without_effects(panel, season_lengths=(SEASON,))


@pytest.fixture
def sales(make_panel) -> tuple[Panel, np.ndarray]:
    """A series that a covariate moves, and its truth over grid and horizon."""
    x_T = noise(1, 200 + HORIZON)
    truth_T = weeks(200 + HORIZON) + noise(2, 200 + HORIZON) / 2 + 8 * x_T
    return with_covariates(make_panel([truth_T[:200]], horizon=HORIZON), x_T), truth_T


def test_forecast_of_the_remainder_with_its_effects_is_far_better(sales: tuple[Panel, np.ndarray]) -> None:
    panel, truth_T = sales
    rest = remainder_of(panel)
    assert rest.panel.covariate_SNK is None
    assert rest.panel.y_SN.std() < 0.8 * panel.y_SN.std()
    plain, of_rest = (
        seasonal_naive(each, season_length=SEASON, quantiles=(0.1, 0.5, 0.9)) for each in (panel, rest.panel)
    )
    found = rest.restore(of_rest)
    errors = [np.abs(each[0, :, 1] - truth_T[200:]).mean() for each in (found, plain)]
    assert errors[0] < 0.3 * errors[1]
    assert (np.diff(found) >= 0).all(), "quantiles rise"


@pytest.mark.parametrize("kind", ["constant", "random", "new", "unknown"])
def test_covariate_that_explains_nothing_changes_no_bit(make_panel, kind: str) -> None:
    panel = make_panel([weeks(200) + noise(3, 200)], horizon=HORIZON)
    covariate_T = {
        "constant": np.ones(214),
        "random": noise(4, 214),
        "new": (np.arange(214) >= 200).astype(float),
        "unknown": np.full(214, np.nan),
    }[kind]
    rest = remainder_of(with_covariates(panel, covariate_T))
    assert not rest.effects
    assert rest.panel.y_SN.tobytes() == panel.y_SN.tobytes()
    quantiles = noise(5, 1, HORIZON, 3)
    assert rest.restore(quantiles) is quantiles


def test_series_do_not_mix(make_panel) -> None:
    x_T, z_T = noise(6, 214), noise(7, 214)
    series = [weeks(200) + 8 * x_T[:200] + noise(8, 200), weeks(150) - 9 * z_T[50:200] + noise(9, 150)]
    together = remainder_of(with_covariates(make_panel(series, horizon=HORIZON), x_T, z_T))
    alone = remainder_of(with_covariates(make_panel(series[1:], horizon=HORIZON), z_T[50:]))
    assert set(together.effects) == {0, 1}
    assert together.panel.y_SN[1, 50:].tobytes() == alone.panel.y_SN[0].tobytes()
    quantiles = noise(10, 2, HORIZON, 3)
    assert together.restore(quantiles)[1].tobytes() == alone.restore(quantiles[1:])[0].tobytes()


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), num_hidden=st.integers(1, 40))
def test_nothing_after_the_last_measurement_moves_an_effect(seed: int, num_hidden: int) -> None:
    x_T = noise(seed, 214)
    y_N = weeks(200) + 8 * x_T[:200] + noise(seed + 1, 200)
    columns = np.arange(214)[None]
    panel = Panel(("a",), y_N[None], np.array([200]), np.zeros((1, 214, 0), np.float32), columns, HORIZON)
    other_T = np.where(columns[0] < 200 - num_hidden, x_T, 5 * noise(seed + 2, 214) + 3)
    other_y = np.where(columns[0, :200] < 200 - num_hidden, y_N, 1e6)
    found = [
        remainder_of(with_covariates(replace(panel, y_SN=y[None]), x).hide_end(np.array([num_hidden])))
        for y, x in ((y_N, x_T), (other_y, other_T))
    ]
    assert found[0].panel.y_SN.tobytes() == found[1].panel.y_SN.tobytes()
    assert found[0].effects, "the covariate matters"


def test_days_of_a_value_that_means_zero_are_gaps_and_forecasts_of_zero(make_panel) -> None:
    is_closed_T = np.arange(214) % 10 == 3
    y_T = np.where(is_closed_T, 0.0, weeks(214) + noise(11, 214))
    rest = remainder_of(with_covariates(make_panel([y_T[:200]], horizon=HORIZON), is_closed_T.astype(float)))
    np.testing.assert_array_equal(np.isnan(rest.panel.y_SN[0]), is_closed_T[:200])
    forecast_F = rest.restore(np.full((1, HORIZON, 1), 50.0))[0, :, 0]
    np.testing.assert_array_equal(forecast_F == 0, is_closed_T[200:])


def test_zeros_of_a_series_stay_zeros_and_nothing_becomes_negative(make_panel) -> None:
    promoted_T = (noise(12, 214) > 1).astype(float)
    y_T = np.where(noise(13, 214) > 0.8, 0.0, weeks(214, 15.0) * np.exp(promoted_T))
    rest = remainder_of(with_covariates(make_panel([y_T[:200]], horizon=HORIZON), promoted_T))
    assert rest.effects
    np.testing.assert_array_equal(rest.panel.y_SN[0] == 0, y_T[:200] == 0)
    assert rest.panel.y_SN.min() >= 0


@pytest.mark.parametrize("size", [1e-300, 1e-12, 1e12, 1e300])
def test_size_of_a_series_does_not_matter(sales: tuple[Panel, np.ndarray], size: float) -> None:
    panel, _ = sales
    found, scaled = (remainder_of(each) for each in (panel, replace(panel, y_SN=panel.y_SN * size)))
    np.testing.assert_allclose(scaled.panel.y_SN / size, found.panel.y_SN, rtol=1e-6)


def test_forecasters_of_a_panel_share_its_effects(
    sales: tuple[Panel, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, _ = sales
    panel = replace(panel, y_SN=panel.y_SN + 1)
    estimate = Mock(side_effect=remainder.find_effect)
    monkeypatch.setattr(remainder, "find_effect", estimate)
    repeat = partial(seasonal_naive, season_length=SEASON, quantiles=(0.5,))
    first, second = (WithEffects(repeat, (SEASON,)) for _ in range(2))
    np.testing.assert_array_equal(first(panel), second(replace(panel, y_SN=panel.y_SN.copy())))
    assert estimate.call_count == 1
    for _ in range(2):
        other = replace(panel, covariate_SNK=panel.covariate_SNK[:, ::-1])
        assert not np.array_equal(first(other), second(panel))
    assert estimate.call_count == 2


@pytest.mark.parametrize("has_zeros", [True, False])
def test_one_impossible_value_of_a_covariate_moves_nothing_out_of_range(make_panel, has_zeros: bool) -> None:
    """As traffic on the I-94 has it: 9,831 mm of rain in an hour that usually has none, and hours without a vehicle."""
    rain_T = np.where(noise(14, 3014) > 1, np.abs(noise(15, 3014)), 0.0)
    y_T = weeks(3014) * np.exp(-0.3 * rain_T) + np.abs(noise(16, 3014))
    if has_zeros:
        y_T[500:503] = 0.0
    usual, wrong = rain_T.copy(), rain_T.copy()
    wrong[1000] = 9831.3
    panel = make_panel([y_T[:3000]], horizon=HORIZON)
    found = [remainder_of(with_covariates(panel, x_T)) for x_T in (usual, wrong)]
    for rest in found:
        assert rest.effects
        assert np.abs(rest.effects[0].effect_T).max() < 5
        assert 0 <= rest.panel.y_SN.min() <= rest.panel.y_SN.max() < 1.5 * y_T.max()
    elsewhere = np.arange(3000) != 1000
    np.testing.assert_allclose(found[0].panel.y_SN[0, elsewhere], found[1].panel.y_SN[0, elsewhere], rtol=0.1, atol=2)
