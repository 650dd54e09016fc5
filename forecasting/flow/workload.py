"""A workload: series of equal length and the spec by which they are forecast, as far as costs depend on them."""

import math
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from forecasting.classical.statistics import FOR_INTERMITTENT
from forecasting.fleet.cost.cost import ForecastCost, prior_worker_bytes
from forecasting.fleet.cost.sizes import FleetSizes, sizes_of
from forecasting.fleet.plan import MOST_SERIES, prior_series, required_length
from forecasting.flow.statistics_choice import chosen_statistics
from forecasting.settings import WORKER_BYTES
from forecasting.spec.frequency import fixed_width
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Workload:
    """Series of equal length, and the spec by which they are forecast.

    Attributes:
        spec: What to forecast.
        num_series: Number of series.
        num_points: Grid points of each series.
        num_due: Earlier forecasts that get new actuals in a run; None for those of one forecast a day.
        has_gpu: Whether workers train networks on a GPU.
    """

    spec: Spec
    num_series: int
    num_points: int
    num_due: int | None = None
    has_gpu: bool = False

    @property
    def num_rows(self) -> int:
        """Grid points of all series."""
        return self.num_series * self.num_points

    @cached_property
    def networks(self) -> list[FleetSizes]:
        """Sizes of each network and member, on a worker of one core and perhaps a GPU."""
        return sizes_of(self.spec, self.spec.models, kernel="auto", has_gpu=self.has_gpu)

    @property
    def required_length(self) -> int:
        """Fewest grid points of a series that gets networks."""
        return required_length(configure(self.spec), horizon=self.spec.horizon)

    @property
    def has_networks(self) -> bool:
        """Whether the series are long enough for networks."""
        return self.num_points >= self.required_length

    @property
    def num_models(self) -> int:
        """Models that forecast each series: its networks, statistical models, naives and their combination."""
        with_networks = ForecastCost(self.networks).num_models + len(self.statistics)
        return with_networks if self.has_networks else len(self.spec.season_lengths)

    @property
    def statistics(self) -> tuple[str, ...]:
        """Statistical models of a series that is not intermittent."""
        return tuple(name for name in chosen_statistics(self.spec, self.num_points) if name not in FOR_INTERMITTENT)

    @property
    def num_weights(self) -> int:
        """Numbers in the networks of one series, of all members."""
        return sum(sizes.num_weights for sizes in self.networks) if self.has_networks else 0

    @cached_property
    def num_prior_series(self) -> int:
        """Series that priors are trained on, as far as a worker's memory holds them."""
        lengths = dict.fromkeys(map(str, range(min(self.num_series, MOST_SERIES))), self.num_points)
        return len(prior_series(lengths, fits=lambda *some: prior_worker_bytes(self.networks, *some) <= WORKER_BYTES))

    @property
    def num_scored(self) -> int:
        """Earlier forecasts that a run scores; by default there is one a day, or one a period if that is longer."""
        if self.num_due is not None:
            return self.num_due
        width = None if self.spec.clock == "step" else fixed_width(self.spec.freq)
        if width is None:
            return self.spec.horizon
        return math.ceil(self.spec.horizon * min(1.0, timedelta(microseconds=width) / DAY))
