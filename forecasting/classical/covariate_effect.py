"""The effect of covariates on one series, estimated from how both differ from the mean of the seasons before.

Such differences have no level, trend or season; what remains of the covariates explains what remains of the series. A
ridge regression of them needs few coefficients for all steps, so that a few dozen points suffice. Errors of
neighbouring points are alike, so that leaving out single ones would not show what an effect is worth: the strength of
the penalty, the inputs and the scale have the smallest error on stretches that a fit has not seen.
"""

# N grid points · T = N + F · K covariates · P inputs · R rows · A strengths · F horizon steps · Q quantiles

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.classical.covariate_inputs import (
    LINEAR_SHARE,
    centre_and_spread,
    fill_closed,
    fill_covariates,
    find_closed,
    scale_covariates,
    second_scale,
)
from forecasting.classical.leave_one_out import STRENGTHS
from forecasting.classical.named_inputs import expand_names
from forecasting.classical.statistics import fill_from_past

FEWEST_ROWS = 20
"""Fewest points that an effect is estimated from."""
MARGIN = 0.02
"""Share of the error on unseen stretches by which an effect must reduce it; a smaller one is not used."""
MOST_SEASONS = 730
"""Newest seasons that an effect is estimated from."""
REACH = 0.5
"""How far an effect and a forecast may lie outside of the range of the past, in ranges."""
MOST_INPUTS, ROWS_PER_INPUT = 256, 5
"""Most inputs of a regression, and fewest points for each."""
_NUM_SEASONS, _NUM_STRETCHES, _NUM_HARMONICS = 4, 8, 3
_SHORTEST_SEASON = 7
"""Shortest season over which effects may differ."""
_MOST_CUBED = 3.0
"""Most that a scaled covariate counts for in its cube."""
_RARE = 0.001
"""Share of the points at each end whose values of a covariate may be wrong, such as 9,831 mm of rain in an hour."""
_LEAST_SPREAD = 1e-9
"""Standard deviation up to which an input counts as constant."""

# Seconds of an estimate: constant, and per number in its inputs; and copies of these at its peak.
_SECONDS, _PER_NUMBER, _COPIES = 0.001, 4e-8, 5

Values = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Effect:
    """The effect of covariates on a series, over grid and horizon.

    Attributes:
        effect_T: What covariates add to a value's asinh, or to its logarithm; its median in the history is 0.
        centre: Value whose asinh is 0.
        spread: Distance from it up to which asinh is linear; 0 where the effect is one on logarithms.
        is_closed_T: Where a value of a covariate has always come with a measurement of zero.
        lowest: Lowest value that a forecast, or a value without the effect, may have.
        highest: Highest value that these may have.
    """

    effect_T: Values
    centre: float
    spread: float
    is_closed_T: Marks
    lowest: float
    highest: float

    def take_from(self, y_N: Values) -> Values:
        """Return a series without the effect; points at which a covariate means zero are gaps."""
        num = len(y_N)
        moved_N = np.clip(self._move(y_N, -self.effect_T[:num]), self.lowest, self.highest)
        return np.where(self.is_closed_T[:num], np.nan, moved_N)

    def add_to(self, quantiles_FQ: Values) -> Values:
        """Return forecasts with the effect, 0 where a covariate means zero."""
        steps = slice(-len(quantiles_FQ), None)
        moved_FQ = np.clip(self._move(quantiles_FQ, self.effect_T[steps, None]), self.lowest, self.highest)
        is_closed_F1 = self.is_closed_T[steps, None] & np.isfinite(moved_FQ)
        return np.where(is_closed_F1, 0.0, moved_FQ)

    def _move(self, values: Values, by: Values) -> Values:
        if self.spread == 0:
            return values * np.exp(by)
        moved: Values = np.sinh(np.arcsinh((values - self.centre) / self.spread) + by) * self.spread + self.centre
        return moved


