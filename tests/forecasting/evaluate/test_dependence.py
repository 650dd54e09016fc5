"""Correlations over the horizon: scores invert the quantiles, sums add up exactly, matrices are positive definite."""

import math
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.evaluate.dependence import CORRELATIONS, count_products, find_correlations, normal_scores
from forecasting.spec.quantiles import quantile_column

QUANTILES = (0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)
SCORES = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
HORIZON = 6
START = datetime(2024, 1, 1)


def comparison(y_RF: np.ndarray, *, model: str = "lstm", spread: float = 1.0, seasons: int = 1) -> pl.DataFrame:
    """Forecasts of a standard normal at every step, beside their actuals; a series has `seasons` origins."""
    num, horizon = y_RF.shape
    steps = np.tile(np.arange(1, horizon + 1), num)
    rows = np.repeat(np.arange(num), horizon)
    return pl.DataFrame(
        {
            "unique_id": [f"s{row // seasons}" for row in rows],
            "model": [model] * len(rows),
            "origin": [START + timedelta(days=int(row % seasons)) for row in rows],
            "ds": [
                START + timedelta(days=int(row % seasons), hours=int(step))
                for row, step in zip(rows, steps, strict=True)
            ],
            "y": y_RF.ravel(),
            "forecast": 0.0,
            **{quantile_column(q): spread * score for q, score in zip(QUANTILES, SCORES, strict=True)},
        }
    )


def decaying(num: int, share: float, *, horizon: int = HORIZON, seed: int = 0) -> np.ndarray:
    """Normal errors with an exponentially decaying autocorrelation."""
    rng = np.random.default_rng(seed)
    y_RF = rng.normal(size=(num, horizon))
    for step in range(1, horizon):
        y_RF[:, step] = share * y_RF[:, step - 1] + math.sqrt(1 - share**2) * y_RF[:, step]
    return y_RF


def matrix(correlations: pl.DataFrame, model: str = "lstm") -> np.ndarray:
    return np.array(correlations.filter(model=model)["correlations"].to_list())


def find(*frames: pl.DataFrame, horizon: int = HORIZON) -> pl.DataFrame:
    sums = [count_products(frame, quantiles=QUANTILES, horizon=horizon) for frame in frames]
    return find_correlations(sums, horizon=horizon)


@given(st.lists(st.floats(0.01, 50), min_size=len(QUANTILES) - 1, max_size=len(QUANTILES) - 1), st.floats(-4, 4))
def test_scores_invert_the_quantile_function(gaps: list[float], score: float) -> None:
    quantiles_Q = np.concatenate([[-3.0], np.cumsum(gaps) - 3.0])
    median = quantiles_Q[QUANTILES.index(0.5)]
    if abs(score) <= SCORES[-1]:
        y = float(np.interp(score, SCORES, quantiles_Q))
    else:
        end = 0 if score < 0 else -1
        y = float(median + (quantiles_Q[end] - median) * score / SCORES[end])
    found = normal_scores(np.array([[y]]), quantiles_Q[None, None], quantiles=QUANTILES)
    assert found.item() == pytest.approx(score, abs=1e-6)


def test_a_count_lies_in_the_middle_of_the_quantiles_that_are_equal() -> None:
    quantiles_Q = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0])
    score_RF = normal_scores(np.array([[0.0, 1.0, 2.0]]), np.tile(quantiles_Q, (1, 3, 1)), quantiles=QUANTILES)
    middles = [NormalDist().inv_cdf(level) for level in (0.15, 0.6, 0.9)]
    assert score_RF[0] == pytest.approx(middles)


def test_points_without_an_actual_or_a_width_have_no_score() -> None:
    flat, half = np.ones(7), np.array([0.0, 0, 0, 0, 1, 2, 3])
    y_RF = np.array([[1.0, 2.0, np.nan, -1.0, 4.0]])
    score_RF = normal_scores(y_RF, np.stack([flat, flat, half, half, half])[None], quantiles=QUANTILES)
    assert np.isnan(score_RF[0, :4]).all()
    assert score_RF[0, 4] > SCORES[-1]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_correlations_are_those_of_the_errors_at_any_width_of_the_intervals(share: float, spread: float) -> None:
    correlations = find(comparison(decaying(4000, share), spread=spread))
    lag = np.abs(np.subtract.outer(np.arange(HORIZON), np.arange(HORIZON)))
    assert matrix(correlations) == pytest.approx(share**lag, abs=0.07)
    assert correlations["num_forecasts"].to_list() == [4000] * HORIZON
    assert correlations["step"].to_list() == list(range(1, HORIZON + 1))


def test_an_error_that_a_whole_fleet_shares_is_one_that_steps_share() -> None:
    apart = np.random.default_rng(0).normal(size=(3000, HORIZON))
    assert matrix(find(comparison(apart)))[0, -1] == pytest.approx(0, abs=0.06)
    assert matrix(find(comparison(apart + 1.0)))[0, -1] == pytest.approx(0.5, abs=0.06)


