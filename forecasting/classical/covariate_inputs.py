"""Covariates of one series as inputs of regressions: filled, scaled, with squares; and where they mean zero."""

# N grid points · T = N + F · K covariates

import numpy as np
import numpy.typing as npt

from forecasting.classical.statistics import fill_from_past

LINEAR_SHARE = 0.2
"""Share of the median up to which `second_scale` leaves values of a series that is never negative as they are, and
above which asinh takes their logarithms."""
FEWEST_CLOSED = 3
"""Fewest points at which a value of a covariate must have come with zero, for it to mean zero."""
_MOST_VALUES = 20
"""Most different values of a covariate of which each may mean zero."""

Values = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]


def fill_covariates(covariate_TK: Values, num_points: int, season: int) -> Values:
    """Drop covariates that are constant in the history, and fill the others' gaps.

    Args:
        covariate_TK: Covariates, NaN where they are unknown.
        num_points: Grid points of the history.
        season: Grid points of a season; a gap takes the value of one before, else the last one.

    Returns:
        The other covariates, without gaps.
    """
    filled = []
    for value_T in covariate_TK.T:
        known = value_T[:num_points][np.isfinite(value_T[:num_points])]
        if known.size and known.min() < known.max():
            value_T = np.where(np.isfinite(value_T), value_T, np.nan)
            value_T[0] = value_T[0] if np.isfinite(value_T[0]) else np.median(known)
            filled.append(fill_from_past(value_T, season_length=season))
    return np.stack(filled, axis=1) if filled else np.empty((len(covariate_TK), 0))


def scale_covariates(covariate_TK: Values, num_points: int) -> tuple[Values, Values]:
    """Return scaled covariates, and the squares of those of more than two values.

    Args:
        covariate_TK: Covariates without gaps, not constant in the history.
        num_points: Grid points of the history, by which they are scaled.

    Returns:
        Both, (T, K) each or fewer.
    """
    scaled, squares = [], []
    for value_T in covariate_TK.T:
        past_N = value_T[:num_points]
        if len(np.unique(past_N)) <= 2:
            scaled.append((value_T - past_N.min()) / (past_N.max() - past_N.min()))
            continue
        centre, spread = centre_and_spread(past_N)
        scaled.append(np.arcsinh((value_T - centre) / spread))
        squares.append(((value_T - past_N.mean()) / past_N.std()) ** 2)
    none_TK = np.empty((len(covariate_TK), 0))
    return np.stack(scaled, axis=1) if scaled else none_TK, np.stack(squares, axis=1) if squares else none_TK


def centre_and_spread(values_N: Values) -> tuple[float, float]:
    """Return the median and the scaled median absolute deviation, or the standard deviation where that is zero."""
    centre = float(np.median(values_N))
    robust, spread = 1.4826 * float(np.median(np.abs(values_N - centre))), float(np.std(values_N))
    if robust > 1e-9 * np.abs(values_N).max():
        return centre, robust
    return centre, spread if spread > 0 else 1.0


def second_scale(y_N: Values) -> tuple[float, float]:
    """Return the centre and the spread of the second model: asinh is near a logarithm above a fifth of the median."""
    median = float(np.median(y_N))
    return (0.0, LINEAR_SHARE * median) if y_N.min() >= 0 and median > 0 else centre_and_spread(y_N)


def find_closed(y_N: Values, covariate_TK: Values) -> Marks:
    """Mark the points at which a covariate has a value that always came with a `y` of zero.

    The series must have other values than zero at most of the points at which the covariate has another value.

    Args:
        y_N: The series, without gaps.
        covariate_TK: Covariates, without gaps.

    Returns:
        Marks (T,).
    """
    is_closed_T = np.zeros(len(covariate_TK), dtype=bool)
    is_zero_N = y_N == 0
    if not is_zero_N.any():
        return is_closed_T
    for value_T in covariate_TK.T:
        past_N = value_T[: len(y_N)]
        values, place_N = np.unique(past_N, return_inverse=True)
        if len(values) > _MOST_VALUES:
            continue
        num_V = np.bincount(place_N)
        num_zero_V = np.bincount(place_N, weights=is_zero_N)
        num_rest_V, num_zero_rest_V = len(y_N) - num_V, is_zero_N.sum() - num_zero_V
        is_zero_V = (num_V >= FEWEST_CLOSED) & (num_zero_V == num_V) & (2 * num_zero_rest_V < num_rest_V)
        is_closed_T |= np.isin(value_T, values[is_zero_V])
    return is_closed_T


def fill_closed(y_N: Values, is_closed_N: Marks, season: int) -> Values:
    """Replace the zeros of closed points as gaps are filled.

    Args:
        y_N: The series, without gaps.
        is_closed_N: Points at which a covariate means zero.
        season: Grid points of a season.

    Returns:
        The series; its beginning has the first value that is not closed.
    """
    if not is_closed_N.any():
        return y_N
    open_N = np.where(is_closed_N, np.nan, y_N)
    first = int(np.argmax(~is_closed_N))
    open_N[:first] = open_N[first]
    return fill_from_past(open_N, season_length=season)
