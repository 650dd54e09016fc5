"""Per-series scales, which normalise a series for a network and restore forecasts to the unit of y."""

# S series · N grid points

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from forecasting.fleet.span import observed_span
from forecasting.series.intermittent import find_intermittent
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig, Transform

FloatS = npt.NDArray[np.float64]


_BLOCK = 64
MOST_ZEROS = 0.2
"""Largest share of zeros of a series that is seen as its logarithm; intermittent series do not benefit."""
SHIFT = 0.1
"""Share of the mean that is added to a series with zeros before its logarithm is taken."""


@dataclass(frozen=True)
class Scaling:
    """How each series is scaled: as z, which is y or its logarithm, and four numbers in the unit of z.

    `location_S` and `spread_S` bring inputs near zero and one; `error_S` is the size of a seasonal-naive error.
    `spread_S` is 0 for a constant series and NaN for one without observations. Where `offset_S` is a number, z = log(y
    + offset); where it is NaN, z = y. Later values of y + offset are raised to `floor_S`, so that a first zero also
    has a logarithm. Where `flat_S` is a number, it is the reference of every forecast instead of past values.
    """

    location_S: FloatS
    spread_S: FloatS
    error_S: FloatS
    offset_S: FloatS
    floor_S: FloatS
    flat_S: FloatS

    def stack(self) -> npt.NDArray[np.float64]:
        """Return all numbers, one row each, (6, S)."""
        return np.stack(astuple(self))

    @classmethod
    def unstack(cls, rows: npt.NDArray[np.float64]) -> Self:
        """Return the scales whose rows `stack` returned; those of earlier versions have no `flat_S`, which is NaN."""
        flat = np.full((len(fields(cls)) - len(rows), rows.shape[1]), np.nan)
        return cls(*rows, *flat)

    def select(self, rows_S: npt.NDArray[np.int64]) -> Self:
        """Return the scales of some series."""
        return type(self)(*self.stack()[:, rows_S])

    def to_z(self, y_SN: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Transform y to z, (S, N); NaN stays NaN."""
        logged_S = np.isfinite(self.offset_S)
        if not logged_S.any():
            return y_SN
        z_SN = y_SN.copy()
        z_SN[logged_S] = np.log(
            np.maximum(y_SN[logged_S] + self.offset_S[logged_S, None], self.floor_S[logged_S, None])
        )
        return z_SN

    def to_y(self, z_SFQ: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Transform z back to y, the inverse of `to_z`.

        Args:
            z_SFQ: Values in the unit of z, of any shape that begins with S.

        Returns:
            Values of y in the same shape, rising with z; infinite where they exceed float64.
        """
        logged_S = np.isfinite(self.offset_S)
        if not logged_S.any():
            return z_SFQ
        y_SFQ = z_SFQ.copy()
        with np.errstate(over="ignore"):
            offset = self.offset_S[logged_S].reshape(-1, *(1,) * (z_SFQ.ndim - 1))
            y_SFQ[logged_S] = np.exp(z_SFQ[logged_S]) - offset
        return y_SFQ

    def past_differences(
        self, y_SN: npt.NDArray[np.float64], quantiles: Sequence[float], *, half_life: int
    ) -> npt.NDArray[np.float64]:
        """Return the quantiles of past differences from the reference, of series that have a flat one.

        Args:
            y_SN: History of each series, NaN in gaps.
            quantiles: Levels of the quantiles.
            half_life: Grid points after which a difference counts half, because demand may end.

        Returns:
            Differences (S, Q) in units of the error; zero for the other series.
        """
        differences_SQ = np.zeros((len(y_SN), len(quantiles)))
        for row in np.flatnonzero(np.isfinite(self.flat_S)):
            columns = np.flatnonzero(np.isfinite(y_SN[row]))
            weights = 0.5 ** ((columns[-1] - columns) / half_life)
            past = np.quantile(y_SN[row, columns], quantiles, weights=weights, method="inverted_cdf")
            differences_SQ[row] = (past - self.flat_S[row]) / (self.error_S[row] if self.error_S[row] > 0 else 1.0)
        return differences_SQ


ERRORS_OF_A_SPREAD = 4.0
"""Spread over seasonal error, where the ratio must be the same for all series."""


def measure_scaling(
    y_SN: npt.NDArray[np.float64],
    *,
    season_length: int,
    transform: Transform = "none",
    is_shared: bool = False,
    references: Sequence[int] = (),
) -> Scaling:
    """Measure each series' scales on its observed values (NaN is a gap).

    Location is the mean, spread the standard deviation, and error the mean absolute seasonal difference. The error is
    at least a hundredth of the spread, so that a near-perfect season does not inflate its residuals. A logarithm is
    taken of y, or of y and a tenth of its mean where there are zeros.

    Args:
        y_SN: History of each series.
        season_length: Grid points in a season.
        transform: With `log`, series without negative values and with few zeros (`MOST_ZEROS`) are seen as logarithms.
        is_shared: Whether one network reads all series. The spread is then a fixed multiple of the error, so that
            inputs and outputs have one unit for every series.
        references: Grid points between a forecast's references and the future points. An intermittent series whose
            values vary less about zero than about each of these has zero as its reference. Without any, none has.

    Returns:
        Scales in the order of the rows.
    """
    flat_S = _flat_references(y_SN, references)
    offset_S, floor_S = _logarithm(y_SN) if transform == "log" else (np.full(len(y_SN), np.nan),) * 2
    y_SN = Scaling(offset_S, offset_S, offset_S, offset_S, floor_S, flat_S).to_z(y_SN)
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
        step_S = _mean_seasonal_difference(y_SN, season_length=1)
    is_constant_S = spread_S <= 1e-13 * np.abs(location_S)
    spread_S = np.where(is_constant_S, 0.0, spread_S)
    _, length_S = observed_span(y_SN)
    error_S = np.where(length_S < 2 * season_length, step_S, error_S)
    error_S = np.where(np.isfinite(error_S), error_S, spread_S)
    error_S = np.maximum(error_S, 0.01 * spread_S)
    if is_shared:
        with np.errstate(over="ignore"):  # a series with an infinite spread is refused later
            spread_S = ERRORS_OF_A_SPREAD * error_S
    return Scaling(location_S, spread_S, error_S, offset_S, floor_S, flat_S)


def scaling_for(config: MemberConfig, panel: Panel, season_lengths: tuple[int, ...]) -> Scaling:
    """Measure a panel's scales as a member's networks need them."""
    return measure_scaling(
        panel.y_SN,
        season_length=season_lengths[0],
        transform=config.transform,
        is_shared=config.start == "prior",
        references=() if config.is_smoothed or config.start == "prior" else config.references(season_lengths),
    )


def _flat_references(y_SN: npt.NDArray[np.float64], references: Sequence[int]) -> FloatS:
    """Return 0 for each intermittent series whose values are nearer to it than to any reference, NaN for the others.

    Past demand says little about when the next one comes. As a reference it is noise, which a network of few steps does
    not learn to remove.
    """
    is_known_SN, is_flat_S = np.isfinite(y_SN), find_intermittent(y_SN) & bool(references)
    with np.errstate(all="ignore"):
        mean_S = sum_rows(np.where(is_known_SN, y_SN, 0.0)) / is_known_SN.sum(1)
        for length in references:
            is_flat_S &= ~(_mean_seasonal_difference(y_SN, season_length=length) <= mean_S)
    return np.where(is_flat_S & (mean_S > 0), 0.0, np.nan)


def _logarithm(y_SN: npt.NDArray[np.float64]) -> tuple[FloatS, FloatS]:
    """Return offset and floor of each series; NaN where a series has no use for a logarithm."""
    observed_SN = np.isfinite(y_SN)
    count_S = observed_SN.sum(1)
    num_zeros_S = (y_SN == 0).sum(1)
    least_S = np.where(observed_SN, y_SN, np.inf).min(1, initial=np.inf)
    with np.errstate(all="ignore"):
        mean_S = sum_rows(np.where(observed_SN, y_SN / count_S[:, None], 0.0))
        is_logged_S = (least_S >= 0) & (mean_S > 0) & np.isfinite(mean_S) & (num_zeros_S <= MOST_ZEROS * count_S)
        offset_S = np.where(is_logged_S, np.where(num_zeros_S > 0, SHIFT * mean_S, 0.0), np.nan)
        floor_S = 0.5 * (least_S + offset_S)
    # A value too small to be halved has the same logarithm as zero.
    is_logged_S &= floor_S > 0
    return np.where(is_logged_S, offset_S, np.nan), np.where(is_logged_S, floor_S, np.nan)


def _mean_seasonal_difference(y_SN: npt.NDArray[np.float64], *, season_length: int) -> FloatS:
    if y_SN.shape[1] <= season_length:
        return np.full(len(y_SN), np.nan)
    difference_SN = np.abs(y_SN[:, season_length:] - y_SN[:, :-season_length])
    is_pair_SN = np.isfinite(difference_SN)
    mean_S: FloatS = sum_rows(np.where(is_pair_SN, difference_SN, 0.0)) / is_pair_SN.sum(1)
    return mean_S


def sum_rows(values_SN: npt.NDArray[np.float64]) -> FloatS:
    """Sum each row to the same bits regardless of the number of zeros before its series.

    numpy adds pairwise in an order that depends on a row's length, so a longer series in the panel would change the
    last bit of a shorter series' scales. Sums of blocks from the end, added one after the other, do not depend on it.

    Args:
        values_SN: Rows whose last columns hold the series and whose other columns are 0.

    Returns:
        The sums, (S,).
    """
    num_rows, num_columns = values_SN.shape
    num_blocks = 1 + num_columns // _BLOCK
    padded_SN = np.pad(values_SN, ((0, 0), (num_blocks * _BLOCK - num_columns, 0)))
    blocks_SK = padded_SN.reshape(num_rows, num_blocks, _BLOCK).sum(2)
    total_S: FloatS = np.add.accumulate(blocks_SK, axis=1)[:, -1]
    return total_S
