"""Choose the statistical models that compete with a series' networks.

A spec may name them. Otherwise they are chosen such that they never cost more than the networks of the same series. The
choice depends on the spec and the series' length alone, not on the shard or the machine.
"""

# S series · F horizon steps · Q quantiles

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from forecasting.classical.covariate_effect import effect_cost
from forecasting.classical.remainder import WithEffects
from forecasting.classical.ridge import forecast_ridge, ridge_seconds
from forecasting.classical.statistics import FOR_INTERMITTENT, forecast_statistics, most_points
from forecasting.classical.tree_fit import MOST_TREES, NUM_PARTS
from forecasting.classical.trees import Trees, forecast_trees
from forecasting.evaluate.backtest import Forecaster
from forecasting.fleet.cost.cost import Cost, TrainingCost
from forecasting.fleet.cost.memory import MIB, covariate_bytes, forecast_bytes
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.fleet.plan import required_length
from forecasting.flow.fleet_trees import FleetTrees
from forecasting.series.clock import is_day_or_coarser
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import STATISTICS, Spec

PREFERENCE = ("theta", "ets", "ces", "mstl")
"""Models of series that are not intermittent, in the order in which they are chosen while there is time."""
LONGEST_ETS_SEASON = 24
"""Longest season that statsforecast's AutoETS models; without a season it adds little to the naives."""

# Seconds of one fit with its quantiles: constant, per grid point that is read, and per square of these. Measured on the
# same core of an AMD EPYC as `forecasting/fleet/cost/pace.py`, with statsforecast 2.1.1: the best of six runs, averaged
# over six synthetic series (trend, season, random walk), for 18 pairs of length (25 to 1,500 points) and season (1 to
# 168). Most are within a quarter; `ets` with seasons below 12 takes down to two thirds of it. `theta` takes longer on
# real series, and is fitted to quarters (41 points: 3.0 ms) and months (240 points: 15 ms) of tourism.
_SECONDS = {
    "theta": (0.001, 48e-6, 25e-9),
    "ets": (0.0015, 45e-6, 0.0),
    "seasonal ets": (0.006, 680e-6, 0.0),
    "ces": (0.003, 21e-6, 0.0),
    "mstl": (0.003, 49e-6, 22e-9),
    "croston_sba": (0.00011, 0.0, 0.0),
    "tsb": (0.0001, 0.0, 0.0),
    "adida": (0.00005, 2.3e-6, 0.0),
}
SECONDS_PER_TREE_ROW = 60e-9
"""Of a forecast by trees, per tree and row."""
_SEVERAL_SEASONS = 1.6
"""Factor per season where `mstl` has several: it passes through the series twice for each."""
_MIB = 190
"""Memory that a process needs to load statsforecast, with pandas and statsmodels."""


def chosen_statistics(spec: Spec, num_points: int) -> tuple[str, ...]:
    """Return the statistical models of a series by its length.

    These are the models that the spec names. Where it names none, they are chosen such that their fits take no longer
    than the predicted training of the series' networks, with all steps, on one core of a CPU. There is one fit for each
    backtest origin and one up to the cutoff. Loading the library takes each worker another two seconds.

    A series too short for a network has no statistical model either, because it has no backtest. Models of demand are
    chosen for days and coarser steps only: their forecasts are flat and cannot follow the hours of a day.

    Args:
        spec: What to forecast.
        num_points: Grid points of the series.

    Returns:
        Names from `forecasting.spec.spec.STATISTICS`.
    """
    if spec.statistics is not None:
        return spec.statistics
    return _affordable(spec, num_points)


def statistics_seconds(spec: Spec, num_points: int) -> float:
    """Predict the seconds of one fit of each of a series' models, for the costlier kind of series."""
    seconds = _fit_seconds(spec, chosen_statistics(spec, num_points), num_points)
    demand = sum(each for model, each in seconds.items() if model in FOR_INTERMITTENT)
    return max(demand, sum(seconds.values()) - demand)


def regression_seconds(spec: Spec, num_points: int) -> float:
    """Predict the seconds of one fit of each regression of a series, of which trees only forecast."""
    num_covariates = len(spec.covariate_names)
    seconds = {
        "ridge": ridge_seconds(num_points, spec.horizon, spec.season_lengths, num_covariates),
        "lightgbm": SECONDS_PER_TREE_ROW * NUM_PARTS * MOST_TREES * spec.horizon,
    }
    return sum(seconds[model] for model in spec.chosen_regressions)


