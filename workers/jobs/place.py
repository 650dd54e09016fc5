"""Where the units of work of a run are computed: on Ray actors, or in the job's own process where that is sooner.

To connect to Ray and to start an actor that loads torch takes seconds, which the work of a few series does not justify.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from forecasting.errors import ClusterError, FleetcastError
from forecasting.settings import DRIVER_BYTES
from workers.cluster.local_ray import local_ray
from workers.cluster.progress import Progress
from workers.cluster.worker import Resources, Result, Unit, environment_of
from workers.jobs.run import Run

HERE = Resources(num_workers=1, num_cpus=1, num_gpus=0, num_bytes=DRIVER_BYTES)
"""What the job's own process gives to its units, one after the other."""


@dataclass(frozen=True)
class Place:
    """Workers that compute units.

    Attributes:
        resources: Their number, and what each gets.
        run_units: Computes units as `workers.cluster.pool.run_units` does.
    """

    resources: Resources
    run_units: Callable[..., list[Any]]


def is_short(run: Run, seconds: float, num_bytes: int) -> bool:
    """Return whether work is done in the job's own process.

    Args:
        run: The run.
        seconds: Predicted seconds of all units on one core.
        num_bytes: Predicted memory of the process.

    Returns:
        Whether the setting `driver_seconds` allows it, it fits in the memory, and no GPU is requested for it.
    """
    allowed = HERE.num_bytes
    if run.workers.memory_per_worker_mb is not None:
        allowed = min(allowed, run.workers.memory_per_worker_mb << 20)
    return run.fleet.kernel != "gpu" and num_bytes <= allowed and seconds < run.workers.driver_seconds


@contextmanager
def open_place(run: Run, *, is_here: bool) -> Iterator[Place]:
    """Provide the workers of a run.

    Args:
        run: The run.
        is_here: Whether this process is the only worker, as `is_short` decides.

    Yields:
        The workers; actors end with the `with` block at the latest.
    """
    if is_here:
        yield Place(HERE, run_here)
        return
    from workers.cluster.pool import plan_resources, run_units  # which imports ray

    with local_ray(log_to_driver=True):
        yield Place(plan_resources(run.workers), run_units)


def run_here(
    task: Callable[[Unit], Result],
    units: Sequence[Unit],
    *,
    name: str,
    resources: Resources,
    done: Mapping[int, Result] | None = None,
    noun: str = "series",
) -> list[Result]:
    """Run a task for every unit in this process, as one actor would.

    Args:
        task: What computes a unit.
        units: What to compute.
        name: Name of the run in progress and messages.
        resources: What this process gives.
        done: Results by number of units that are not run again.
        noun: What the sizes of the units count, in the plural.

    Returns:
        One result per unit, in the order of the units.

    Raises:
        FleetcastError: The task raised it.
        ClusterError: A unit failed otherwise; the message has the unit's description.
    """
    os.environ.update(environment_of(resources))  # before the task loads torch
    done = done or {}
    already = sum(unit.size for unit in units if unit.number in done)
    progress = Progress(name, sum(unit.size for unit in units), already=already, noun=noun)
    results: list[Result] = []
    for unit in units:
        if unit.number in done:
            results.append(done[unit.number])
            continue
        try:
            results.append(task(unit))
        except FleetcastError:
            raise
        except Exception as error:
            raise ClusterError(f"{unit.description} failed: {error!r}") from error
        progress.add(unit.size)
    return results
