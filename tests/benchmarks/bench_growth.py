"""Measure how cost grows: seconds per thousand short series and peak memory of train jobs of 10² to 10⁵ series on Ray.

Every size has a store of its own, and its features are written before the clock starts. A job is what Airflow submits:
a process of its own on a running Ray, which starts one worker of one core, or two. The clock is wall time around the
whole job. It includes the fixed costs of a job: Python, Ray's connection, a worker that loads torch, the commits. These
are almost all of the time of 100 series. They make a thousand series expensive at small sizes, and growth look small.
So growth is judged without them: seconds per thousand series beyond the first 100, against those of 1000 series.

Rounds take every size in turn, with one worker and then with two; large sizes take part in the first rounds only. Two
workers over one is the median of paired ratios, growth is the ratio of medians. The registries of one worker and of two
must name the same versions, which are hashes of the weights. Memory is the peak of all rounds: that of the driver's
process as Linux counts it, and that of the largest worker as it reports it.
"""

import argparse
import multiprocessing
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import ray

from forecasting.store.tables import WEIGHTS_FOLDER
from tests.benchmarks.figures import Figure, describe_machine, median_ratio, rounded
from tests.benchmarks.stores import Bench, make_bench
from workers.cluster.local_ray import local_ray

SPEC = {"freq": "1d", "season_lengths": (7,), "horizon": 14, "models": ("gru",), "recipe": "fast"}
NUM_POINTS = 150
FIRST, REFERENCE, LARGEST = 100, 1000, 100_000
SIZES = (FIRST, REFERENCE, 10_000, LARGEST)
SHORT_ROUNDS = {FIRST: 1, REFERENCE: 1}
FULL_ROUNDS = {FIRST: 3, REFERENCE: 3, 10_000: 1, LARGEST: 1}
WORKERS = (1, 2)


@dataclass(frozen=True)
class Cost:
    """Cost of one job; memory in MiB."""

    seconds: float
    driver: float
    worker: float


Costs = Mapping[tuple[int, int], Sequence[Cost]]
"""By numbers of series and of workers, one a round; empty if not measured."""


def main(arguments: list[str]) -> int:
    """Print seconds, growth and memory by size; return 1 if one worker and two trained different networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all sizes, and more rounds; about half an hour")
    rounds = FULL_ROUNDS if parser.parse_args(arguments).full else SHORT_ROUNDS
    print(f"{describe_machine()}, polars {pl.__version__}, ray {ray.__version__}; 1 core a worker, rounds {rounds}")
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder, local_ray(num_cpus=max(WORKERS)) as cluster:
        os.environ["RAY_ADDRESS"] = cluster.address  # where jobs connect
        benches = {num_series: _make_bench(Path(folder) / str(num_series), num_series) for num_series in rounds}
        _train(benches[FIRST], num_workers=1)  # reads programs from the disk
        costs: dict[tuple[int, int], list[Cost]] = defaultdict(list)
        for number in range(max(rounds.values())):
            for num_series, bench in benches.items():
                if number >= rounds[num_series]:
                    continue
                versions = []
                for num_workers in WORKERS:
                    costs[num_series, num_workers].append(_train(bench, num_workers=num_workers))
                    versions.append(_hash_versions(bench))
                if len(set(versions)) > 1:
                    print(f"{num_series} series: one worker and two trained different networks", file=sys.stderr)
                    return 1
    for figure in (*_time(costs), *_growth(costs), *_memory(costs)):
        figure.print()
    return 0


def _make_bench(folder: Path, num_series: int) -> Bench:
    """Write features in a process of its own, because Linux counts a parent's peak for its children too."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(make_bench, folder, num_series=num_series, num_points=NUM_POINTS, **SPEC).result()


def _train(bench: Bench, *, num_workers: int) -> Cost:
    shutil.rmtree(Path(bench.store.root) / WEIGHTS_FOLDER, ignore_errors=True)  # 40 kB a series would accumulate
    job = bench.start("train", num_workers=num_workers)
    assert job.result.num_series == bench.num_series, job.result
    found = re.search(r"at most (\d+) MiB in a worker", job.result.message)
    assert found is not None, job.result
    print(
        f"{bench.num_series} series, {num_workers} workers: {job.seconds:.2f} s;"
        f" {job.peak_mib:.0f} MiB in the driver, {found[1]} in a worker",
        flush=True,
    )
    return Cost(job.seconds, job.peak_mib, float(found[1]))


