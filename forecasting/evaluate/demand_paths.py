"""The distribution of a step of an intermittent series, between and beyond the quantiles of its forecast.

Its quantiles are zero up to some level. Where demand begins between two levels, and how large it becomes beyond the
last one, follows from the sizes of past demands: in Willemain, Smart & Schwarz (2004) these are what is drawn from.
"""

# F horizon steps · N ranks · Q quantiles · Z past demands

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Demands:
    """The demands above zero of a series' past, in units of y, and their share of all its measurements."""

    sizes: Floats
    share: float


def fill_demand(values_NF: Floats, quantiles_FQ: Floats, quantiles: Sequence[float], demands: Demands) -> Floats:
    """Replace the values of a step where its quantiles say too little: before its first demand and after its last.

    The smallest quantile above zero shows where demand begins: it lies among the past sizes as far as its level lies
    between that beginning and one. Beyond the last quantile, values rise as the sizes do. Where all quantiles are zero,
    the past share of demands is the chance of one, as far as they leave room for it.

    Args:
        values_NF: Evenly spaced quantiles of each step, rising along N.
        quantiles_FQ: Quantiles of the forecast, rising along Q.
        quantiles: Their levels.
        demands: Past demands, at least one.

    Returns:
        Values (N, F). They do not change between two quantiles above zero, nor in steps without a quantile of zero.
    """
    num_ranks, levels_Q, sizes = len(values_NF), np.asarray(quantiles), np.sort(demands.sizes)
    level_N = (np.arange(num_ranks) + 0.5) / num_ranks
    num_zeros_F = np.count_nonzero(quantiles_FQ <= 0, axis=1)
    padded_FQ = np.pad(quantiles_FQ, ((0, 0), (0, 1)))
    zero_F, first_F = np.append(0.0, levels_Q)[num_zeros_F], np.append(levels_Q, 1.0)[num_zeros_F]
    smallest_F = np.take_along_axis(padded_FQ, num_zeros_F[:, None], axis=1)[:, 0]
    largest_F, is_empty_F = quantiles_FQ[:, -1], num_zeros_F == len(levels_Q)
    below_F = (np.searchsorted(sizes, smallest_F) + np.searchsorted(sizes, smallest_F, "right")) / (2 * len(sizes))
    with np.errstate(divide="ignore"):
        begin_F = 1 - np.where(is_empty_F, demands.share, (1 - first_F) / (1 - below_F))
    begin_F = np.clip(begin_F, zero_F, np.where(is_empty_F, 1.0, first_F))

    def size_at(level: Floats) -> Floats:
        part = (level - begin_F) / np.maximum(1 - begin_F, 1e-12)
        place = np.ceil(np.clip(part, 0.0, 1.0) * len(sizes) - 1e-9).astype(np.int64) - 1
        return np.where(part > 0, sizes[np.maximum(place, 0)], 0.0)

    size_NF, last_F = size_at(level_N[:, None]), size_at(np.full(len(begin_F), levels_Q[-1]))
    growth_NF = np.maximum(size_NF / np.where(last_F > 0, last_F, np.inf), 1.0)
    is_before_NF = level_N[:, None] <= first_F
    is_after_NF = level_N[:, None] > levels_Q[-1]
    filled_NF = np.where(is_after_NF, largest_F * growth_NF, values_NF)
    filled_NF = np.where(is_before_NF, np.where(is_empty_F, size_NF, np.minimum(size_NF, smallest_F)), filled_NF)
    return np.where(num_zeros_F > 0, filled_NF, values_NF)
