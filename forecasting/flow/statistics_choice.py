"""A spec and the length of a series go in; the statistical models that compete with its networks come out.

A spec may name them; otherwise its recipe chooses, such that they never cost more than the networks of the same series.
Nothing but the spec and the series' own length decides, so that neither its shard nor the machine changes anything.
"""

# S series · F horizon steps · Q quantiles

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from forecasting.classical.statistics import FOR_INTERMITTENT, forecast_statistics, most_points
from forecasting.fleet.cost.cost import Cost, TrainingCost
from forecasting.fleet.cost.memory import MIB, forecast_bytes
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.fleet.plan import required_length
from forecasting.series.clock import is_day_or_coarser
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import STATISTICS, Spec

Forecaster = Callable[[Panel], npt.NDArray[np.float64]]

PREFERENCE = ("theta", "ets", "ces", "mstl")
"""Of series that are not intermittent: which is taken first, where the networks leave time."""
LONGEST_ETS_SEASON = 24
"""Of longer seasons statsforecast's AutoETS knows nothing; then it says little that the naives do not."""

# Seconds of one fit with its quantiles: constant, per grid point that is read, and per square of these. Measured on one
# core of an AMD EPYC, where `forecasting/fleet/cost/pace.py` was, with statsforecast 2.1.1: the best of six tries,
# averaged over six made series (trend, season, random walk), at each of 18 lengths and seasons, of 25 to 1,500 points
# and 1 to 168. Most are within a quarter; `ets` of seasons below 12 takes down to two thirds of it. `theta` is dearer
# on real series, and is fitted to quarters (41 points: 3.0 ms) and months of tourism (240 points: 15 ms).
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
_SEVERAL_SEASONS = 1.6
"""For each of several seasons `mstl` passes through the series, twice."""
_MIB = 190
"""What loading statsforecast adds to a process, pandas and statsmodels included."""


def chosen_statistics(spec: Spec, num_points: int) -> tuple[str, ...]:
    """Name the statistical models of a series of so many grid points.

    Those that the spec names; where it names none, models of its recipe's choice. Their fits (one for each backtest
    origin and one that serves) take no longer than the training of its networks is predicted to take, if these run
    all their steps on one core of a CPU; loading the library takes each worker two seconds besides. A series that gets
    no network gets none of them either: it has no backtest. Models of demand, whose forecasts are flat, are chosen for
    days and coarser steps: of an hour's place in the day they know nothing.
    """
    if spec.statistics is not None:
        return spec.statistics
    return _affordable(spec, num_points)


def statistics_seconds(spec: Spec, num_points: int) -> float:
    """Predict what one fit of each of a series' models takes, dearer kind of series."""
    seconds = _fit_seconds(spec, chosen_statistics(spec, num_points), num_points)
    demand = sum(each for model, each in seconds.items() if model in FOR_INTERMITTENT)
    return max(demand, sum(seconds.values()) - demand)


def statistics_forecasters(
    spec: Spec, length_S: Sequence[int] | npt.NDArray[np.int64], also: Mapping[str, npt.NDArray[np.bool_]] | None = None
) -> dict[str, Forecaster]:
    """Return a forecaster for each model that any series has; it forecasts those series and leaves the others NaN.

    `length_S` are the series' whole lengths, so that a series has the same models at every origin. `also` marks by
    model further series that need it, whatever is chosen now.
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
            forecasters[model] = partial(_forecast_rows, one, np.flatnonzero(is_due_S), len(spec.quantiles))
    return forecasters


@dataclass(frozen=True)
class CostWithStatistics:
    """What a job's shards cost with the statistical models of their series, each fitted `num_fits` times.

    That of demand and that of other series are not told apart before a series is read: the dearer kind counts.
    """

    cost: Cost
    spec: Spec
    num_fits: int

    @property
    def fixed_seconds(self) -> float:
        return self.cost.fixed_seconds

    def series_seconds(self, num_points: int) -> float:
        return self.cost.series_seconds(num_points) + self.num_fits * statistics_seconds(self.spec, num_points)

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        needed = self.cost.worker_bytes(num_series, longest, num_points)
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
    """Predict what one fit of each model takes."""
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


def _forecast_rows(
    forecast: Forecaster, rows_S: npt.NDArray[np.int64], num_quantiles: int, panel: Panel
) -> npt.NDArray[np.float64]:
    result_SFQ = np.full((len(panel.unique_ids), panel.horizon, num_quantiles), np.nan)
    result_SFQ[rows_S] = forecast(panel.select(rows_S))
    return result_SFQ
