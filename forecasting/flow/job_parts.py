"""What the jobs of a flow consist of, in CPU seconds and wall time: processes, work that workers share, and writing.

The constants are those that the cost model of shards (`forecasting.fleet.cost`) leaves out.
`tests/benchmarks/bench_plan.py` compares the sums with real runs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from forecasting.fleet.cost.cost import Cost, count_shards, prior_worker_bytes
from forecasting.fleet.cost.memory import MIB
from forecasting.fleet.cost.pace import prior_seconds
from forecasting.flow.gpu_seconds import gpu_priors_seconds
from forecasting.flow.network_seconds import priors_seconds
from forecasting.flow.workload import Workload
from forecasting.series.blocks import BLOCK_ROWS
from forecasting.settings import DRIVER_BYTES, DRIVER_SECONDS, WORKER_BYTES

JobName = Literal["features", "train", "backtest", "predict", "score"]
PartName = Literal[
    "processes and libraries",
    "features",
    "priors",
    "networks",
    "statistics",
    "backtest",
    "forecasts",
    "scores",
    "storage",
]
_START: PartName = "processes and libraries"
_OF_NETWORKS = ("priors", "networks")

Library = Literal["torch", "lightning", "statsforecast", "utilsforecast"]

# CPU seconds, user and system, on the reference core (`forecasting.flow.network_seconds`).
PROCESS_SECONDS = 1.65
"""A job's process starts, and loads Polars and Delta Lake."""
LIBRARY_SECONDS: Mapping[Library, float] = {
    "torch": 1.5,
    "lightning": 2.6,
    "statsforecast": 1.4,
    "utilsforecast": 1.1,
}
"""A process loads a library, and what it needs, before its first series."""
WORKER_SECONDS = 1.0
"""A worker starts, besides the libraries that it loads."""
CONNECTION_SECONDS, WAITING_SECONDS = 0.5, 1.0
"""A job's process loads Ray and connects to it; what it then waits for workers, besides their own seconds."""
SECONDS_PER_COMMIT = 0.15
"""One commit to a table, of few rows."""
SECONDS_PER_READ_POINT = 2.2e-6
SECONDS_PER_STORED_POINT = 1.6e-6
"""Observations and features of a grid point."""
SECONDS_PER_STORED_ROW = 3e-6
"""A row of forecasts, backtests or scores."""
TRAINS: frozenset[Library] = frozenset({"torch", "lightning"})
EFFICIENCY = 0.9
"""Share of the cores' time that several workers use, from their start to the end of the last one."""
WALL_OF_ONE = 1.1
"""Wall seconds over CPU seconds of a process that works alone, because it waits for files."""

DRIVER_MIB, STORE_MIB = 285, 90
"""Peak of a job's process with few rows, and how much more it holds than a worker that does the same work."""
STATISTICS_MIB, SCORES_MIB = 135, 100
"""What statsforecast adds to a process that forecasts with torch, and scores to one that does not load torch."""
GPU_WORKER_BYTES = 8 << 30
"""Memory of a worker with a GPU, of which the libraries of CUDA take more than one GiB."""
BYTES_PER_POINT, BYTES_PER_SERIES = 600, 4_000
"""What reading adds for each point of a block, and the plan of the shards. The latter was measured with up to 100,000
series (docs/benchmarks.md, growth)."""


@dataclass(frozen=True)
class Machine:
    """Cores, and CPU seconds over those of the reference core.

    Attributes:
        num_cores: Cores that workers share.
        num_gpus: GPUs that train networks, one for each worker of a training; 0 if cores train them.
        network_pace: Factor of the training of networks.
        other_pace: Factor of everything else.
    """

    num_cores: int
    network_pace: float = 1.0
    other_pace: float = 1.0
    num_gpus: int = 0


@dataclass(frozen=True)
class Part:
    """A part of a job.

    Attributes:
        job: The job.
        name: What it does.
        cpu_seconds: User and system time of all processes.
        wall_seconds: How much later the flow ends because of it.
        gpu_seconds: Time in which GPUs are held.
    """

    job: JobName
    name: PartName
    cpu_seconds: float
    wall_seconds: float
    gpu_seconds: float = 0.0


