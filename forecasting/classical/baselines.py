"""Forecast with naive and seasonal naive models, whose quantiles come from their own past errors.

`forecast_simplest` finds a model for every series, even one without any measurement.
"""

# S series · N grid points · F horizon steps · Q quantiles · M phases of a season · C completed seasons (N = C x M)

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.series.panel import Panel

ENOUGH_ERRORS = 20
"""Number of errors from which a phase has quantiles of its own. The p quantile of n errors has the rank (n + 1) p:
with 19 or fewer, even the 5 % quantile would be just the smallest error."""

NAIVE = "naive"
NONE = "none"


def seasonal_naive_name(season_length: int) -> str:
    """Name the seasonal naive of a season length.

    >>> seasonal_naive_name(24)
    'seasonal_naive_24'
    """
    return f"seasonal_naive_{season_length}"


def can_forecast(panel: Panel, *, season_length: int) -> npt.NDArray[np.bool_]:
    """Mark the series that the seasonal naive can forecast (S,): those with more observed points than a season has."""
    fits_S: npt.NDArray[np.bool_] = np.count_nonzero(~np.isnan(panel.y_SN), axis=1) > season_length
    return fits_S


def seasonal_naive(panel: Panel, *, season_length: int, quantiles: Sequence[float]) -> npt.NDArray[np.float64]:
    """Repeat each series' last season.

    The point forecast of step h is the value k = ceil(h / season_length) seasons earlier. If that is a gap, it is the
    value of the newest earlier season that has one. If no season has one (a shop that never opens on Sundays), it is
    that of the phase before.

    A quantile is the point forecast plus that quantile of the series' own past errors, minus their median, so that the
    median equals the point forecast. The p quantile of n errors has the rank (n + 1) p, which is calibrated where
    errors are exchangeable. The errors are those of forecasts that reach back as many seasons as the point does:

    - of the step's own phase, where it has at least `ENOUGH_ERRORS`;
    - else of all phases pooled;
    - or, where the pool has fewer too and a single season gives more, those over a single season, multiplied by the
      square root of the number of seasons, as for a random walk.

    With fewer than two errors the quantiles equal the point forecast. Quantiles never cross.

    Args:
        panel: The series, in units of y.
        season_length: Grid points of a season.
        quantiles: Levels, ascending.

    Returns:
        Quantiles (S, F, Q) in units of y; NaN for a series that has too few points (`can_forecast`).
    """
    num_series = len(panel.unique_ids)
    result_SFQ = np.full((num_series, panel.horizon, len(quantiles)), np.nan)
    rows = np.flatnonzero(can_forecast(panel, season_length=season_length))
    if rows.size:
        result_SFQ[rows] = _repeat_season(panel.y_SN[rows], season_length, panel.horizon, np.asarray(quantiles, float))
    return result_SFQ


def naive(panel: Panel, *, quantiles: Sequence[float]) -> npt.NDArray[np.float64]:
    """Repeat each series' last observed value.

    This is the seasonal naive of season length 1, with its quantiles: those of differences over as many steps as the
    point reaches back, or of one-step differences times the square root of that number. With one observed point, the
    quantiles equal it.

    Args:
        panel: The series, in units of y.
        quantiles: Levels, ascending.

    Returns:
        Quantiles (S, F, Q) in units of y; NaN for a series without any measurement.
    """
    result_SFQ = np.full((len(panel.unique_ids), panel.horizon, len(quantiles)), np.nan)
    rows = np.flatnonzero(can_forecast(panel, season_length=0))
    if rows.size:
        result_SFQ[rows] = _repeat_season(panel.y_SN[rows], 1, panel.horizon, np.asarray(quantiles, float))
    return result_SFQ


def naive_of_young(panel: Panel, *, season_length: int, quantiles: Sequence[float]) -> npt.NDArray[np.float64]:
    """Repeat the last value of the series that are too short for the seasonal naive.

    Args:
        panel: The series, in units of y.
        season_length: Grid points of a season.
        quantiles: Levels, ascending.

    Returns:
        Quantiles (S, F, Q) in units of y; NaN for a series that the seasonal naive can forecast, or without any
        measurement.
    """
    result_SFQ = np.full((len(panel.unique_ids), panel.horizon, len(quantiles)), np.nan)
    rows = np.flatnonzero(~can_forecast(panel, season_length=season_length))
    if rows.size:
        result_SFQ[rows] = naive(panel.select(rows), quantiles=quantiles)
    return result_SFQ