def find_effect(y_N: Values, covariate_TK: Values, *, season_lengths: Sequence[int]) -> Effect | None:
    """Estimate the effect of covariates on a series from its points up to the last measurement.

    Covariates are scaled and reduced by asinh as for ridge regressions. Their squares, their cubes, their means over a
    season and products with the phase of the season are further inputs, where these reduce the error. The effect is
    added to the asinh of the scaled series, or to its logarithm if it has zeros and is never negative.

    Args:
        y_N: Measurements, NaN in gaps.
        covariate_TK: Covariates over grid and horizon, NaN where they are unknown; some may be codes of names.
        season_lengths: Grid points of each season; the first two are used.

    Returns:
        The effect; None where covariates are constant, the series is too short, or they do not explain it.
    """
    known = np.flatnonzero(np.isfinite(y_N))
    season, back = season_lengths[0], season_lengths[0]
    if len(known) < least_points(season_lengths=season_lengths):
        return None
    first, num = int(known[0]), int(known[-1] - known[0]) + 1
    covariate_TK = fill_covariates(expand_names(covariate_TK[first:], num), num, season)
    if not covariate_TK.shape[1]:
        return None
    if len(season_lengths) > 1 and num >= 2 * _NUM_SEASONS * season_lengths[1]:
        back = round(season_lengths[1] / season) * season
    # A power of two keeps all bits, and products of the largest floats finite.
    exponent = int(np.frexp(np.abs(y_N[known]).max())[1])
    scaled_N = fill_from_past(np.ldexp(y_N[first : first + num], -exponent), season_length=season)
    is_closed_T = find_closed(scaled_N, covariate_TK)
    open_N = fill_closed(scaled_N, is_closed_T[:num], season)
    covariate_TK = _without_outliers(covariate_TK, num)
    found = _best(open_N, covariate_TK, season=season, back=back) if open_N.min() < open_N.max() else None
    if found is None and not is_closed_T.any():
        return None
    if found is None:
        found = _Estimate(np.zeros(len(covariate_TK)), 0.0, 0.0)
    least, most = float(open_N.min()), float(open_N.max())
    margin = REACH * (most - least)
    lowest = max(least - margin, 0.0) if least >= 0 else least - margin
    before = np.zeros(first)
    return Effect(
        np.concatenate([before, _bounded(found.effect_T, num)]),
        centre=float(np.ldexp(found.centre, exponent)),
        spread=float(np.ldexp(found.spread, exponent)),
        is_closed_T=np.concatenate([before > 0, is_closed_T]),
        lowest=float(np.ldexp(lowest, exponent)),
        highest=float(np.ldexp(most + margin, exponent)),
    )


def least_points(*, season_lengths: Sequence[int]) -> int:
    """Return the fewest measurements of a series whose covariates have an effect.

    >>> least_points(season_lengths=(24, 168))
    44
    """
    return season_lengths[0] + FEWEST_ROWS


def effect_cost(num_points: int, num_covariates: int, *, season: int) -> tuple[float, int]:
    """Predict the seconds on one core, and the bytes, that the effect of a series takes to be estimated.

    Args:
        num_points: Grid points of the series.
        num_covariates: Number of covariates, which count as ones of more than two values.
        season: Grid points of its season.

    Returns:
        Seconds and bytes; 0 without covariates.
    """
    if not num_covariates:
        return 0.0, 0
    num_rows = min(num_points, MOST_SEASONS * season)
    num_inputs = 6 * num_covariates * (1 + 2 * _NUM_HARMONICS * (season >= _SHORTEST_SEASON))
    if num_inputs > min(MOST_INPUTS, num_rows / ROWS_PER_INPUT):
        num_inputs = 6 * num_covariates  # of which squares alone are fitted, but all are prepared
    return _SECONDS + _PER_NUMBER * num_rows * num_inputs, _COPIES * 8 * num_rows * num_inputs


class _Estimate(NamedTuple):
    """An effect (T,), and the scale of the asinh that it is added to; a spread of 0 stands for logarithms."""

    effect_T: Values
    centre: float
    spread: float


