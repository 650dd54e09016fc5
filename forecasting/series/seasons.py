"""Find the season lengths of series by their autocorrelation."""

# S series · L lags

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

MOST_SERIES = 500
"""Series that are examined; of more, every n-th one by name."""
LONGEST = 800
"""Longest season that is looked for, beside those that are asked for."""
FEWEST_POINTS = 8
LEAST_SHARE = 0.25
"""Smallest share of series in which a season must be significant."""
LEAST_CORRELATION = 0.2
LEAST_RISE = 0.1
"""How far the autocorrelation of a season must rise above its lowest value at shorter lags."""
LEAST_GAIN = 0.05
"""How much stronger a multiple of a season must be to be a season of its own."""
NUM_FOUND = 3
_ALPHA = 0.05
"""Chance that a series without a season shows one at any lag."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Season:
    """A season length and what the data show of it.

    Attributes:
        length: Grid points.
        correlation: Mean autocorrelation of the series at that lag; None where no series has three such seasons.
        share: Share of these series in which it is significant.
    """

    length: int
    correlation: float | None
    share: float = 0.0


def find_seasons(
    features: pl.DataFrame | pl.LazyFrame, asked: Sequence[int], *, unique_ids: Sequence[str] | None = None
) -> tuple[list[Season], list[Season]]:
    """Measure the asked season lengths, and find the strongest ones.

    The autocorrelation is that of the series without its linear trend. It is significant where it lies above the limit
    of Bartlett (1946) for a series whose shorter lags are correlated as observed, or where that of the differences lies
    above the limit of white noise. A random walk meets neither. A season is a peak of the mean of either over series,
    at least 0.2, that is significant in a quarter of them.

    Args:
        features: Rows of the features table.
        asked: Grid points of each season that is asked for.
        unique_ids: All series of the features, where they are known.

    Returns:
        The asked seasons, and up to three that were found, strongest first.
    """
    longest = max(LONGEST, *asked)
    lines = [line for y in _sample(features.lazy(), unique_ids) if (line := _correlate(y, longest)) is not None]
    if not lines:
        return [Season(length, None) for length in asked], []
    level_SL, differences_SL, is_level_SL, is_differences_SL = (_pad(part) for part in zip(*lines, strict=True))
    num_L = np.isfinite(level_SL).sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no series is that long
        level_L, differences_L = np.nanmean(level_SL, axis=0), np.nanmean(differences_SL, axis=0)
        share_of_differences_L = np.nanmean(is_differences_SL, axis=0)
        share_L = np.nanmean(np.maximum(is_level_SL, is_differences_SL), axis=0)

    def season(length: int) -> Season:
        if length >= len(level_L) or not num_L[length]:
            return Season(length, None)
        return Season(length, float(level_L[length]), float(share_L[length]))

    is_common_L = num_L >= LEAST_SHARE * len(lines)
    of_level = _peaks(np.where(is_common_L, level_L, np.nan))
    of_differences = _peaks(np.where(is_common_L, differences_L, np.nan))
    peaks = {lag for lag in of_level if share_L[lag] >= LEAST_SHARE} | {
        lag
        for lag in of_differences
        # Differences of noise are correlated at lag 1, so that lag 2 always rises.
        if lag > 2 and differences_L[lag] >= LEAST_RISE and share_of_differences_L[lag] >= LEAST_SHARE
    }
    peaks = {lag for lag in peaks if level_L[lag] >= LEAST_CORRELATION}
    found = [season(lag) for lag in _without_multiples(sorted(peaks), level_L)]
    strongest = sorted(found, key=lambda each: -(each.correlation or 0.0))[:NUM_FOUND]
    return [season(length) for length in asked], strongest


def _sample(features: pl.LazyFrame, unique_ids: Sequence[str] | None) -> list[Values]:
    """Return the values of some series in order, NaN in gaps."""
    if unique_ids is None:
        unique_ids = features.select(pl.col("unique_id").unique()).collect(engine="streaming")["unique_id"].to_list()
    names = pl.Series(sorted(unique_ids), dtype=pl.String)
    some = names.gather_every(-(-len(names) // MOST_SERIES) or 1)
    rows = features.filter(pl.col("unique_id").is_in(some.implode())).select("unique_id", "ds", "y")
    ordered = rows.collect(engine="streaming").sort("unique_id", "ds")
    of_series = ordered.group_by("unique_id", maintain_order=True).agg("y")["y"]
    return [y.cast(pl.Float64).fill_null(float("nan")).to_numpy() for y in of_series]


def _correlate(y_N: Values, longest: int) -> tuple[Values, Values, Values, Values] | None:
    """Return the autocorrelation by lag, that of the differences, and 1 where each of them is significant."""
    from statsmodels.tsa.stattools import acf  # loads in a second

    is_known_N = np.isfinite(y_N)
    known = y_N[is_known_N]
    num_lags = min(longest, len(y_N) // 3)
    if len(known) < FEWEST_POINTS or num_lags < 2 or known.min() == known.max():
        return None
    place_N = np.arange(len(y_N)) / len(y_N)
    scaled = known / np.abs(known).max()
    detrended_N = np.full(len(y_N), np.nan)
    detrended_N[is_known_N] = scaled - np.polyval(np.polyfit(place_N[is_known_N], scaled, 1), place_N[is_known_N])
    options = {
        "nlags": num_lags,
        "fft": True,
        "missing": "conservative",
        "adjusted": True,
        "alpha": 2 * _ALPHA / num_lags,
    }
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        correlation_L, limits_L2 = acf(detrended_N, **options)
        of_differences_L, white_L2 = acf(np.diff(detrended_N), bartlett_confint=False, **options)
    if not (np.isfinite(correlation_L).all() and np.isfinite(of_differences_L).all()):
        return None
    is_level_L, is_differences_L = limits_L2[:, 0] > 0, white_L2[:, 0] > 0
    return correlation_L, of_differences_L, is_level_L.astype(np.float64), is_differences_L.astype(np.float64)


def _pad(lines: Sequence[Values]) -> Values:
    """Stack lines of different lengths; NaN follows the shorter ones."""
    stacked = np.full((len(lines), max(map(len, lines))), np.nan)
    for row, line in zip(stacked, lines, strict=True):
        row[: len(line)] = line
    return stacked


def _peaks(mean_L: Values) -> list[int]:
    """Return the lags at which the autocorrelation is higher than around, and well above its lowest value before."""
    peaks = []
    for lag in range(2, len(mean_L) - 1):
        reach = max(1, lag // 10)
        around = mean_L[lag - reach : lag + reach + 1]
        has_risen = mean_L[lag] - np.nanmin(mean_L[1:lag]) >= LEAST_RISE
        if np.isfinite(mean_L[lag]) and mean_L[lag] >= np.nanmax(around) and mean_L[lag] > 0 and has_risen:
            peaks.append(lag)
    return peaks


def _without_multiples(peaks: Sequence[int], mean_L: Values) -> list[int]:
    """Return the peaks, shortest first, without those that repeat a shorter season."""
    kept: list[int] = []
    for lag in peaks:
        shorter = [other for other in kept if abs(lag - round(lag / other) * other) <= max(1, lag // 12)]
        if all(mean_L[lag] >= mean_L[other] + LEAST_GAIN for other in shorter):
            kept.append(lag)
    return kept
