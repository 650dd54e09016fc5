"""Draw sample paths over the horizon from the quantiles of each step and the correlations between steps.

A path is a draw from a Gaussian copula: correlated normal scores, one per step, mapped through the quantiles of that
step. The scores of a step are stratified over the paths (Latin hypercube sampling with dependence: Packham & Schmidt
2010). They keep their order and take the values of evenly spaced quantiles, so that even few paths have the step's
distribution.
"""

# S series · N paths · F horizon steps · Q quantiles

import hashlib
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from forecasting.evaluate.demand_paths import Demands, fill_demand

Floats = npt.NDArray[np.float64]


def draw_paths(
    quantiles_SFQ: Floats,
    correlations_FF: Floats,
    *,
    unique_ids: Sequence[str],
    quantiles: Sequence[float],
    num_paths: int,
    seed: int,
    demands: Mapping[str, Demands] = MappingProxyType({}),
) -> Floats:
    """Draw paths of each series.

    A series' paths depend on its name, its quantiles, the correlations and the seed, and on no other series.

    Args:
        quantiles_SFQ: Quantiles of each step, rising along Q.
        correlations_FF: Positive semi-definite, with ones on the diagonal.
        unique_ids: Names of the series.
        quantiles: Levels of the quantiles; must hold 0.5.
        num_paths: Number of paths of each series, N.
        seed: Seed of the random numbers.
        demands: Past demands of the intermittent series, which say what their quantiles do not
            (`forecasting.evaluate.demand_paths`).

    Returns:
        Paths (S, N, F), in units of the quantiles.
    """
    root_FF = _root(correlations_FF)
    values_SNF = _even_quantiles(quantiles_SFQ, quantiles, num_paths)
    for row, name in enumerate(unique_ids):
        if name in demands:
            values_SNF[row] = fill_demand(values_SNF[row], quantiles_SFQ[row], quantiles, demands[name])
    return np.stack(
        [
            np.take_along_axis(values_NF, _draw_ranks(name, root_FF, num_paths, seed), axis=0)
            for name, values_NF in zip(unique_ids, values_SNF, strict=True)
        ]
    )


def _draw_ranks(name: str, root_FF: Floats, num_paths: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the rank of each path among all paths at each step, (N, F)."""
    key = hashlib.blake2b(f"{seed} paths {name}".encode(), digest_size=16).digest()
    numbers = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    score_NF = numbers.standard_normal((num_paths, len(root_FF))) @ root_FF
    order_NF = np.argsort(score_NF, axis=0)
    rank_NF = np.empty_like(order_NF)
    np.put_along_axis(rank_NF, order_NF, np.arange(num_paths)[:, None], axis=0)
    return rank_NF


def _even_quantiles(quantiles_SFQ: Floats, quantiles: Sequence[float], num_paths: int) -> Floats:
    """Return evenly spaced quantiles of each step, (S, N, F), rising along N.

    Between two given quantiles, y is linear in the normal score. Beyond the outermost one, it follows the normal
    distribution with the median and that quantile. A side without a quantile mirrors the other.
    """
    scores_Q = np.array([NormalDist().inv_cdf(q) for q in quantiles])
    score_N = np.array([NormalDist().inv_cdf((place + 0.5) / num_paths) for place in range(num_paths)])
    middle, last = list(quantiles).index(0.5), len(quantiles) - 1
    right_N = np.searchsorted(scores_Q, score_N)
    is_inside_N = (right_N > 0) & (right_N <= last)
    end_N = np.where(score_N < 0, 0 if middle > 0 else last, last if middle < last else 0)
    from_N = np.where(is_inside_N, np.maximum(right_N - 1, 0), middle)
    to_N = np.where(is_inside_N, right_N, end_N)
    part_N = (score_N - scores_Q[from_N]) / (scores_Q[to_N] - scores_Q[from_N])
    start_SNF, end_SNF = (np.moveaxis(quantiles_SFQ[..., place_N], -1, 1) for place_N in (from_N, to_N))
    values_SNF: Floats = start_SNF + part_N[:, None] * (end_SNF - start_SNF)
    return values_SNF


def _root(correlations_FF: Floats) -> Floats:
    """Return the symmetric square root of a matrix."""
    values_F, vectors_FF = np.linalg.eigh(correlations_FF)
    root_FF: Floats = (vectors_FF * np.sqrt(np.maximum(values_F, 0.0))) @ vectors_FF.T
    return root_FF
