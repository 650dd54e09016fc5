"""Predicted cost of a shard: seconds, and bytes of a worker, from the sizes of its networks and series.

The module needs no torch, because drivers cut shards by it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from forecasting.fleet.cost.memory import (
    BYTES_PER_PATH_POINT,
    BYTES_PER_PRODUCT,
    CUDA_MIB,
    FORECASTER_MIB,
    MIB,
    TRAINER_MIB,
    covariate_bytes,
    fitting_bytes,
    forecast_bytes,
    panel_bytes,
    prior_bytes,
    reading_bytes,
)
from forecasting.fleet.cost.pace import (
    SECONDS_PER_FITTED_POINT,
    SECONDS_PER_FITTED_SERIES,
    SECONDS_PER_FORECAST_POINT,
    SECONDS_PER_FORECAST_VALUE,
    SECONDS_PER_LOADED_WEIGHT,
    SECONDS_PER_PATH_POINT,
    SECONDS_PER_SHARD,
    fit_seconds,
    fixed_fit_seconds,
)
from forecasting.fleet.cost.sizes import FleetSizes

LINGERING_SECONDS = 2.0
"""How long Polars' allocator keeps the memory of what was read; a shorter training adds to it."""
MOST_SECONDS = 40.0
"""Longest time of a shard, because it is lost when its worker dies."""
SHARDS_PER_WORKER = 3
"""Shards per worker that are enough for workers to end together."""
FIXED_SHARE = 0.03
"""Largest share of a shard's time that fixed costs may take, unless workers would be idle."""


class Cost(Protocol):
    """Predicted cost of the shards of one job."""

    @property
    def fixed_seconds(self) -> float:
        """Seconds that a shard takes regardless of its number of series."""
        ...

    def series_seconds(self, num_points: int) -> float:
        """Return the seconds that a series of `num_points` grid points adds."""
        ...

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        """Return the peak memory of a worker's whole process.

        Args:
            num_series: Series of a shard.
            longest: Grid points of the longest series.
            num_points: Points of all series together.

        Returns:
            Bytes, including Python and the libraries.
        """
        ...


@dataclass(frozen=True)
class TrainingCost:
    """Shards of a train job: every member of every network is fitted twice, one fit after the other."""

    networks: Sequence[FleetSizes]
    required_length: int
    """Fewest grid points of a series that gets a network."""
    is_warm: bool = False
    """Whether networks may start from earlier weights."""

    @property
    def fixed_seconds(self) -> float:
        """Seconds that a shard takes regardless of its number of series."""
        return SECONDS_PER_SHARD + sum(2 * fixed_fit_seconds(sizes) for sizes in self.networks)

    def series_seconds(self, num_points: int) -> float:
        """Return the seconds that a series of `num_points` grid points adds."""
        if num_points < self.required_length:
            return SECONDS_PER_FITTED_SERIES + SECONDS_PER_FITTED_POINT * num_points
        return sum(2 * fit_seconds(sizes, num_points=num_points) for sizes in self.networks)

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        """Return the peak memory of a worker's whole process, in bytes."""
        panel, reading = _reading(self.networks[0], num_series, longest, num_points)
        fitting = panel + max(
            fitting_bytes(sizes, num_series=num_series, longest=longest, is_warm=self.is_warm)
            for sizes in self.networks
        )
        if num_series * self.series_seconds(longest) < LINGERING_SECONDS:
            fitting += reading - panel
        covariates = covariate_bytes(self.networks[0], num_series=num_series, longest=longest)
        return trainer_bytes(self.networks[0]) + covariates + max(reading, fitting)


def prior_worker_bytes(networks: Sequence[FleetSizes], num_series: int, longest: int, num_points: int) -> int:
    """Return the peak memory of a worker that trains the priors of a run one after the other, in bytes."""
    panel, reading = _reading(networks[0], num_series, longest, num_points)
    from_prior = [sizes for sizes in networks if sizes.config.start == "prior"]
    training = max((prior_bytes(sizes, num_series=num_series, longest=longest) for sizes in from_prior), default=0)
    covariates = covariate_bytes(networks[0], num_series=num_series, longest=longest)
    return trainer_bytes(networks[0]) + covariates + max(reading, panel + training)


