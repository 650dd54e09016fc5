"""A client of Ray's Jobs REST API: submits jobs, reads their states and logs, and stops them.

Each conversation with the API is written once, as a generator that yields requests and pauses and receives responses,
as httpx writes its authentication flows. `RayJobsClient.run` drives a conversation and blocks, `RayJobsClient.arun`
drives it inside an event loop. Tests replace the httpx transport.
"""

import asyncio
import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from forecasting.errors import ClusterError, JobLost, UserError
from workers.airflow.ray_token import TOKEN_PATH_VARIABLE, TOKEN_VARIABLE, read_token
from workers.log_lines import as_text
from workers.steps import find_step

TERMINAL_STATUSES = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Submission:
    """A job for a cluster to run.

    Attributes:
        submission_id: Name of the job, which the client chooses.
        entrypoint: Command that a shell on the cluster runs; it must be a constant.
        env_vars: Environment variables of the job.
        metadata: What Ray's dashboard shows beside the job.
    """

    submission_id: str
    entrypoint: str
    env_vars: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """The state of a job.

    Attributes:
        submission_id: Name of the job.
        status: Ray's status, such as RUNNING.
        exit_code: Exit code of its process; None until that has ended.
        message: Ray's description of the status.
    """

    submission_id: str
    status: str
    exit_code: int | None = None
    message: str = ""

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL_STATUSES

    @property
    def has_failed(self) -> bool:
        """Whether the job has ended without success."""
        return self.status in ("FAILED", "STOPPED")

    @property
    def is_user_error(self) -> bool:
        """Whether the job has failed by the user's mistake, so that a retry is pointless."""
        return self.status == "FAILED" and self.exit_code == UserError.exit_code


