"""The run of an Airflow task, kept in the task's state: whether to start, attach to or resubmit a job.

A task has one run (run_id, generation) from its first try until it is cleared. Retries keep the run, so that jobs
resume from its staged shards. Each job that is submitted for a run has its own submission id. The job that an earlier
task has submitted may also run a task's step; the task then adopts the run that the earlier one has settled for it.
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from workers.steps import Step, parse_steps

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
        attempt: Number of the run's submission by its own task, from 1; 0 of one that no own job was submitted for.
        max_tries: Airflow's `max_tries` of the task when the run began.
        steps: The steps that the job goes on with after this run.
        shared_job: Submission id of the job of an earlier task that has the run's step; None where it has its own.
    """

    run_id: str
    generation: int
    attempt: int
    max_tries: int
    steps: tuple[Step, ...] = ()
    shared_job: str | None = None

    @property
    def submission_id(self) -> str:
        """Name of the job that runs the step at this attempt."""
        return self.shared_job or f"{self.run_id}.{self.attempt}"

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
        """Return the same run at its next attempt, which has a job of its own."""
        return replace(self, attempt=self.attempt + 1, shared_job=None)


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
    return TaskRun(name_run(dag_id, dag_run_id, task_id, generation), generation, attempt=1, max_tries=max_tries)


def name_run(dag_id: str, dag_run_id: str, task_id: str, generation: int) -> str:
    """Return the run_id of a run of a task."""
    # Two DAG runs that start in the same millisecond (a backfill) must not share a run.
    digest = hashlib.sha256(dag_run_id.encode()).hexdigest()[:6]
    slug = re.sub(r"[^A-Za-z0-9_.\-]+", "-", f"{dag_id}.{task_id}")[:MAX_SLUG].lstrip("_.-") or "task"
    return f"{slug}.{generation}.{digest}"


def read_run(store: TaskStateStore) -> TaskRun | None:
    """Return the run that a task has stored, or None where it has none yet."""
    stored = store.get(RUN_KEY)
    if not isinstance(stored, Mapping):
        return None
    return TaskRun(**{**stored, "steps": parse_steps(stored.get("steps", ()))})


def write_run(store: TaskStateStore, run: TaskRun) -> None:
    """Store the run of a task."""
    store.set(RUN_KEY, asdict(run) | {"steps": [step.model_dump() for step in run.steps]})
