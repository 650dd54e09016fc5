"""A task's stored state goes in; the run to start, to attach to or to submit again comes out.

A task has one run (run_id, generation) from its first try until it is cleared. Retries keep it, so that jobs resume
from the shards that are staged under it; each job that is submitted for it has a submission id of its own.
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
    """The part of Airflow's `context["task_state_store"]` that is used here; it outlives retries and clears."""

    def get(self, key: str) -> Any: ...

    def set(self, key: str, value: Any) -> None: ...


@dataclass(frozen=True)
class TaskRun:
    """One run of one task: `attempt` counts its submissions from 1, `max_tries` is Airflow's at the time."""

    run_id: str
    generation: int
    attempt: int
    max_tries: int

    @property
    def submission_id(self) -> str:
        return f"{self.run_id}.{self.attempt}"

    def was_cleared(self, max_tries: int) -> bool:
        """Whether the task was cleared since the run was stored.

        Clearing sets a task's `max_tries` to the tries it has had plus its retries, which is more than before
        whenever it has run; a retry leaves `max_tries` alone.
        """
        return max_tries > self.max_tries

    def submitted_again(self) -> "TaskRun":
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
    """Return a new run.

    Its generation is the time (`now`, in seconds since 1970) in milliseconds, and always above the previous one's.
    """
    generation = max(int((time.time() if now is None else now) * 1000), previous.generation + 1 if previous else 0)
    # Two DAG runs that start in the same millisecond (a backfill) must not share a run.
    digest = hashlib.sha256(dag_run_id.encode()).hexdigest()[:6]
    slug = re.sub(r"[^A-Za-z0-9_.\-]+", "-", f"{dag_id}.{task_id}")[:MAX_SLUG].lstrip("_.-") or "task"
    return TaskRun(f"{slug}.{generation}.{digest}", generation, attempt=1, max_tries=max_tries)


def read_run(store: TaskStateStore) -> TaskRun | None:
    """Return the run that this task has stored, or None where it has none yet."""
    stored = store.get(RUN_KEY)
    return TaskRun(**stored) if isinstance(stored, Mapping) else None


def write_run(store: TaskStateStore, run: TaskRun) -> None:
    store.set(RUN_KEY, asdict(run))