@dataclass(frozen=True)
class Request:
    """One request of a conversation."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Pause:
    """A pause of a conversation."""

    seconds: float


Result = TypeVar("Result")
Conversation = Generator[Request | Pause, Any, Result]


def ask_version() -> Conversation[str]:
    """Return the version of Ray that the cluster runs."""
    response = yield Request("GET", "/api/version")
    version = _read_json(response).get("ray_version")
    if not isinstance(version, str):
        raise ClusterError(f"{response.url} does not answer as Ray's Jobs API does: no version")
    return version


def find_job(submission_id: str) -> Conversation[Job | None]:
    """Return the state of a job, or None where the cluster does not know it."""
    response = yield Request("GET", _job_path(submission_id))
    if _is_unknown_job(response):
        return None
    fields = _read_json(response)
    if not isinstance(fields.get("status"), str):
        raise ClusterError(f"{response.url} does not answer as Ray's Jobs API does: a job without a status")
    return Job(submission_id, fields["status"], fields.get("driver_exit_code"), fields.get("message") or "")


def submit_job(submission: Submission) -> Conversation[None]:
    """Submit a job; a job that the cluster already has under this submission id is left as it is."""
    response = yield Request(
        "POST",
        "/api/jobs/",
        {
            "submission_id": submission.submission_id,
            "entrypoint": submission.entrypoint,
            "runtime_env": {"env_vars": dict(submission.env_vars)},
            "metadata": dict(submission.metadata),
            # The entrypoint only coordinates; a core for it would be one less for the actors.
            "entrypoint_num_cpus": 0,
        },
    )
    if response.is_error and "already exists" in response.text:
        return
    _read_json(response)


def read_log(submission_id: str) -> Conversation[list[str]]:
    """Return the lines that a job has printed so far.

    Args:
        submission_id: Name of the job.

    Returns:
        The lines of its log.

    Raises:
        JobLost: The cluster does not know the job.
    """
    return (yield from _read_log_text(submission_id)).splitlines()


def _read_log_text(submission_id: str) -> Conversation[str]:
    response = yield Request("GET", f"{_job_path(submission_id)}/logs")
    if _is_unknown_job(response):
        raise _job_lost(submission_id)
    return as_text(str(_read_json(response).get("logs") or ""))


def stop_job(
    submission_id: str, *, patience: float = 30.0, interval: float = 0.5
) -> Generator[Request | Pause, Any, Job | None]:
    """Stop a job and wait until it has ended.

    The request is repeated at every check, because Ray forgets it while a job is PENDING and would let the job run.

    Args:
        submission_id: Name of the job.
        patience: Seconds to wait, at most.
        interval: Seconds between two checks.

    Returns:
        The job's final state, or None where the cluster does not know it.

    Raises:
        ClusterError: The job has not ended in time.
    """
    deadline = time.monotonic() + patience
    while True:
        job = yield from find_job(submission_id)
        if job is None or job.is_terminal:
            return job
        if time.monotonic() > deadline:
            raise ClusterError(f"job {submission_id} is still {job.status} {patience:.0f} s after the request to stop")
        response = yield Request("POST", f"{_job_path(submission_id)}/stop")
        if not _is_unknown_job(response):
            _read_json(response)
        yield Pause(interval)


def await_step(
    submission_id: str,
    run_id: str,
    *,
    interval: float = 5.0,
    patience: float = 60.0,
    most_seconds: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Generator[Request | Pause, Any, bool]:
    """Wait until a job has ended, or its step of a run has.

    Args:
        submission_id: Name of the job.
        run_id: The run.
        interval: Seconds between two checks; the first ones follow sooner, and all have jitter.
        patience: Seconds for which the cluster may fail to answer.
        most_seconds: Seconds to wait, at most; None for any time.
        on_line: Called with each line that the step has printed since the last check.

    Returns:
        Whether the job or the step has ended; False where the time is over.

    Raises:
        JobFailed: The step's result cannot be read.
        JobLost: The cluster has not answered for too long, or does not know the job, because its head is gone.
    """
    began, pause, unanswered_since, num_lines = time.monotonic(), min(0.5, interval), None, 0
    while True:
        try:
            job = yield from find_job(submission_id)
            text = "" if job is None else (yield from _read_log_text(submission_id))
        except ClusterError as error:
            unanswered_since = unanswered_since or time.monotonic()
            if time.monotonic() - unanswered_since >= patience:
                raise JobLost(
                    f"job {submission_id} is lost: its cluster has not answered for {patience:.0f} s ({error})"
                ) from error
        else:
            unanswered_since = None
            if job is None:
                raise _job_lost(submission_id)
            lines = text.splitlines()
            if not job.is_terminal and not text.endswith("\n"):
                lines = lines[:-1]  # it may be incomplete
            step = find_step(lines, run_id)
            if on_line is not None:
                for line in step.lines[num_lines:]:
                    on_line(line)
            num_lines = len(step.lines)
            if step.is_over or job.is_terminal:
                return True
        wait = pause * random.uniform(0.8, 1.2)
        if most_seconds is not None and time.monotonic() - began + wait > most_seconds:
            return False
        yield Pause(wait)
        pause = min(pause * 1.2, interval)  # the delay is at most half a second and a fifth of the job's time


class RayJobsClient:
    """Drives conversations with one cluster's Jobs API, blocking (`run`) or in an event loop (`arun`).

    Both raise ClusterError where the cluster cannot be reached or responds with an error, and UserError where it
    refuses the token.

    Args:
        url: URL of the Jobs API.
        token: Bearer token; None for the one that Ray's own clients would send, empty for none.
        verify: Whether the certificate of an `https://` URL is verified.
        transport: Replaces httpx's transport in tests.
        timeout: Seconds that one request may take.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        verify: bool = True,
        transport: httpx.MockTransport | None = None,
        timeout: float = 30.0,
    ) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._verify = verify
        self._transport = transport
        self._timeout = timeout

    def run(self, conversation: Conversation[Result]) -> Result:
        """Drive a conversation to its result, and block until then."""
        answer: httpx.Response | ClusterError | None = None
        with httpx.Client(**self._options()) as http:
            try:
                while True:
                    step, answer = _advance(conversation, answer), None
                    if isinstance(step, Pause):
                        time.sleep(step.seconds)
                        continue
                    try:
                        answer = http.request(step.method, step.path, json=step.body)
                    except httpx.HTTPError as error:
                        answer = self._unreachable(error)
            except StopIteration as end:
                result: Result = end.value
                return result

    async def arun(self, conversation: Conversation[Result]) -> Result:
        """Drive a conversation to its result without blocking the event loop."""
        answer: httpx.Response | ClusterError | None = None
        async with httpx.AsyncClient(**self._options()) as http:
            try:
                while True:
                    step, answer = _advance(conversation, answer), None
                    if isinstance(step, Pause):
                        await asyncio.sleep(step.seconds)
                        continue
                    try:
                        answer = await http.request(step.method, step.path, json=step.body)
                    except httpx.HTTPError as error:
                        answer = self._unreachable(error)
            except StopIteration as end:
                result: Result = end.value
                return result

    def _options(self) -> dict[str, Any]:
        token = read_token() if self._token is None else self._token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return {
            "base_url": self.url,
            "headers": headers,
            "timeout": self._timeout,
            "transport": self._transport,
            "verify": self._verify,
        }

    def _unreachable(self, error: httpx.HTTPError) -> ClusterError:
        return ClusterError(f"Ray's Jobs API at {self.url} cannot be reached: {error or type(error).__name__}")


def _advance(conversation: Conversation[Any], answer: httpx.Response | ClusterError | None) -> Request | Pause:
    return conversation.throw(answer) if isinstance(answer, ClusterError) else conversation.send(answer)


def _job_path(submission_id: str) -> str:
    return f"/api/jobs/{quote(submission_id, safe='')}"


def _is_unknown_job(response: httpx.Response) -> bool:
    """Return whether Ray itself says so; a proxy's 404 page says nothing about the job."""
    return response.status_code == httpx.codes.NOT_FOUND and "does not exist" in response.text


def _job_lost(submission_id: str) -> JobLost:
    return JobLost(f"job {submission_id} is lost: its cluster does not know it, because the head that ran it is gone")


def _read_json(response: httpx.Response) -> dict[str, Any]:
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise UserError(
            f"{response.url} refuses the token ({response.status_code}): it needs the cluster's own, as the password of"
            f" the spec's connection; without a connection in {TOKEN_VARIABLE}, in the file that {TOKEN_PATH_VARIABLE}"
            " names, or in ~/.ray/auth_token"
        )
    if not response.is_success:
        reason = response.text.strip().splitlines()[-1:] or ["no reason given"]
        raise ClusterError(f"{response.url} answers {response.status_code}: {reason[0][:500]}")
    try:
        fields = response.json()
    except ValueError as error:
        raise ClusterError(f"{response.url} does not answer as Ray's Jobs API does: no JSON") from error
    if not isinstance(fields, dict):
        raise ClusterError(f"{response.url} does not answer as Ray's Jobs API does: {type(fields).__name__}")
    return fields
