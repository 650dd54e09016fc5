"""Runs of a spec's flows as Airflow submits them, without Airflow: CPU seconds, wall time, memory and bytes by job.

A process of its own runs the jobs of a flow on a local Ray, whose workers have one core each. The CPU seconds, user and
system, of that process and of Ray's workers are read from Linux every tenth of a second, so that the end of a process
that is killed may be missing. Ray's own services are not counted: they run whether there is a job or not. Nor are its
workers during the features job, which has none: they start with Ray.
"""

# S series · N grid points

import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.spec.spec import Spec
from workers.arguments import ARGUMENTS_VARIABLE, FLOWS, Flow, JobName, RunArguments, find_result
from workers.cluster.ray_head import Head, processes_of
from workers.steps import BEGIN_PREFIX, STEPS_VARIABLE, Step, fits_one_job, steps_variable

START = datetime(2023, 1, 2)
WIDTHS = {"1h": timedelta(hours=1), "1d": timedelta(days=1)}
SECONDS_BETWEEN_SAMPLES = 0.1
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Shape:
    """Series of a spec.

    Attributes:
        num_series: Number of series.
        num_points: Grid points of each.
        spec: Fields of the spec besides its name and source.
    """

    num_series: int
    num_points: int
    spec: Mapping[str, object]


@dataclass
class Usage:
    """What a job used: CPU seconds of its own process and of Ray's workers, and the largest peaks in MiB."""

    driver_seconds: float = 0.0
    worker_seconds: float = 0.0
    wall_seconds: float = 0.0
    driver_mib: float = 0.0
    worker_mib: float = 0.0

    @property
    def cpu_seconds(self) -> float:
        return self.driver_seconds + self.worker_seconds


@dataclass(frozen=True)
class Source:
    """A spec whose source is written to a folder, and the times of its series."""

    folder: Path
    spec: Spec
    width: timedelta
    num_points: int

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def cutoff(self, num_later: int) -> str:
        """Return a cutoff that leaves `num_later` points of each series after it."""
        return (START + (self.num_points + num_later - 1) * self.width).isoformat()

    def bytes_by_table(self) -> dict[str, int]:
        """Return the size of each folder of the store; `weights` is one of them."""
        sizes: dict[str, int] = defaultdict(int)
        for path in self.store.rglob("*"):
            if path.is_file():
                sizes[path.relative_to(self.store).parts[0]] += path.stat().st_size
        return dict(sizes)


def write_source(folder: Path, shape: Shape, *, num_later: int = 0) -> Source:
    """Write a source of `num_later` points more than the shape has.

    Args:
        folder: Where to write.
        shape: The series.
        num_later: Points of each series after the first cutoff.

    Returns:
        The source and its spec.
    """
    folder.mkdir(parents=True)
    path = folder / "source.parquet"
    spec = Spec(name="bench", source={"uri": str(path)}, **shape.spec)
    width, num_points = WIDTHS[str(spec.freq)], shape.num_points + num_later
    y_SN = make_demand(shape.num_series, num_points, spec.season_lengths)
    ids = np.repeat([f"s{number:06d}" for number in range(shape.num_series)], num_points)
    ds = pl.datetime_range(START, START + (num_points - 1) * width, width, eager=True)
    rows = {"unique_id": ids, "ds": pl.concat([ds] * shape.num_series), "y": y_SN.ravel()}
    pl.DataFrame(rows).write_parquet(path)
    return Source(folder, spec, width, shape.num_points)


