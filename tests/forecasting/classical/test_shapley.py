"""Shapley values: exact for few players, sampled for more, and always the whole difference."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from forecasting.classical.shapley import MOST_EXACT, Values, count_coalitions, shapley_values


def linear(effects: Sequence[float]) -> tuple[list[int], object]:
    """Return a list of the coalitions that are asked for, and their worth: the sum of the players' effects."""
    asked: list[int] = []

    def worth(masks: Sequence[int]) -> Mapping[int, Values]:
        asked.extend(masks)
        return {
            mask: np.array([100.0 + sum(effect for place, effect in enumerate(effects) if mask >> place & 1)])
            for mask in masks
        }

    return asked, worth


@pytest.mark.parametrize("num_players", [1, 3, MOST_EXACT, MOST_EXACT + 3])
def test_players_of_a_sum_get_their_own_effects(num_players: int) -> None:
    effects = [float(2**place) for place in range(num_players)]
    asked, worth = linear(effects)
    assert shapley_values(num_players, worth)[:, 0] == pytest.approx(effects)  # type: ignore[arg-type]
    assert len(asked) == len(set(asked)) <= count_coalitions(num_players)


@pytest.mark.parametrize("num_players", [2, MOST_EXACT + 2])
def test_shares_sum_to_the_difference_and_players_that_are_alike_share_alike(num_players: int) -> None:
    def worth(masks: Sequence[int]) -> Mapping[int, Values]:
        return {mask: np.array([float(mask.bit_count() ** 3), float(mask & 1)]) for mask in masks}

    shares = shapley_values(num_players, worth)
    assert shares.sum(0) == pytest.approx([num_players**3, 1])
    assert shares[:, 1] == pytest.approx([1.0, *[0.0] * (num_players - 1)])
    if num_players <= MOST_EXACT:
        assert shares[:, 0] == pytest.approx([num_players**2] * num_players)


def test_effect_of_a_pair_is_halved_and_sampled_orders_repeat() -> None:
    def worth(masks: Sequence[int]) -> Mapping[int, Values]:
        return {mask: np.array([6.0 * (mask & 3 == 3)]) for mask in masks}

    for num_players in (2, MOST_EXACT + 1):
        shares = shapley_values(num_players, worth, seed=4)[:, 0]
        assert shares[:2] == pytest.approx([3.0, 3.0]), "each order and its reverse divide a pair equally"
        assert np.array_equal(shares, shapley_values(num_players, worth, seed=4)[:, 0])


def test_nobody_gets_nothing() -> None:
    assert shapley_values(0, lambda masks: {mask: np.zeros(3) for mask in masks}).shape == (0, 3)
