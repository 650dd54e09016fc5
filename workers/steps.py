"""The steps that one Ray job runs, one after the other, and what the log of the job says of each.

The first step is in the job's arguments (`FLEETCAST_RUN`), the following ones in `FLEETCAST_STEPS`. Like
`workers/arguments.py`, it imports nothing heavy: the Airflow side chooses the steps and reads their results.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from forecasting.errors import JobFailed, SpecError
from forecasting.spec.problems import describe_problems
from workers.arguments import (
    FLOWS,
    Flow,
    GenerationNumber,
    JobName,
    RunArguments,
    RunId,
    RunResult,
    find_result,
)

STEPS_VARIABLE = "FLEETCAST_STEPS"
BEGIN_PREFIX = "fleetcast-step: "
"""Begins a line, with the step's run_id, at the beginning of each step."""
FAILURE_PREFIX = "fleetcast-failure: "
"""Begins a line, with the exit code of the step, at the end of a step that has failed."""
RUN_AFTER_IDLE: frozenset[JobName] = frozenset({"backtest", "score"})
"""Jobs that may have work although the one before had none: earlier trainings to compare, or actuals to score with."""


class Step(BaseModel):
    """One step: a job, and the run of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: JobName
    run_id: RunId
    generation: GenerationNumber


_STEPS = TypeAdapter(tuple[Step, ...])


@dataclass(frozen=True)
class StepLog:
    """What the log of a job says of one of its steps.

    Attributes:
        lines: What the step has printed.
        result: Its result; None where it has none yet, or has failed.
        exit_code: Exit code of a step that has failed.
        has_begun: Whether the job has reached the step.
    """

    lines: Sequence[str] = ()
    result: RunResult | None = None
    exit_code: int | None = None
    has_begun: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the step has ended, in success or failure."""
        return self.result is not None or self.exit_code is not None


def job_before(flow: Flow, job: JobName) -> JobName | None:
    """Return the job whose end a job waits for; None for the first one of a flow.

    >>> job_before("forecast", "score"), job_before("forecast", "publish"), job_before("train", "features")
    ('predict', 'predict', None)
    """
    if job == "publish":
        return "predict"
    place = FLOWS[flow].index(job)
    return FLOWS[flow][place - 1] if place else None


def jobs_after(flow: Flow, job: JobName, *, publishes: bool) -> tuple[JobName, ...]:
    """Return the jobs that wait for the end of a job, directly or not, in the order in which one Ray job runs them.

    `publish` comes last: its places may be slow or out of reach, and scores do not wait for it.

    Args:
        flow: The flow.
        job: A job of it.
        publishes: Whether the spec copies forecasts to other places.

    Returns:
        The jobs; none after the last one.

    >>> jobs_after("forecast", "features", publishes=True), jobs_after("forecast", "score", publishes=True)
    (('predict', 'score', 'publish'), ())
    """
    if job == "publish":
        return ()
    after = FLOWS[flow][FLOWS[flow].index(job) + 1 :]
    return (*after, "publish") if publishes and "predict" in (job, *after) else after


def is_reached(job: JobName, flow: Flow, statuses: Mapping[JobName, str | None]) -> bool:
    """Return whether a step runs after what the earlier steps of its Ray job came to, as Airflow would decide.

    Args:
        job: The job of the step.
        flow: Its flow.
        statuses: Status of the result of each earlier step; None of one that has failed or was not reached.

    Returns:
        Whether the step before has ended without a failure, and had work, unless the step may have some all the same.

    >>> is_reached("score", "forecast", {"features": "success", "predict": "skipped"})
    True
    >>> is_reached("predict", "forecast", {"features": "skipped"})
    False
    """
    before = job_before(flow, job)
    if before is None or before not in statuses:
        return True
    return statuses[before] == "success" or (statuses[before] == "skipped" and job in RUN_AFTER_IDLE)


def fits_one_job(arguments: RunArguments, num_rows: int) -> bool:
    """Return whether a spec is small enough for its steps to share a job.

    Args:
        arguments: The arguments of a step.
        num_rows: Grid points of the run's features.

    Returns:
        Whether rows times networks are at most `airflow.shared_job_rows`.
    """
    networks = arguments.models or arguments.spec.models
    return num_rows * len(networks) <= arguments.spec.airflow.shared_job_rows


def arguments_of(step: Step, before: RunArguments) -> RunArguments:
    """Return the arguments of a step that follows another one in a job.

    They are those that the step's own task would submit, so that a step that is recorded as done is known as done.

    Args:
        step: The step.
        before: Arguments of an earlier step, with the cutoff that it has found.

    Returns:
        The arguments.
    """
    return before.model_copy(update={"job": step.job, "run_id": step.run_id, "generation": step.generation})


def steps_variable(steps: Sequence[Step]) -> str:
    """Return steps as JSON for an environment variable."""
    return _STEPS.dump_json(tuple(steps)).decode()


def read_steps() -> tuple[Step, ...]:
    """Read the steps that follow the first one from the environment of this process; none where it has none.

    Returns:
        The steps.

    Raises:
        SpecError: They are refused.
    """
    try:
        return parse_steps(json.loads(os.environ.get(STEPS_VARIABLE) or "[]"))
    except (ValidationError, ValueError) as error:
        problems = describe_problems(error) if isinstance(error, ValidationError) else [f"no JSON: {error}"]
        raise SpecError(f"environment variable {STEPS_VARIABLE}", problems) from error


def parse_steps(stored: object) -> tuple[Step, ...]:
    """Return steps from what JSON has of them."""
    return _STEPS.validate_python(stored)


def find_step(lines: Sequence[str], run_id: str) -> StepLog:
    """Return what the log of a job says of a step.

    A log without marks is that of a job of one step, or of one that has not come to its first step.

    Args:
        lines: The log of the job.
        run_id: The run of the step.

    Returns:
        Its lines, and its result or failure.

    Raises:
        JobFailed: The result cannot be read.

    >>> find_step(["fleetcast-step: a", "3 series", "fleetcast-step: b"], "a").lines
    ['3 series']
    >>> find_step(["fleetcast-step: a", "error: no", "fleetcast-failure: 2"], "a").exit_code
    2
    """
    marks = [number for number, line in enumerate(lines) if line.startswith(BEGIN_PREFIX)]
    if not marks:
        return StepLog(lines, _read_result(lines), has_begun=True)
    for begin, end in pairwise([*marks, len(lines)]):
        if lines[begin].removeprefix(BEGIN_PREFIX).strip() == run_id:
            own = lines[begin + 1 : end]
            failures = [line.removeprefix(FAILURE_PREFIX) for line in own if line.startswith(FAILURE_PREFIX)]
            said = [line for line in own if not line.startswith(FAILURE_PREFIX)]
            return StepLog(said, _read_result(own), int(failures[-1]) if failures else None, has_begun=True)
    return StepLog()


def _read_result(lines: Sequence[str]) -> RunResult | None:
    try:
        return find_result(lines)
    except ValidationError as error:
        raise JobFailed(f"the job has ended with a result that cannot be read: {error}") from None
