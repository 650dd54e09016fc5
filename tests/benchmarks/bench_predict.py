"""Compare prediction, from features to rows in the table, with Polars writing the same finished frame to parquet.

Both sides run on one core. Ours reads features, registry, champions and weights from the store, forecasts with two
networks of four members each and the seasonal naives, stages the rows and commits them to the table. Ray has trained
the networks before and is left out, since both sides could use the same number of workers. Each round forecasts at a
cutoff of its own, as a schedule does. The peer has the finished frame in memory and writes it with Polars' defaults.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from forecasting.store.staging import discard, stage
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded
from tests.benchmarks.stores import STEPS, Bench, make_bench
from workers.cluster.local_ray import local_ray
from workers.cluster.shards import Shard
from workers.jobs.backtest import backtest
from workers.jobs.predict import compute_forecasts
from workers.jobs.shard_run import Slot
from workers.jobs.train import train
from workers.settings import WorkerSettings

TARGET = "<=3"
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
SHORT_ROUNDS, FULL_ROUNDS = 7, 15
NUM_SHORT = 1
"""Settings of the short run; their training takes longer than all rounds."""
QUICK = {"max_steps": 4, "evaluate_every": 2, "prior_steps": 4, "tuning_steps": 4}
"""The quality of networks does not change the time of a forecast."""


@dataclass(frozen=True)
class Setting:
    name: str
    num_series: int
    num_points: int
    spec: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name}: {self.num_series} series of {self.num_points} points, {self.spec['horizon']} steps"


SETTINGS = (
    Setting("daily", 2000, 120, {"freq": "1d", "season_lengths": (7,), "horizon": 28, "statistics": ()}),
    Setting("hourly", 1000, 700, {"freq": "1h", "season_lengths": (24, 168), "horizon": 48, "statistics": ()}),
)


def main(arguments: list[str]) -> int:
    """Print a figure per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more rounds")
    is_full = parser.parse_args(arguments).full
    num_rounds, settings = (FULL_ROUNDS, SETTINGS) if is_full else (SHORT_ROUNDS, SETTINGS[:NUM_SHORT])
    if any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):  # read once, when libraries load
        os.execve(sys.executable, [sys.executable, "-P", __file__, *arguments], os.environ | ONE_THREAD)
    torch.set_num_threads(1)
    print(f"{describe_machine()}; polars {pl.__version__}, one core, {num_rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder:
        with local_ray():
            benches = [_prepare(setting, Path(folder) / setting.name) for setting in settings]
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for setting, bench in zip(settings, benches, strict=True):
            _compare(setting, bench, Path(folder), num_rounds).print()
    for setting in SETTINGS[len(settings) :]:
        _figure(setting).print()
    return 0


def _prepare(setting: Setting, folder: Path) -> Bench:
    """Train and backtest the networks that forecast."""
    bench = make_bench(
        folder, num_series=setting.num_series, num_points=setting.num_points, **setting.spec, overrides=QUICK
    )
    settings = WorkerSettings(gpus_per_worker=0, driver_seconds=0)
    train(bench.run("train", settings))
    backtest(bench.run("backtest", settings))
    return bench


def _compare(setting: Setting, bench: Bench, folder: Path, num_rounds: int) -> Figure:
    _forecast(bench)
    frame = bench.store.scan("forecasts", bench.spec.clock).collect().sort("unique_id", "model", "ds")
    ours, polars = [], []
    for number in range(1, num_rounds + 1):
        later = replace(bench, cutoff=bench.cutoff + number * STEPS[str(bench.spec.freq)])
        ours.append(_clock(partial(_forecast, later)))
        polars.append(_clock(lambda: frame.write_parquet(folder / "peer.parquet")))
    written = bench.store.scan("forecasts", bench.spec.clock).select(pl.len()).collect().item()
    assert written == frame.height * (num_rounds + 1), "both sides write the same rows"
    print(f"{setting}: {frame.height} rows; {statistics.median(ours):.3f} s against {statistics.median(polars):.3f} s")
    return replace(
        _figure(setting),
        figure=rounded(frame.height / statistics.median(ours)),
        peer_figure=rounded(frame.height / statistics.median(polars)),
        ratio=rounded(median_ratio(ours, polars)),
    )


def _figure(setting: Setting) -> Figure:
    return Figure(
        benchmark="predict",
        setting=str(setting),
        figure=None,
        unit="forecast rows a second into the table",
        peer="Polars writes the same frame",
        peer_figure=None,
        ratio=None,
        target=TARGET,
    )


def _forecast(bench: Bench) -> None:
    """Do what the job does with a single shard, in this process."""
    run = bench.run("predict", WorkerSettings())
    version = bench.store.version("features", run.clock)
    slot = Slot(run.store, run.spec, run.networks, run.arguments.run_id, run.cutoff, version, run.fleet.kernel)
    for table, rows in compute_forecasts(slot, Shard(0, bench.names, 0)).items():
        run.publish(table, [stage(run.store, slot.run_id, table, 0, slot.stamp(table, rows))])
    discard(run.store, slot.run_id)


def _clock(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
