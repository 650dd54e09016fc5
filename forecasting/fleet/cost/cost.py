"""What a shard costs a worker: its networks' sizes and its series in; seconds and bytes out, before anything runs.

Arithmetic alone: a driver that cuts shards by it loads no torch.
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
"""How long Polars' allocator holds on to what was read: a shorter training comes on top of it."""
MOST_SECONDS = 40.0
"""What a shard takes at most: as much is lost when its worker dies."""
SHARDS_PER_WORKER = 3
"""Enough that workers end together."""
FIXED_SHARE = 0.03
"""What fixed costs may take of a shard's time; smaller shards only where workers would stand idle."""


class Cost(Protocol):
    """What shards of one job cost."""

    @property
    def fixed_seconds(self) -> float:
        """What a shard takes however few its series are."""
        ...

    def series_seconds(self, num_points: int) -> float:
        """Predict what a series of so many grid points adds."""
        ...

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        """Predict the most that a worker's whole process holds with so many series, and points of all of them."""
        ...


@dataclass(frozen=True)
class TrainingCost:
    """Shards of a train job: every member of every network is fitted twice, one after the other."""

    networks: Sequence[FleetSizes]
    required_length: int
    """Grid points without which a series gets no network."""
    is_warm: bool = False
    """Whether networks may go on from earlier weights."""

    @property
    def fixed_seconds(self) -> float:
        return SECONDS_PER_SHARD + sum(2 * fixed_fit_seconds(sizes) for sizes in self.networks)

    def series_seconds(self, num_points: int) -> float:
        if num_points < self.required_length:
            return SECONDS_PER_FITTED_SERIES + SECONDS_PER_FITTED_POINT * num_points
        return sum(2 * fit_seconds(sizes, num_points=num_points) for sizes in self.networks)

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
        panel, reading = _reading(self.networks[0], num_series, longest, num_points)
        fitting = panel + max(
            fitting_bytes(sizes, num_series=num_series, longest=longest, is_warm=self.is_warm)
            for sizes in self.networks
        )
        if num_series * self.series_seconds(longest) < LINGERING_SECONDS:
            fitting += reading - panel
        return trainer_bytes(self.networks[0]) + max(reading, fitting)


def prior_worker_bytes(networks: Sequence[FleetSizes], num_series: int, longest: int, num_points: int) -> int:
    """Predict the most that a worker holds that trains the priors of a run, one after the other, on so many series."""
    panel, reading = _reading(networks[0], num_series, longest, num_points)
    begun = [sizes for sizes in networks if sizes.config.start == "prior"]
    training = max((prior_bytes(sizes, num_series=num_series, longest=longest) for sizes in begun), default=0)
    return trainer_bytes(networks[0]) + max(reading, panel + training)


def trainer_bytes(sizes: FleetSizes) -> int:
    """Return what a worker that trains holds before its first series."""
    return (TRAINER_MIB + (CUDA_MIB if sizes.on_gpu else 0)) * MIB


@dataclass(frozen=True)
class ForecastCost:
    """Shards of a predict job, or with `num_origins` of a backtest job."""

    networks: Sequence[FleetSizes]
    num_origins: int = 0
    num_paths: int = 0
    """Sample paths: a predict job draws them, a backtest job finds their correlations."""

    @property
    def fixed_seconds(self) -> float:
        return SECONDS_PER_SHARD

    @property
    def num_models(self) -> int:
        """Networks, each with all of its members, a seasonal naive for each season, and the combination."""
        return len({sizes.model for sizes in self.networks}) + len(self.networks[0].season_lengths) + 1

    def series_seconds(self, num_points: int) -> float:
        num_values = (len(self.networks) + len(self.networks[0].season_lengths)) * self.networks[0].num_outputs
        once = SECONDS_PER_FORECAST_POINT * num_points + SECONDS_PER_FORECAST_VALUE * num_values
        loading = SECONDS_PER_LOADED_WEIGHT * sum(sizes.num_weights for sizes in self.networks)
        paths = 0 if self.num_origins else SECONDS_PER_PATH_POINT * self.num_paths * self.networks[0].horizon
        return loading + paths + max(1, self.num_origins) * once

    def worker_bytes(self, num_series: int, longest: int, num_points: int) -> int:
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
    """Return how many shards suit so much work: long enough to pay for themselves, short enough to share and to lose.

    The same number for each worker, where there are as many series: of seven, one of two workers would take four
    while the other stands idle for the last.
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
