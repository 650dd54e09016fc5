"""Stores of synthetic series with their features, and runs of jobs on them."""

# S series · N grid points

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from forecasting.settings import FleetSettings
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName
from forecasting.store.tables import Store
from workers.arguments import ARGUMENTS_VARIABLE, JobName, RunArguments, RunResult, find_result
from workers.jobs.features import write_features
from workers.jobs.run import Run
from workers.settings import WorkerSettings

START = datetime(2020, 1, 1)
STEPS = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}


@dataclass(frozen=True)
class Job:
    """Result of a job in a process of its own; `peak_mib` is the peak memory of that process."""

    result: RunResult
    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Bench:
    """A store that holds the features of some series."""

    store: Store
    spec: Spec
    cutoff: datetime
    num_series: int

    @property
    def names(self) -> tuple[str, ...]:
        return name_series(self.num_series)

    def arguments(self, job: JobName, *, num_series: int | None = None) -> RunArguments:
        """Return the arguments of a new run; `num_series` limits it to the first series."""
        return RunArguments(
            job=job,
            flow="train",
            spec=self.spec,
            cutoff=self.cutoff.isoformat(),
            series=None if num_series is None else self.names[:num_series],
            from_scratch=True,  # a measurement must not depend on earlier ones
            run_id=f"{job}.{time.monotonic_ns()}",
        )

    def run(self, job: JobName, settings: WorkerSettings, *, kernel: KernelName = "auto") -> Run:
        """Return a run for this process."""
        return Run(self.arguments(job), self.store, settings, FleetSettings(kernel=kernel), self.cutoff)

    def start(self, job: JobName, *, num_workers: int, num_series: int | None = None) -> Job:
        """Run a job like Ray's Jobs API, in a process of its own, on the Ray of RAY_ADDRESS."""
        environment = os.environ | {
            "FLEETCAST_STORE": self.store.root,
            "FLEETCAST_NUM_WORKERS": str(num_workers),
            "FLEETCAST_DRIVER_SECONDS": "0",
            "FLEETCAST_CPUS_PER_WORKER": "1",
            ARGUMENTS_VARIABLE: self.arguments(job, num_series=num_series).model_dump_json(),
        }
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", f"workers.jobs.{job}"], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        result = find_result(lines)
        if process.returncode or result is None:
            raise RuntimeError("\n".join(["the job failed:", *lines]))
        return Job(result, seconds, usage.ru_maxrss / 1024)


def make_bench(folder: Path, *, num_series: int, num_points: int, **fields: object) -> Bench:
    """Write a source of noisy waves, and their features into a store; `fields` are the spec's."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {"name": "bench", "source": {"uri": str(folder / "source.parquet")}} | fields
    spec = Spec(**described)
    season = spec.season_lengths[0]
    phase_S1 = 2 * np.pi * np.random.default_rng(0).random((num_series, 1))
    y_SN = np.sin(2 * np.pi * np.arange(num_points) / season + phase_S1)
    y_SN += np.random.default_rng(1).normal(10, 0.3, y_SN.shape)
    last = START + (num_points - 1) * STEPS[str(spec.freq)]
    ds = pl.datetime_range(START, last, str(spec.freq), eager=True)
    ids = pl.Series(name_series(num_series)).gather(np.repeat(np.arange(num_series), num_points))
    pl.DataFrame({"unique_id": ids, "ds": pl.concat([ds] * num_series), "y": y_SN.ravel()}).write_parquet(
        folder / "source.parquet"
    )
    bench = Bench(Store(folder / "store"), spec, last, num_series)
    write_features(bench.run("features", WorkerSettings()))
    return bench


def name_series(num_series: int) -> tuple[str, ...]:
    return tuple(f"s{number:06d}" for number in range(num_series))
