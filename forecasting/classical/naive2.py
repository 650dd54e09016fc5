"""Forecast with M4's Naive2, the benchmark that the OWA divides by.

It follows the organisers' code (Makridakis et al., M4-methods, "Benchmarks and Evaluation.R") and the functions of R
that it calls: `acf` and the classical multiplicative `decompose`.
"""

# S series · F horizon steps

import numpy as np
import numpy.typing as npt

from forecasting.series.panel import Panel

_CRITICAL_VALUE = 1.645
"""Quantile of the normal distribution for a test at 90 %."""


def naive2(panel: Panel, *, season_length: int) -> npt.NDArray[np.float64]:
    """Repeat the last value of each series, seasonally adjusted where the series is seasonal.

    A series is seasonal where its autocorrelation at `season_length` is significant at 90 % (`is_seasonal`) and its
    decomposition is defined, with neither a trend nor an index of zero.

    Args:
        panel: The series, in units of y.
        season_length: Grid points of a season.

    Returns:
        Forecasts (S, F) in units of y. NaN for a series that is empty or has a gap, where neither the test nor the
        decomposition is defined.
    """
    forecast_SF = np.full((len(panel.unique_ids), panel.horizon), np.nan)
    for row, length in enumerate(panel.length_S):
        y = panel.y_SN[row, panel.y_SN.shape[1] - length :]
        if length and not np.isnan(y).any():
            forecast_SF[row] = _forecast(y, season_length, panel.horizon)
    return forecast_SF


def is_seasonal(y: npt.NDArray[np.float64], *, season_length: int) -> bool:
    """Test whether the autocorrelation at one season is significant at 90 %, with Bartlett's limits.

    Args:
        y: One series without gaps, oldest value first.
        season_length: Grid points of a season.

    Returns:
        Whether it is; False with fewer than three seasons, and for a season longer than 10 log10(n) points, the last
        lag of R's `acf`.
    """
    if season_length < 2 or len(y) < 3 * season_length or season_length > int(10 * np.log10(len(y))):
        return False
    centred = y - y.mean()
    # A power of two keeps the correlations' bits, and the squares of values such as 1e300 finite.
    centred = np.ldexp(centred, -np.frexp(np.abs(centred).max())[1])
    variance = centred @ centred
    if variance == 0:
        return False
    correlations = np.array([centred[lag:] @ centred[:-lag] for lag in range(1, season_length + 1)]) / variance
    limit = _CRITICAL_VALUE * np.sqrt((1 + 2 * np.sum(correlations[:-1] ** 2)) / len(y))
    return bool(abs(correlations[-1]) > limit)


def seasonal_indices(y: npt.NDArray[np.float64], *, season_length: int) -> npt.NDArray[np.float64]:
    """Return the multiplicative seasonal indices of a series, as R's `decompose` computes them.

    Args:
        y: One series without gaps, oldest value first.
        season_length: Grid points of a season.

    Returns:
        The index of each phase, counted from the first point; their mean is 1.
    """
    weights = np.ones(season_length)
    if season_length % 2 == 0:
        weights = np.concatenate([[0.5], np.ones(season_length - 1), [0.5]])
    half = len(weights) // 2
    trend = np.convolve(y, weights / season_length, mode="valid")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = y[half : half + len(trend)] / trend
    phase = np.arange(half, half + len(trend)) % season_length
    defined = ~np.isnan(ratio)
    sums = np.bincount(phase[defined], ratio[defined], minlength=season_length)
    with np.errstate(divide="ignore", invalid="ignore"):
        figure: npt.NDArray[np.float64] = sums / np.bincount(phase[defined], minlength=season_length)
        figure /= figure.mean()
    return figure


def _forecast(y: npt.NDArray[np.float64], season_length: int, horizon: int) -> npt.NDArray[np.float64]:
    if is_seasonal(y, season_length=season_length):
        index = seasonal_indices(y, season_length=season_length)
        phase = np.arange(len(y) - 1, len(y) + horizon) % season_length
        with np.errstate(divide="ignore", invalid="ignore"):
            forecast: npt.NDArray[np.float64] = y[-1] / index[phase[0]] * index[phase[1:]]
        if np.isfinite(forecast).all():
            return forecast
    return np.full(horizon, y[-1])