def trainer_bytes(sizes: FleetSizes) -> int:
    """Return the memory of a training worker before its first series, in bytes."""
    return (TRAINER_MIB + (CUDA_MIB if sizes.on_gpu else 0)) * MIB


@dataclass(frozen=True)
class ForecastCost:
    """Shards of a predict job, or of a backtest job where `num_origins` is set."""

    networks: Sequence[FleetSizes]
    num_origins: int = 0
    num_paths: int = 0
    """Sample paths of a series: a predict job draws them, a backtest job measures their correlations."""

    @property
    def fixed_seconds(self) -> float:
        """Seconds that a shard takes regardless of its number of series."""
        return SECONDS_PER_SHARD

    @property
    def num_models(self) -> int:
        """Number of models: networks (with all members), a seasonal naive for each season, and the combination."""
        return len({sizes.model for sizes in self.networks}) + len(self.networks[0].season_lengths) + 1

    def series_seconds(self, num_points: int) -> float:
        """Return the seconds that a series of `num_points` grid points adds."""
        num_values = (len(self.networks) + len(self.networks[0].season_lengths)) * self.networks[0].num_outputs
        once = SECONDS_PER_FORECAST_POINT * num_points + SECONDS_PER_FORECAST_VALUE * num_values
        loading = SECONDS_PER_LOADED_WEIGHT * sum(sizes.num_weights for sizes in self.networks)
        paths = 0 if self.num_origins else SECONDS_PER_PATH_POINT * self.num_paths * self.networks[0].horizon
        return loading + paths + max(1, self.num_origins) * once

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        """Return the peak memory of a worker's whole process, in bytes."""
        sizes = self.networks[0]
        panel, reading = _reading(sizes, num_series, longest, num_points)
        weights = sum(4 * each.num_weights * num_series for each in self.networks)
        num_rows = max(1, self.num_origins) * self.num_models * num_series * sizes.horizon
        frames = forecast_bytes(num_rows=num_rows, num_quantiles=sizes.num_quantiles)
        known_at_origin = panel if self.num_origins else 0
        paths = BYTES_PER_PATH_POINT * num_series * sizes.horizon * self.num_paths
        if self.num_paths and self.num_origins:
            paths = BYTES_PER_PRODUCT * self.num_models * sizes.horizon**2
        return FORECASTER_MIB * MIB + reading + weights + frames + known_at_origin + paths


def count_shards(seconds: float, cost: Cost, *, num_series: int, num_workers: int) -> int:
    """Return the number of shards: long enough to justify their fixed cost, short enough to balance and to lose.

    Every worker gets the same number of shards where there are enough series. With seven shards, one of two workers
    would take four while the other idles during the last.

    Args:
        seconds: Predicted seconds of all work on one worker.
        cost: Cost of a shard of the job.
        num_series: Series to divide among the shards.
        num_workers: Workers that take shards.

    Returns:
        At least one shard per worker and at most one per series; 0 without series.
    """
    if not num_series:
        return 0
    wanted = min(MOST_SECONDS, seconds / (SHARDS_PER_WORKER * num_workers))
    longest = max(wanted, cost.fixed_seconds / FIXED_SHARE)
    shards_per_worker = max(1, math.ceil(seconds / longest / num_workers))
    return min(num_series, shards_per_worker * num_workers)


def _reading(sizes: FleetSizes, num_series: int, longest: int, num_points: int) -> tuple[int, int]:
    """Return the bytes of a shard's panel, and the peak while it is filled."""
    panel = panel_bytes(num_series, longest + sizes.horizon, num_known=sizes.num_known)
    reading = reading_bytes(
        num_series=num_series,
        longest=longest,
        num_points=num_points,
        horizon=sizes.horizon,
        num_known=sizes.num_known,
        num_static=len(sizes.categories.static),
    )
    return panel, reading
