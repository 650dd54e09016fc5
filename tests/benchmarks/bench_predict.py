"""Prediction: features in and forecast rows in the table, over Polars writing the same frame to parquet and no more.

Both sides run on one core. Ours reads features, registry, champions and weights from the store, forecasts with two
networks of two members each and the seasonal naives, stages the rows and commits them to the table; Ray is left out,
since both sides could have as many workers. Each round forecasts anew, at a run's cutoff of its own, as a schedule
does. The peer has the finished frame in memory and writes it with Polars' own defaults.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import torch

from forecasting.store.staging import discard, stage
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded
from tests.benchmarks.stores import STEPS, Bench, make_bench
from workers.jobs.backtest import compare_shard
from workers.jobs.predict import forecast_shard
from workers.jobs.shard_run import Slot
from workers.jobs.train import fit_shard
from workers.settings import WorkerSettings
from workers.shards import Shard

TARGET = "<=3"
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
SHORT_ROUNDS, FULL_ROUNDS = 7, 15
QUICK = {"max_steps": 4, "evaluate_every": 2}
"""How well networks are trained changes nothing in what a forecast takes."""


@dataclass(frozen=True)
class Setting:
    name: str
    num_series: int
    num_points: int
    spec: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}: {self.num_series} series of {self.num_points} points, {self.spec['horizon']} steps"


SETTINGS = (
    Setting("daily", 2000, 120, {"freq": "1d", "season_lengths": (7,), "horizon": 28}),
    Setting("hourly", 1000, 700, {"freq": "1h", "season_lengths": (24, 168), "horizon": 48}),
)


def main(arguments: list[str]) -> int:
    """Print a figure per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more rounds")
    num_rounds = FULL_ROUNDS if parser.parse_args(arguments).full else SHORT_ROUNDS
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):  # read once, when libraries load
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.execve(sys.executable, [sys.executable, "-P", __file__, *arguments], os.environ | ONE_THREAD)
    torch.set_num_threads(1)
    print(f"{describe_machine()}; polars {pl.__version__}, one core, {num_rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder:
        for setting in SETTINGS:
            _compare(setting, Path(folder) / setting.name, num_rounds).print()
    return 0


def _compare(setting: Setting, folder: Path, num_rounds: int) -> Figure:
    bench = make_bench(
        folder, num_series=setting.num_series, num_points=setting.num_points, **setting.spec, overrides=QUICK
    )
    for job, compute in (("train", fit_shard), ("backtest", compare_shard), ("predict", forecast_shard)):
        _run_into_tables(bench, job, compute)
    frame = bench.store.scan("forecasts", bench.spec.clock).collect().sort("unique_id", "model", "ds")
    ours, polars = [], []
    for number in range(1, num_rounds + 1):
        later = replace(bench, cutoff=bench.cutoff + number * STEPS[str(bench.spec.freq)])
        ours.append(_clock(lambda later=later: _run_into_tables(later, "predict", forecast_shard)))
        polars.append(_clock(lambda: frame.write_parquet(folder / "peer.parquet")))
    written = bench.store.scan("forecasts", bench.spec.clock).select(pl.len()).collect().item()
    assert written == frame.height * (num_rounds + 1), "both sides write the same rows"
    print(f"{setting}: {frame.height} rows; {statistics.median(ours):.3f} s against {statistics.median(polars):.3f} s")
    return Figure(
        benchmark="predict",
        setting=str(setting),
        figure=rounded(frame.height / statistics.median(ours)),
        unit="forecast rows a second into the table",
        peer="Polars writes the same frame",
        peer_figure=rounded(frame.height / statistics.median(polars)),
        ratio=rounded(median_ratio(ours, polars)),
        target=TARGET,
    )


def _run_into_tables(bench: Bench, job: Any, compute: Callable[[Slot, Shard], Any]) -> None:
    """Do what a job does with a single shard, in this process."""
    run = bench.run(job, WorkerSettings())
    version = bench.store.version("features", run.clock)
    slot = Slot(run.store, run.spec, run.networks, run.arguments.run_id, run.cutoff, version, run.fleet.kernel)
    for table, rows in compute(slot, Shard(0, bench.names, 0)).items():
        run.publish(table, [stage(run.store, slot.run_id, table, 0, slot.stamp(table, rows))])
    discard(run.store, slot.run_id)


def _clock(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