def _hash_versions(bench: Bench) -> int:
    """Hash the registry's weights by series; all of them must have been trained."""
    trained = bench.store.scan("models", bench.spec.clock).filter(pl.col("status") == "trained")
    of_row = pl.struct("unique_id", "role", "version").hash()
    num_rows, total = trained.select(pl.len(), of_row.sum().alias("total")).collect().row(0)
    assert num_rows == 2 * bench.num_series, "a candidate and a serving network of each series"
    return int(total)


def _time(costs: Costs) -> list[Figure]:
    """Return the seconds of a thousand series, and how much faster two workers are than one."""
    figures = []
    for num_series in SIZES:
        one, two = ([cost.seconds for cost in costs.get((num_series, number), ())] for number in WORKERS)
        for number, seconds, peers in ((1, one, None), (2, two, one)):
            is_compared = peers is not None
            figures.append(
                Figure(
                    benchmark="growth",
                    setting=_describe(num_series, number),
                    figure=_median(seconds, 1000 / num_series),
                    unit="seconds per thousand series, all included",
                    peer="one worker" if is_compared else None,
                    peer_figure=_median(peers or (), 1000 / num_series),
                    ratio=rounded(median_ratio(peers, seconds)) if peers else None,
                    target=">=1.85" if is_compared and num_series == LARGEST else None,
                )
            )
    return figures


def _growth(costs: Costs) -> list[Figure]:
    """Return the seconds of a thousand further series, by the number of series before them."""
    figures = []
    for number in WORKERS:
        few = beyond_first(costs, REFERENCE, number)
        for num_series in (size for size in SIZES if size > REFERENCE):
            many = beyond_first(costs, num_series, number)
            figures.append(
                Figure(
                    benchmark="growth",
                    setting=_describe(num_series, number),
                    figure=_median(many),
                    unit=f"seconds per thousand series beyond the first {FIRST}",
                    peer=f"{REFERENCE} series",
                    peer_figure=_median(few),
                    ratio=rounded(statistics.median(many) / statistics.median(few)) if many and few else None,
                    target="<=1.15" if num_series == LARGEST else None,
                )
            )
    return figures


def beyond_first(costs: Costs, num_series: int, num_workers: int) -> list[float]:
    """Return the seconds of a thousand series beyond the first hundred, in each round that has both.

    >>> costs = {(100, 1): [Cost(9.0, 0, 0), Cost(8.0, 0, 0)], (1000, 1): [Cost(18.0, 0, 0)]}
    >>> beyond_first(costs, 1000, 1), beyond_first(costs, 10_000, 1)
    ([10.0], [])
    """
    pairs = zip(costs.get((num_series, num_workers), ()), costs.get((FIRST, num_workers), ()), strict=False)
    return [(many.seconds - few.seconds) * 1000 / (num_series - FIRST) for many, few in pairs]


def _memory(costs: Costs) -> list[Figure]:
    figures = []
    for part in ("driver", "worker"):
        peaks = {
            size: max(getattr(cost, part) for number in WORKERS for cost in costs[size, number])
            for size in SIZES
            if (size, 1) in costs
        }
        for size in SIZES:
            held, few = peaks.get(size), peaks.get(REFERENCE)
            figures.append(
                Figure(
                    benchmark="growth",
                    setting=f"memory of {'the driver' if part == 'driver' else 'a worker'}: train, {size} series",
                    figure=rounded(held),
                    unit="MiB",
                    peer=f"{REFERENCE} series" if size > REFERENCE else None,
                    peer_figure=rounded(few) if size > REFERENCE else None,
                    ratio=rounded(held / few) if held and few and size > REFERENCE else None,
                    target=None,
                )
            )
    return figures


def _describe(num_series: int, num_workers: int) -> str:
    return f"train, {num_series} series of {NUM_POINTS} points, {num_workers} worker{'s' * (num_workers > 1)}"


def _median(values: Sequence[float], factor: float = 1.0) -> float | None:
    return rounded(statistics.median(values) * factor) if values else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
