"""Intermittent series: those of a demand that is zero most of the time."""

# S series · N grid points

import numpy as np
import numpy.typing as npt

INTERMITTENT_SHARE = 0.5
"""Share of zeros above which a series is intermittent."""


def find_intermittent(y_SN: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mark the series that are never negative, and zero in more than half of their measurements.

    Args:
        y_SN: History of each series, NaN in gaps.

    Returns:
        Marks (S,).

    >>> find_intermittent(np.array([[0.0, 0.0, 7.0], [0.0, 3.0, np.nan], [0.0, 0.0, -1.0]])).tolist()
    [True, False, False]
    """
    num_known_S = np.count_nonzero(np.isfinite(y_SN), axis=1)
    num_zeros_S = np.count_nonzero(y_SN == 0, axis=1)
    marks_S: npt.NDArray[np.bool_] = (num_zeros_S > INTERMITTENT_SHARE * num_known_S) & ~(y_SN < 0).any(axis=1)
    return marks_S


def least_demands(y_SN: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the smallest demand above zero of each intermittent series.

    Args:
        y_SN: History of each series, NaN in gaps.

    Returns:
        Demands (S,); NaN for a series that is not intermittent, or has no demand.
    """
    least_S = np.where(y_SN > 0, y_SN, np.inf).min(axis=1, initial=np.inf)
    return np.where(find_intermittent(y_SN) & np.isfinite(least_S), least_S, np.nan)


def without_residues(quantiles_SFQ: npt.NDArray[np.float64], y_SN: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return forecasts of intermittent series that are zero where they are nearer to it than to any past demand.

    A network only comes near to zero, and what it leaves there adds up over the horizon.

    Args:
        quantiles_SFQ: Forecasts, rising along Q.
        y_SN: History of each series, NaN in gaps.

    Returns:
        Forecasts; those of other series do not change.
    """
    least_S = least_demands(y_SN)
    if np.isnan(least_S).all():
        return quantiles_SFQ
    return np.where(np.abs(quantiles_SFQ) < least_S[:, None, None] / 2, 0.0, quantiles_SFQ)