@dataclass(frozen=True)
class Needs:
    """What one run of a flow needs.

    Attributes:
        parts: Its parts, in their order.
        driver_bytes: Peak memory of the process of a job.
        worker_bytes: Peak memory of a worker; None where a job's own process does all work.
        num_workers: Most workers at a time.
    """

    parts: tuple[Part, ...]
    driver_bytes: int
    worker_bytes: int | None
    num_workers: int

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all processes."""
        return sum(part.cpu_seconds for part in self.parts)

    @property
    def wall_seconds(self) -> float:
        """Time from the start of the first job to the end of the last."""
        return sum(part.wall_seconds for part in self.parts)

    @property
    def gpu_seconds(self) -> float:
        """Time in which GPUs are held."""
        return sum(part.gpu_seconds for part in self.parts)

    def by_part(self) -> Mapping[PartName, tuple[float, float]]:
        """Return CPU and wall seconds of each part, over all jobs."""
        totals: dict[PartName, tuple[float, float]] = {}
        for part in self.parts:
            cpu, wall = totals.get(part.name, (0.0, 0.0))
            totals[part.name] = (cpu + part.cpu_seconds, wall + part.wall_seconds)
        return totals


@dataclass(frozen=True)
class Team:
    """The processes that compute the shards of a job."""

    num_workers: int
    num_shards: int
    has_gpus: bool = False
    """Whether each of them has a GPU."""


class FlowParts:
    """Adds up the parts of a flow, job after job."""

    def __init__(self, work: Workload, machine: Machine) -> None:
        self._work, self._machine = work, machine
        self._is_shared = work.num_rows * len(work.spec.models) <= work.spec.airflow.shared_job_rows
        self._job: JobName = "features"
        self._parts: list[Part] = []
        self._loaded: set[Library] = set()
        of_points = BYTES_PER_POINT * min(work.num_rows, BLOCK_ROWS)
        self._reading_bytes = DRIVER_MIB * MIB + of_points + BYTES_PER_SERIES * work.num_series
        self._driver_bytes = self._reading_bytes
        self._worker_bytes: list[int] = []
        self._num_workers = 1

    def read(self) -> None:
        """Begin with the features."""
        num_rows = self._work.num_rows
        self._begin_process()
        self._add_serial("features", SECONDS_PER_READ_POINT * num_rows)
        self._add_serial("storage", SECONDS_PER_STORED_POINT * num_rows)
        self.write(3, num_rows=0)

    def begin(self, job: JobName) -> None:
        """Go on to a job, in a process of its own if the flow is too large to share one."""
        self._job = job
        if not self._is_shared:
            self._begin_process()

    def is_here(self, cost: Cost) -> bool:
        """Return whether a job's own process computes its shards, as with the default settings of a cluster."""
        work = self._work
        seconds = cost.fixed_seconds + work.num_series * cost.series_seconds(work.num_points)
        return seconds < DRIVER_SECONDS and self._worker_bytes_of(cost, work.num_series) <= DRIVER_BYTES

    def train_priors(self, *, is_connected: bool) -> None:
        """Train priors side by side, if members begin from one.

        Args:
            is_connected: Whether the job connects to Ray anyway.
        """
        work, num_points = self._work, self._work.num_points
        if is_connected:
            self._connect()
        members = [sizes for sizes in work.networks if sizes.config.start == "prior"]
        if not members:
            return
        num_series, total = work.num_prior_series, work.num_prior_series * num_points
        seconds = sum(prior_seconds(sizes, num_series=num_series, num_points=total) for sizes in members)
        needed = prior_worker_bytes(work.networks, num_series, num_points, total)
        is_here = seconds < DRIVER_SECONDS and needed <= DRIVER_BYTES
        num_gpus, num_workers = 0 if is_here else self._machine.num_gpus, 1
        if is_here:
            self._load(TRAINS, needed)
        else:
            if not is_connected:
                self._connect()
            num_workers = min(num_gpus or self._machine.num_cores, len(members))
            if num_gpus:
                on_gpu = replace(work, has_gpu=True)
                needed = prior_worker_bytes(on_gpu.networks, num_series, num_points, total)
            self._start_workers(num_workers, TRAINS, needed)
        of_priors = gpu_priors_seconds(work) if num_gpus else self._machine.network_pace * sum(priors_seconds(work))
        rounds = -(-len(members) // num_workers)
        wall = WALL_OF_ONE * of_priors * rounds / len(members)
        self._add("priors", of_priors, wall, gpu_seconds=of_priors if num_gpus else 0.0)
        self._add_serial("storage", SECONDS_PER_COMMIT)

    def gather(
        self,
        cost: Cost,
        libraries: Collection[Library],
        *,
        held: Cost | None = None,
        is_connected: bool = False,
        num_gpus: int = 0,
    ) -> Team:
        """Decide which processes compute the shards of a job, and start them.

        Args:
            cost: Decides the division.
            libraries: What each process loads.
            held: Predicts the memory besides that of statsforecast, which `cost` has without regard to its use.
            is_connected: Whether the job is connected to Ray.
            num_gpus: GPUs, one for each worker; 0 if workers have a core alone.

        Returns:
            The processes.
        """
        work = self._work
        num_series, num_points = work.num_series, work.num_points
        seconds = num_series * cost.series_seconds(num_points)
        if not num_gpus and self.is_here(cost):
            self._load(libraries, self._worker_bytes_of(held or cost, num_series))
            return Team(1, count_shards(seconds, cost, num_series=num_series, num_workers=1))
        if not is_connected:
            self._connect()
        num_workers = min(num_gpus or self._machine.num_cores, num_series)
        num_shards = count_shards(seconds, cost, num_series=num_series, num_workers=num_workers)
        size = -(-num_series // num_shards)
        allowed = GPU_WORKER_BYTES if num_gpus else WORKER_BYTES
        while size > 1 and self._worker_bytes_of(cost, size) > allowed:
            size = -(-size // 2)
        self._start_workers(num_workers, libraries, self._worker_bytes_of(held or cost, size))
        return Team(num_workers, max(num_shards, -(-num_series // size)), num_gpus > 0)

    def spread(self, name: PartName, team: Team, seconds: float) -> None:
        """Add work on all shards of a job."""
        on_gpu = team.has_gpus and name in _OF_NETWORKS
        if not on_gpu:
            seconds *= self._machine.network_pace if name in _OF_NETWORKS else self._machine.other_pace
        share = EFFICIENCY if team.num_workers > 1 else 1 / WALL_OF_ONE
        self._add(name, seconds, seconds / (share * team.num_workers), gpu_seconds=seconds if on_gpu else 0.0)

    def write(self, num_tables: int, *, num_rows: int) -> None:
        """Add the writing of a job's tables, and of its row of `runs`."""
        self._add_serial("storage", SECONDS_PER_COMMIT * (num_tables + 1) + SECONDS_PER_STORED_ROW * num_rows)

    def needs(self) -> Needs:
        """Return what has been added up."""
        largest = max(self._worker_bytes, default=None)
        return Needs(tuple(self._parts), self._driver_bytes, largest, self._num_workers)

    def _worker_bytes_of(self, cost: Cost, num_series: int) -> int:
        num_points = self._work.num_points
        return cost.worker_bytes(num_series, num_points, num_series * num_points)

    def _begin_process(self) -> None:
        self._loaded = set()
        self._add_serial(_START, PROCESS_SECONDS)

    def _load(self, libraries: Collection[Library], num_bytes: int) -> None:
        """Add the libraries that the job's own process has not loaded yet, and the memory of its work."""
        self._add_serial(_START, _seconds_to_load({*libraries} - self._loaded))
        self._loaded |= {*libraries}
        with_torch = num_bytes + (STORE_MIB + _mib_of(libraries)) * MIB
        held = with_torch if "torch" in self._loaded else self._reading_bytes + SCORES_MIB * MIB
        self._driver_bytes = max(self._driver_bytes, held)

    def _connect(self) -> None:
        self._add_serial(_START, CONNECTION_SECONDS)

    def _start_workers(self, num_workers: int, libraries: Collection[Library], num_bytes: int) -> None:
        seconds = self._machine.other_pace * (WORKER_SECONDS + _seconds_to_load(libraries))
        self._add(_START, num_workers * seconds, WALL_OF_ONE * seconds + WAITING_SECONDS)
        self._worker_bytes.append(num_bytes + _mib_of(libraries) * MIB)
        self._num_workers = max(self._num_workers, num_workers)

    def _add_serial(self, name: PartName, seconds: float) -> None:
        seconds *= self._machine.other_pace
        self._add(name, seconds, WALL_OF_ONE * seconds)

    def _add(self, name: PartName, cpu_seconds: float, wall_seconds: float, *, gpu_seconds: float = 0.0) -> None:
        self._parts.append(Part(self._job, name, cpu_seconds, wall_seconds, gpu_seconds))


def _seconds_to_load(libraries: Collection[Library]) -> float:
    return sum(LIBRARY_SECONDS[library] for library in libraries)


def _mib_of(libraries: Collection[Library]) -> int:
    return STATISTICS_MIB if "statsforecast" in libraries else 0
