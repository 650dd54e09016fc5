"""Steps of intermittent series: where demand begins between two quantiles, and how it goes on beyond the last one."""

from statistics import NormalDist

import numpy as np
import pytest

from forecasting.evaluate.demand_paths import Demands, fill_demand
from forecasting.evaluate.paths import draw_paths
from forecasting.spec.quantiles import DEFAULT_QUANTILES

LEVELS = np.array(DEFAULT_QUANTILES)
LOGNORMAL = np.exp([2.5 + 0.9 * NormalDist().inv_cdf((rank + 0.5) / 99) for rank in range(99)])
UNIFORM = np.arange(6.0, 15.0)


def quantiles_of(chance: float, sizes: np.ndarray) -> np.ndarray:
    """Return the true quantiles of a demand, (1, Q)."""
    part_Q = 1 - (1 - LEVELS) / chance
    return np.where(part_Q > 0, np.quantile(sizes, part_Q.clip(0, 1), method="inverted_cdf"), 0.0)[None]


def values_of(quantiles_FQ: np.ndarray, demands: Demands | None, num_paths: int = 2000) -> np.ndarray:
    known = {} if demands is None else {"a": demands}
    return draw_paths(
        quantiles_FQ[None],
        np.eye(len(quantiles_FQ)),
        unique_ids=["a"],
        quantiles=DEFAULT_QUANTILES,
        num_paths=num_paths,
        seed=0,
        demands=known,
    )[0]


@pytest.mark.parametrize("sizes", [UNIFORM, LOGNORMAL], ids=["uniform", "lognormal"])
@pytest.mark.parametrize("chance", [0.45, 0.2, 0.13, 0.1, 0.06, 0.04])
def test_the_mean_of_paths_is_the_mean_of_the_demand(chance: float, sizes: np.ndarray) -> None:
    path_NF = values_of(quantiles_of(chance, sizes), Demands(sizes, chance))
    assert path_NF.mean() == pytest.approx(chance * sizes.mean(), rel=0.1)


@pytest.mark.parametrize("sizes", [UNIFORM, LOGNORMAL], ids=["uniform", "lognormal"])
@pytest.mark.parametrize("chance", [0.45, 0.2, 0.06])
def test_paths_keep_the_quantiles_of_the_forecast(chance: float, sizes: np.ndarray) -> None:
    quantiles_FQ = quantiles_of(chance, sizes)
    path_NF = values_of(quantiles_FQ, Demands(sizes, chance), num_paths=10_000)
    found_Q = np.quantile(path_NF[:, 0], LEVELS, method="hazen")
    is_above_Q = quantiles_FQ[0] > 0
    assert found_Q[~is_above_Q].tolist() == [0.0] * (~is_above_Q).sum()
    assert found_Q[is_above_Q] == pytest.approx(quantiles_FQ[0, is_above_Q], rel=0.02)


def test_the_past_share_is_the_chance_where_all_quantiles_are_zero_and_leave_room_for_it() -> None:
    nothing_FQ = np.zeros((2, len(LEVELS)))
    for share, chance in ((0.01, 0.01), (0.3, 0.025)):
        path_NF = values_of(nothing_FQ, Demands(UNIFORM, share))
        assert (path_NF > 0).mean(0) == pytest.approx([chance, chance])
    assert values_of(nothing_FQ, None).max() == 0


def test_steps_without_a_zero_do_not_change() -> None:
    quantiles_FQ = np.stack([np.linspace(1, 20, len(LEVELS)), quantiles_of(0.2, UNIFORM)[0]])
    values_NF = np.sort(np.random.default_rng(0).gamma(2, 4, (50, 2)), axis=0)
    filled_NF = fill_demand(values_NF, quantiles_FQ, DEFAULT_QUANTILES, Demands(UNIFORM, 0.2))
    assert np.array_equal(filled_NF[:, 0], values_NF[:, 0])
    assert not np.array_equal(filled_NF[:, 1], values_NF[:, 1])


def test_values_rise_with_their_rank() -> None:
    for chance in (0.6, 0.2, 0.03):
        path_NF = values_of(quantiles_of(chance, LOGNORMAL) * 1.3, Demands(LOGNORMAL, 0.1))
        assert (np.diff(np.sort(path_NF, axis=0), axis=0) >= 0).all()
    level_N = (np.arange(400) + 0.5) / 400
    start_NF = np.interp(level_N, LEVELS, quantiles_of(0.2, LOGNORMAL)[0])[:, None]
    filled_NF = fill_demand(start_NF, quantiles_of(0.2, LOGNORMAL), DEFAULT_QUANTILES, Demands(LOGNORMAL, 0.2))
    assert (np.diff(filled_NF[:, 0]) >= 0).all()
