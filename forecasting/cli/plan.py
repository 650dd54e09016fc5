"""`fleetcast plan`: predict what the runs of a spec need, before any of them: cores, minutes, memory and storage."""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from forecasting.cli.formats import Format
from forecasting.errors import SourceError, SpecError

if TYPE_CHECKING:
    from forecasting.flow.job_parts import Machine
    from forecasting.flow.machine_pace import Pace
    from forecasting.flow.workload import Workload
    from forecasting.spec.spec import Spec

_COUNTS = ("--series", "--length", "--cores", "--gpus")


def plan(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A file, or a name in dags/specs.")],
    series: Annotated[
        int | None, typer.Option(show_default="those of the source", help="Number of series to plan for.")
    ] = None,
    length: Annotated[
        int | None, typer.Option(show_default="the mean of the source", help="Grid points of each series.")
    ] = None,
    cores: Annotated[
        int | None, typer.Option(show_default="this machine's", help="Cores that the workers share.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(show_default="none", help="GPUs that train networks, as fast as an NVIDIA H200.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(show_default="none", help="Find the cores with which a run takes no longer.")
    ] = None,
    pace: Annotated[
        float | None,
        typer.Option(
            show_default="measured on this machine",
            help="CPU seconds over those of the reference, an AMD EPYC of 2022: 2 is half as fast.",
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.TABLE,
) -> None:
    """Predict what a training and a forecast of a spec need: CPU seconds by part, minutes, memory and storage.

    Nothing is trained or stored. Without --series and --length, the spec's source is read and counted.
    """
    counts = {"--series": series, "--length": length, "--cores": cores, "--gpus": gpus}
    _refuse_numbers({**counts, "--minutes": minutes, "--pace": pace})
    from forecasting.cli.plan_tables import rows_of, show_tables
    from forecasting.cli.show import show
    from forecasting.cli.specs import find_spec
    from forecasting.flow.job_parts import Machine
    from forecasting.flow.machine_pace import Pace, measure_pace
    from forecasting.flow.needs import PREDICTIONS
    from forecasting.flow.processes import count_processes
    from forecasting.spec.spec import read_spec

    wanted = read_spec(find_spec(spec))
    notes: list[str] = []
    work = _make_workload(wanted, series, length, notes)
    found = measure_pace() if pace is None else Pace(pace, pace)
    if gpus is not None:
        _require_programs(work)
    machine = Machine(count_processes(cores), found.network, found.other, gpus or 0)
    needs = {flow: predict(work, machine) for flow, predict in PREDICTIONS.items()}
    notes += [_describe_pace(found, is_measured=pace is None), *_assumptions(work)]
    notes.append(_describe_gpus(machine.num_gpus, is_used=needs["train"].gpu_seconds > 0))
    limits = list(_describe_cores(work, machine, minutes))
    if output is Format.TABLE:
        show_tables(work, machine, needs)
        print("\n".join([*limits, *notes]))
    else:
        show(rows_of(work, machine, needs, minutes), output)
        print("\n".join([*limits, *notes]), file=sys.stderr)


def _refuse_numbers(given: Mapping[str, float | None]) -> None:
    wrong = [
        f"{option} {value:g} must be {'1 or more' if option in _COUNTS else 'a number above 0'}"
        for option, value in given.items()
        if value is not None and not (math.isfinite(value) and value >= (1 if option in _COUNTS else 1e-9))
    ]
    if wrong:
        raise SpecError("plan", wrong)


def _make_workload(spec: "Spec", num_series: int | None, num_points: int | None, notes: list[str]) -> "Workload":
    """Return the workload of the options; what they do not give is counted in the source."""
    from forecasting.flow.workload import Workload

    if num_series is not None and num_points is not None:
        notes.append("the source is not read, because --series and --length are given")
        return Workload(spec, num_series, num_points)
    counted = _count_source(spec)
    notes.append(
        f"{len(counted):,} series that a run would forecast are counted in the source, with {sum(counted):,} grid"
        f" points, {min(counted):,} to {max(counted):,} each; --series and --length plan for other numbers"
    )
    mean = math.ceil(sum(counted) / len(counted))
    return Workload(spec, num_series or len(counted), num_points or mean)


def _count_source(spec: "Spec") -> list[int]:
    """Return the grid points of each series that a run would forecast."""
    from forecasting.series.ingest import ingest
    from forecasting.series.once import reading_once
    from forecasting.settings import Settings

    with reading_once():  # large sources are kept in its temporary folder
        ingested = ingest(spec.within(None), storage_options=Settings.load().storage_options)
        counted = [length for name, length in ingested.lengths.items() if name not in ingested.unserved]
    if not counted:
        raise SourceError(f"{spec.source} has no series that a run would forecast; --series and --length plan without")
    return counted


def _require_programs(work: "Workload") -> None:
    """Refuse GPUs for networks that have no programs there."""
    from forecasting.flow.gpu_seconds import has_programs

    if not has_programs(work):
        problem = (
            f"--gpus: one of {', '.join(work.spec.models)} has no program for GPUs, and its seconds there in torch"
        )
        raise SpecError("plan", [f"{problem} operations are not known; leave the option out to plan for cores"])


def _describe_cores(work: "Workload", machine: "Machine", minutes: float | None) -> Iterator[str]:
    """Yield a sentence for each flow: the fewest cores with which it takes no longer than `--minutes`."""
    from forecasting.flow.needs import MOST_CORES, PREDICTIONS, find_cores

    if minutes is None:
        return
    for flow, predict in PREDICTIONS.items():
        num_cores = find_cores(predict, work, machine, seconds=60 * minutes)
        if num_cores is None:
            least = predict(work, replace(machine, num_cores=MOST_CORES)).wall_seconds / 60
            yield f"{flow}: no number of cores brings it under {minutes:g} min; {least:.1f} min do not depend on them"
        else:
            yield f"{flow}: {num_cores} {'core brings' if num_cores == 1 else 'cores bring'} it under {minutes:g} min"


def _describe_pace(pace: "Pace", *, is_measured: bool) -> str:
    measured = f"{pace.network:.2f} times as many CPU seconds for networks and {pace.other:.2f} times for other work"
    if not is_measured:
        measured = f"{pace.network:g} times as many CPU seconds, as --pace states,"
    return f"pace: {measured} as on the reference, one core of an AMD EPYC of 2022 (Zen 4, 2.6 GHz)" + (
        "; measured now on this machine, --pace plans for another one" if is_measured else ""
    )


def _assumptions(work: "Workload") -> Iterator[str]:
    """Yield what the predictions assume."""
    yield (
        "assumed: series of equal length without gaps; a training from scratch, while one that goes on from earlier"
        " weights takes about a quarter of the steps; workers of one core and the default settings of a cluster"
    )
    yield (
        f"assumed: a forecast a day, or a period if that is longer, so that each scores {work.num_scored} earlier ones;"
        " not included: Airflow's seconds between tasks, Ray's services, and copies that [publish] requests"
    )


def _describe_gpus(num_gpus: int, *, is_used: bool) -> str:
    from forecasting.flow.job_parts import GPU_WORKER_BYTES

    if not num_gpus:
        return "no GPU: --gpus plans for workers that train networks on one each"
    if not is_used:
        return (
            "the GPUs are not used: so little work is done in the job's own process, on a core; the setting"
            " driver_seconds = 0 sends it to workers"
        )
    return (
        "assumed: GPUs as fast as an NVIDIA H200, one for each worker that trains networks, with"
        f" {GPU_WORKER_BYTES >> 30} GiB of memory; not included: the programs of a network, which the first"
        " run on a machine compiles"
    )
