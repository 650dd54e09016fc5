"""Per-series scales: a panel's history in, the three numbers by which each series is normalised and restored out."""

# S series · N grid points

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatS = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaling:
    """`location_S` and `spread_S` bring inputs near zero and one; `error_S` is the size of a seasonal-naive error.

    All are in the unit of y. `spread_S` is 0 for a series that is constant and NaN for one without observations.
    """

    location_S: FloatS
    spread_S: FloatS
    error_S: FloatS


def measure_scaling(y_SN: npt.NDArray[np.float64], *, season_length: int) -> Scaling:
    """Measure each series' own scales on observed values alone (NaN is a gap).

    Location is the mean, spread the standard deviation, error the mean absolute seasonal difference, bounded from below
    by a hundredth of the spread so that a near-perfect season does not blow up its residuals.
    """
    observed_SN = np.isfinite(y_SN)
    count_S = observed_SN.sum(1)
    filled_SN = np.where(observed_SN, y_SN, 0.0)
    with np.errstate(all="ignore"):
        location_S = filled_SN.sum(1) / count_S
        centred_SN = np.where(observed_SN, y_SN - location_S[:, None], 0.0)
        # Dividing by the largest value first keeps the squares of huge values finite.
        largest_S = np.abs(centred_SN).max(1, initial=0.0)
        unit_SN = centred_SN / np.where(largest_S > 0, largest_S, 1.0)[:, None]
        spread_S = np.sqrt((unit_SN**2).sum(1) / count_S) * largest_S
        error_S = _mean_seasonal_difference(y_SN, season_length=season_length)
    is_constant_S = spread_S <= 1e-13 * np.abs(location_S)
    spread_S = np.where(is_constant_S, 0.0, spread_S)
    error_S = np.where(np.isfinite(error_S), error_S, spread_S)
    return Scaling(location_S, spread_S, np.maximum(error_S, 0.01 * spread_S))


def _mean_seasonal_difference(y_SN: npt.NDArray[np.float64], *, season_length: int) -> FloatS:
    if y_SN.shape[1] <= season_length:
        return np.full(len(y_SN), np.nan)
    difference_SN = np.abs(y_SN[:, season_length:] - y_SN[:, :-season_length])
    is_pair_SN = np.isfinite(difference_SN)
    total_S: FloatS = np.where(is_pair_SN, difference_SN, 0.0).sum(1)
    return total_S / is_pair_SN.sum(1)
