"""Forecast with ridge regressions on past values and on covariates that are known ahead, one series at a time.

Each step has a linear equation of its own (direct forecasting). Fits have a closed form, so they are quick and have no
random numbers. `forecasting.classical.ridge_windows` has the inputs, `forecasting.classical.leave_one_out` the fit.
"""

# S series · N grid points · F horizon steps · T = N + F · K covariates · W windows · M steps of a block · Q quantiles
# V variants of the covariates of the horizon

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.classical.baselines import centred_quantiles
from forecasting.classical.combination import Quantiles
from forecasting.classical.covariate_inputs import (
    centre_and_spread,
    fill_closed,
    fill_covariates,
    find_closed,
    scale_covariates,
    second_scale,
)
from forecasting.classical.leave_one_out import STRENGTHS, fit_ridge
from forecasting.classical.named_inputs import expand_names
from forecasting.classical.pooled_effect import pooled_effect
from forecasting.classical.ridge_windows import Known, Windows, is_by_step, shape_of, windows_of
from forecasting.classical.ridge_windows import least_points as least_points_of_windows
from forecasting.classical.statistics import fill_from_past
from forecasting.series.panel import Panel

POWER = 4
"""Weights of models are inversely proportional to this power of their mean absolute leave-one-out errors."""
_LEAST_LOSS = 1e-12
MARGIN = 0.5
"""How far forecasts may lie outside of the range of the series, in ranges."""
# Seconds of a fit: constant, per product of windows, inputs and equations, and per cube of the decomposition's side.
_SECONDS, _PER_PRODUCT, _PER_CUBE = 0.0008, 1.2e-10, 4e-10

Values = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]


def forecast_ridge(panel: Panel, *, season_lengths: Sequence[int], quantiles: Sequence[float]) -> Quantiles:
    """Fit linear equations to every series separately and forecast it.

    The forecast is a mean of models, with weights by their leave-one-out errors. The first sees values scaled by
    median and median absolute deviation, and reduced by asinh, which bounds the effect of spikes; and covariates scaled
    likewise. The second also sees squares of covariates of more than two values, since load rises with cold and with
    heat. It sees a series that is never negative nearly as logarithms, in which effects multiply. Each is the mean of
    fits to several numbers of the newest windows (`forecasting.classical.ridge_windows`). Where equations are by step,
    two more models fit the series without the effects of covariates that all steps share
    (`forecasting.classical.pooled_effect`), which few points suffice for.

    A gap takes the value of a season earlier, else the last one; a covariate's else its median. A covariate that is
    constant in the history is not used. Where each of at least three points with the same value of a covariate has a
    `y` of zero, as on days that a shop is closed, that value means zero: the fit sees these points as gaps, and
    forecasts are zero there.

    A median lies within the range of the series, extended by half of it on both sides. It is not negative where the
    series never is. Quantiles come from leave-one-out errors, centred, and have the same bounds.

    Args:
        panel: The series, in units of y.
        season_lengths: Grid points of each season; the first two are used, the second rounded to a multiple of the
            first.
        quantiles: Levels, ascending.

    Returns:
        Quantiles (S, F, Q) in units of y. NaN for a series with fewer than `least_points` points from its first
        measurement on, or whose forecast is not finite.
    """
    return forecast_ridge_variants([panel], season_lengths=season_lengths, quantiles=quantiles)[0]


def forecast_ridge_variants(
    panels: Sequence[Panel], *, season_lengths: Sequence[int], quantiles: Sequence[float]
) -> list[Quantiles]:
    """Forecast panels that differ in the covariates of the horizon alone, all by the equations of the first one.

    Those of the others would be nearly the same: equations by step read a covariate one point after their target, so
    that the newest window reads the first value of the horizon.

    Args:
        panels: The variants.
        season_lengths: Grid points of each season.
        quantiles: Levels, ascending.

    Returns:
        Quantiles of each panel, as `forecast_ridge` returns them; of the first one to the last bit.
    """
    quantiles_Q, panel = np.asarray(quantiles, dtype=np.float64), panels[0]
    shape = (len(panel.unique_ids), panel.horizon, len(quantiles))
    results = [np.full(shape, np.nan) for _ in panels]
    needed = least_points(horizon=panel.horizon, season_lengths=season_lengths)
    for row, y_N in enumerate(panel.y_SN):
        is_known_N = np.isfinite(y_N)
        first = int(np.argmax(is_known_N)) if is_known_N.any() else len(y_N)
        if len(y_N) - first < needed:
            continue
        variants = [_covariates_of(each, row, first, season_lengths[0]) for each in panels]
        with np.errstate(all="ignore"):
            try:
                forecasts = _forecast(y_N[first:], variants, panel.horizon, season_lengths, quantiles_Q)
            except np.linalg.LinAlgError:
                continue
        for result_SFQ, forecast_FQ in zip(results, forecasts, strict=True):
            if np.isfinite(forecast_FQ).all():
                result_SFQ[row] = forecast_FQ
    return results