def _best(open_N: Values, covariate_TK: Values, *, season: int, back: int) -> _Estimate | None:
    """Return the estimate of the smallest error on unseen stretches; None where no effect reduces it."""
    num = len(open_N)
    num_seasons = int(np.clip((num - FEWEST_ROWS) // back, 1, _NUM_SEASONS))
    begin = max(num_seasons * back, num - MOST_SEASONS * season)

    def differences(values: Values) -> Values:
        before = np.mean([values[begin - n * back : num - n * back] for n in range(1, num_seasons + 1)], axis=0)
        different: Values = values[begin:num] - before
        return different

    scales = _scales(open_N)
    level_NM = (open_N[:, None] - [centre for centre, _ in scales]) / [spread for _, spread in scales]
    target_RM = differences(np.arcsinh(level_NM))
    unit_RM = np.sqrt(1 + level_NM[begin:] ** 2) * [spread for _, spread in scales]
    best, least = None, np.inf
    for x_TP in _inputs(covariate_TK, num, season, num_rows=num - begin):
        coefficient_PM, error_M, is_useful_M = _fit(differences(x_TP), target_RM, unit_RM, season)
        for place, (centre, spread) in enumerate(scales):
            if is_useful_M[place] and error_M[place] < least:
                least = float(error_M[place])
                effect_T = x_TP @ coefficient_PM[:, place]
                most = np.abs(target_RM[:, place]).max()  # the largest change that was ever measured
                effect_T = np.clip(effect_T - np.median(effect_T[:num]), -most, most)
                best = _Estimate(effect_T, centre, 0.0 if open_N.min() == 0 else spread)
    return best


def _scales(open_N: Values) -> list[tuple[float, float]]:
    """Return centres and spreads of asinh; a series with zeros that is never negative has logarithms alone."""
    if open_N.min() < 0:
        return [centre_and_spread(open_N)]
    if open_N.min() == 0:
        return [(0.0, LINEAR_SHARE * float(np.median(open_N[open_N > 0])))]
    return [centre_and_spread(open_N), second_scale(open_N)]


def _inputs(covariate_TK: Values, num: int, season: int, *, num_rows: int) -> Iterator[Values]:
    """Yield sets of inputs (T, P), each with a mean of zero in the history, that the rows suffice for."""
    plain_TK, squares_TK = scale_covariates(covariate_TK, num)
    is_many_K = [len(np.unique(value_T[:num])) > 2 for value_T in plain_TK.T]
    cubes_TK = np.clip(plain_TK[:, is_many_K], -_MOST_CUBED, _MOST_CUBED) ** 3
    few_TP = np.concatenate([plain_TK, squares_TK], axis=1)
    some_TP = np.concatenate([few_TP, cubes_TK], axis=1)
    some_TP = np.concatenate([some_TP, _mean_over(some_TP, season)], axis=1)
    all_TP = some_TP - some_TP[:num].mean(0)
    if season >= _SHORTEST_SEASON:
        angle_T1 = 2 * np.pi * np.arange(len(all_TP))[:, None] / season
        waves = [wave(n * angle_T1) for n in range(1, _NUM_HARMONICS + 1) for wave in (np.sin, np.cos)]
        all_TP = np.concatenate([all_TP, *(all_TP * wave_T1 for wave_T1 in waves)], axis=1)
    for number, x_TP in enumerate((plain_TK, few_TP, all_TP)):
        if not number or x_TP.shape[1] <= min(MOST_INPUTS, num_rows / ROWS_PER_INPUT):
            yield x_TP - x_TP[:num].mean(0)


def _without_outliers(covariate_TK: Values, num: int) -> Values:
    """Return covariates whose values lie within, or not far from, the range of almost all values of the history."""
    result_TK = covariate_TK.copy()
    for value_T in result_TK.T:
        least, most = np.quantile(value_T[:num], (_RARE, 1 - _RARE))
        if len(np.unique(value_T[:num])) > 2 and least < most:
            margin = REACH * (most - least)
            np.clip(value_T, least - margin, most + margin, out=value_T)
    return result_TK


def _mean_over(x_TP: Values, season: int) -> Values:
    """Return the mean of the last season up to each point; of fewer points at the beginning."""
    sums = np.concatenate([np.zeros_like(x_TP[:1]), np.cumsum(x_TP, axis=0)])
    end_T = np.arange(1, len(x_TP) + 1)
    begin_T = np.maximum(end_T - season, 0)
    means: Values = (sums[end_T] - sums[begin_T]) / (end_T - begin_T)[:, None]
    return means


def _fit(x_RP: Values, target_RM: Values, unit_RM: Values, season: int) -> tuple[Values, Values, Marks]:
    """Fit each target with the strength of its smallest error on unseen stretches.

    Args:
        x_RP: Inputs.
        target_RM: Targets on several scales.
        unit_RM: Units of y of a small change of each target.
        season: Grid points of a season.

    Returns:
        Coefficients (P, M), mean absolute errors on unseen stretches in units of y (M,), and whether they are smaller
        than without inputs (M,). Those of changes over a season must be smaller too: what only drifts like the series,
        as any two random walks do, does not explain it.
    """
    spread_P = x_RP.std(0)
    spread_P = np.where(spread_P > _LEAST_SPREAD, spread_P, np.inf)
    x_RP = x_RP / spread_P
    ends = np.linspace(0, len(x_RP), _NUM_STRETCHES + 1).astype(int)
    stretches = [slice(begin, end) for begin, end in pairwise(ends)]
    products = [x_RP[part].T @ x_RP[part] for part in stretches]
    knowns = [x_RP[part].T @ target_RM[part] for part in stretches]
    whole_PP, whole_PM = np.sum(products, axis=0), np.sum(knowns, axis=0)
    num_strengths, num_targets = len(STRENGTHS), target_RM.shape[1]
    error_AM, change_AM, worth_M, worth_of_change_M = (
        np.zeros(shape) for shape in (*2 * [(num_strengths, num_targets)], *2 * [num_targets])
    )
    lag = min(season, int(ends[1]) // 2)
    for part, own_PP, own_PM in zip(stretches, products, knowns, strict=True):
        fitted_RAM = (x_RP[part] @ _solve(whole_PP - own_PP, whole_PM - own_PM)).reshape(-1, num_strengths, num_targets)
        own_RM, unit_R1M = target_RM[part], unit_RM[part, None]
        left_RAM = unit_R1M * (own_RM[:, None] - fitted_RAM)
        error_AM += np.abs(left_RAM).sum(0)
        change_AM += np.abs(left_RAM[lag:] - left_RAM[:-lag]).sum(0)
        own_RM = own_RM * unit_RM[part]
        worth_M += np.abs(own_RM).sum(0)
        worth_of_change_M += np.abs(own_RM[lag:] - own_RM[:-lag]).sum(0)
    best_M, places = error_AM.argmin(0), np.arange(num_targets)
    is_useful_M = (error_AM[best_M, places] < (1 - MARGIN) * worth_M) & (
        change_AM[best_M, places] < (1 - MARGIN) * worth_of_change_M
    )
    coefficient_PAM = _solve(whole_PP, whole_PM).reshape(-1, num_strengths, num_targets)
    return coefficient_PAM[:, best_M, places] / spread_P[:, None], error_AM[best_M, places] / len(x_RP), is_useful_M


def _solve(product_PP: Values, known_PM: Values) -> Values:
    """Return the coefficients of each strength of the penalty and target, (P, A * M)."""
    value_P, vector_PP = np.linalg.eigh(product_PP)
    weight_PA = 1 / (np.maximum(value_P, 0.0)[:, None] + np.array(STRENGTHS))
    weighted_PAM = weight_PA[:, :, None] * (vector_PP.T @ known_PM)[:, None]
    coefficient: Values = vector_PP @ weighted_PAM.reshape(len(value_P), -1)
    return coefficient


def _bounded(effect_T: Values, num: int) -> Values:
    """Return an effect that does not exceed its past range by much."""
    least, most = effect_T[:num].min(), effect_T[:num].max()
    bounded: Values = np.clip(effect_T, least - REACH * (most - least), most + REACH * (most - least))
    return bounded
