"""The pool of Ray actors that runs units of work: a task, many units, and one result per unit.

Actors take units from the driver, never more than two at a time each. Ray restarts an actor that dies and runs its
units again. A unit that still fails is a system fault and ends the run with the unit's description.
"""

import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from forecasting.errors import ClusterError, FleetcastError, ServiceError
from forecasting.settings import WORKER_BYTES
from workers.cluster.metrics import QueueMetrics
from workers.cluster.progress import Progress
from workers.cluster.worker import Resources, Result, Unit, WorkUnit, environment_of
from workers.settings import WorkerSettings

IN_FLIGHT_PER_ACTOR = 2
MAX_RETRIES = 3
"""Further tries of one unit, after a crash of its actor or a system error."""
MAX_RESTARTS = 10
READY_PATIENCE = 30.0
NODE_PATIENCE = 120.0
"""Seconds for which units of a lost node are given out again.

Ray takes some ten seconds to notice the loss, and spends its own retries before that.
"""


class WorkerLost(ClusterError):
    """The actor of a unit has died or cannot be reached, and Ray's own retries are spent."""


def plan_resources(settings: WorkerSettings) -> Resources:
    """Fit actors into the cluster that this process is connected to.

    GPUs are requested only where a node has them.

    Args:
        settings: Number of workers and what each should get, as far as set.

    Returns:
        What each actor gets, and how many actors there are.

    Raises:
        ClusterError: No node can hold an actor and `num_workers` is not set; a cluster that grows needs it.
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


def run_units(
    task: Callable[[Unit], Result],
    units: Sequence[Unit],
    *,
    name: str,
    resources: Resources,
    done: Mapping[int, Result] | None = None,
    on_done: Callable[[Unit, Result], None] | None = None,
    noun: str = "series",
) -> list[Result]:
    """Run a task for every unit on actors.

    Args:
        task: What computes a unit; it is pickled once per actor.
        units: What to compute.
        name: Name of the run in progress and messages.
        resources: The actors to start.
        done: Results by number of units that are not run again.
        on_done: Called in this process with each unit that ends, and its result.
        noun: What the sizes of the units count, in the plural.

    Returns:
        One result per unit, in the order of the units.

    Raises:
        FleetcastError: The task raised it.
        ClusterError: A unit or a worker failed otherwise; the message has the unit's description.
    """
    done = done or {}
    results: dict[int, Result] = {unit.number: done[unit.number] for unit in units if unit.number in done}
    waiting = deque(unit for unit in units if unit.number not in results)
    num_already = sum(unit.size for unit in units if unit.number in results)
    if num_already:
        print(f"{name}: {num_already} {noun} are already staged and are skipped", flush=True)
    if not waiting:
        return [results[unit.number] for unit in units]
    progress = Progress(name, sum(unit.size for unit in units), already=num_already, noun=noun)
    metrics = QueueMetrics(name, noun)
    actors = [_start_actor(task, resources) for _ in range(min(resources.num_workers, len(waiting)))]
    try:
        starting = {actor.is_ready.remote(): actor for actor in actors}
        running: dict[Any, tuple[Any, Unit]] = {}
        num_in_flight = dict.fromkeys(actors, 0)
        give_up: dict[int, float] = {}
        nodes = set(_living_nodes())
        while waiting or running:
            metrics.show(waiting=len(waiting), running=len(running))
            ready, _ = ray.wait([*running, *(starting if waiting else ())], timeout=READY_PATIENCE)
            if not ready and not running:
                print(f"{name}: waiting for a worker with {resources.num_cpus:g} cores", flush=True)
            for reference in ready:
                if reference in starting:
                    actor = starting.pop(reference)
                    _get(reference, "a worker")
                else:
                    actor, unit = running.pop(reference)
                    num_in_flight[actor] -= 1
                    try:
                        results[unit.number] = result = _get(reference, unit.description)
                    except WorkerLost as error:
                        is_late = time.monotonic() > give_up.setdefault(unit.number, time.monotonic() + NODE_PATIENCE)
                        if is_late or not _has_lost_a_node(nodes):
                            raise ClusterError(str(error)) from error
                        print(f"{name}: a node is lost, so {unit.description} runs again", flush=True)
                        waiting.appendleft(unit)
                        time.sleep(1)
                    else:
                        progress.add(unit.size)
                        metrics.count(unit.size)
                        if on_done:
                            on_done(unit, result)
                # The last units wait for any free actor: behind a running unit, one would wait while actors idle.
                is_plenty = len(waiting) > IN_FLIGHT_PER_ACTOR * len(actors)
                for _ in range(min((IN_FLIGHT_PER_ACTOR if is_plenty else 1) - num_in_flight[actor], len(waiting))):
                    unit = waiting.popleft()
                    running[_submit(actor, unit)] = (actor, unit)
                    num_in_flight[actor] += 1
    finally:
        metrics.show(waiting=0, running=0)
        for actor in actors:
            ray.kill(actor)
    return [results[unit.number] for unit in units]


class _Worker:
    """Runs one task for unit after unit, so that torch and its context load once."""

    def __init__(self, task: Callable[[WorkUnit], Any]) -> None:
        self._task = task

    def is_ready(self) -> bool:
        return True

    def run(self, unit: WorkUnit) -> Any:
        result = self._task(unit)
        sys.stdout.flush()
        return result


def _start_actor(task: Callable[[Any], Any], resources: Resources) -> Any:
    actor_class = ray.remote(
        num_cpus=resources.num_cpus,
        num_gpus=resources.num_gpus,
        max_restarts=MAX_RESTARTS,
        max_task_retries=MAX_RETRIES,
        runtime_env={"env_vars": environment_of(resources)},
    )(_Worker)
    return actor_class.remote(task)


def _submit(actor: Any, unit: WorkUnit) -> Any:
    # A wrong request stays wrong and bad data becomes rows; only system errors are worth another try.
    return actor.run.options(retry_exceptions=[ServiceError, OSError]).remote(unit)


def _get(reference: Any, subject: str) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, FleetcastError):
            raise error.cause from error
        raise ClusterError(f"{subject} failed: {error.cause!r}") from error
    except RayActorError as error:
        raise WorkerLost(f"{subject} failed: its worker died {MAX_RETRIES + 1} times") from error
    except RayError as error:
        raise ClusterError(f"{subject} failed: {str(error).splitlines()[0]}") from error


def _living_nodes() -> dict[str, Mapping[str, Any]]:
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def _has_lost_a_node(before: set[str]) -> bool:
    """Return whether a node that was there before is gone, or does not answer although Ray has not noticed yet."""
    living = _living_nodes()
    return not before <= set(living) or not all(_answers(node) for node in living.values())


def _answers(node: Mapping[str, Any]) -> bool:
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=5).close()
    except OSError:
        return False
    return True


def _share_memory(nodes: Sequence[Mapping[str, float]], slots: Sequence[int]) -> int:
    """Return a worker's memory on the node where it is scarcest; Ray's figure leaves out the object store."""
    shares = [node["memory"] / num for node, num in zip(nodes, slots, strict=True) if num and "memory" in node]
    return max(WORKER_BYTES, int(min(shares, default=0)))


def _count_slots(node: Mapping[str, float], num_cpus: float, num_gpus: float) -> int:
    by_cpu = int(node.get("CPU", 0.0) / num_cpus + 1e-9)
    return min(by_cpu, int(node.get("GPU", 0.0) / num_gpus + 1e-9)) if num_gpus else by_cpu
