"""Measure how long a user of Airflow waits: seconds of DAG runs of 100 series, from their trigger to their success.

A real Airflow (scheduler, triggerer, API server; SQLite) and a local Ray run on the same cores, as `make up` starts
them. The peer is a DAG of three tasks that do nothing, in the same Airflow, one run of it before each run of ours. The
`ratio` is ours less the peer's, in seconds: what Fleetcast adds. The least of several runs counts, because anything
else on the machine only adds to it.
"""

import argparse
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl

from tests.benchmarks.bench_wait import frame_of, make_series
from tests.benchmarks.cold import NUM_CORES
from tests.benchmarks.crew import ROOT
from tests.benchmarks.figures import Figure, describe_machine, rounded
from tests.end_to_end.service import Airflow
from workers.airflow import standalone
from workers.cluster.ray_head import ray_head

NUM_SERIES, NUM_POINTS, HORIZON = 100, 500, 24
BEGIN = datetime(2024, 1, 1)
NUM_RUNS = {"train": 2, "forecast": 4}
TARGETS = {"train": 25, "forecast": 15}
EMPTY = """
from datetime import timedelta

from airflow.sdk import DAG, task

with DAG("empty", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(seconds=1)}) as dag:
    @task
    def first() -> None: ...
    @task
    def second() -> None: ...
    @task
    def third() -> None: ...
    first() >> second() >> third()
"""
SPEC = """
name = "bench"
freq = "1h"
season_lengths = [24]
horizon = {horizon}
recipe = "{recipe}"

[source]
uri = "../../series.parquet"
"""


def main(arguments: list[str]) -> int:
    """Print a figure per flow: the least seconds of its runs, and of those of the empty DAG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="twice as many runs")
    parser.add_argument("--recipe", default="fast", help="recipe of the spec")
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_CORES])
    print(describe_machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="fleetcast-bench-") as folder, _service(Path(folder), options.recipe) as at:
        for flow, num_runs in NUM_RUNS.items():
            runs = [_measure_both(at, flow, number) for number in range(num_runs * (2 if options.full else 1))]
            empty, ours = (min(each) for each in zip(*runs, strict=True))
            setting = f"{NUM_SERIES} series of {NUM_POINTS} points, {options.recipe}: {flow} DAG"
            target = f"<={TARGETS[flow]}"
            peer, unit = "empty DAG of three tasks", "seconds from trigger to success"
            Figure("dags", setting, rounded(ours), unit, peer, rounded(empty), rounded(ours - empty), target).print()
    return 0


def _measure_both(airflow: Airflow, flow: str, number: int) -> tuple[float, float]:
    """Return the seconds of a run of the empty DAG, and of a run of ours at a cutoff of its own."""
    empty = _measure(airflow, "empty")
    cutoff = (BEGIN + timedelta(hours=NUM_POINTS - 1 - HORIZON + number)).isoformat()
    ours = _measure(airflow, f"bench__{flow}", cutoff=cutoff)
    print(f"{flow}: {ours:.1f} s; empty: {empty:.1f} s", flush=True)
    return empty, ours


def _measure(airflow: Airflow, dag_id: str, **conf: str) -> float:
    """Trigger a DAG, and return the seconds until its success."""
    began = datetime.now(UTC)
    path = airflow.trigger(dag_id, **conf)
    airflow.wait_for_success(dag_id, path)
    ended = datetime.fromisoformat(airflow.http.get(path).raise_for_status().json()["end_date"])
    return (ended - began).total_seconds()


@contextmanager
def _service(root: Path, recipe: str) -> Iterator[Airflow]:
    """Start a Ray and an Airflow with the spec and the empty DAG, and wait until both can run."""
    (root / "dags" / "specs").mkdir(parents=True)
    shutil.copy(ROOT / "dags" / "fleetcast_dags.py", root / "dags")
    (root / "dags" / "empty.py").write_text(EMPTY)
    (root / "dags" / "specs" / "bench.toml").write_text(SPEC.format(horizon=HORIZON, recipe=recipe))
    series = frame_of(make_series(NUM_SERIES, NUM_POINTS))
    series.with_columns(ds=pl.lit(BEGIN) + pl.duration(hours="ds")).write_parquet(root / "series.parquet")
    os.environ["FLEETCAST_STORE"] = str(root / "store")
    os.environ["PYTHONPATH"] = str(ROOT)
    with ray_head(num_cpus=NUM_CORES, dashboard=True) as head:
        os.environ.update(head.environment)
        port = _free_port()
        try:
            standalone.up(root, port=port)
            url = f"http://{standalone.LOOPBACK}:{port}"
            login = {"username": standalone.USER, "password": standalone.password(root)}
            token = httpx.post(f"{url}/auth/token", json=login).raise_for_status().json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            with httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=120) as http:
                airflow = Airflow(http)
                airflow.wait_for_dags("empty", "bench__train", "bench__forecast")
                airflow.run_to_the_end("empty")  # loads what the first run of any DAG loads
                yield airflow
        finally:
            standalone.down(root)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((standalone.LOOPBACK, 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
