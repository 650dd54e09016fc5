"""Run commands that write forecasts; measure the seconds of their processes from a cold start, and the accuracy."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tests.benchmarks.crew import ROOT, TUNING_PREFIXES
from tests.benchmarks.m4 import Accuracy, M4Hourly

NUM_CORES = 2
LONGEST_REPEATED = 30
"""Seconds; a longer run is not repeated."""
NUM_RUNS = 3

Commands = Callable[[Path], Sequence[Sequence[str]]]
"""Commands that run at the same time; each writes a parquet file of `unique_id, ds, forecast` into the folder."""


@dataclass(frozen=True)
class Result:
    """Seconds of one setting, and the accuracy of its forecasts."""

    name: str
    seconds: float
    accuracy: Accuracy

    def __str__(self) -> str:
        return f"{self.name}: {self.accuracy}"


def measure(name: str, commands: Commands, m4: M4Hourly, *, threads: int) -> Result:
    """Run commands until all forecasts are written, three times if that is short, and score them outside the clock."""
    seconds: list[float] = []
    while not seconds or (seconds[0] < LONGEST_REPEATED and len(seconds) < NUM_RUNS):
        with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder:
            seconds.append(run_cold(commands(Path(folder)), threads=threads))
            accuracy = m4.judge(pl.read_parquet(Path(folder) / "*.parquet"))
    result = Result(name, statistics.median(seconds), accuracy)
    print(f"{result}; {', '.join(f'{each:.1f}' for each in seconds)} s", flush=True)
    return result


def measure_start(commands: Sequence[Sequence[str]]) -> float:
    """Return the median seconds of commands that only load and read, after a first run has filled the page cache."""
    runs = [run_cold(commands, threads=NUM_CORES) for _ in range(1 + NUM_RUNS)]
    return statistics.median(runs[1:])


def run_cold(commands: Sequence[Sequence[str]], *, threads: int) -> float:
    """Start processes together and wait until the last one has ended.

    Args:
        commands: Command of each process.
        threads: Threads of each process.

    Returns:
        The seconds from the first start to the last end.

    Raises:
        CalledProcessError: A process failed; the output of all is printed before.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(TUNING_PREFIXES)}
    environment = inherited | {"OMP_NUM_THREADS": str(threads), "FLEETCAST_PROCESSES": str(NUM_CORES)}
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        running = [subprocess.Popen(each, cwd=ROOT, env=environment, stdout=log, stderr=log) for each in commands]
        try:
            exit_codes = [process.wait() for process in running]
        finally:
            for process in running:
                process.kill()  # does nothing to one that has ended
        seconds = time.perf_counter() - began
        for command, exit_code in zip(commands, exit_codes, strict=True):
            if exit_code:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
                raise subprocess.CalledProcessError(exit_code, command)
    return seconds