def test_sums_add_up_to_the_same_bits_for_any_cut_of_shards() -> None:
    y_RF = decaying(400, 0.7)
    y_RF[np.random.default_rng(1).random(y_RF.shape) < 0.2] = np.nan
    whole = comparison(y_RF)
    cut = [0, 7, 150, 400]
    parts = [whole[first * HORIZON : last * HORIZON] for first, last in pairwise(cut)]
    assert find(*reversed(parts)).equals(find(whole))
    assert find(whole.sample(fraction=1.0, shuffle=True, seed=3)).equals(find(whole))


def test_gaps_do_not_change_the_correlations_of_the_other_points() -> None:
    y_RF = decaying(6000, 0.8)
    y_RF[np.random.default_rng(1).random(y_RF.shape) < 0.3] = np.nan
    assert matrix(find(comparison(y_RF))) == pytest.approx(matrix(find(comparison(decaying(6000, 0.8)))), abs=0.08)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(2, 12), st.floats(0, 1), st.integers(0, 1000))
def test_correlations_are_positive_definite_for_any_forecasts(num: int, horizon: int, gaps: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_RF = rng.standard_cauchy((num, horizon)).round(1)
    y_RF[rng.random(y_RF.shape) < gaps] = np.nan
    correlations = find(comparison(y_RF), horizon=horizon)
    if correlations.height:
        found_FF = matrix(correlations)
        assert np.allclose(np.diag(found_FF), 1)
        assert np.array_equal(found_FF, found_FF.T)
        assert np.linalg.eigvalsh(found_FF)[0] > 0
        assert correlations["shrinkage"].is_between(0, 1).all()


def test_indefinite_pairwise_correlations_become_positive_definite() -> None:
    y_RF = np.full((3000, 3), np.nan)
    numbers = np.random.default_rng(0).normal(size=3000)
    for part, (first, second, sign) in enumerate(((0, 1, 1), (1, 2, 1), (0, 2, -1))):
        rows = slice(1000 * part, 1000 * (part + 1))
        y_RF[rows, first], y_RF[rows, second] = numbers[rows], sign * numbers[rows]
    found_FF = matrix(find(comparison(y_RF), horizon=3))
    assert np.linalg.eigvalsh(found_FF)[0] > 0
    assert np.diag(found_FF) == pytest.approx([1, 1, 1])
    assert found_FF[0, 1] > 0.3
    assert found_FF[0, 2] < -0.3


def test_correlations_of_a_single_forecast_are_shrunk() -> None:
    signs = np.array([1.0, -1, -1, 1, -1, 1, 1, -1])
    correlations = find(comparison(signs[None]), horizon=8)
    assert correlations["shrinkage"][0] > 0.9
    assert np.abs(matrix(correlations) - np.eye(8)).max() < 0.3


def test_correlations_of_few_forecasts_are_smoothed_and_of_many_kept() -> None:
    def distance(num: int) -> tuple[float, float]:
        correlations = find(comparison(decaying(num, 0.8, horizon=20, seed=2)), horizon=20)
        away = matrix(correlations) - 0.8 ** np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
        return float(correlations["shrinkage"][0]), float(np.sqrt((away**2).mean()))

    (few, far), (many, near) = distance(10), distance(5000)
    assert 0.2 < few <= 1
    assert near < 0.03 < far < 0.3
    # A shape that is neither level nor decay remains where there are many forecasts.
    wave = 0.6 * np.cos(np.subtract.outer(np.arange(HORIZON), np.arange(HORIZON)) * np.pi) + 0.4 * np.eye(HORIZON)
    y_RF = np.random.default_rng(0).multivariate_normal(np.zeros(HORIZON), wave, 3000)
    correlations = find(comparison(y_RF))
    assert correlations["shrinkage"][0] < 0.1
    assert matrix(correlations)[0, 1] == pytest.approx(-0.6, abs=0.06)
    assert many <= 1


def test_models_have_correlations_of_their_own_and_one_without_forecasts_has_none() -> None:
    unseen = comparison(np.full((3, HORIZON), np.nan), model="theta")
    correlations = find(
        pl.concat([comparison(decaying(500, 0.9)), comparison(decaying(500, 0.0), model="gru"), unseen])
    )
    assert correlations["model"].unique(maintain_order=True).to_list() == ["gru", "lstm"]
    assert matrix(correlations)[0, 1] > 0.8 > 0.2 > abs(matrix(correlations, "gru")[0, 1])
    nothing = find(comparison(np.empty((0, HORIZON))))
    assert nothing.is_empty()
    assert nothing.schema == pl.Schema(CORRELATIONS)


def test_a_single_step_has_no_correlations() -> None:
    assert find(comparison(np.random.default_rng(0).normal(size=(9, 1))), horizon=1).is_empty()
