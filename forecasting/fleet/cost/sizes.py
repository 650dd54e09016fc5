"""Sizes of a spec's networks, from which the cost of fleets is predicted; needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from forecasting.fleet.architectures import Dimensions, Wiring, make_wiring
from forecasting.fleet.embedding_shapes import embedding_shapes
from forecasting.fleet.engine import runs_in_engine
from forecasting.fleet.native import CELLS
from forecasting.series.calendar import calendar_columns
from forecasting.spec.categories import Categories
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName, MemberConfig


@dataclass(frozen=True)
class FleetSizes:
    """Sizes of a fleet of one network, apart from its series; `kernel` is the one that runs, never `auto`."""

    model: str
    config: MemberConfig
    horizon: int
    num_quantiles: int
    num_calendar: int
    season_lengths: tuple[int, ...]
    kernel: str = "cpu"
    num_threads: int = 1
    on_gpu: bool = False
    categories: Categories = field(default_factory=Categories)
    num_covariates: int = 0

    @property
    def wiring(self) -> Wiring:
        """How the network is wired."""
        return make_wiring(self.model, self.config.design)

    @property
    def dimensions(self) -> Dimensions:
        """The numbers that determine the shapes of parameters."""
        config = self.config
        return Dimensions(
            self.num_inputs,
            config.context_segments,
            config.hidden_size,
            self.horizon,
            self.num_quantiles,
            config.segment_length,
        )

    @property
    def num_gates(self) -> int:
        """Numbers per unit of an input's projection."""
        cell = self.wiring.cell
        return cell.num_gates if cell is not None else 1

    @property
    def num_inputs(self) -> int:
        """Numbers of one step's input."""
        vectors = sum(size for _, size in self.embeddings.values())
        return 2 * self.config.segment_length + 1 + self.num_calendar + vectors

    @property
    def num_known(self) -> int:
        """Columns of a panel that are known of the future, four bytes a grid point each: calendar and categories."""
        return self.num_calendar + len(self.categories.calendar) + len(self.categories.static)

    @property
    def num_looked_up(self) -> int:
        """Numbers of category vectors that one window looks up."""
        points = self.config.context_segments * self.config.segment_length
        points += self.horizon if self.wiring.reads_future else 0
        return points * sum(size for _, size in self.embeddings.values())

    @property
    def embeddings(self) -> dict[str, tuple[int, int]]:
        """Shapes of the tables of the categories that this network reads."""
        return embedding_shapes(self.categories, reads_static=self.config.start == "prior")

    @property
    def num_outputs(self) -> int:
        """Quantiles of all horizon steps."""
        return self.horizon * self.num_quantiles

    @property
    def references(self) -> tuple[int, ...]:
        """Distances of the references whose mixture a forecast is added to, M of them."""
        return self.config.references(self.season_lengths)

    @property
    def smoothed(self) -> tuple[int, ...] | None:
        """Seasons that series are smoothed by; None where they are not smoothed."""
        return self.config.smoothed(self.season_lengths)

    @property
    def in_engine(self) -> bool:
        """Whether the CPU engine runs whole steps."""
        return runs_in_engine(self.kernel, self.wiring, is_smoothed=self.smoothed is not None)

    @property
    def num_passes(self) -> int:
        """Largest number of validation passes of a fit."""
        return -(-self.config.max_steps // self.config.evaluate_every)

    @property
    def padding(self) -> int:
        """Columns that windows need before a panel's first column."""
        return max(self.config.segment_length * self.config.context_segments, *self.season_lengths)

    @property
    def parameters(self) -> dict[str, int]:
        """Numbers in each parameter of one network, by name."""
        shapes = self.wiring.parameter_shapes(self.dimensions)
        seasons = self.smoothed
        smoothing = {} if seasons is None else {"coefficients_C": 1 + len(seasons), "seasons_P": sum(seasons)}
        return {
            **{name: math.prod(shape) for name, shape in shapes.items()},
            "mixture_FM": self.wiring.count_mixtures(self.dimensions) * self.config.num_references(self.season_lengths),
            **smoothing,
            **{name: math.prod(shape) for name, shape in self.embeddings.items()},
        }

    @property
    def num_weights(self) -> int:
        """Numbers in a series' network."""
        return sum(self.parameters.values())

    @property
    def batch_windows(self) -> int:
        """Windows of a series in one optimiser step; a stream has one, its current stretch."""
        return 1 if self.wiring.is_stream else self.config.batch_windows

    def num_rows(self, num_windows: int) -> int:
        """Return the number of recurrent steps in `num_windows` windows."""
        return num_windows * self.config.context_segments


def sizes_of(
    spec: Spec, networks: Sequence[str], *, kernel: KernelName, has_gpu: bool = False, num_threads: int = 1
) -> list[FleetSizes]:
    """Return the sizes of a spec's networks, one per network and member.

    Args:
        spec: The spec.
        networks: Names of networks.
        kernel: The requested kernel.
        has_gpu: Whether the worker has a GPU.
        num_threads: Threads of the worker.

    Returns:
        Sizes in the order of `networks`, and of members within each.
    """
    config = configure(spec)
    return [
        FleetSizes(
            network,
            alone,
            horizon=spec.horizon,
            num_quantiles=len(spec.quantiles),
            num_calendar=len(calendar_columns(spec.freq)),
            season_lengths=spec.season_lengths,
            kernel=_kernel_of(make_wiring(network, alone.design), kernel, has_gpu=has_gpu),
            num_threads=num_threads,
            on_gpu=has_gpu or kernel == "gpu",
            categories=spec.categories,
            num_covariates=len(spec.covariate_names),
        )
        for network in networks
        for alone in (member.as_run for member in config.member_configs)
    ]


def _kernel_of(wiring: Wiring, wanted: KernelName, *, has_gpu: bool) -> str:
    """Return the kernel that will run, as `forecasting.fleet.kernels.choose` does with torch."""
    if wiring.cell is None or wiring.cell.name not in CELLS:
        return "reference"
    return wanted if wanted != "auto" else "gpu" if has_gpu else "cpu"
