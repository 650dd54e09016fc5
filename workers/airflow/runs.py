"""The run of an Airflow task, kept in the task's state: whether to start, attach to or resubmit a job.

A task has one run (run_id, generation) from its first try until it is cleared. Retries keep the run, so that jobs
resume from its staged shards. Each job that is submitted for a run has its own submission id.
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

RUN_KEY = "fleetcast_run"
MAX_SLUG = 150


class TaskStateStore(Protocol):
    """The part of Airflow's `context["task_state_store"]` that is used here; it survives retries and clears."""

    def get(self, key: str) -> Any:
        """Return the value of a key, or None."""

    def set(self, key: str, value: Any) -> None:
        """Store a value that JSON can hold."""


@dataclass(frozen=True)
class TaskRun:
    """One run of one task.

    Attributes:
        run_id: Name of the run.
        generation: Higher for each run of a task; a retry keeps it.
        attempt: Number of the run's submission, from 1.
        max_tries: Airflow's `max_tries` of the task when the run began.
    """

    run_id: str
    generation: int
    attempt: int
    max_tries: int

    @property
    def submission_id(self) -> str:
        """Name of the job that is submitted at this attempt."""
        return f"{self.run_id}.{self.attempt}"

    def was_cleared(self, max_tries: int) -> bool:
        """Return whether the task was cleared since the run was stored.

        To clear a task that has run raises its `max_tries` to the tries so far plus its retries. A retry leaves
        `max_tries` unchanged.

        Args:
            max_tries: Airflow's `max_tries` of the task now.

        Returns:
            Whether it has been raised.
        """
        return max_tries > self.max_tries

    def submitted_again(self) -> "TaskRun":
        """Return the same run at its next attempt."""
        return replace(self, attempt=self.attempt + 1)


def start_run(
    *,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    max_tries: int,
    previous: TaskRun | None = None,
    now: float | None = None,
) -> TaskRun:
    """Return a new run of a task.

    Args:
        dag_id: Id of the DAG.
        dag_run_id: Id of the DAG run.
        task_id: Id of the task.
        max_tries: Airflow's `max_tries` of the task.
        previous: The task's run before, whose generation the new one exceeds.
        now: Seconds since 1970; the current time by default. The generation is this time in milliseconds.

    Returns:
        The run, at its first attempt.
    """
    generation = max(int((time.time() if now is None else now) * 1000), previous.generation + 1 if previous else 0)
    # Two DAG runs that start in the same millisecond (a backfill) must not share a run.
    digest = hashlib.sha256(dag_run_id.encode()).hexdigest()[:6]
    slug = re.sub(r"[^A-Za-z0-9_.\-]+", "-", f"{dag_id}.{task_id}")[:MAX_SLUG].lstrip("_.-") or "task"
    return TaskRun(f"{slug}.{generation}.{digest}", generation, attempt=1, max_tries=max_tries)


def read_run(store: TaskStateStore) -> TaskRun | None:
    """Return the run that a task has stored, or None where it has none yet."""
    stored = store.get(RUN_KEY)
    return TaskRun(**stored) if isinstance(stored, Mapping) else None


def write_run(store: TaskStateStore, run: TaskRun) -> None:
    """Store the run of a task."""
    store.set(RUN_KEY, asdict(run))
