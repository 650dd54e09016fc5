"""Compare what `fleetcast plan` predicts with real runs: CPU seconds, wall time, memory and bytes of both flows.

The flows run as Airflow submits them, without Airflow, on a local Ray with two cores: a training from scratch, a
forecast, and a second forecast one horizon later, which also scores the first. The second one is compared. CPU seconds
are user and system time, so that other work on the machine matters less. Wall time is left empty if other work was
running before. Predictions are multiplied by the pace of this machine, which is measured before each shape as the
command does. The constants of the predictions were fitted to other shapes. `ratio` is the larger of predicted over
measured and measured over predicted.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from forecasting.flow.job_parts import Machine
from forecasting.flow.machine_pace import measure_pace
from forecasting.flow.needs import PREDICTIONS, Flow
from forecasting.flow.stored_bytes import Stored, forecast_bytes, train_bytes
from forecasting.flow.workload import Workload
from forecasting.spec.spec import Spec
from tests.benchmarks.figures import Figure, describe_machine, rounded
from tests.benchmarks.flow_runs import Shape, Usage, run_flow, write_source
from workers.arguments import JobName
from workers.cluster.ray_head import Head, ray_head

TARGET = "<=1.3"
NUM_CORES = 2
MIB, MB = 1 << 20, 1e6
HOURS: dict[str, Any] = {"freq": "1h", "season_lengths": (24,), "horizon": 24}
HOURS_OF_A_WEEK: dict[str, Any] = {"freq": "1h", "season_lengths": (24, 168), "horizon": 48}
DAYS: dict[str, Any] = {"freq": "1d", "season_lengths": (7,), "horizon": 14}
FOUR_WEEKS: dict[str, Any] = {"freq": "1d", "season_lengths": (7,), "horizon": 28}
FAST, STANDARD = {"recipe": "fast"}, {"recipe": "standard"}
SHAPES = (
    Shape(60, 800, HOURS | FAST),
    Shape(300, 200, DAYS | FAST),
    Shape(40, 600, HOURS | STANDARD),
    Shape(500, 150, FOUR_WEEKS | FAST),
    Shape(60, 300, FOUR_WEEKS | STANDARD),
    Shape(2000, 200, DAYS | FAST | {"models": ("gru",)}),
    Shape(150, 250, DAYS | FAST),
    Shape(90, 350, HOURS_OF_A_WEEK | FAST),
    Shape(30, 700, HOURS | STANDARD),
    Shape(150, 500, DAYS | STANDARD | {"models": ("gru",)}),
)
SHORT = SHAPES[:1]
IDLE_SHARE = 0.1
"""Largest share of the cores that other work may use, before a run, for its wall time to be measured."""


def main(arguments: list[str]) -> int:
    """Print figures of each shape and flow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all shapes; a quarter of an hour")
    is_full = parser.parse_args(arguments).full
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_CORES])
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder, ray_head(num_cpus=NUM_CORES) as head:
        _run(Shape(4, 100, DAYS | {"recipe": "fast"}), Path(folder) / "first", head)  # reads programs from the disk
        for number, shape in enumerate(SHAPES):
            if not is_full and shape not in SHORT:
                continue
            busy, pace = psutil.cpu_percent(interval=5) / 100, measure_pace()
            print(
                f"{busy:.0%} of the cores busy; pace {pace.network:.2f} of networks, {pace.other:.2f} of other work",
                flush=True,
            )
            measured = _run(shape, Path(folder) / str(number), head)
            machine = Machine(NUM_CORES, pace.network, pace.other)
            for figure in figures_of(shape, machine, measured, is_idle=busy <= IDLE_SHARE):
                figure.print()
    return 0


Measured = tuple[Mapping[JobName, Usage], Stored]


def _run(shape: Shape, folder: Path, head: Head) -> dict[Flow, Measured]:
    """Run both flows; return what their jobs used, and the bytes that they stored."""
    later = int(str(shape.spec["horizon"]))
    source = write_source(folder, shape, num_later=later)
    trained = run_flow(source, "train", head)
    after_training = source.bytes_by_table()
    run_flow(source, "forecast", head)
    before = source.bytes_by_table()
    forecast = run_flow(source, "forecast", head, num_later=later)
    return {
        "train": (trained, _as_stored(after_training)),
        "forecast": (forecast, _as_stored(source.bytes_by_table(), before)),
    }


def _as_stored(after: Mapping[str, int], before: Mapping[str, int] | None = None) -> Stored:
    added = {name: size - (before or {}).get(name, 0) for name, size in after.items()}
    weights, forecasts = added.pop("weights", 0), added.pop("forecasts", 0)
    features = added.pop("features", 0) + added.pop("observations", 0)
    return Stored(weights, features, forecasts, sum(added.values()))


def figures_of(shape: Shape, machine: Machine, measured: Mapping[Flow, Measured], *, is_idle: bool) -> Iterator[Figure]:
    """Yield the figures of a shape, those of wall time only if nothing else was running."""
    spec = Spec(name="bench", source={"uri": "/none"}, **shape.spec)
    work = Workload(spec, shape.num_series, shape.num_points, num_due=1)
    described = f"{shape.num_series} series of {shape.num_points} points, {spec.freq}, {spec.recipe},"
    described += f" {' and '.join(spec.models)}"
    for flow, predict in PREDICTIONS.items():
        needs, stored = predict(work, machine), {"train": train_bytes, "forecast": forecast_bytes}[flow](work)
        predicted = {
            "CPU, s": needs.cpu_seconds,
            "duration on two cores, s": needs.wall_seconds,
            "memory of a job, MiB": needs.driver_bytes / MIB,
            "memory of a worker, MiB": (needs.worker_bytes or 0) / MIB,
            "storage, MB": stored.total / MB,
        }
        found = _measured_values(*measured[flow])
        if not is_idle:
            found.pop("duration on two cores, s", None)
        for what, value in predicted.items():
            peer = found.get(what)
            if value:  # a flow without workers has no memory of a worker
                ratio = None if peer is None else max(value / peer, peer / value)
                setting = f"{flow}: {what}: {described}"
                yield Figure(
                    "plan", setting, rounded(value), "predicted", "measured", rounded(peer), rounded(ratio), TARGET
                )


def _measured_values(used: Mapping[JobName, Usage], stored: Stored) -> dict[str, float]:
    """Return what a run was measured to need, by the names of the predictions."""
    jobs = used.values()
    return {
        "CPU, s": sum(job.cpu_seconds for job in jobs),
        "duration on two cores, s": sum(job.wall_seconds for job in jobs),
        "memory of a job, MiB": max(job.driver_mib for job in jobs),
        "memory of a worker, MiB": max(job.worker_mib for job in jobs),
        "storage, MB": stored.total / MB,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
