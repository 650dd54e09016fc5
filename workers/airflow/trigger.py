"""A submission id goes in; one event comes out when its job has ended or is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from forecasting.errors import JobLost, UserError
from workers.airflow.client import RayJobsClient, await_end, stop_job
from workers.arguments import PROGRESS_MARK

SETTLE_SECONDS = 4.0
"""What a slow scheduler may take to notice that a task's process has ended; see `_least_wait`."""


class JobEndTrigger(BaseTrigger):
    """Waits in the triggerer for the end of a Ray job; stops the job where a person kills or clears the task.

    The event holds `submission_id` and, where the job cannot be followed to its end, `error` (the name of the class)
    and `message`. The token is read on the triggerer's machine and is never stored.
    """

    def __init__(self, url: str, submission_id: str, interval: float = 5.0, patience: float = 60.0) -> None:
        super().__init__()
        self.url = url
        self.submission_id = submission_id
        self.interval = interval
        self.patience = patience

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "url": self.url,
            "submission_id": self.submission_id,
            "interval": self.interval,
            "patience": self.patience,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event."""
        begin = time.monotonic()
        event: dict[str, Any] = {"submission_id": self.submission_id}
        try:
            end = await_end(
                self.submission_id, interval=self.interval, patience=self.patience, on_line=self._tell_progress
            )
            await self._client().arun(end)
        except (JobLost, UserError) as error:
            event |= {"error": type(error).__name__, "message": str(error)}
        if self.trigger_id is not None:  # in a triggerer, so that there is a scheduler; not in `airflow dags test`
            await asyncio.sleep(max(0.0, _least_wait() - (time.monotonic() - begin)))
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Stop the job and wait until it has ended; Airflow calls this when a person ends or clears the task."""
        job = await self._client().arun(stop_job(self.submission_id))
        self.log.info("job %s has ended as %s", self.submission_id, job.status if job else "unknown to its cluster")

    def _tell_progress(self, line: str) -> None:
        """Let a reader of the task's log follow the job; its last lines come once more when the task is resumed."""
        if PROGRESS_MARK in line:
            self.log.info("%s", line)

    def _client(self) -> RayJobsClient:
        return RayJobsClient(self.url)


def _least_wait() -> float:
    """Return the seconds before which no event may come.

    Airflow 3.3 takes a task that is resumed before its scheduler has noticed that the process which deferred it has
    ended for one that somebody killed (apache/airflow#67287, #72716), which costs it a try. The supervisor of such a
    process can miss its end: where the sockets close before the process is a zombie, as under load, the supervisor
    looks again only when it would send the next heartbeat.
    """
    return SETTLE_SECONDS + float(conf.getfloat("workers", "min_heartbeat_interval"))