def least_points(*, horizon: int, season_lengths: Sequence[int]) -> int:
    """Return the fewest grid points of a series that can be forecast, counted from its first measurement.

    Args:
        horizon: Number of steps to forecast.
        season_lengths: Grid points of each season.

    Returns:
        A number of grid points.

    >>> least_points(horizon=14, season_lengths=(7,)), least_points(horizon=24, season_lengths=(24, 168))
    (71, 69)
    """
    return least_points_of_windows(horizon=horizon, season=season_lengths[0])


def ridge_seconds(num_points: int, horizon: int, season_lengths: Sequence[int], num_covariates: int) -> float:
    """Predict the seconds of one fit of one series with its quantiles, on one core.

    The series counts as never negative, and covariates as ones of more than two values.

    Args:
        num_points: Grid points of the series from its first measurement on.
        horizon: Number of steps to forecast.
        season_lengths: Grid points of each season.
        num_covariates: Number of covariates.

    Returns:
        Seconds; 0 for a series that is too short.
    """
    seconds = 0.0
    for num_inputs in (num_covariates, 2 * num_covariates):
        shape = shape_of(num_points, horizon=horizon, season=season_lengths[0], num_covariates=num_inputs)
        if shape is None:
            return 0.0
        for num in shape.nums:
            side = min(num, shape.num_inputs)
            products = num * side * (shape.num_inputs + len(STRENGTHS) * (shape.num_equations + 1))
            seconds += shape.num_blocks * (_SECONDS + _PER_PRODUCT * products + _PER_CUBE * side**3)
    # Equations by step are also fitted without the effects that all steps share.
    is_twice = num_covariates > 0 and is_by_step(num_points, horizon=horizon, season=season_lengths[0])
    return 2 * seconds if is_twice else seconds


def _forecast(
    y_N: Values, variants: Sequence[Values], horizon: int, season_lengths: Sequence[int], quantiles_Q: Values
) -> list[Values]:
    """Forecast a series that begins with a measurement and is long enough, (F, Q) for each variant of covariates.

    Rows of covariates after those of grid and horizon are those of each grid point's horizon, as it was known there.
    """
    num_points, end = len(y_N), len(y_N) + horizon
    season = season_lengths[0]
    long_season = round(season_lengths[1] / season) * season if len(season_lengths) > 1 else None
    filled = [fill_covariates(covariate_TK, len(y_N), season) for covariate_TK in variants]
    # A power of two keeps all bits, and products of the largest floats finite.
    exponent = int(np.frexp(np.abs(y_N[np.isfinite(y_N)]).max())[1])
    y_N = fill_from_past(np.where(np.isfinite(y_N), np.ldexp(y_N, -exponent), np.nan), season_length=season)
    is_closed_VT = [find_closed(y_N, covariate_TK) for covariate_TK in filled]
    open_N = fill_closed(y_N, is_closed_VT[0][: len(y_N)], season)
    models_V = [_models_of(open_N, covariate_TK, horizon, season, long_season) for covariate_TK in filled]
    lowest, highest = bounds_of(open_N)
    models_VFQ, losses = [], []
    for variants_of_model in zip(*models_V, strict=True):
        (centre, spread), effect_N = variants_of_model[0].scale, variants_of_model[0].effect_T[: len(y_N)]
        reduced_N = np.arcsinh((open_N - effect_N - centre) / spread)
        known_V = [Known(reduced_N, *_split(model.covariate_TK, num_points, horizon)) for model in variants_of_model]
        blocks = _blocks(known_V, season=season, long_season=long_season)
        parts_VMQ, parts = zip(*(_forecast_block(*block, quantiles_Q) for block in blocks), strict=True)
        forecasts = [
            np.sinh(forecast_FQ) * spread + centre + model.effect_T[num_points:end, None]
            for forecast_FQ, model in zip(np.concatenate(parts_VMQ, axis=1), variants_of_model, strict=True)
        ]
        models_VFQ.append([np.clip(forecast_FQ, lowest, highest) for forecast_FQ in forecasts])
        losses.append(spread * float(np.mean(parts)))
    least = max(min(losses), _LEAST_LOSS)
    weights = [(least / max(loss, least)) ** POWER for loss in losses]
    results: list[Values] = []
    for models_FQ, is_closed_T in zip(zip(*models_VFQ, strict=True), is_closed_VT, strict=True):
        forecast_FQ = np.average(models_FQ, axis=0, weights=weights)
        forecast_FQ[is_closed_T[num_points:end]] = 0.0
        results.append(np.ldexp(forecast_FQ, exponent))
    return results


