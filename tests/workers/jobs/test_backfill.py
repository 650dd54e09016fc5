"""A backfill of forecasts: forty daily cutoffs at once give the tables that they give one after the other."""

import json
import multiprocessing
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.schemas import TABLES
from forecasting.series.clock import format_clock
from forecasting.settings import FleetSettings
from forecasting.spec.spec import Spec
from forecasting.store.publish import append_run
from forecasting.store.tables import Store
from tests.workers.jobs.conftest import run_serially
from workers.arguments import RunArguments
from workers.jobs.backtest import backtest
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.predict import predict
from workers.jobs.run import Outcome, Run
from workers.jobs.score import score
from workers.jobs.train import train
from workers.settings import WorkerSettings

FIRST = datetime(2024, 1, 1)
NUM_CUTOFFS = 40
TRAINED = (FIRST + timedelta(days=49), FIRST + timedelta(days=70))
"""Cutoffs of the trainings, of which the second lies within the backfill."""
BEGIN = FIRST + timedelta(days=50)
UNCOMPARED = {"run_id", "forecast_run_id", "data_version", "learnt_at"}
"""Columns that name runs, or count commits of the features table."""


def write_source(path: Path) -> None:
    """Write a regular series, one with gaps that lags, one that begins late, and one that ends within the backfill."""
    numbers = random.Random(0)

    def lines(name: str, days: Any) -> list[str]:
        return [f"{name},{FIRST + timedelta(days=d)},{10 + d % 7 + numbers.gauss(0, 1):.3f}" for d in days]

    all_days = range(BEGIN.toordinal() - FIRST.toordinal() + NUM_CUTOFFS)
    rows = [
        *lines("regular", all_days),
        *lines("gaps", [d for d in all_days if d % 11 not in (3, 4, 5, 6)]),
        *lines("late", all_days[55:]),
        *lines("ends", all_days[:60]),
    ]
    path.write_text("\n".join(["unique_id,ds,y", *rows]) + "\n")


def spec_of(source: Path) -> Spec:
    return Spec(
        name="small",
        source={"uri": str(source)},
        freq="1d",
        season_lengths=(7,),
        horizon=5,
        models=("gru",),
        statistics=(),
        recipe="fast",
        overrides={
            "max_steps": 10,
            "evaluate_every": 5,
            "hidden_size": 4,
            "context_segments": 2,
            "members": [{"start": "prior"}],
            "prior_hidden_size": 4,
            "prior_steps": 10,
            "prior_windows": 8,
            "tuning_steps": 5,
        },
        backtest={"origins": 1},
    )


class Daily:
    """A store, and the jobs of a day on it in this process."""

    def __init__(self, folder: Path, name: str) -> None:
        self.store = Store(folder / name)
        self.spec = spec_of(folder / "source.csv")

    def arguments(self, job: Any, flow: Any, **options: Any) -> RunArguments:
        return RunArguments(job=job, flow=flow, spec=self.spec, run_id=f"{job}.{uuid4().hex}", **options)

    def run(self, arguments: RunArguments, cutoff: Any) -> Run:
        return Run(arguments, self.store, WorkerSettings(), FleetSettings(), cutoff)

    def do(self, work: Callable[[Run], Outcome], flow: str, cutoff: Any) -> None:
        work(self.run(self.arguments(work.__name__, flow, cutoff=cutoff.isoformat()), cutoff))

    def train_at(self, cutoff: datetime) -> None:
        self.read("train", cutoff=cutoff.isoformat())
        self.do(train, "train", cutoff)
        self.do(backtest, "train", cutoff)

    def forecast_at(self, day: datetime) -> None:
        """Forecast as a run does that is scheduled half a day after the last one of its cutoff."""
        cutoff = self.read("forecast", as_of=(day + timedelta(hours=36)).isoformat())
        assert cutoff == day
        self.do(predict, "forecast", cutoff)

    def read(self, flow: str, **options: Any) -> Any:
        arguments = self.arguments("features", flow, **options)
        cutoff = find_cutoff(arguments, self.store)
        started_at = datetime.now(UTC)
        outcome = write_features(self.run(arguments, cutoff))
        fields = {
            "run_id": arguments.run_id, "job": "features", "spec": "small", "status": "success", "seconds": 0.0,
            "run_cutoff": format_clock(cutoff), "started_at": started_at,
            "versions": json.dumps(dict(outcome.versions)),
        }  # fmt: skip
        append_run(self.store, fields)
        return cutoff


def forecast_in_process(folder: Path, day: datetime) -> None:
    with run_serially():
        Daily(folder, "parallel").forecast_at(day)


def rows(store: Store, table: str) -> pl.DataFrame:
    stored = store.scan(table, "timestamp").collect()
    return stored.sort([name for name in TABLES[table].key if name in stored.columns and name not in UNCOMPARED]).drop(
        UNCOMPARED & set(stored.columns)
    )


@pytest.mark.timeout(900)  # eighty forecasts
def test_forty_cutoffs_at_once_give_the_tables_of_forty_in_sequence(tmp_path: Path) -> None:
    days = [BEGIN + timedelta(days=number) for number in range(NUM_CUTOFFS)]
    write_source(tmp_path / "source.csv")
    with run_serially():
        serial = Daily(tmp_path, "serial")
        for cutoff in TRAINED:
            serial.train_at(cutoff)
        shutil.copytree(tmp_path / "serial", tmp_path / "parallel")
        for day in days:
            serial.forecast_at(day)
    shuffled = random.Random(1).sample(days, len(days))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(forecast_in_process, tmp_path, day) for day in shuffled]:
            done.result()
    parallel = Daily(tmp_path, "parallel")
    with run_serially():
        for world in (serial, parallel):
            # A run that is not of the backfill scores all of its forecasts.
            world.read("forecast", cutoff=days[-1].isoformat())
            world.do(score, "forecast", days[-1])
    for table in ("observations", "features", "rejects", "forecasts", "scores"):
        expected = rows(serial.store, table)
        assert_frame_equal(rows(parallel.store, table), expected, check_exact=True)
    assert rows(serial.store, "forecasts")["run_cutoff"].n_unique() == NUM_CUTOFFS
