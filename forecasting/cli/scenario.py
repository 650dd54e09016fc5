"""The scenario of `fleetcast forecast --future`: the same models forecast with other covariates, into another file."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from forecasting.errors import SpecError

if TYPE_CHECKING:
    from forecasting.api import Request
    from forecasting.flow.results import Result
    from forecasting.settings import Settings
    from forecasting.spec.training import KernelName


class Planned(NamedTuple):
    """A scenario to forecast.

    Attributes:
        plan: File with other values of covariates.
        name: Name of the scenario.
        out: File to write.
    """

    plan: str
    name: str
    out: Path


def plan_scenario(plan: str | None, name: str | None, file: Path | None, *, out: Path) -> Planned | None:
    """Return the scenario of the command's options; without a name or file, those of the plan and the forecast.

    Args:
        plan: Value of `--future`.
        name: Value of `--scenario`.
        file: Value of `--scenario-out`.
        out: File of the forecast.

    Returns:
        The scenario; None without a plan.

    Raises:
        SpecError: Another option lacks the plan, or the name is refused.
    """
    from forecasting.spec.scenario import find_problem, name_after

    if plan is None:
        for option, value in (("--scenario", name), ("--scenario-out", file)):
            if value is not None:
                raise SpecError(option, [f"'{value}' needs --future and a plan of the covariates"])
        return None
    name = name or name_after(plan)
    if problem := find_problem(name):
        raise SpecError("--scenario", [f"'{name}' {problem}"])
    return Planned(plan, name, file or out.with_suffix(f".{name}{out.suffix}"))


def refuse_unreadable(planned: Planned, request: "Request") -> None:
    """Read a plan before anything is trained; raises SourceError or SpecError where the request cannot have it."""
    from forecasting.flow.scenario import read_plan

    fields = request.frames.named_in(request.spec.source.reading_of([planned.plan]))
    options = request.given.storage_options
    read_plan(planned.plan, request.spec, fields, has_zone=request.has_zone, storage_options=options)


def write_scenario(
    planned: Planned, request: "Request", result: "Result", *, settings: "Settings", kernel: "KernelName"
) -> "Result":
    """Forecast with a plan and write the forecasts of the serving models, with the scenario's name.

    Args:
        planned: The scenario.
        request: The request of the forecast.
        result: The forecast, with its networks.
        settings: The settings of the command.
        kernel: The implementation of the recurrence.

    Returns:
        The forecast of the scenario.
    """
    import polars as pl

    from forecasting.cli.files import write_frame

    fleet = request.fleet_of(result.outcome)
    other = fleet.predict(
        future=planned.plan, cutoff=result.cutoff, processes=settings.processes, kernel=kernel, progress=False
    ).as_polars()
    write_frame(other.forecasts.select(pl.lit(planned.name).alias("scenario"), pl.all()), planned.out)
    return other


def describe_scenario(planned: Planned, other: "Result", result: "Result") -> str:
    """Return a line about a scenario, beside the forecast."""
    there, here = (f"{each.forecasts['forecast'].sum():,.6g}" for each in (other, result))
    return f"scenario {planned.name}: the sum of all forecasts is {there} instead of {here}; {planned.out}"
