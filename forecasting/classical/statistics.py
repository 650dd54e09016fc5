"""Forecast with the statistical models of statsforecast (Garza et al., 2022), one series at a time.

The models' low-level classes are used: they take and return arrays, and start no threads.
"""

# S series · F horizon steps · Q quantiles · y is one series, oldest first

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.classical.baselines import centred_quantiles
from forecasting.series.intermittent import find_intermittent
from forecasting.series.panel import Panel

FOR_INTERMITTENT = ("croston_sba", "tsb", "adida")
"""The models of series that are zero most of the time; all other series have all other models."""
NEED_A_SEASON = ("theta", "ets", "ces", "mstl")
"""The models of a level, a trend and a season: in less than a season of history, trend and season
cannot be separated, and they extrapolate either."""
FEWEST_POINTS = 8
"""Fewest measurements of a series that has statistical models."""
MOST_SEASONS = 20
FEW_SEASONS = 3
SHORT, LONG = 200, 1500
"""Grid points that a model reads for any season, and above which it reads only a few seasons."""
TSB_ALPHA = 0.1
"""Smoothing of demand and of its probability; Croston's method has the same."""

Values = npt.NDArray[np.float64]


def forecast_statistics(
    panel: Panel, *, model: str, season_lengths: Sequence[int], quantiles: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Fit a model to every series separately and forecast it.

    `theta` (dynamic optimised Theta, Fiorucci et al. 2016), `ets` (Hyndman et al. 2002) and `ces` (Svetunkov et al.
    2022) use the first season length, `ets` only up to 24. `mstl` (Bandara et al. 2021) uses all season lengths that a
    series covers twice. `croston_sba` (Syntetos & Boylan 2005), `tsb` (Teunter et al. 2011) and `adida` (Nikolopoulos
    et al. 2011) forecast the mean demand of a step.

    A model reads `known_values` of a series. The forecast is the median. Quantiles are the model's own, with two
    exceptions. Those of `ces` come from its errors within the series, because statsforecast's neither grow with the
    horizon nor hold a step's own noise. Models of demand have none: theirs are `demand_quantiles`, which have the
    forecast as their mean and, as a rule, a median of zero.

    Args:
        panel: The series, in units of y.
        model: One of `forecasting.spec.spec.STATISTICS`.
        season_lengths: Grid points of each season.
        quantiles: Levels, ascending.

    Returns:
        Quantiles (S, F, Q) in units of y. NaN for a series that the model cannot forecast (`can_forecast`), or whose
        fit fails or returns a value that is not finite.
    """
    longest = max(season_lengths) if model == "mstl" else season_lengths[0]
    result_SFQ = np.full((len(panel.unique_ids), panel.horizon, len(quantiles)), np.nan)
    rows = np.flatnonzero(can_forecast(panel, model=model, season_lengths=season_lengths))
    if not rows.size:
        return result_SFQ
    predict = _load(model, season_lengths, quantiles)
    for row in rows:
        y = known_values(panel.y_SN[row], fill_from=season_lengths[0], longest_season=longest)
        fitted_FQ = _try(predict, y, panel.horizon)
        if fitted_FQ is not None and np.isfinite(fitted_FQ).all():
            result_SFQ[row] = fitted_FQ
    return result_SFQ


def can_forecast(panel: Panel, *, model: str, season_lengths: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Mark the series that a model can forecast: long enough, not constant, and of the model's kind.

    A series is intermittent if it is never negative, and zero in more than half of its measurements. Models for
    intermittent series forecast only these, all other models only the others. `mstl` needs a season that the series
    covers twice.

    Args:
        panel: The series.
        model: One of `forecasting.spec.spec.STATISTICS`.
        season_lengths: Grid points of each season.

    Returns:
        Marks (S,).
    """
    if not panel.y_SN.size:
        return np.zeros(len(panel.unique_ids), dtype=bool)
    is_known_SN = np.isfinite(panel.y_SN)
    num_known_S = np.count_nonzero(is_known_SN, axis=1)
    lowest_S = np.where(is_known_SN, panel.y_SN, np.inf).min(axis=1)
    highest_S = np.where(is_known_SN, panel.y_SN, -np.inf).max(axis=1)
    is_intermittent_S = find_intermittent(panel.y_SN)
    able_S = (num_known_S >= FEWEST_POINTS) & (highest_S > lowest_S)
    if model == "mstl":
        seasons = [length for length in season_lengths if length > 1]
        able_S &= num_known_S >= 2 * min(seasons) if seasons else False
    return np.asarray(able_S & (is_intermittent_S if model in FOR_INTERMITTENT else ~is_intermittent_S))


def known_values(y_N: Values, *, fill_from: int, longest_season: int) -> Values:
    """Return a series from its first measurement on, its gaps filled from the past, cut to the last `most_points`.

    Older points would cost time and add little about the next ones.

    Args:
        y_N: One series, oldest value first, NaN in gaps.
        fill_from: Grid points between a gap and the value that fills it.
        longest_season: Grid points of the longest season that the model uses.

    Returns:
        Values without gaps, oldest first.
    """
    first = int(np.argmax(np.isfinite(y_N)))
    return fill_from_past(y_N[first:], season_length=fill_from)[-most_points(longest_season) :]


def most_points(longest_season: int) -> int:
    """Return the most grid points that a model reads: twenty seasons, more of short ones and fewer of long ones.

    Args:
        longest_season: Grid points of the longest season that the model uses.

    Returns:
        A number of grid points.

    >>> [most_points(season) for season in (1, 12, 52, 168, 8760)]
    [200, 240, 1040, 1500, 26280]
    """
    return max(SHORT, min(MOST_SEASONS * longest_season, max(LONG, FEW_SEASONS * longest_season)))


def fill_from_past(y: Values, *, season_length: int) -> Values:
    """Fill every gap with the value a season earlier, or in the first season with the last value before it.

    Args:
        y: One series, oldest value first; the first one is measured.
        season_length: Grid points of a season.

    Returns:
        A copy without gaps.

    >>> fill_from_past(np.array([1.0, 2.0, np.nan, 4.0, np.nan, 6.0]), season_length=3).tolist()
    [1.0, 2.0, 2.0, 4.0, 2.0, 6.0]
    """
    filled = y.copy()
    for place in np.flatnonzero(np.isnan(y)):
        filled[place] = filled[place - (season_length if place >= season_length else 1)]
    return filled


class _Fitted(NamedTuple):
    """A point forecast and its quantiles, which skewed errors may put on the wrong side of it."""

    point_F: Values
    quantiles_FQ: Values

    def ordered(self, quantiles_Q: Values) -> Values:
        """Return rising quantiles (F, Q): those on the wrong side of the point forecast move onto it."""
        point_F1 = self.point_F[:, None]
        low_FQ, high_FQ = np.minimum(self.quantiles_FQ, point_F1), np.maximum(self.quantiles_FQ, point_F1)
        sided_FQ = np.where(quantiles_Q < 0.5, low_FQ, np.where(quantiles_Q > 0.5, high_FQ, point_F1))
        return np.sort(sided_FQ, axis=1)


def demand_quantiles(mean_F: Values, sizes: Values, quantiles_Q: Values) -> Values:
    """Return the quantiles of a demand that comes with some chance, in one of its past sizes.

    The chance makes the mean of the distribution that of the forecast. Where even a sure demand has a smaller mean,
    sizes are scaled up. With less demand its chance falls, not its sizes (Syntetos & Boylan 2005; sizes are drawn from
    the past as in the bootstrap of Willemain, Smart & Schwarz 2004).

    Args:
        mean_F: Mean demand of each step.
        sizes: Past demands above zero.
        quantiles_Q: Levels, ascending.

    Returns:
        Quantiles (F, Q), zero up to the level at which demand begins.

    >>> demand_quantiles(np.array([2.0]), np.array([8.0, 12.0]), np.array([0.5, 0.85, 0.95])).tolist()
    [[0.0, 8.0, 12.0]]
    """
    if not sizes.size:
        return np.zeros((len(mean_F), len(quantiles_Q)))
    ranked, ratio_F1 = np.sort(sizes), np.maximum(mean_F, 0.0)[:, None] / sizes.mean()
    chance_F1 = np.minimum(ratio_F1, 1.0)
    part_FQ = 1 - (1 - quantiles_Q) / np.where(chance_F1 > 0, chance_F1, 1e-300)
    place_FQ = np.ceil(np.clip(part_FQ, 0.0, 1.0) * len(ranked) - 1e-9).astype(np.int64) - 1
    return np.where(part_FQ > 1e-12, np.maximum(ratio_F1, 1.0) * ranked[np.maximum(place_FQ, 0)], 0.0)


def load_library() -> Any:
    """Return statsforecast's models; the import takes seconds, so it happens only where a model is fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from its dependencies
        from statsforecast import models

    return models


_Predict = Callable[[Values, int], Values]


def _load(model: str, season_lengths: Sequence[int], quantiles: Sequence[float]) -> _Predict:
    """Return a function from a series and a horizon to quantiles (F, Q)."""
    models, quantiles_Q, season = load_library(), np.asarray(quantiles, dtype=np.float64), season_lengths[0]
    if model in FOR_INTERMITTENT:
        make = {"croston_sba": models.CrostonSBA, "adida": models.ADIDA}.get(
            model, lambda: models.TSB(alpha_d=TSB_ALPHA, alpha_p=TSB_ALPHA)
        )
        return lambda y, horizon: demand_quantiles(make().forecast(y=y, h=horizon)["mean"], y[y > 0], quantiles_Q)
    if model == "ces":
        return lambda y, horizon: _forecast_ces(models.AutoCES(season), y, horizon, quantiles_Q).ordered(quantiles_Q)
    if model == "mstl":

        def make_seasonal(y: Values) -> Any:
            return models.MSTL([length for length in season_lengths if 1 < length <= len(y) // 2])
    else:
        kind = {"theta": models.DynamicOptimizedTheta, "ets": models.AutoETS}[model]

        def make_seasonal(y: Values) -> Any:
            return kind(season_length=season)

    return lambda y, horizon: _forecast_own(make_seasonal(y), y, horizon, quantiles_Q).ordered(quantiles_Q)


def _try(predict: _Predict, y: Values, horizon: int) -> Values | None:
    """Return a forecast, or None where the fit fails: one series' failure must not affect the others."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return predict(y, horizon)
        except Exception:  # its optimisers raise all kinds of errors; a model without a forecast does not compete
            return None


def _forecast_own(model: Any, y: Values, horizon: int, quantiles_Q: Values) -> _Fitted:
    """Forecast with the model's own intervals."""
    levels_Q = np.round(200 * np.abs(quantiles_Q - 0.5), 6).tolist()
    found = model.forecast(y=y, h=horizon, level=sorted(set(levels_Q) - {0.0}) or None)
    sides = [
        found["mean"] if level == 0 else found[f"{'lo' if quantile < 0.5 else 'hi'}-{level}"]
        for quantile, level in zip(quantiles_Q.tolist(), levels_Q, strict=True)
    ]
    return _Fitted(found["mean"], np.stack(sides, axis=1))


def _forecast_ces(model: Any, y: Values, horizon: int, quantiles_Q: Values) -> _Fitted:
    """Forecast with quantiles from one-step errors, widened over the horizon by the model's impulse response.

    The model is linear with additive errors: step h has the variance of one step times 1 + c_1² + … + c_(h-1)², where
    c_j is the response to a unit error j steps later.
    """
    point_F = model.fit(y).predict(h=horizon)["mean"]
    response_F = _impulse_response(model.model_["seasontype"], model.model_["par"], model.season_length, horizon)
    width_F = np.sqrt(np.cumsum(response_F**2))
    offset_Q, _ = centred_quantiles(model.model_["actual_residuals"], quantiles_Q)
    return _Fitted(point_F, point_F[:, None] + width_F[:, None] * offset_Q)


def _impulse_response(kind: str, parameters: Mapping[str, float], season: int, horizon: int) -> Values:
    """Return the response to a unit error at its own step and after, (F,) (Svetunkov et al., 2022, section 3)."""
    response_F = np.zeros(horizon)
    response_F[0] = 1.0
    level = _partial_response(parameters["alpha_0"], parameters["alpha_1"], horizon)
    if kind == "S":  # the level has a lag of one season
        response_F[season::season] += level[: len(response_F[season::season])]
        return response_F
    response_F[1:] += level[: horizon - 1]
    if kind == "P":
        response_F[season::season] += parameters["beta_0"]
    if kind == "F":
        seasonal = _partial_response(parameters["beta_0"], parameters["beta_1"], horizon)
        response_F[season::season] += seasonal[: len(response_F[season::season])]
    return response_F


def _partial_response(real: float, imaginary: float, num_steps: int) -> Values:
    """Return the response of one complex state, given its two parameters, to a unit error."""
    state = np.array([real - imaginary, real + imaginary])
    response = np.empty(num_steps)
    for step in range(num_steps):
        response[step] = state[0]
        state = np.array([state[0] - (1 - imaginary) * state[1], state[0] + (1 - real) * state[1]])
    return response