def make_demand(num_series: int, num_points: int, season_lengths: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return series with a level, a slow trend, seasons of their own and correlated noise, (S, N)."""
    rng, points_N = np.random.default_rng(0), np.arange(num_points)
    y_SN = np.ones((num_series, num_points)) + rng.normal(0, 0.2, (num_series, 1)) * points_N / num_points
    for length in season_lengths:
        shape_SL = rng.normal(0, 0.25, (num_series, length))
        y_SN += shape_SL[:, points_N % length]
    noise_SN = rng.normal(0, 0.12, (num_series, num_points))
    for point in range(1, num_points):
        noise_SN[:, point] += 0.5 * noise_SN[:, point - 1]
    return rng.uniform(20, 500, (num_series, 1)) * (y_SN + noise_SN)


def run_flow(source: Source, flow: Flow, head: Head, *, num_later: int = 0) -> dict[JobName, Usage]:
    """Run a flow to its end, and return what each of its jobs used; the start of the process belongs to its first job.

    Args:
        source: The spec and its series.
        flow: Which jobs.
        head: The Ray that the jobs use.
        num_later: Points after the source's first cutoff up to that of the run.

    Returns:
        Usage by job.

    Raises:
        RuntimeError: A job failed; the message has its log.
    """
    names = {job: f"{job}.{time.monotonic_ns()}" for job in FLOWS[flow]}
    first, *others = FLOWS[flow]
    used: dict[JobName, Usage] = {job: Usage() for job in FLOWS[flow]}
    arguments = RunArguments(
        job=first, flow=flow, spec=source.spec, cutoff=source.cutoff(num_later), run_id=names[first], from_scratch=True
    )
    steps = [Step(job=job, run_id=names[job], generation=0) for job in others]
    lines = _run("flow", arguments, steps, head, source, used, {names[job]: job for job in names})
    result = find_result(lines[: next((n for n, line in enumerate(lines) if names[others[0]] in line), None)])
    if result is None:
        raise RuntimeError("\n".join(["the flow failed:", *lines]))
    if not fits_one_job(arguments, result.num_rows):
        for job in others:
            of_job = arguments.model_copy(update={"job": job, "run_id": names[job]})
            lines += _run(job, of_job, [], head, source, used, {})
    done = [line for line in lines if line.startswith("fleetcast-result: ")]
    if len(done) != len(names):
        raise RuntimeError("\n".join(["a job failed:", *lines]))
    return used


def _run(
    module: str,
    arguments: RunArguments,
    steps: Sequence[Step],
    head: Head,
    source: Source,
    used: dict[JobName, Usage],
    jobs: Mapping[str, JobName],
) -> list[str]:
    """Run a process with the jobs of `steps`, add to `used`, and return its output."""
    environment = (
        os.environ
        | head.environment
        | {
            "FLEETCAST_STORE": str(source.store),
            ARGUMENTS_VARIABLE: arguments.model_dump_json(),
            STEPS_VARIABLE: steps_variable(steps),
        }
    )
    process = subprocess.Popen(
        [sys.executable, "-m", f"workers.jobs.{module}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    with _sampling(process.pid, head, used, arguments.job) as sampler:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith(BEGIN_PREFIX):
                sampler.switch(jobs[line.removeprefix(BEGIN_PREFIX).strip()])
        _, status, usage = os.wait4(process.pid, 0)
        sampler.end(usage.ru_utime + usage.ru_stime)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("\n".join(["the job failed:", *lines]))
    return lines


@dataclass
class _Sampler:
    pid: int
    head: Head
    used: dict[JobName, Usage]
    job: JobName
    began: float = field(default_factory=time.perf_counter)
    known: dict[int, float] = field(default_factory=dict)
    """CPU seconds of each process when it was last read."""
    are_workers: dict[int, bool] = field(default_factory=dict)
    """Whether each process that was seen is a worker of Ray."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self, seconds: float) -> None:
        """Count what the job's process used since it was last read, out of the CPU seconds of its whole life."""
        with self.lock:
            self.used[self.job].driver_seconds += max(0.0, seconds - self.known.get(self.pid, 0.0))
            self.known[self.pid] = seconds

    def switch(self, job: JobName) -> None:
        """Count what follows for another job."""
        self.sample()
        with self.lock:
            self.job = job

    def sample(self, *, is_first: bool = False) -> None:
        """Add what processes used since the last sample to the current job; a first one only reads."""
        with self.lock:
            usage, now = self.used[self.job], time.perf_counter()
            usage.wall_seconds += now - self.began
            self.began = now
            for pid, is_driver in self._processes():
                seconds, peak = _read(pid)
                if seconds is None:
                    continue
                added = 0.0 if is_first else seconds - self.known.get(pid, 0.0)
                self.known[pid] = seconds
                if is_driver:
                    usage.driver_seconds += added
                    usage.driver_mib = max(usage.driver_mib, peak)
                elif added and self.job != "features":
                    usage.worker_seconds += added
                    usage.worker_mib = max(usage.worker_mib, peak)

    def _processes(self) -> Iterator[tuple[int, bool]]:
        yield self.pid, True
        if any(pid not in self.are_workers for pid in _pids()):  # to read who belongs to Ray takes long
            workers = {pid for pid in processes_of(self.head.folder) if _is_worker(pid)}
            self.are_workers = {pid: pid in workers for pid in _pids()}
        for pid, is_worker in self.are_workers.items():
            if is_worker:
                yield pid, False


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _is_worker(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return command.startswith(b"ray::") or b"_worker.py" in command  # default_worker.py, or setup_worker.py before it


@contextmanager
def _sampling(pid: int, head: Head, used: dict[JobName, Usage], job: JobName) -> Iterator[_Sampler]:
    sampler, is_over = _Sampler(pid, head, used, job), threading.Event()
    sampler.sample(is_first=True)

    def repeat() -> None:
        while not is_over.wait(SECONDS_BETWEEN_SAMPLES):
            sampler.sample()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield sampler
    finally:
        is_over.set()
        thread.join()
        sampler.sample()


def _read(pid: int) -> tuple[float | None, float]:
    """Return the CPU seconds and the peak memory in MiB of a process; no seconds if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None, 0.0
    peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return (int(text[11]) + int(text[12])) / TICKS, peak / 1024
