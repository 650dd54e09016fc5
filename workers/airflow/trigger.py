"""The trigger of a deferred task: one event when its step, or its Ray job, has ended or is lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from forecasting.errors import ClusterError, JobFailed, JobLost, UserError
from workers.airflow.client import RayJobsClient, await_step, stop_job
from workers.airflow.hook import FleetcastRayHook
from workers.arguments import find_progress

SETTLE_SECONDS = 4.0
"""Seconds that a slow scheduler may take to notice that a task's process has ended; see `_least_wait`."""


class JobEndTrigger(BaseTrigger):
    """Waits in the triggerer for the end of a step, and stops its Ray job if a person kills or clears the task.

    The event has `submission_id`, `run_id` and, if the step cannot be followed to its end, `error` (the name of the
    class) and `message`. The token is read on the triggerer's machine, from the connection or Ray's own settings, and
    is never stored.

    Args:
        url: URL of the Jobs API.
        submission_id: Name of the job.
        run_id: The run of the step; a job without marks of steps is followed to its end.
        interval: Seconds between two checks.
        patience: Seconds for which the cluster may fail to answer.
        connection: Name of Airflow's connection that has the URL and the token; None for the URL alone.
        timeout: Seconds after which the job is stopped; None for any time.
    """

    def __init__(
        self,
        url: str,
        submission_id: str,
        run_id: str = "",
        interval: float = 5.0,
        patience: float = 60.0,
        connection: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        self.url = url
        self.submission_id = submission_id
        self.run_id = run_id
        self.interval = interval
        self.patience = patience
        self.connection = connection
        self.timeout = timeout

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of this class and its arguments, as Airflow stores them."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "url": self.url,
            "submission_id": self.submission_id,
            "run_id": self.run_id,
            "interval": self.interval,
            "patience": self.patience,
            "connection": self.connection,
            "timeout": self.timeout,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the end of the step.

        Yields:
            The one event.
        """
        begin = time.monotonic()
        event: dict[str, Any] = {"submission_id": self.submission_id, "run_id": self.run_id}
        try:
            end = await_step(
                self.submission_id,
                self.run_id,
                interval=self.interval,
                patience=self.patience,
                on_line=self._log_progress,
            )
            async with asyncio.timeout(self.timeout):
                await (await self._client()).arun(end)
        except TimeoutError:
            event |= {"error": JobFailed.__name__, "message": await self._stop_late_job()}
        except (JobFailed, JobLost, UserError) as error:
            event |= {"error": type(error).__name__, "message": str(error)}
        if self.trigger_id is not None:  # in a triggerer, so that there is a scheduler; not in `airflow dags test`
            await asyncio.sleep(max(0.0, _least_wait() - (time.monotonic() - begin)))
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Stop the job and wait until it has ended; Airflow calls this when a person kills or clears the task."""
        job = await (await self._client()).arun(stop_job(self.submission_id))
        self.log.info("job %s has ended as %s", self.submission_id, job.status if job else "unknown to its cluster")

    def _log_progress(self, line: str) -> None:
        """Log the step's progress while it runs; all other lines are logged when the task is resumed."""
        if find_progress(line):
            self.log.info("%s", line)

    async def _stop_late_job(self) -> str:
        """Stop the job that has taken too long, and return what happened."""
        late = f"job {self.submission_id} has not ended within execution_timeout, {self.timeout:.0f} s"
        try:
            await (await self._client()).arun(stop_job(self.submission_id))
        except (ClusterError, UserError) as error:
            return f"{late}, and may still run: {error}"
        return f"{late}, and was stopped; airflow.execution_timeout of the spec changes it"

    async def _client(self) -> RayJobsClient:
        if self.connection is None:
            return RayJobsClient(self.url)
        return (await FleetcastRayHook(self.connection).acluster()).client()


def _least_wait() -> float:
    """Return the seconds that an event is held back, at least.

    A task may be resumed before Airflow 3.3's scheduler has noticed the end of the process that deferred it. Airflow
    then takes the task for killed, which costs it a try (apache/airflow#67287, #72716). The process's supervisor can
    miss its end under load, when sockets close before the process is a zombie. It then checks again only at the next
    heartbeat.
    """
    return SETTLE_SECONDS + float(conf.getfloat("workers", "min_heartbeat_interval"))