def forecast_simplest(
    panel: Panel, *, season_lengths: Sequence[int], quantiles: Sequence[float]
) -> tuple[npt.NDArray[np.float64], tuple[str, ...], tuple[str | None, ...]]:
    """Forecast every series with the simplest model that can.

    That is the seasonal naive of the first season length with enough observed points, else `naive`, else `none`.

    Args:
        panel: The series, in units of y.
        season_lengths: Grid points of each season, in order of preference.
        quantiles: Levels, ascending.

    Returns:
        Quantiles (S, F, Q), NaN for `none`; the model's name of each series; and the reason why the model is not the
        seasonal naive of the first season length, None where it is.
    """
    num_observed_S = np.count_nonzero(~np.isnan(panel.y_SN), axis=1)
    result_SFQ = np.full((len(panel.unique_ids), panel.horizon, len(quantiles)), np.nan)
    names = [NONE] * len(panel.unique_ids)
    is_open_S = num_observed_S > 0
    for season_length in (*season_lengths, None):
        fits_S = is_open_S & (True if season_length is None else can_forecast(panel, season_length=season_length))
        rows = np.flatnonzero(fits_S)
        if not rows.size:
            continue
        chosen = panel.select(rows)
        if season_length is None:
            result_SFQ[rows] = naive(chosen, quantiles=quantiles)
        else:
            result_SFQ[rows] = seasonal_naive(chosen, season_length=season_length, quantiles=quantiles)
        for row in rows:
            names[row] = NAIVE if season_length is None else seasonal_naive_name(season_length)
        is_open_S &= ~fits_S
    reasons = [_explain(int(num), season_lengths[0]) for num in num_observed_S]
    return result_SFQ, tuple(names), tuple(reasons)


def _explain(num_observed: int, season_length: int) -> str | None:
    if num_observed > season_length:
        return None
    if num_observed == 0:
        return "series has no observed point"
    points = "1 observed point" if num_observed == 1 else f"{num_observed} observed points"
    return f"series has {points}; {seasonal_naive_name(season_length)} needs {season_length + 1}"


