"""Metrics of jobs for Prometheus, by `ray.util.metrics`; the agent of each Ray node exports them.

All are gauges: Ray multiplies the counters of a process that connects several times, as jobs do. Ages are measured from
timestamps: a job ends, and what it has exported disappears soon after, so that rules look back with `max_over_time`.
docs/operations.md lists the metrics.
"""

import os
import sys
import time
from collections.abc import Callable
from datetime import datetime, tzinfo
from functools import cache
from typing import Any

from forecasting.errors import ClusterError
from forecasting.spec.frequency import average_width, step_of
from workers.cluster.local_ray import local_ray

PREFIX = "fleetcast_"


class QueueMetrics:
    """The queue of a pool of actors, and its speed.

    Args:
        step: Name of the job that has the pool.
        noun: What is counted, in the plural.
        clock: Returns the time in seconds.
    """

    def __init__(self, step: str, noun: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = step
        self._noun = noun
        self._clock = clock
        self._began = clock()
        self._num_done = 0

    def count(self, num_new: int) -> None:
        """Count what is newly done."""
        self._num_done += num_new

    def show(self, *, waiting: int, running: int) -> None:
        """Export how many units wait and how many actors have, and what has been done per second so far."""
        seconds = self._clock() - self._began
        rate = self._num_done / seconds if running and seconds > 0 else 0.0
        _set("waiting_units", "units of work that wait for an actor", waiting, step=self._step)
        _set("running_units", "units of work that actors have", running, step=self._step)
        _set(f"{self._noun}_per_second", f"{self._noun} that a job finishes per second", rate, step=self._step)


def report_end(
    spec: str, step: str, freq: str | int, *, status: str, kind: str = "", cutoff: datetime | None = None, zone: tzinfo
) -> None:
    """Export the end of a run: its status, and how far its data or forecasts reach.

    Nothing is exported by a process that Ray has not started as a job. A run does not fail because of its metrics: what
    cannot be exported is printed.

    Args:
        spec: Name of the spec.
        step: Name of the job.
        freq: Frequency of the spec.
        status: Status of the run.
        kind: Class of the error of a failed run.
        cutoff: The newest time that the run's data or forecasts know; None where none became known, and for integer
            steps.
        zone: Zone of the cutoff.
    """
    if "RAY_ADDRESS" not in os.environ:
        return
    try:
        with local_ray():
            _export(spec, step, freq, status=status, kind=kind, cutoff=cutoff, zone=zone)
    except ClusterError as error:
        print(f"metrics of the run are not exported: {error}", file=sys.stderr, flush=True)


def _export(
    spec: str, step: str, freq: str | int, *, status: str, kind: str, cutoff: datetime | None, zone: tzinfo
) -> None:
    tags = {"spec": spec, "step": step}
    if status == "failed":
        _set("failure_timestamp_seconds", "when a run failed", time.time(), **tags, kind=kind)
        return
    _set("success_timestamp_seconds", "when a run succeeded or had nothing to do", time.time(), **tags)
    known = {"features": ("data", "newest measurement"), "predict": ("forecast", "cutoff of the newest forecast")}
    if cutoff is not None and step in known and isinstance(freq, str):
        name, description = known[step]
        _set(f"{name}_timestamp_seconds", description, cutoff.replace(tzinfo=zone).timestamp(), spec=spec)
        _set("period_seconds", "period of the spec's frequency", average_width(str(step_of(freq))) / 1e6, spec=spec)


def _set(name: str, description: str, value: float, **tags: str) -> None:
    _gauge(name, description, tuple(tags)).set(value, tags)


@cache
def _gauge(name: str, description: str, keys: tuple[str, ...]) -> Any:
    from ray.util.metrics import Gauge

    return Gauge(f"{PREFIX}{name}", description, keys)
