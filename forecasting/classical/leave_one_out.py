"""Ridge regression in closed form, with the strength of its penalty chosen by leave-one-out error.

Several equations share one matrix of inputs, so that one eigendecomposition solves all of them at every strength. The
leave-one-out errors follow from the leverages (Golub, Heath & Wahba, 1979).
"""

# W windows · P inputs · M equations, one for each target · E eigenvalues · V variants of the inputs to forecast from

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

STRENGTHS = tuple(np.geomspace(1e-1, 1e5, 13).tolist())
"""Strengths of the penalty that are tried, for inputs of unit variance."""
_LEAST_SPREAD = 1e-9
"""Standard deviation up to which an input counts as constant; such an input is not used."""
_MOST_LEVERAGE = 0.999
_FEWEST_INPUTS = 100
"""Inputs from which on it pays to look for repeated ones."""

Values = npt.NDArray[np.float64]


class Fitted(NamedTuple):
    """Forecasts from rows of inputs (V, M), and the leave-one-out errors of all windows (W, M)."""

    forecast_VM: Values
    error_WM: Values


def fit_ridge(input_WP: Values, target_WM: Values, next_VP: Values) -> Fitted:
    """Fit one linear equation for each target, all with the strength of the smallest mean absolute leave-one-out error.

    Inputs are standardised, targets centred; the intercept has no penalty. With more inputs than windows, the dual
    problem is solved. Inputs that repeat another one, as those of the hours of a day whose covariate is that of the
    day, count as often as they are there.

    Args:
        input_WP: Inputs of the windows.
        target_WM: Targets of the windows.
        next_VP: Rows of inputs to forecast from.

    Returns:
        The forecasts, and the errors that each window would have if the equations were fitted to all others.
    """
    mean_P, spread_P = input_WP.mean(0), input_WP.std(0)
    used = np.flatnonzero(spread_P > _LEAST_SPREAD)
    x_WP = (input_WP[:, used] - mean_P[used]) / spread_P[used]
    # One by one, so that a row's forecast has the same bits with and without others.
    scaled_VP = [(next_P[used] - mean_P[used]) / spread_P[used] for next_P in next_VP]
    x_WP, scaled_VP = _merge_repeats(x_WP, scaled_VP)
    mean_M = target_WM.mean(0)
    y_WM = target_WM - mean_M
    is_primal = x_WP.shape[1] <= len(x_WP)
    value_E, vector_E = np.linalg.eigh(x_WP.T @ x_WP if is_primal else x_WP @ x_WP.T)
    value_E = np.maximum(value_E, 0.0)
    basis_WE = x_WP @ vector_E if is_primal else vector_E
    next_VE = [next_P @ vector_E if is_primal else next_P @ x_WP.T @ vector_E for next_P in scaled_VP]
    known_EM, leverage_WE = basis_WE.T @ y_WM, basis_WE**2
    best: tuple[float, Fitted] | None = None
    for strength in STRENGTHS:
        shrunk_E = 1 / (value_E + strength)
        weight_E = shrunk_E if is_primal else value_E * shrunk_E
        leverage_W = np.minimum(leverage_WE @ weight_E + 1 / len(x_WP), _MOST_LEVERAGE)
        error_WM = (y_WM - basis_WE @ (weight_E[:, None] * known_EM)) / (1 - leverage_W)[:, None]
        mean_error = float(np.abs(error_WM).mean())
        if best is None or mean_error < best[0]:
            forecasts = [mean_M + next_E @ (shrunk_E[:, None] * known_EM) for next_E in next_VE]
            best = mean_error, Fitted(np.stack(forecasts), error_WM)
    assert best is not None, "there is at least one strength"
    return best[1]


def _merge_repeats(x_WP: Values, next_VP: list[Values]) -> tuple[Values, list[Values]]:
    """Return one input in place of equal ones, scaled so that the fit and the forecasts are the same."""
    num_inputs = x_WP.shape[1]
    if num_inputs < _FEWEST_INPUTS:
        return x_WP, next_VP
    place: dict[bytes, int] = {}
    merged_P = np.array([place.setdefault(column_W.tobytes(), len(place)) for column_W in x_WP.T])
    if len(place) == num_inputs:
        return x_WP, next_VP
    first_U = np.unique(merged_P, return_index=True)[1]
    root_U = np.sqrt(np.bincount(merged_P))
    return x_WP[:, first_U] * root_U, [np.bincount(merged_P, weights=next_P) / root_U for next_P in next_VP]
