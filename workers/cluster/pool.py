"""Bounded fan-out: a task and shards go in, each runs on a Ray actor, and small statuses come out.

Actors take shards from the driver, never more than two at a time each. Ray restarts an actor that dies and runs its
shards again; what still fails is a fault of the system and ends the run with the shard's name.
"""

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from forecasting.errors import ClusterError, FleetcastError, ServiceError
from workers.cluster.progress import Progress
from workers.cluster.shards import Shard
from workers.settings import WorkerSettings

Status = Mapping[str, Any]
Task = Callable[[Shard], Status]

IN_FLIGHT_PER_ACTOR = 2
MAX_RETRIES = 3
"""Further tries of one shard, after a crash of its actor or an error of the system."""
MAX_RESTARTS = 10
READY_PATIENCE = 30.0
LEAST_BYTES = 2 << 30
"""Memory of a worker where neither a setting nor its node tells of more."""
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


@dataclass(frozen=True)
class Resources:
    """What every actor of a pool gets, and how many actors there are; `num_bytes` is the memory it may hold."""

    num_workers: int
    num_cpus: float
    num_gpus: float
    num_bytes: int = LEAST_BYTES

    @property
    def num_threads(self) -> int:
        return max(1, int(self.num_cpus))


def plan_resources(settings: WorkerSettings) -> Resources:
    """Fit actors into the cluster that this process is connected to.

    GPUs are asked for only where a node has them. Raises ClusterError where no node can hold an actor and no number
    of workers is set (a cluster that grows needs `num_workers`).
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has_gpus = any(node.get("GPU", 0) for node in nodes)
    wanted = 1.0 if settings.gpus_per_worker is None else settings.gpus_per_worker
    num_gpus = wanted if has_gpus else 0.0
    slots = [_count_slots(node, settings.cpus_per_worker, num_gpus) for node in nodes]
    num_slots = sum(slots)
    if settings.num_workers is None and num_slots == 0:
        largest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
        raise ClusterError(
            f"no node of the cluster holds a worker of {settings.cpus_per_worker:g} cores and {num_gpus:g} GPUs; the"
            f" largest has {largest:g} cores; lower cpus_per_worker or gpus_per_worker, or set num_workers to wait"
        )
    num_bytes = _share_memory(nodes, slots)
    if settings.memory_per_worker_mb is not None:
        num_bytes = settings.memory_per_worker_mb << 20
    return Resources(settings.num_workers or num_slots, settings.cpus_per_worker, num_gpus, num_bytes)


def run_shards(
    task: Task,
    shards: Sequence[Shard],
    *,
    name: str,
    resources: Resources,
    done: Mapping[int, Status] | None = None,
    on_done: Callable[[Shard, Status], None] | None = None,
    unit: str = "series",
) -> list[Status]:
    """Run a task for every shard on actors and return its statuses, in the order of the shards.

    `task` is pickled once per actor. `done` holds the statuses of shards that need not run again, by number.
    Progress counts series, or where `unit` names something else, shards.
    Raises the task's own error where Fleetcast made it, else ClusterError, each with the shard's name.
    """
    done = done or {}
    statuses: dict[int, Status] = {shard.number: done[shard.number] for shard in shards if shard.number in done}
    waiting = deque(shard for shard in shards if shard.number not in statuses)
    num_already = sum(len(shard.unique_ids) for shard in shards if shard.number in statuses)
    if num_already:
        print(f"{name}: {num_already} series are already staged and are skipped", flush=True)
    if not waiting:
        return [statuses[shard.number] for shard in shards]
    is_series = unit == "series"
    num_all = sum(len(shard.unique_ids) if is_series else 1 for shard in shards)
    progress = Progress(name, num_all, already=num_already, unit=unit)
    actors = [_start_actor(task, resources) for _ in range(min(resources.num_workers, len(waiting)))]
    try:
        starting = {actor.is_ready.remote(): actor for actor in actors}
        running: dict[Any, tuple[Any, Shard]] = {}
        num_in_flight = dict.fromkeys(actors, 0)
        while waiting or running:
            ready, _ = ray.wait([*running, *(starting if waiting else ())], timeout=READY_PATIENCE)
            if not ready and not running:
                print(f"{name}: waiting for a worker with {resources.num_cpus:g} cores", flush=True)
            for reference in ready:
                if reference in starting:
                    actor = starting.pop(reference)
                    _get(reference, "a worker")
                else:
                    actor, shard = running.pop(reference)
                    statuses[shard.number] = status = _get(reference, str(shard))
                    progress.add(len(shard.unique_ids) if is_series else 1)
                    if on_done:
                        on_done(shard, status)
                    num_in_flight[actor] -= 1
                # The last ones wait for whoever is free: behind a running shard, one would wait while actors have none.
                is_plenty = len(waiting) > IN_FLIGHT_PER_ACTOR * len(actors)
                for _ in range(min((IN_FLIGHT_PER_ACTOR if is_plenty else 1) - num_in_flight[actor], len(waiting))):
                    shard = waiting.popleft()
                    running[_submit(actor, shard)] = (actor, shard)
                    num_in_flight[actor] += 1
    finally:
        for actor in actors:
            ray.kill(actor)
    return [statuses[shard.number] for shard in shards]


class _Worker:
    """Runs one task for shard after shard, so that torch and its context load once."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def is_ready(self) -> bool:
        return True

    def run(self, shard: Shard) -> Status:
        status = self._task(shard)
        sys.stdout.flush()
        return status


def environment_of(resources: Resources) -> dict[str, str]:
    """Return the environment of a worker, which libraries read when they load, before any line of it runs."""
    # A worker that was given no GPU must not see one: Lightning takes what it sees.
    hidden_gpus = {} if resources.num_gpus else {"CUDA_VISIBLE_DEVICES": ""}
    return dict.fromkeys(_THREAD_VARIABLES, str(resources.num_threads)) | hidden_gpus


def _start_actor(task: Task, resources: Resources) -> Any:
    actor_class = ray.remote(
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus,
        max_restarts=MAX_RESTARTS,
        max_task_retries=MAX_RETRIES,
        runtime_env={"env_vars": environment_of(resources)},
    )(_Worker)
    return actor_class.remote(task)


def _submit(actor: Any, shard: Shard) -> Any:
    # A wrong request stays wrong and bad data becomes rows; only errors of the system are worth another try.
    return actor.run.options(retry_exceptions=[ServiceError, OSError]).remote(shard)


def _get(reference: Any, subject: str) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, FleetcastError):
            raise error.cause from error
        raise ClusterError(f"{subject} failed: {error.cause!r}") from error
    except RayActorError as error:
        raise ClusterError(f"{subject} failed: its worker died {MAX_RETRIES + 1} times") from error
    except RayError as error:
        raise ClusterError(f"{subject} failed: {str(error).splitlines()[0]}") from error


def _share_memory(nodes: Sequence[Mapping[str, float]], slots: Sequence[int]) -> int:
    """Return the memory of a worker where it is scarcest; Ray counts what a node has besides its object store."""
    shares = [node["memory"] / num for node, num in zip(nodes, slots, strict=True) if num and "memory" in node]
    return max(LEAST_BYTES, int(min(shares, default=0)))


def _count_slots(node: Mapping[str, float], num_cpus: float, num_gpus: float) -> int:
    by_cpu = int(node.get("CPU", 0.0) / num_cpus + 1e-9)
    return min(by_cpu, int(node.get("GPU", 0.0) / num_gpus + 1e-9)) if num_gpus else by_cpu
