"""Sample paths: each step has the distribution of its quantiles, and steps have the given correlations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.evaluate.dependence import normal_scores
from forecasting.evaluate.paths import draw_paths

QUANTILES = (0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)
HORIZON = 5
LAG = np.abs(np.subtract.outer(np.arange(HORIZON), np.arange(HORIZON)))


def quantiles_of(num_series: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.gamma(2, 5, (num_series, HORIZON, len(QUANTILES))), axis=-1)


def draw(quantiles_SFQ: np.ndarray, correlations_FF: np.ndarray = 0.8**LAG, **options: object) -> np.ndarray:
    named = {"unique_ids": [f"s{row}" for row in range(len(quantiles_SFQ))], "num_paths": 200, "seed": 0} | options
    return draw_paths(quantiles_SFQ, correlations_FF, quantiles=QUANTILES, **named)  # type: ignore[arg-type]


@given(st.integers(0, 100), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_quantiles_of_paths_are_those_of_the_forecast(seed: int, draw_seed: int) -> None:
    quantiles_SFQ = quantiles_of(3, seed=seed)
    path_SNF = draw(quantiles_SFQ, num_paths=4000, seed=draw_seed)
    found_QSF = np.quantile(path_SNF, QUANTILES, axis=1, method="hazen")
    widest = np.ptp(quantiles_SFQ, axis=-1).max()
    assert found_QSF.transpose(1, 2, 0) == pytest.approx(quantiles_SFQ, abs=2e-3 * widest)


def test_few_paths_have_the_quantiles_as_closely_as_their_number_allows() -> None:
    quantiles_SFQ = quantiles_of(4)
    ranked_NSF = np.sort(draw(quantiles_SFQ, num_paths=20), axis=1).swapaxes(0, 1)
    for place, num_below in ((1, 2), (2, 6), (3, 10), (4, 14), (5, 18)):
        assert (ranked_NSF[num_below - 1] <= quantiles_SFQ[..., place]).all()
        assert (ranked_NSF[num_below] >= quantiles_SFQ[..., place]).all()


def test_scores_of_paths_have_the_given_correlations() -> None:
    quantiles_SFQ = quantiles_of(1)
    for wanted_FF in (0.8**LAG, np.eye(HORIZON), np.where(LAG % 2, -0.5, 0.6) * (LAG > 0) + np.eye(HORIZON)):
        path_NF = draw(quantiles_SFQ, wanted_FF, num_paths=8000)[0]
        forecast_NFQ = np.broadcast_to(quantiles_SFQ[0], (8000, HORIZON, len(QUANTILES)))
        score_NF = normal_scores(path_NF, forecast_NFQ, quantiles=QUANTILES)
        assert np.corrcoef(score_NF.T) == pytest.approx(wanted_FF, abs=0.05)


def test_paths_with_fully_correlated_steps_never_cross() -> None:
    path_NF = draw(quantiles_of(1), np.ones((HORIZON, HORIZON)))[0]
    ranks_NF = path_NF.argsort(0).argsort(0)
    assert (ranks_NF == ranks_NF[:, :1]).all()


def test_a_series_has_the_same_bits_alone_and_among_others() -> None:
    quantiles_SFQ = quantiles_of(30)
    among = draw(quantiles_SFQ)
    for row in (0, 17, 29):
        alone = draw(quantiles_SFQ[row : row + 1], unique_ids=[f"s{row}"])
        assert np.array_equal(alone[0], among[row])


def test_paths_repeat_with_the_seed_and_differ_by_it_and_by_series() -> None:
    same_SFQ = np.repeat(quantiles_of(1), 2, axis=0)
    first = draw(same_SFQ)
    assert np.array_equal(first, draw(same_SFQ))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, draw(same_SFQ, seed=1))


def test_beyond_the_outermost_quantile_paths_follow_a_normal_distribution() -> None:
    scores = np.array([-1.959964, -1.281552, -0.524401, 0, 0.524401, 1.281552, 1.959964])
    path_NF = draw(np.tile(3 + 2 * scores, (1, HORIZON, 1)), num_paths=10_000)[0]
    assert path_NF.max() == pytest.approx(3 + 2 * 3.8906, abs=1e-3)  # the quantile of 0.99995
    assert path_NF.min() == pytest.approx(3 - 2 * 3.8906, abs=1e-3)
    assert path_NF.std() == pytest.approx(2, rel=1e-3)


def test_a_side_without_quantiles_mirrors_the_other() -> None:
    options = {"unique_ids": ["a"], "num_paths": 100, "seed": 0}
    for quantiles, values in (((0.5, 0.9), (4.0, 6.0)), ((0.1, 0.5), (2.0, 4.0))):
        forecast_SFQ = np.tile(values, (1, HORIZON, 1))
        path_NF = draw_paths(forecast_SFQ, np.eye(HORIZON), quantiles=quantiles, **options)[0]  # type: ignore[arg-type]
        assert np.sort(path_NF[:, 0] - 4) == pytest.approx(-np.sort(4 - path_NF[:, 0])[::-1])
        assert np.quantile(path_NF, 0.9, axis=0, method="hazen") == pytest.approx([6.0] * HORIZON, abs=0.01)
        assert np.quantile(path_NF, 0.1, axis=0, method="hazen") == pytest.approx([2.0] * HORIZON, abs=0.01)


def test_paths_equal_quantiles_that_are_all_equal() -> None:
    assert (draw(np.full((2, HORIZON, len(QUANTILES)), 7.0)) == 7.0).all()
