"""Compare the memory of a worker that the cost model predicts before a job starts with the worker's peak.

Real jobs run on a Ray of one worker, each with an actor of its own, so that a peak belongs to one job. Both sides count
the whole process. The model cuts shards under the setting, as in any run. Settings differ from those that the model's
constants were measured with. Statistical models are left out: which of them a series needs is known only when it is
read. The model counts the most expensive one, which is a bound, not a prediction.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from forecasting.fleet.cost.cost import prior_worker_bytes
from forecasting.fleet.cost.memory import MIB
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.spec.training import KernelName
from tests.benchmarks.figures import Figure, describe_machine, rounded
from tests.benchmarks.stores import Bench, make_bench
from workers.arguments import JobName
from workers.cluster.local_ray import local_ray
from workers.cluster.pool import plan_resources
from workers.cluster.shards import make_shards
from workers.jobs.backtest import backtest
from workers.jobs.predict import predict
from workers.jobs.run import Outcome, Run
from workers.jobs.sizing import choose_prior_series, cost_of
from workers.jobs.train import train
from workers.settings import WorkerSettings

TARGET = "<=1.2"
JOBS: dict[JobName, Callable[[Run], Outcome]] = {"train": train, "backtest": backtest, "predict": predict}

FEW_STEPS: dict[str, Any] = {"max_steps": 20, "evaluate_every": 10, "prior_steps": 20, "tuning_steps": 10}


@dataclass(frozen=True)
class Setting:
    """Series of a spec, the jobs that run on them in turn, and the memory limit of a worker."""

    name: str
    num_series: int
    num_points: int
    spec: dict[str, Any]
    jobs: tuple[JobName, ...] = ("train",)
    memory_mb: int = 16_000
    kernel: KernelName = "cpu"
    is_short: bool = True
    steps: dict[str, Any] = field(default_factory=lambda: FEW_STEPS)


DAILY: dict[str, Any] = {"statistics": (), "freq": "1d", "season_lengths": (7,), "horizon": 28, "models": ("gru",)}
HOURLY: dict[str, Any] = {
    "statistics": (),
    "freq": "1h",
    "season_lengths": (24, 168),
    "horizon": 36,
    "models": ("lstm", "gru"),
}
FROM_PRIOR = FEW_STEPS | {"members": [{"start": "prior"}, {"start": "prior", "transform": "log"}]}
SETTINGS = (
    Setting("daily", 1500, 200, DAILY | {"backtest": {"origins": 4}}, ("train", "backtest", "predict")),
    Setting("hourly, two networks", 300, 1500, HOURLY),
    Setting("daily under 1000 MiB", 4000, 120, DAILY, memory_mb=1000, is_short=False),
    Setting("one series", 1, 300, DAILY, is_short=False),
    Setting("long", 60, 20_000, HOURLY, is_short=False),
    Setting("wide, averaged", 300, 700, HOURLY | {"recipe": "standard"}, is_short=False,
            steps=FEW_STEPS | {"hidden_size": 64, "weight_average": 0.99}),
    Setting("reference kernel", 150, 400, DAILY, kernel="reference", is_short=False),
    Setting("priors", 2000, 500, DAILY, is_short=False, steps=FROM_PRIOR),
    Setting("priors, hourly", 900, 4000, HOURLY | {"models": ("gru",)}, is_short=False, steps=FROM_PRIOR),
    Setting("priors under 1000 MiB", 5000, 700, DAILY, memory_mb=1000, is_short=False, steps=FROM_PRIOR),
    Setting("many origins", 500, 600, DAILY | {"backtest": {"origins": 12}}, ("train", "backtest"), is_short=False),
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Print a figure per setting and job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all settings")
    is_full = parser.parse_args(arguments).full
    print(describe_machine())
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder, local_ray(num_cpus=1):
        for number, setting in enumerate(SETTINGS):
            if setting.is_short or is_full:
                fields = setting.spec | {"overrides": setting.steps}
                bench = make_bench(
                    Path(folder) / str(number), num_series=setting.num_series, num_points=setting.num_points, **fields
                )
            for job in setting.jobs:
                is_measured = setting.is_short or is_full
                measured = _measure(bench, setting, job) if is_measured else {"": (None, None)}
                for what, (predicted, held) in measured.items():
                    _figure(setting, job + what, predicted, held).print()
    return 0


def _measure(bench: Bench, setting: Setting, job: JobName) -> dict[str, tuple[float | None, float | None]]:
    """Return predicted and measured memory in MiB: of the job's shards, and of its priors if it has any."""
    settings = WorkerSettings(
        num_workers=1, gpus_per_worker=0, memory_per_worker_mb=setting.memory_mb, driver_seconds=0
    )
    run = bench.run(job, settings, kernel=setting.kernel)
    resources = plan_resources(settings)
    cost, lengths = cost_of(run, resources), dict.fromkeys(bench.names, setting.num_points)
    shards = make_shards(lengths, cost=cost, most_bytes=resources.num_bytes)
    predicted = max(cost.worker_bytes(len(shard.unique_ids), setting.num_points, shard.num_points) for shard in shards)
    with redirect_stdout(StringIO()) as printed:
        message = JOBS[job](run).message
    print(f"{setting.name}, {job}: {len(shards)} shards; {message}")
    found: dict[str, tuple[float | None, float | None]] = {"": (predicted / MIB, _read_peak(message))}
    if "priors took" in printed.getvalue():
        names = choose_prior_series(run, resources, lengths)
        sizes = sizes_of(run.spec, run.networks, kernel=run.fleet.kernel, num_threads=resources.num_threads)
        total = len(names) * setting.num_points
        of_priors = prior_worker_bytes(sizes, len(names), setting.num_points, total)
        print(f"{setting.name}, {job}: priors of {len(names)} series")
        found[", priors"] = (of_priors / MIB, _read_peak(printed.getvalue()))
    return found


def _read_peak(text: str) -> float:
    found = re.search(r"at most (\d+) MiB in a worker", text)
    assert found is not None, text
    return float(found[1])


def _figure(setting: Setting, job: str, predicted: float | None, held: float | None) -> Figure:
    ratio = None if predicted is None or held is None else max(predicted / held, held / predicted)
    return Figure(
        benchmark="memory",
        setting=f"{job}, {setting.name}: {setting.num_series} series of {setting.num_points} points",
        figure=rounded(predicted),
        unit="MiB predicted",
        peer="peak of the worker",
        peer_figure=rounded(held),
        ratio=rounded(ratio),
        target=TARGET,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
