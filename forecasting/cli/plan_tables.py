"""The tables of `fleetcast plan`, and the same figures as rows for csv and json."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from forecasting.cli.formats import Format
from forecasting.cli.show import show
from forecasting.flow.needs import PREDICTIONS, Flow, find_cores, predict_train
from forecasting.flow.stored_bytes import NUM_DAYS, Stored, forecast_bytes, month_bytes, month_bytes_kept, train_bytes

if TYPE_CHECKING:
    from forecasting.flow.job_parts import Machine, Needs, PartName
    from forecasting.flow.workload import Workload

SHOWN_CORES = (1, 2, 4, 8, 16, 32, 64)
SHOWN_GPUS = (1, 2, 4, 8)
MIB = 1 << 20
_COLUMNS = ("flow", "kind", "name", "value", "unit")


def show_tables(work: "Workload", machine: "Machine", needs: Mapping[Flow, "Needs"]) -> None:
    """Print what each flow needs: seconds by part, minutes by cores, memory and storage."""
    spec = work.spec
    title = f"{spec.name}: {work.num_series:,} series of {work.num_points:,} grid points, recipe {spec.recipe},"
    title += f" {', '.join(spec.models)}"
    show(pl.DataFrame(list(_seconds(machine, needs))), Format.TABLE, limit=0, title=title)
    cores = [
        {"cores": num_cores} | {f"{flow}, min": _fixed(value, 1) for flow, value in each.items()}
        for num_cores, each in _minutes_by_cores(work, machine)
    ]
    show(pl.DataFrame(cores), Format.TABLE, limit=0, title="duration by number of cores")
    if machine.num_gpus:
        gpus = [
            {"GPUs": num_gpus, "train, min": _fixed(predict_train(work, at).wall_seconds / 60, 1)}
            for num_gpus in sorted({*SHOWN_GPUS, machine.num_gpus})
            for at in (replace(machine, num_gpus=num_gpus),)
        ]
        title = f"duration by number of GPUs, with {machine.num_cores} core{'s' * (machine.num_cores > 1)}"
        show(pl.DataFrame(gpus), Format.TABLE, limit=0, title=title)
    memory = [
        {"process": name} | {flow: _mib(of(each)) for flow, each in needs.items()} for name, of in _PROCESSES.items()
    ]
    show(pl.DataFrame(memory), Format.TABLE, limit=0, title="largest memory of a process, in MiB")
    stored = [
        {"storage": words} | {name: _fixed(getattr(each, kind) / 1e6, 1) for name, each in _stored(work)}
        for kind, words in _KINDS.items()
    ]
    show(pl.DataFrame(stored), Format.TABLE, limit=0, title="storage, in MB")


_KINDS = {
    "weights": "weights",
    "features": "observations and features",
    "forecasts": "forecasts",
    "others": "other tables",
    "total": "all",
}
_PROCESSES: Mapping[str, Callable[["Needs"], int | None]] = {
    "a job": lambda needs: needs.driver_bytes,
    "a worker": lambda needs: needs.worker_bytes,
}


def _seconds(machine: "Machine", needs: Mapping[Flow, "Needs"]) -> Iterator[dict[str, str | Decimal]]:
    """Yield a row for each part of both flows, and one for all."""
    on = f"min on {machine.num_cores} core{'s' * (machine.num_cores > 1)}"
    parts = {flow: each.by_part() for flow, each in needs.items()}
    on_gpus = dict(_gpu_seconds(needs["train"])) if machine.num_gpus else None
    for part in dict.fromkeys(name for each in parts.values() for name in each):
        seconds = {flow: each.get(part, (0.0, 0.0)) for flow, each in parts.items()}
        yield _row(part, on, seconds, None if on_gpus is None else on_gpus.get(part, 0.0))
    total = {flow: (each.cpu_seconds, each.wall_seconds) for flow, each in needs.items()}
    yield _row("all", on, total, None if on_gpus is None else needs["train"].gpu_seconds)


def _gpu_seconds(needs: "Needs") -> Iterator[tuple["PartName", float]]:
    """Yield the parts that GPUs do, each of which belongs to one job, and their seconds."""
    return ((part.name, part.gpu_seconds) for part in needs.parts if part.gpu_seconds)


def _row(
    part: str, on: str, seconds: Mapping[Flow, tuple[float, float]], gpu_seconds: float | None
) -> dict[str, str | Decimal]:
    row: dict[str, str | Decimal] = {"part": part}
    if gpu_seconds is not None:
        row["train, GPU s"] = _fixed(gpu_seconds, 1)
    for flow, (cpu_seconds, wall_seconds) in seconds.items():
        row |= {f"{flow}, CPU s": _fixed(cpu_seconds, 1), f"{flow}, {on}": _fixed(wall_seconds / 60, 2)}
    return row


def _fixed(value: float, places: int) -> Decimal:
    """Return a number with a fixed number of decimal places, which a table aligns."""
    return Decimal(f"{value:.{places}f}")


def _mib(num_bytes: int | None) -> str:
    return "none" if num_bytes is None else f"{num_bytes / MIB:.0f}"


def _minutes_by_cores(work: "Workload", machine: "Machine") -> Iterator[tuple[int, dict[str, float]]]:
    for num_cores in sorted({*SHOWN_CORES, machine.num_cores}):
        at = replace(machine, num_cores=num_cores)
        yield num_cores, {flow: predict(work, at).wall_seconds / 60 for flow, predict in PREDICTIONS.items()}


def _stored(work: "Workload") -> list[tuple[str, "Stored"]]:
    return [
        ("a training", train_bytes(work)),
        ("a forecast", forecast_bytes(work)),
        (f"{NUM_DAYS} days of both", month_bytes(work)),
        (f"{NUM_DAYS} days, after maintenance", month_bytes_kept(work)),
    ]


def rows_of(work: "Workload", machine: "Machine", needs: Mapping[Flow, "Needs"], minutes: float | None) -> pl.DataFrame:
    """Return the same figures in seconds, bytes and cores, one a row."""
    return pl.DataFrame(list(_rows(work, machine, needs, minutes)), schema=list(_COLUMNS), orient="row", strict=False)


def _rows(
    work: "Workload", machine: "Machine", needs: Mapping[Flow, "Needs"], minutes: float | None
) -> Iterator[tuple[str, str, str, float | None, str]]:
    for flow, each in needs.items():
        for part, (cpu_seconds, wall_seconds) in each.by_part().items():
            yield flow, "cpu", part, cpu_seconds, "s"
            yield flow, "wall", part, wall_seconds, "s"
        for part, gpu_seconds in _gpu_seconds(each):
            yield flow, "gpu", part, gpu_seconds, "s"
        yield flow, "cpu", "all", each.cpu_seconds, "s"
        yield flow, "wall", "all", each.wall_seconds, "s"
        for name, of in _PROCESSES.items():
            yield flow, "memory", name, of(each), "bytes"
        if minutes is not None:
            num_cores = find_cores(PREDICTIONS[flow], work, machine, seconds=60 * minutes)
            yield flow, "cores", f"within {minutes:g} min", num_cores, "cores"
    for name, stored in _stored(work):
        for kind, words in _KINDS.items():
            yield name, "storage", words, getattr(stored, kind), "bytes"
