"""Per-series scales: a panel's history in; the numbers by which each series is normalised and restored out."""

# S series · N grid points

from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig, Transform

FloatS = npt.NDArray[np.float64]


_BLOCK = 64
MOST_ZEROS = 0.2
"""Share of zeros up to which a series may be seen as its logarithm: an intermittent one has no use for it."""
SHIFT = 0.1
"""Of the mean, added to a series with zeros before its logarithm is taken."""


@dataclass(frozen=True)
class Scaling:
    """How each series is seen: as z, which is y or its logarithm, and by three scales in the unit of z.

    `location_S` and `spread_S` bring inputs near zero and one; `error_S` is the size of a seasonal-naive error.
    `spread_S` is 0 for a series that is constant and NaN for one without observations. Where `offset_S` is a number,
    z = log(y + offset); where it is NaN, z = y. `floor_S` is the least y + offset that a later value is taken for, so
    that a first zero has a logarithm too.
    """

    location_S: FloatS
    spread_S: FloatS
    error_S: FloatS
    offset_S: FloatS
    floor_S: FloatS

    def stack(self) -> npt.NDArray[np.float64]:
        """Return all numbers, one row each, (5, S)."""
        return np.stack(astuple(self))

    def select(self, rows_S: npt.NDArray[np.int64]) -> Self:
        """Return the scales of some series."""
        return type(self)(*self.stack()[:, rows_S])

    def to_z(self, y_SN: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn y into what networks see, (S, N); NaN stays NaN."""
        logged_S = np.isfinite(self.offset_S)
        if not logged_S.any():
            return y_SN
        z_SN = y_SN.copy()
        z_SN[logged_S] = np.log(
            np.maximum(y_SN[logged_S] + self.offset_S[logged_S, None], self.floor_S[logged_S, None])
        )
        return z_SN

    def to_y(self, z_SFQ: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn z back into y, the inverse of `to_z`; any shape that begins with S. What is too large becomes infinite.

        It rises with z, so that quantiles stay quantiles.
        """
        logged_S = np.isfinite(self.offset_S)
        if not logged_S.any():
            return z_SFQ
        y_SFQ = z_SFQ.copy()
        with np.errstate(over="ignore"):
            offset = self.offset_S[logged_S].reshape(-1, *(1,) * (z_SFQ.ndim - 1))
            y_SFQ[logged_S] = np.exp(z_SFQ[logged_S]) - offset
        return y_SFQ


ERRORS_OF_A_SPREAD = 4.0
"""Seasonal errors that make up the spread, where that must stand in the same relation to the error for all series."""


def measure_scaling(
    y_SN: npt.NDArray[np.float64], *, season_length: int, transform: Transform = "none", is_shared: bool = False
) -> Scaling:
    """Measure each series' own scales on observed values alone (NaN is a gap).

    Location is the mean, spread the standard deviation, error the mean absolute seasonal difference, bounded from below
    by a hundredth of the spread so that a near-perfect season does not blow up its residuals. With `transform` log, a
    series without negative values and with few zeros (`MOST_ZEROS`) is seen as the logarithm of y, or of y and a tenth
    of its mean where there are zeros; any other as it is. For a network that series share (`is_shared`), the spread is
    a fixed multiple of the error, so that what it reads and what it says are in one unit for all of them.
    """
    offset_S, floor_S = _logarithm(y_SN) if transform == "log" else (np.full(len(y_SN), np.nan),) * 2
    y_SN = Scaling(offset_S, offset_S, offset_S, offset_S, floor_S).to_z(y_SN)
    observed_SN = np.isfinite(y_SN)
    count_S = observed_SN.sum(1)
    filled_SN = np.where(observed_SN, y_SN, 0.0)
    with np.errstate(all="ignore"):
        location_S = sum_rows(filled_SN) / count_S
        centred_SN = np.where(observed_SN, y_SN - location_S[:, None], 0.0)
        # Dividing by the largest value first keeps the squares of huge values finite.
        largest_S = np.abs(centred_SN).max(1, initial=0.0)
        unit_SN = centred_SN / np.where(largest_S > 0, largest_S, 1.0)[:, None]
        spread_S = np.sqrt(sum_rows(unit_SN**2) / count_S) * largest_S
        error_S = _mean_seasonal_difference(y_SN, season_length=season_length)
    is_constant_S = spread_S <= 1e-13 * np.abs(location_S)
    spread_S = np.where(is_constant_S, 0.0, spread_S)
    error_S = np.where(np.isfinite(error_S), error_S, spread_S)
    error_S = np.maximum(error_S, 0.01 * spread_S)
    if is_shared:
        with np.errstate(over="ignore"):  # an infinite spread is no scale, and is told as such
            spread_S = ERRORS_OF_A_SPREAD * error_S
    return Scaling(location_S, spread_S, error_S, offset_S, floor_S)


def scaling_for(config: MemberConfig, panel: Panel, season_lengths: tuple[int, ...]) -> Scaling:
    """Measure a panel's scales as a member's networks need them."""
    return measure_scaling(
        panel.y_SN, season_length=season_lengths[0], transform=config.transform, is_shared=config.start == "prior"
    )


def _logarithm(y_SN: npt.NDArray[np.float64]) -> tuple[FloatS, FloatS]:
    """Return offset and floor of each series, NaN where it is better seen as it is."""
    observed_SN = np.isfinite(y_SN)
    count_S = observed_SN.sum(1)
    num_zeros_S = (y_SN == 0).sum(1)
    least_S = np.where(observed_SN, y_SN, np.inf).min(1, initial=np.inf)
    with np.errstate(all="ignore"):
        mean_S = sum_rows(np.where(observed_SN, y_SN / count_S[:, None], 0.0))
        suits_S = (least_S >= 0) & (mean_S > 0) & np.isfinite(mean_S) & (num_zeros_S <= MOST_ZEROS * count_S)
        offset_S = np.where(suits_S, np.where(num_zeros_S > 0, SHIFT * mean_S, 0.0), np.nan)
        floor_S = 0.5 * (least_S + offset_S)
    # What is too small to be halved has no logarithm that could be told from that of zero.
    suits_S &= floor_S > 0
    return np.where(suits_S, offset_S, np.nan), np.where(suits_S, floor_S, np.nan)


def _mean_seasonal_difference(y_SN: npt.NDArray[np.float64], *, season_length: int) -> FloatS:
    if y_SN.shape[1] <= season_length:
        return np.full(len(y_SN), np.nan)
    difference_SN = np.abs(y_SN[:, season_length:] - y_SN[:, :-season_length])
    is_pair_SN = np.isfinite(difference_SN)
    mean_S: FloatS = sum_rows(np.where(is_pair_SN, difference_SN, 0.0)) / is_pair_SN.sum(1)
    return mean_S


def sum_rows(values_SN: npt.NDArray[np.float64]) -> FloatS:
    """Sum each row, whose last columns hold its series and whose others are 0, to the same bits however many those are.

    numpy adds pairwise, in an order that depends on a row's length: a longer series in the panel would change the last
    bit of a shorter one's scales. Blocks from the end and their sums, one after the other, do not.
    """
    num_rows, num_columns = values_SN.shape
    num_blocks = 1 + num_columns // _BLOCK
    padded_SN = np.pad(values_SN, ((0, 0), (num_blocks * _BLOCK - num_columns, 0)))
    blocks_SK = padded_SN.reshape(num_rows, num_blocks, _BLOCK).sum(2)
    total_S: FloatS = np.add.accumulate(blocks_SK, axis=1)[:, -1]
    return total_S
