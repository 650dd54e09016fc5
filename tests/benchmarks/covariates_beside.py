"""Measure what other libraries make of covariates: the windows and the columns of `tests.benchmarks.covariates`.

    FLEETCAST_BENCHMARK_DATA=FOLDER python -m tests.benchmarks.covariates_beside bike_sharing_uci --peers LightGBM NHITS

Prints rows of `docs/covariates.md`. `make bench-setup` installs the peers; `tests/benchmarks/sides/covariate_peers.py`
has their settings, which are the libraries' defaults where there is no reason for others. LightGBM is fitted again at
each cutoff, and networks are trained before the first one, as Fleetcast's are. Each peer has one thread.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from tests.benchmarks.covariates import TASKS, Task, read_rows, score
from tests.benchmarks.crew import BENCH_PYTHON, ROOT, peers_are_installed
from tests.benchmarks.m4 import DATA_VARIABLE

PEERS = ("LightGBM", "NHITS", "TFT")


def main(arguments: Sequence[str]) -> int:
    """Print a row per set and peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=TASKS)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--series", type=int, help="the first N series of a set")
    parser.add_argument("--windows", type=int, help="fewer windows than the task has")
    parser.add_argument("--tune", action="store_true", help="windows before those of the task")
    options = parser.parse_args(arguments)
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        parser.error(f"{DATA_VARIABLE} must name the folder of the data sets")
    if not peers_are_installed():
        parser.error("the peers are not installed: run `make bench-setup` first")
    columns = ("set", "peer", "MASE", "versions", "seconds")
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
    for name in options.sets:
        rows = read_rows(Path(root), name, num_series=options.series, is_tuning=options.tune)
        for peer in options.peers:
            found, report = forecast(rows, TASKS[name], peer, num_windows=options.windows or TASKS[name].num_windows)
            mase = score(rows, found).select(pl.col("mase").mean()).item()
            versions = ", ".join(f"{library} {version}" for library, version in report["versions"].items())
            print(f"| {name} | {peer} | {mase:.3f} | {versions} | {report['seconds']:.0f} |", flush=True)
    return 0


def forecast(rows: pl.DataFrame, task: Task, peer: str, *, num_windows: int) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    """Forecast windows with another library, in a process of the peers' environment.

    Args:
        rows: The rows of the set.
        task: What is forecast.
        peer: One of `PEERS`.
        num_windows: Windows at the end of each series.

    Returns:
        Rows of unique_id, cutoff, ds, y, model, is_champion and forecast; and seconds and versions.
    """
    with TemporaryDirectory() as folder:
        known, out = Path(folder) / "known.parquet", Path(folder) / "forecasts.parquet"
        fill_gaps(rows, task.covariates).write_parquet(known)
        request: dict[str, Any] = {"path": str(known), "out": str(out), "model": peer, "covariates": task.covariates}
        request |= {"horizon": task.horizon, "num_windows": num_windows}
        ended = subprocess.run(
            [str(BENCH_PYTHON), "-m", "tests.benchmarks.sides.covariate_peers", json.dumps(request)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        clock = pl.col("ds", "cutoff").cast(rows.schema["ds"])
        found = pl.read_parquet(out).with_columns(clock, pl.col("forecast").cast(pl.Float64))
    joined = found.join(rows.select("unique_id", "ds", "y"), on=["unique_id", "ds"], how="left")
    return joined.with_columns(model=pl.lit(peer), is_champion=pl.lit(False)), json.loads(ended.stdout.splitlines()[-1])


def fill_gaps(rows: pl.DataFrame, covariates: Sequence[str]) -> pl.DataFrame:
    """Return every hour of each series, because peers know no gaps; `is_measured` marks the hours that have a `y`.

    A missing value is that of the same hour of the last day that has one. Peers do not learn from hours without a `y`.

    Args:
        rows: unique_id, ds, y and covariates.
        covariates: The covariates.

    Returns:
        unique_id, ds, y and the covariates as Float64 without nulls, and is_measured.
    """
    columns = ["y", *covariates]
    spans = rows.drop_nulls("y").group_by("unique_id").agg(first=pl.col("ds").min(), last=pl.col("ds").max())
    hours = spans.select("unique_id", ds=pl.datetime_ranges("first", "last", "1h")).explode("ds")
    grid = hours.with_columns(pl.col("ds").cast(rows.schema["ds"])).join(rows, on=["unique_id", "ds"], how="left")
    grid = grid.sort("unique_id", "ds").with_columns(
        pl.col(columns).cast(pl.Float64), is_measured=pl.col("y").is_not_null()
    )
    filled = grid.with_columns(pl.col(columns).forward_fill().over("unique_id", pl.col("ds").dt.hour(), order_by="ds"))
    filled = filled.with_columns(pl.col(columns).forward_fill().backward_fill().over("unique_id", order_by="ds"))
    return filled.select("unique_id", "ds", *columns, "is_measured")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