def _repeat_season(
    y_SN: npt.NDArray[np.float64], season_length: int, horizon: int, quantiles_Q: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Forecast series that each have an observed point, (S, F, Q)."""
    y_SCM = _split_into_seasons(y_SN, season_length)
    last = _find_newest_values(y_SCM)
    steps_F = np.arange(horizon)
    phase_F = steps_F % season_length
    point_SF = last.value_SM[:, phase_F]
    reach_SF = last.age_SM[:, phase_F] + steps_F // season_length + 1
    offset_SFQ = np.zeros((*point_SF.shape, len(quantiles_Q)))
    single = _collect_errors(y_SCM, 1, quantiles_Q)
    for reach in np.unique(reach_SF):
        series, step = np.nonzero(reach_SF == reach)
        rows, local = np.unique(series, return_inverse=True)
        errors = single.select(rows) if reach == 1 else _collect_errors(y_SCM[rows], int(reach), quantiles_Q)
        offset_SFQ[series, step] = _choose_offsets(errors, single.select(rows), int(reach))[local, phase_F[step]]
    return point_SF[:, :, None] + offset_SFQ


@dataclass(frozen=True)
class _Newest:
    """The newest value of each phase, and its age in seasons before the last one."""

    value_SM: npt.NDArray[np.float64]
    age_SM: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Errors:
    """Quantiles of past errors, minus their median, and their numbers: of each phase, and of all phases pooled."""

    offset_SMQ: npt.NDArray[np.float64]
    num_SM: npt.NDArray[np.int64]
    pooled_SQ: npt.NDArray[np.float64]
    num_S: npt.NDArray[np.int64]

    def select(self, rows_S: npt.NDArray[np.int64]) -> "_Errors":
        return _Errors(self.offset_SMQ[rows_S], self.num_SM[rows_S], self.pooled_SQ[rows_S], self.num_S[rows_S])


def _split_into_seasons(y_SN: npt.NDArray[np.float64], season_length: int) -> npt.NDArray[np.float64]:
    """Fold time into seasons, the last of which ends with the last column; pad the first with NaN."""
    num_series, num_points = y_SN.shape
    padding = -num_points % season_length
    padded_SN = np.pad(y_SN, ((0, 0), (padding, 0)), constant_values=np.nan)
    return padded_SN.reshape(num_series, -1, season_length)


def _find_newest_values(y_SCM: npt.NDArray[np.float64]) -> _Newest:
    is_observed_SCM = ~np.isnan(y_SCM)
    age_SM = np.argmax(is_observed_SCM[:, ::-1], axis=1)
    phases = np.arange(y_SCM.shape[2])
    known_SM = np.where(is_observed_SCM.any(axis=1), phases, -1)
    # A phase that was never observed takes the nearest one before it, across the season's end if necessary.
    wrapped = np.concatenate([known_SM, np.where(known_SM >= 0, known_SM + len(phases), -1)], axis=1)
    source_SM = np.maximum.accumulate(wrapped, axis=1)[:, len(phases) :] % len(phases)
    age_SM = np.take_along_axis(age_SM, source_SM, axis=1)
    season_SM = y_SCM.shape[1] - 1 - age_SM
    value_SM = y_SCM[np.arange(len(y_SCM))[:, None], season_SM, source_SM]
    return _Newest(value_SM, age_SM)


def _collect_errors(y_SCM: npt.NDArray[np.float64], reach: int, quantiles_Q: npt.NDArray[np.float64]) -> _Errors:
    error_SMC = np.swapaxes(y_SCM[:, reach:] - y_SCM[:, : max(y_SCM.shape[1] - reach, 0)], 1, 2)
    if y_SCM.shape[2] > 1 and error_SMC.shape[2] < ENOUGH_ERRORS:  # no phase can have enough of its own
        num_SM = np.count_nonzero(~np.isnan(error_SMC), axis=-1)
        offset_SMQ = np.zeros((*num_SM.shape, len(quantiles_Q)))
    else:
        offset_SMQ, num_SM = centred_quantiles(error_SMC, quantiles_Q)
    if y_SCM.shape[2] == 1:
        return _Errors(offset_SMQ, num_SM, offset_SMQ[:, 0], num_SM[:, 0])
    pooled_SQ, num_S = centred_quantiles(
        error_SMC.reshape(len(y_SCM), error_SMC.shape[1] * error_SMC.shape[2]), quantiles_Q
    )
    return _Errors(offset_SMQ, num_SM, pooled_SQ, num_S)


def _choose_offsets(errors: _Errors, single: _Errors, reach: int) -> npt.NDArray[np.float64]:
    """Return the offsets of each phase, (S, M, Q), by the rule in `seasonal_naive`."""
    widened = (errors.num_S < ENOUGH_ERRORS) & (errors.num_S < single.num_S)
    pooled_SQ = np.where(widened[:, None], single.pooled_SQ * np.sqrt(reach), errors.pooled_SQ)
    return np.where((errors.num_SM >= ENOUGH_ERRORS)[:, :, None], errors.offset_SMQ, pooled_SQ[:, None, :])


def centred_quantiles(
    values: npt.NDArray[np.float64], quantiles_Q: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return quantiles minus the median along the last axis, ignoring NaN, and the number of values.

    numpy's nanquantile loops over slices in Python. Sorting puts NaN last and handles all slices at once.

    Args:
        values: Of any shape (…, n).
        quantiles_Q: Levels.

    Returns:
        Offsets (…, Q), zero for fewer than two values, and counts (…).
    """
    ranked = np.sort(values, axis=-1)
    num = np.count_nonzero(~np.isnan(ranked), axis=-1)
    if ranked.shape[-1] == 0:
        return np.zeros((*num.shape, len(quantiles_Q))), num
    wanted = np.append(quantiles_Q, 0.5)
    if num.min(initial=ranked.shape[-1]) == ranked.shape[-1]:  # without gaps, all slices have the same ranks
        found = _read_ranks(ranked, np.clip((ranked.shape[-1] + 1) * wanted - 1, 0, ranked.shape[-1] - 1))
        return found[..., :-1] - found[..., -1:], num
    rank = np.clip((num[..., None] + 1) * wanted - 1, 0, np.maximum(num - 1, 0)[..., None])
    low_rank = np.floor(rank).astype(np.int64)
    low = np.take_along_axis(ranked, low_rank, axis=-1)
    high = np.take_along_axis(ranked, np.minimum(low_rank + 1, np.maximum(num - 1, 0)[..., None]), axis=-1)
    # Rounding must not carry a quantile past its neighbours: then quantiles would cross.
    found = np.clip(low + (rank - low_rank) * (high - low), low, high)
    offset = found[..., :-1] - found[..., -1:]
    return np.where(num[..., None] > 0, offset, 0.0), num


def _read_ranks(ranked: npt.NDArray[np.float64], rank_Q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Interpolate between sorted values that have no gaps, at the same ranks in every slice."""
    low_rank = np.floor(rank_Q).astype(np.int64)
    low = ranked[..., low_rank]
    high = ranked[..., np.minimum(low_rank + 1, ranked.shape[-1] - 1)]
    found: npt.NDArray[np.float64] = np.clip(low + (rank_Q - low_rank) * (high - low), low, high)
    return found