def statistics_forecasters(
    spec: Spec,
    length_S: Sequence[int] | npt.NDArray[np.int64],
    also: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    trees: Trees | None = None,
) -> dict[str, Forecaster]:
    """Return a forecaster for each statistical model that any series has, and for each regression of the spec.

    Args:
        spec: What to forecast.
        length_S: Grid points of each series up to the cutoff, so that a series has the same models at every origin.
        also: By model, marks (S,) of further series that need it.
        trees: The trees of the fleet; without any, the regression that they are has no forecaster.

    Returns:
        Forecasters by model. Each returns quantiles (S, F, Q), NaN for a series that does not have the model.
    """
    chosen = {int(length): chosen_statistics(spec, int(length)) for length in set(length_S)}
    forecasters: dict[str, Forecaster] = {}
    for model in STATISTICS:
        is_due_S = np.array([model in chosen[int(length)] for length in length_S], dtype=bool)
        if also is not None and model in also:
            is_due_S |= also[model]
        if is_due_S.any():
            one = partial(
                forecast_statistics, model=model, season_lengths=spec.season_lengths, quantiles=spec.quantiles
            )
            due = partial(_forecast_rows, one, np.flatnonzero(is_due_S), len(spec.quantiles))
            reads = bool(spec.covariate_names)
            forecasters[model] = WithEffects(due, spec.season_lengths) if reads else due
    return forecasters | _regressions(spec, trees)


def _regressions(spec: Spec, trees: Trees | None) -> dict[str, Forecaster]:
    ridge: Forecaster = partial(forecast_ridge, season_lengths=spec.season_lengths, quantiles=spec.quantiles)
    if spec.regressions is None:
        # It competes because of the covariates, so a covariate that never changes must not change a forecast.
        ridge = partial(_forecast_varied, ridge, len(spec.quantiles))
    known = {"ridge": ridge}
    if trees is not None:
        known["lightgbm"] = partial(forecast_trees, trees=trees, quantiles=spec.quantiles)
    return {model: known[model] for model in spec.chosen_regressions if model in known}


StatisticsAhead = Mapping[int, Mapping[str, npt.NDArray[np.float64]]]
"""Quantiles (S, F, Q) of each model, by the number of a panel's grid points that they follow."""


def forecast_statistics_ahead(
    panel: Panel, spec: Spec, origins_SJ: npt.NDArray[np.int64], trees: FleetTrees | None = None
) -> StatisticsAhead:
    """Forecast with all statistical models at every origin of the backtests and after the cutoff.

    Args:
        panel: The series, up to the cutoff.
        spec: What to forecast.
        origins_SJ: Grid points after each origin (S, J), 0 for none.
        trees: The trees of the fleet: the candidate forecasts at origins, the serving model after the cutoff.

    Returns:
        The forecasts that `statistics_forecasters` would return for the panel as it was at each origin.
    """
    ahead = {}
    for num_dropped in {0, *origins_SJ.flatten().tolist()}:
        known = panel.until(int(num_dropped))
        given = trees and (trees.candidate if num_dropped else trees.serving)
        forecasters = statistics_forecasters(spec, panel.length_S, trees=given)
        ahead[known.y_SN.shape[1]] = {model: forecaster(known) for model, forecaster in forecasters.items()}
    return ahead


def known_forecasters(ahead: StatisticsAhead) -> dict[str, Forecaster]:
    """Return forecasters that look their forecasts up, by the number of grid points of the panel they get.

    Args:
        ahead: Forecasts of the same series.

    Returns:
        Forecasters by model.
    """
    models = next(iter(ahead.values())).keys()
    return {model: partial(_look_up, ahead, model) for model in models}


def _look_up(ahead: StatisticsAhead, model: str, panel: Panel) -> npt.NDArray[np.float64]:
    return ahead[panel.y_SN.shape[1]][model]


