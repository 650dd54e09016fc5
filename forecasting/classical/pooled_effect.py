"""The effect of covariates that all steps of a series share, estimated from how both differ from the seasons before.

Equations for each step of the season have many coefficients, and a series of a few hundred days is too short for them.
One coefficient per covariate needs little data. A regression of the series without this effect then estimates the rest.
"""

# N grid points · T = N + F · K covariates · R rows

import numpy as np
import numpy.typing as npt

from forecasting.classical.leave_one_out import STRENGTHS

NUM_SEASONS = 4
"""Seasons whose mean the differences are taken from."""
_FEWEST_ROWS = 20
_MOST_LEVERAGE = 0.99

Values = npt.NDArray[np.float64]


def pooled_effect(y_N: Values, covariate_TK: Values, *, season: int, long_season: int | None) -> Values:
    """Estimate the effect of covariates on a series by ridge regression, at its grid points and over the horizon.

    Differences are those of the values and of the covariates from the mean of the last `NUM_SEASONS` seasons, the long
    ones where the series has twice as many. The strength of the penalty has the smallest leave-one-out error.

    Args:
        y_N: Values of the series, without gaps.
        covariate_TK: Covariates over grid and horizon, without gaps; they should have comparable units.
        season: Grid points of its season.
        long_season: Grid points of a longer season; None without one.

    Returns:
        The effect (T,) in the unit of the values, 0 for the mean covariates of the history. All 0 without covariates,
        for a series that is too short, and where the effect does not reduce the error.
    """
    num_points, none_T = len(y_N), np.zeros(len(covariate_TK))
    back = long_season if long_season and num_points >= 2 * NUM_SEASONS * long_season else season
    rows_R = np.arange(NUM_SEASONS * back, num_points)
    if not covariate_TK.shape[1] or len(rows_R) < max(_FEWEST_ROWS, 2 * covariate_TK.shape[1]):
        return none_T
    x_RK, y_R = (_differences(values, rows_R, back) for values in (covariate_TK, y_N))
    value_K, vector_KK = np.linalg.eigh(x_RK.T @ x_RK)
    basis_RK = x_RK @ vector_KK
    known_K = basis_RK.T @ y_R
    best, coefficient_K = float(np.abs(y_R).mean()), np.zeros(covariate_TK.shape[1])
    for strength in STRENGTHS:
        shrunk_K = 1 / (np.maximum(value_K, 0.0) + strength)
        leverage_R = np.minimum(basis_RK**2 @ shrunk_K, _MOST_LEVERAGE)
        error = float(np.abs((y_R - basis_RK @ (shrunk_K * known_K)) / (1 - leverage_R)).mean())
        if error < best:
            best, coefficient_K = error, vector_KK @ (shrunk_K * known_K)
    effect_T: Values = (covariate_TK - covariate_TK[:num_points].mean(0)) @ coefficient_K
    return effect_T


def _differences(values: Values, rows_R: npt.NDArray[np.int64], back: int) -> Values:
    """Return the differences of rows from the mean of the same phase in the seasons before."""
    before = np.mean([values[rows_R - number * back] for number in range(1, NUM_SEASONS + 1)], axis=0)
    differences: Values = values[rows_R] - before
    return differences
