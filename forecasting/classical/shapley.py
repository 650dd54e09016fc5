"""Shapley values: the shares of players in what a coalition of all of them is worth (Shapley, 1953).

They are exact for few players. For more, they are means over sampled orders of the players, each order and its reverse,
which adds no bias and cancels effects of pairs (Mitchell et al., 2022).
"""

# G players · R outcomes

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

MOST_EXACT = 6
"""Players up to which all coalitions are tried."""
NUM_ORDERS = 32
"""Orders that are sampled for more players."""

Values = npt.NDArray[np.float64]
Worth = Callable[[Sequence[int]], Mapping[int, Values]]
"""Returns what coalitions are worth (R,), by coalition; player g is in a coalition whose bit g is set."""


def shapley_values(num_players: int, worth: Worth, *, seed: int = 0) -> Values:
    """Divide what the coalition of all players is worth, above that of none, among the players.

    Args:
        num_players: Number of players.
        worth: Returns the worth of coalitions; called once.
        seed: Seed of sampled orders.

    Returns:
        Shares (G, R), whose sum is the worth of all players minus that of none, but for rounding.

    >>> shapley_values(2, lambda masks: {mask: np.array([[0.0, 1.0, 2.0, 9.0][mask]]) for mask in masks})[:, 0].tolist()
    [4.0, 5.0]
    """
    if num_players <= MOST_EXACT:
        return _exact(num_players, worth(range(2**num_players)))
    rng = np.random.default_rng(seed)
    half = [rng.permutation(num_players).tolist() for _ in range(NUM_ORDERS // 2)]
    orders = [*half, *(order[::-1] for order in half)]
    known = worth(sorted({mask for order in orders for mask in _prefixes(order)}))
    shares = np.zeros((num_players, *known[0].shape))
    for order in orders:
        masks = list(_prefixes(order))
        for player, before, after in zip(order, masks, masks[1:], strict=False):
            shares[player] += (known[after] - known[before]) / len(orders)
    return shares


def count_coalitions(num_players: int) -> int:
    """Return the most coalitions whose worth is needed.

    >>> count_coalitions(3), count_coalitions(7)
    (8, 194)
    """
    return 2**num_players if num_players <= MOST_EXACT else NUM_ORDERS * (num_players - 1) + 2


def _exact(num_players: int, known: Mapping[int, Values]) -> Values:
    shares = np.zeros((num_players, *known[0].shape))
    for player in range(num_players):
        bit = 1 << player
        for mask in range(2**num_players):
            if not mask & bit:
                size = mask.bit_count()
                weight = math.factorial(size) * math.factorial(num_players - size - 1) / math.factorial(num_players)
                shares[player] += weight * (known[mask | bit] - known[mask])
    return shares


def _prefixes(order: Sequence[int]) -> Iterable[int]:
    mask = 0
    yield mask
    for player in order:
        mask |= 1 << player
        yield mask