@dataclass(frozen=True)
class CostWithStatistics:
    """The cost of a job's shards, including the statistical models of their series.

    Whether a series is intermittent is unknown until it is read, so the costlier kind counts.

    Attributes:
        cost: The cost without statistical models.
        spec: What to forecast.
        num_fits: Number of fits of each model.
    """

    cost: Cost
    spec: Spec
    num_fits: int

    @property
    def fixed_seconds(self) -> float:
        """Seconds that do not depend on the series of a shard."""
        return self.cost.fixed_seconds

    def series_seconds(self, num_points: int) -> float:
        """Predict the seconds of a series by its number of grid points."""
        seconds = statistics_seconds(self.spec, num_points) + regression_seconds(self.spec, num_points)
        seconds += effect_cost(num_points, len(self.spec.covariate_names), season=self.spec.season_lengths[0])[0]
        return self.cost.series_seconds(num_points) + self.num_fits * seconds

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        """Predict the memory of a worker.

        Args:
            num_series: Series of the shard.
            longest: Grid points of its longest series.
            num_points: Grid points of all its series.

        Returns:
            Bytes.
        """
        needed = self.cost.worker_bytes(num_series, longest, num_points)
        if not isinstance(self.cost, TrainingCost):  # which counts them
            sizes = sizes_of(self.spec, self.spec.models[:1], kernel="cpu")[0]
            needed += covariate_bytes(sizes, num_series=num_series, longest=longest)
        needed += 2 * 8 * num_series * longest * self.spec.horizon * len(self.spec.covariates.vintages)
        models = chosen_statistics(self.spec, longest)
        if not (num_series and models):
            return needed
        num_rows = self.num_fits * len(models) * num_series * self.spec.horizon
        return needed + _MIB * MIB + forecast_bytes(num_rows=num_rows, num_quantiles=len(self.spec.quantiles))


@lru_cache(maxsize=100_000)
def _affordable(spec: Spec, num_points: int) -> tuple[str, ...]:
    needed = required_length(configure(spec), horizon=spec.horizon)
    if num_points < needed:
        return ()
    num_fits = spec.backtest.origins + 1
    networks = TrainingCost(sizes_of(spec, spec.models, kernel="cpu"), needed)
    chosen: list[str] = []
    for candidates in (PREFERENCE, FOR_INTERMITTENT):  # no series has both kinds
        left = networks.series_seconds(num_points)
        for model, seconds in _fit_seconds(spec, candidates, num_points).items():
            if num_fits * seconds <= left and _is_of_use(model, spec):
                left -= num_fits * seconds
                chosen.append(model)
    return tuple(chosen)


def _is_of_use(model: str, spec: Spec) -> bool:
    if model in FOR_INTERMITTENT:
        return isinstance(spec.freq, int) or is_day_or_coarser(spec.freq)
    if model == "mstl":
        return max(spec.season_lengths) > 1
    return model != "ets" or spec.season_lengths[0] <= LONGEST_ETS_SEASON


def _fit_seconds(spec: Spec, models: Sequence[str], num_points: int) -> dict[str, float]:
    """Predict the seconds of one fit of each model."""
    season, longest = spec.season_lengths[0], max(spec.season_lengths)
    has_season = 1 < season <= LONGEST_ETS_SEASON
    seconds = {}
    for model in models:
        constant, per_point, per_square = _SECONDS["seasonal ets" if model == "ets" and has_season else model]
        num_read = min(num_points, most_points(longest if model == "mstl" else season))
        seconds[model] = constant + per_point * num_read + per_square * num_read**2
    num_seasons = sum(length > 1 for length in spec.season_lengths)
    if "mstl" in seconds and num_seasons > 1:
        seconds["mstl"] *= _SEVERAL_SEASONS * num_seasons
    return seconds


def _forecast_varied(forecast: Forecaster, num_quantiles: int, panel: Panel) -> npt.NDArray[np.float64]:
    """Forecast the series with a covariate that has two values in their history."""
    if panel.covariate_SNK is None:
        rows_S = np.empty(0, dtype=np.int64)
    else:
        past_SNK = panel.covariate_SNK[:, : panel.y_SN.shape[1]]
        is_known_SNK = np.isfinite(past_SNK)
        least_SK = np.where(is_known_SNK, past_SNK, np.inf).min(1)
        most_SK = np.where(is_known_SNK, past_SNK, -np.inf).max(1)
        rows_S = np.flatnonzero((least_SK < most_SK).any(1))
    return _forecast_rows(forecast, rows_S, num_quantiles, panel)


def _forecast_rows(
    forecast: Forecaster, rows_S: npt.NDArray[np.int64], num_quantiles: int, panel: Panel
) -> npt.NDArray[np.float64]:
    result_SFQ = np.full((len(panel.unique_ids), panel.horizon, num_quantiles), np.nan)
    result_SFQ[rows_S] = forecast(panel.select(rows_S))
    return result_SFQ
