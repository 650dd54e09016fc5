"""The arguments of one run of one job, as JSON in its environment, and its result, as JSON in its last log line.

It imports nothing heavy: the Airflow side writes arguments and reads results without polars, torch or ray.
"""

import os
import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forecasting.errors import SpecError
from forecasting.spec.connection import ConnectionName
from forecasting.spec.problems import describe_problems
from forecasting.spec.spec import NetworkName, Spec

ARGUMENTS_VARIABLE = "FLEETCAST_RUN"
RESULT_PREFIX = "fleetcast-result: "
PROGRESS_MARK = " · "
"""Separates the facts of a progress line, such as `train: 64 of 250 series · 3.1 series/s · 1 min left`."""
_PROGRESS = re.compile(r"\w+: \d+ of \d+ \w+" + PROGRESS_MARK + r"[^\x1b]*?(?=\s*(?:\x1b|loc=|$))")

JobName = Literal["features", "train", "backtest", "predict", "score", "publish"]
Flow = Literal["train", "forecast"]
FLOWS: dict[Flow, tuple[JobName, ...]] = {
    "train": ("features", "train", "backtest"),
    "forecast": ("features", "predict", "score"),
}
"""The jobs of each flow, in order; a spec that publishes has `publish` beside `score`, after `predict`."""


RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}$")]
GenerationNumber = Annotated[int, Field(ge=0)]


class RunArguments(BaseModel):
    """One run of one job: a function of (spec, cutoff, filters), named by run_id."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    job: JobName
    flow: Flow
    spec: Spec
    cutoff: str | None = Field(
        None, description="ISO timestamp on the clock of ds, or an integer; as_of decides if unset"
    )
    as_of: str | None = Field(None, description="ISO time; the cutoff is the newest observation not after it")
    models: tuple[NetworkName, ...] | None = Field(None, description="networks to use; the spec's where unset")
    series: tuple[str, ...] | None = Field(None, description="series to run for; all where unset")
    from_scratch: bool = Field(False, description="whether training ignores earlier weights")
    changed_only: bool = Field(
        False, description="whether only series with new or restated rows are trained or forecast"
    )
    full_read: bool = Field(False, description="whether all rows are read of a source with `modified`")
    store_connection: ConnectionName | None = Field(
        None, description="connection of the cluster's nodes that has the keys of the store; their settings' if unset"
    )
    run_id: RunId
    generation: GenerationNumber = Field(0, description="a retry keeps it, a repeated run raises it")

    @property
    def is_explicit(self) -> bool:
        """Whether a person requested this run with options, so that it runs even without new data."""
        return self.cutoff is not None or self.models is not None or self.series is not None or self.from_scratch


class RunResult(BaseModel):
    """The result of a job, in its last log line after RESULT_PREFIX."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    job: JobName
    status: Literal["success", "skipped"]
    cutoff: str | None
    requested: str | None = Field(None, description="the cutoff that was requested, where it means another time")
    versions: dict[str, int] = Field(default_factory=dict, description="stored table name to the version it now has")
    checks: dict[str, str] = Field(default_factory=dict, description="name of a check to its verdict")
    num_series: int = 0
    num_rows: int = 0
    num_rejects: int = 0
    seconds: float = 0.0
    message: str = ""


def find_progress(line: str) -> str | None:
    """Return the progress that a line of a job's output reports, without what Airflow's log writes around it.

    Args:
        line: A line of the job, or of the log of its task.

    Returns:
        The progress; None where the line reports something else.

    >>> find_progress("2026-01-01 10:00 train: 64 of 250 series · 3.1 series/s  loc=trigger.py:75")
    'train: 64 of 250 series · 3.1 series/s'
    >>> find_progress("series 'a · b' has no row") is None
    True
    """
    found = _PROGRESS.search(line.rstrip())
    return found and found[0]


def read_arguments() -> RunArguments:
    """Read the arguments of this process from its environment.

    Returns:
        The arguments.

    Raises:
        SpecError: They are missing or refused.
    """
    text = os.environ.get(ARGUMENTS_VARIABLE)
    if not text:
        raise SpecError("run arguments", [f"environment variable {ARGUMENTS_VARIABLE} is not set; it holds JSON"])
    try:
        return RunArguments.model_validate_json(text)
    except ValidationError as error:
        raise SpecError("run arguments", describe_problems(error)) from error


def find_result(log_lines: Iterable[str]) -> RunResult | None:
    """Return the last result in the log of a step, or None where it has none."""
    results = [line for line in log_lines if line.startswith(RESULT_PREFIX)]
    return RunResult.model_validate_json(results[-1].removeprefix(RESULT_PREFIX)) if results else None