def _covariates_of(panel: Panel, row: int, first: int, season: int) -> Values:
    """Return the covariates of a series over grid and horizon, (T, I).

    Where times of publication are known, rows follow that have the horizon of each grid point as it was known there,
    (N × F, I); a value that no forecast had then is that of whole seasons before.
    """
    num_points = panel.y_SN.shape[1] - first
    if panel.covariate_SNK is None:
        return np.empty((num_points + panel.horizon, 0))
    value_TK = panel.covariate_SNK[row]
    rows = value_TK[first:]
    if panel.vintage_SNFV is not None:
        ahead_NFK = panel.covariates_ahead_of(row)[first:]
        step_F = np.arange(1, panel.horizon + 1)
        before_NF = np.arange(first, first + num_points)[:, None] + step_F - -(-step_F // season) * season
        known_NFK = np.where(np.isfinite(ahead_NFK), ahead_NFK, value_TK[np.maximum(before_NF, 0)])
        rows = np.concatenate([rows, known_NFK.reshape(-1, value_TK.shape[1])])
    return expand_names(rows, num_points)


def _split(covariate_TK: Values, num_points: int, horizon: int) -> tuple[Values, Values | None]:
    """Return covariates over grid and horizon, and those of the horizon of each grid point, where rows have them."""
    end = num_points + horizon
    ahead_NFK = covariate_TK[end:].reshape(num_points, horizon, -1) if len(covariate_TK) > end else None
    return covariate_TK[:end], ahead_NFK


class _Model(NamedTuple):
    """Centre and spread of a series, its scaled covariates, and the effect that is taken out before the fit."""

    scale: tuple[float, float]
    covariate_TK: Values
    effect_T: Values


def _models_of(
    open_N: Values, covariate_TK: Values, horizon: int, season: int, long_season: int | None
) -> list[_Model]:
    """Return the models of a series; variants of the covariates of the horizon have as many."""
    plain_TK, squares_TK = scale_covariates(covariate_TK, len(open_N))
    both_TK = np.concatenate([plain_TK, squares_TK], axis=1)
    first, second = centre_and_spread(open_N), second_scale(open_N)
    pairs = [(first, plain_TK)] if second == first and not squares_TK.size else [(first, plain_TK), (second, both_TK)]
    models = [_Model(scale, scaled_TK, np.zeros(len(scaled_TK))) for scale, scaled_TK in pairs]
    has_vintages = len(covariate_TK) > len(open_N) + horizon  # the shared effects are not those of forecasts
    if is_by_step(len(open_N), horizon=horizon, season=season) and not has_vintages:
        models += _without_effects(models, open_N, season, long_season)
    return models


def _blocks(known_V: Sequence[Known], *, season: int, long_season: int | None) -> Iterator[tuple[Windows, Values]]:
    """Yield the windows of each block of steps, and the inputs after the series' end of each variant (V, P)."""
    first, *others = (windows_of(known, season=season, long_season=long_season) for known in known_V)
    for windows in first:
        yield windows, np.stack([windows.next_P, *(next(each).next_P for each in others)])


def _without_effects(models: Sequence[_Model], open_N: Values, season: int, long_season: int | None) -> list[_Model]:
    """Return the models of the series without the effects of covariates that all steps share, where there are any."""
    others: list[_Model] = []
    for model in models:
        effect_T = pooled_effect(open_N, model.covariate_TK, season=season, long_season=long_season)
        if effect_T.any():
            others.append(model._replace(effect_T=effect_T))
    return others


def _forecast_block(windows: Windows, next_VP: Values, quantiles_Q: Values) -> tuple[Values, float]:
    """Average the fits to several numbers of windows; return quantiles (V, M, Q) and the mean error in spreads."""
    fits = [fit_ridge(windows.input_WP[:num], windows.target_WM[:num], next_VP) for num in windows.nums]
    point_VM = np.mean([fitted.forecast_VM for fitted in fits], axis=0)
    error_WM = np.concatenate([fitted.error_WM for fitted in fits])
    target_WM = np.concatenate([windows.target_WM[:num] for num in windows.nums])
    lowest, highest = windows.target_WM.min(), windows.target_WM.max()
    loss_WM = np.abs(np.sinh(target_WM) - np.sinh(np.clip(target_WM - error_WM, lowest, highest)))
    offset_MQ, _ = centred_quantiles(error_WM.T, quantiles_Q)
    return point_VM[:, :, None] + offset_MQ, float(loss_WM.mean())


def bounds_of(y_N: Values) -> tuple[float, float]:
    """Return the lowest and the highest value that a forecast may have."""
    lowest, highest = float(y_N.min()), float(y_N.max())
    margin = MARGIN * (highest - lowest)
    return (max(lowest - margin, 0.0) if lowest >= 0 else lowest - margin), highest + margin
