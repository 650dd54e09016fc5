"""The arguments and the result of the job that deletes a run, as JSON like those of a run's jobs.

It imports nothing heavy: the Airflow side writes arguments and reads results.
"""

import os
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forecasting.errors import SpecError
from forecasting.spec.connection import ConnectionName
from forecasting.spec.problems import describe_problems
from workers.arguments import ARGUMENTS_VARIABLE, RESULT_PREFIX


class DeletionArguments(BaseModel):
    """One deletion of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    run_id: str = Field(min_length=1, max_length=300, description="the run of a job that is deleted")
    with_later: bool = Field(False, description="whether later runs that build on it are deleted too")
    without_restoring: bool = Field(False, description="whether it is deleted where replaced rows cannot come back")
    dry_run: bool = Field(True, description="whether nothing is changed")
    reason: str = Field("", max_length=2000, description="why it is deleted, for the record")
    store_connection: ConnectionName | None = Field(
        None, description="connection of the cluster's nodes that has the keys of the store; their settings' if unset"
    )
    record: str = Field(min_length=1, description="run id of the deletion itself; a repetition has the same")


class DeletionResult(BaseModel):
    """The result of a deletion, in the last log line of its job after RESULT_PREFIX."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: str | None = Field(None, description="run id of the deletion; None of a dry run")
    deleted: tuple[str, ...] = Field((), description="the runs that are deleted, or would be")
    message: str


def read_deletion() -> DeletionArguments:
    """Read the arguments of this process from its environment.

    Returns:
        The arguments.

    Raises:
        SpecError: They are missing or refused.
    """
    try:
        return DeletionArguments.model_validate_json(os.environ.get(ARGUMENTS_VARIABLE, ""))
    except ValidationError as error:
        raise SpecError("arguments of the deletion", describe_problems(error)) from error


def find_deletion(log_lines: Iterable[str]) -> DeletionResult | None:
    """Return the last result in a job's log, or None where it has none."""
    results = [line for line in log_lines if line.startswith(RESULT_PREFIX)]
    return DeletionResult.model_validate_json(results[-1].removeprefix(RESULT_PREFIX)) if results else None
