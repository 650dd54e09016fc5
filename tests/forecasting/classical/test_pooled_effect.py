"""The effect of covariates that all steps of a series share."""

import numpy as np
import pytest

from forecasting.classical.pooled_effect import pooled_effect

HORIZON = 14


def made(num_points: int, *, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weekly series, two covariates, and the effect of the first; the second has none."""
    rng = np.random.default_rng(5)
    covariate_TK = np.stack([rng.random(num_points + HORIZON) < 0.2, rng.normal(size=num_points + HORIZON)], axis=1)
    effect_T = 30.0 * covariate_TK[:, 0]
    y_N = 100 + 5 * (np.arange(num_points) % 7) + effect_T[:num_points] + rng.normal(0, noise, num_points)
    return y_N, covariate_TK.astype(np.float64), effect_T


def test_planted_effect_is_found_over_history_and_horizon() -> None:
    y_N, covariate_TK, effect_T = made(90)
    found_T = pooled_effect(y_N, covariate_TK, season=7, long_season=None)
    assert np.abs(found_T - (effect_T - effect_T[:90].mean())).max() < 3
    assert abs(found_T[:90].mean()) < 1e-9


def test_effect_of_a_covariate_that_explains_nothing_is_small() -> None:
    y_N, covariate_TK, _ = made(90)
    others_TK = covariate_TK[:, 1:]
    assert np.abs(pooled_effect(y_N, others_TK, season=7, long_season=None)).max() < 3


@pytest.mark.parametrize("num_points", [27, 90])
def test_no_covariates_and_few_points_have_no_effect(num_points: int) -> None:
    y_N, covariate_TK, _ = made(num_points)
    few_TK = covariate_TK if num_points < 90 else covariate_TK[:, :0]
    assert not pooled_effect(y_N, few_TK, season=7, long_season=None).any()


def test_long_season_is_what_differences_are_taken_from_where_there_are_many() -> None:
    """A series whose weeks alternate: the season of 7 leaves the alternation in the differences."""
    y_N, covariate_TK, effect_T = made(14 * 12)
    y_N = y_N + 200 * ((np.arange(len(y_N)) // 7) % 2)
    short, long = (
        np.abs(
            pooled_effect(y_N, covariate_TK, season=7, long_season=season) - (effect_T - effect_T[:168].mean())
        ).mean()
        for season in (None, 14)
    )
    assert long < 1
    assert long < short
