"""The arguments of one run of one job, as JSON in its environment, and its result, as JSON in its last log line.

It imports nothing heavy: the Airflow side writes arguments and reads results without polars, torch or ray.
"""

import os
import re
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from forecasting.errors import SpecError
from forecasting.spec.connection import ConnectionName
from forecasting.spec.problems import describe_problems
from forecasting.spec.scenario import find_problem
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


SCENARIO = "scenario"
"""What `runs` calls the job of a run that makes a scenario, so that none takes it for one that makes the forecast."""
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
    scenario: str | None = Field(
        None, description="name of the scenario that is made instead of the forecast; `plan` has its covariates"
    )
    plan: str | None = Field(None, description="URI or path of a file with other values of covariates after the cutoff")
    store_connection: ConnectionName | None = Field(
        None, description="connection of the cluster's nodes that has the keys of the store; their settings' if unset"
    )
    run_id: RunId
    generation: GenerationNumber = Field(0, description="a retry keeps it, a repeated run raises it")

    @property
    def recorded_job(self) -> str:
        """The name of the job in `runs` and in metrics."""
        return self.job if self.scenario is None else SCENARIO

    @model_validator(mode="after")
    def _has_a_whole_scenario(self) -> Self:
        if self.scenario is None and self.plan is None:
            return self
        if self.scenario is None or self.plan is None:
            lacking, given = ("scenario", "plan") if self.scenario is None else ("plan", "scenario")
            raise ValueError(f"{given} needs {lacking} too: a scenario has a name and a plan")
        if problem := find_problem(self.scenario):
            raise ValueError(f"scenario = '{self.scenario}' {problem}")
        if not self.spec.covariates.known_ahead:
            raise ValueError(
                f"scenario '{self.scenario}' needs covariates that are known ahead; spec '{self.spec.name}' has none"
            )
        if "://" not in self.plan and not self.plan.startswith("/"):
            raise ValueError(f"plan = '{self.plan}' must be a URI or an absolute path, which all nodes can read")
        if self.flow != "forecast" or self.job not in ("features", "predict"):
            raise ValueError(f"scenario '{self.scenario}' cannot be given to job '{self.job}' of flow '{self.flow}'")
        if self.changed_only:
            raise ValueError(
                "changed_only cannot be combined with scenario, which has all series or those that are named"
            )
        return self

    @property
    def is_explicit(self) -> bool:
        """Whether a person requested this run with options, so that it runs even without new data."""
        given = (self.cutoff, self.models, self.series, self.scenario)
        return self.from_scratch or any(one is not None for one in given)


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
