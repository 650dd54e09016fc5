"""Combine the quantiles of several models into one forecast, by a weighted median of each quantile.

A median is robust where a mean is not: of a dozen models, some are far off on some series. Weights are fixed, not
learned: fitting them to the errors at earlier origins gained at most 1 % at later ones and lost up to a third where the
season turned (`docs/accuracy.md`). Averaging quantiles: Lichtendahl, Grushka-Cockayne & Winkler 2013.
"""

# S series · K forecasts · F horizon steps · Q quantiles

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

COMBINATION = "combination"
NETWORKS_SHARE = 0.6
"""Total weight of the networks, shared equally; the other models share the rest. Above one half, the median stays
among the networks wherever they agree."""
_SERIES_AT_ONCE = 128

Quantiles = npt.NDArray[np.float64]
"""Shape (S, F, Q), in units of y, rising along Q; NaN for a series that the model cannot forecast."""


def combine(*, networks: Sequence[Quantiles], others: Sequence[Quantiles]) -> Quantiles:
    """Return the weighted median of each quantile over all forecasts.

    Args:
        networks: Forecasts of the members of all networks, each (S, F, Q), NaN for a series without one.
        others: Forecasts of the statistical models and naives, likewise.

    Returns:
        Quantiles (S, F, Q), rising along Q. A series uses the forecasts that it has; without any, it is NaN.
    """
    forecast_KSFQ = [*others, *networks]
    is_network_K = np.arange(len(forecast_KSFQ)) >= len(others)
    is_there_SK = np.stack([np.isfinite(each).all((1, 2)) for each in forecast_KSFQ], axis=1)
    weight_SK = np.zeros(is_there_SK.shape)
    for is_of_group_K, share in ((is_network_K, NETWORKS_SHARE), (~is_network_K, 1 - NETWORKS_SHARE)):
        member_SK = is_there_SK & is_of_group_K
        weight_SK += share * member_SK / np.maximum(member_SK.sum(1, keepdims=True), 1)
    weight_SK /= np.maximum(weight_SK.sum(1, keepdims=True), 1e-300)
    result_SFQ = np.full_like(forecast_KSFQ[0], np.nan)
    for first in range(0, len(result_SFQ), _SERIES_AT_ONCE):
        some = slice(first, first + _SERIES_AT_ONCE)
        result_SFQ[some] = weighted_median(np.stack([each[some] for each in forecast_KSFQ]), weight_SK[some].T)
    return np.sort(result_SFQ, axis=-1)


def weighted_median(values_KSFQ: Quantiles, weight_KS: npt.NDArray[np.float64]) -> Quantiles:
    """Return the weighted median over K, interpolated between the two values on either side of half the weight.

    A value lies at the middle of its own weight, so that equal weights give the usual median.

    Args:
        values_KSFQ: Finite wherever the weight is positive.
        weight_KS: Weights that sum to 1 over K, or to 0 for a series without any value.

    Returns:
        Medians (S, F, Q), NaN for a series whose weights are all 0.

    >>> weighted_median(np.array([1.0, 2.0, 4.0, 9.0]).reshape(4, 1, 1, 1), np.full((4, 1), 0.25)).item()
    3.0
    """
    weight_KSFQ = np.broadcast_to(weight_KS[:, :, None, None], values_KSFQ.shape)
    order_KSFQ = np.argsort(np.where(weight_KSFQ > 0, values_KSFQ, np.inf), axis=0, kind="stable")
    ranked_KSFQ = np.take_along_axis(values_KSFQ, order_KSFQ, axis=0)
    share_KSFQ = np.take_along_axis(weight_KSFQ, order_KSFQ, axis=0)
    middle_KSFQ = np.cumsum(share_KSFQ, axis=0) - share_KSFQ / 2
    num_S11 = np.count_nonzero(weight_KS > 0, axis=0)[:, None, None]
    below_SFQ = np.count_nonzero((middle_KSFQ <= 0.5 + 1e-12) & (share_KSFQ > 0), axis=0) - 1
    lower_SFQ = np.clip(below_SFQ, 0, np.maximum(num_S11 - 1, 0))
    upper_SFQ = np.clip(below_SFQ + 1, 0, np.maximum(num_S11 - 1, 0))

    def at(values: npt.NDArray[np.float64], place: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        picked: npt.NDArray[np.float64] = np.take_along_axis(values, place[None], axis=0)[0]
        return picked

    low, high, begin, end = (
        at(values, place) for values in (ranked_KSFQ, middle_KSFQ) for place in (lower_SFQ, upper_SFQ)
    )
    span = end - begin
    part = np.clip((0.5 - begin) / np.where(span > 0, span, 1.0), 0.0, 1.0)
    result = low * (1 - part) + high * part
    return np.where(num_S11 > 0, np.where(low == high, low, result), np.nan)
