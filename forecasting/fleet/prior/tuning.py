"""How far a series' network may go from its prior, chosen from validation losses at several distances.

A series' own few validation windows count a fifth; the mean over all series counts the rest.
"""

# S series · A strengths

import numpy as np
import numpy.typing as npt

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the way from the prior to the tuned network."""
OWN_SHARE = 0.2
"""Weight of a series' own losses; the fleet's have the rest (shrinkage, James & Stein 1961)."""


def log_ratios(loss_SA: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithm of each loss over the prior's loss, (S, A); 0 where it is undefined."""
    with np.errstate(all="ignore"):
        ratio_SA = np.log(loss_SA / loss_SA[:, :1])
    return np.nan_to_num(ratio_SA, nan=0.0, posinf=0.0, neginf=0.0)


def choose_strengths(loss_SA: npt.NDArray[np.float64], gains_A: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return each series' share of the way, (S,), from its losses shrunk towards the mean of all series.

    >>> choose_strengths(np.array([[1.0, 0.9, 0.8, 0.9, 1.0], [1.0, 9, 9, 9, 9]]), (0.0, -0.1, -0.2, -0.3, -0.2))
    array([0.75, 0.  ])
    """
    shrunk_SA = OWN_SHARE * log_ratios(loss_SA) + (1 - OWN_SHARE) * np.asarray(gains_A)
    chosen_S: npt.NDArray[np.float64] = np.asarray(STRENGTHS)[shrunk_SA.argmin(1)]
    return chosen_S
