"""Short work is done in the job's own process, long work on actors; the tables are the same."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from forecasting.errors import ClusterError, SpecError
from forecasting.settings import FleetSettings
from tests.workers.jobs.conftest import Small
from workers.jobs import place
from workers.jobs.place import HERE, is_short, open_place, run_here
from workers.jobs.predict import predict
from workers.jobs.run import Run
from workers.jobs.shard_run import are_short
from workers.jobs.train import train
from workers.settings import WorkerSettings


@dataclass(frozen=True)
class Unit:
    number: int
    size: int = 2

    @property
    def description(self) -> str:
        return f"unit {self.number}"


def with_workers(run: Run, **settings: Any) -> Run:
    return replace(run, workers=WorkerSettings(**settings))


def test_work_is_done_here_if_it_is_short_small_and_needs_no_gpu(small: Small) -> None:
    run = with_workers(small.run("predict", 4))
    assert is_short(run, 4.9, 1 << 30)
    assert not is_short(run, 5.0, 1 << 30)
    assert not is_short(run, 1.0, (1 << 30) + 1)
    assert not is_short(with_workers(run, driver_seconds=0), 0.0, 0)
    assert not is_short(with_workers(run, memory_per_worker_mb=600), 1.0, 700 << 20)
    assert not is_short(replace(run, fleet=FleetSettings(kernel="gpu")), 1.0, 1 << 20)


def test_few_series_are_short_work_and_many_are_not(small: Small) -> None:
    run = with_workers(small.run("train", 4, flow="train", spec=small.spec.model_copy(update={"recipe": "fast"})))
    assert are_short(run, {"a": 200, "b": 200})
    assert not are_short(run, dict.fromkeys(map(str, range(20_000)), 5_000))


def test_units_run_in_order_and_those_that_are_staged_are_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    ran: list[int] = []

    def task(unit: Unit) -> int:
        ran.append(unit.number)
        return 10 * unit.number

    units = [Unit(0), Unit(1), Unit(2)]
    assert run_here(task, units, name="predict", resources=HERE, done={1: -1}) == [0, -1, 20]
    assert ran == [0, 2]
    assert "predict: 6 of 6 series" in capsys.readouterr().out
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_unit_that_fails_is_named_and_the_users_mistake_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def fail(unit: Unit) -> None:
        raise ValueError("no")

    def refuse(unit: Unit) -> None:
        raise SpecError("spec 'a'", ["no"])

    with pytest.raises(ClusterError, match=r"unit 3 failed: ValueError\('no'\)"):
        run_here(fail, [Unit(3)], name="predict", resources=HERE)
    with pytest.raises(SpecError):
        run_here(refuse, [Unit(3)], name="predict", resources=HERE)


def test_short_jobs_leave_the_same_rows_as_workers_without_connecting_to_ray(
    small: Small, serial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What actors do, the fixture does in this process, shard by shard."""

    def leave(at: int) -> Mapping[str, Any]:
        kept = {}
        for job, work, tables in (("train", train, ("models", "priors")), ("predict", predict, ("forecasts",))):
            work(small.run(job, 23, flow="train" if job == "train" else "forecast"))
            for table in tables:
                rows = small.store.scan(table, "timestamp").collect()
                names = ("run_id", "weights_uri", "version", "model_version", "data_version", "train_seconds")
                rows = rows.drop(names, strict=False)
                keys = [name for name in ("unique_id", "model", "member", "role", "ds") if name in rows.columns]
                kept[table] = rows.sort(keys)
        return kept

    small.write(a=24, b=24)
    small.read(23)
    workers = leave(1)
    assert len(serial.computed) == 4

    def refuse(**_: Any) -> Any:
        raise AssertionError("connects to Ray")

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(place, "local_ray", refuse)
    for module in ("shard_run", "priors"):
        monkeypatch.setattr(f"workers.jobs.{module}.open_place", open_place)
    here = leave(2)
    assert len(serial.computed) == 4
    for table, rows in workers.items():
        assert rows.drop("seconds", strict=False).equals(here[table].drop("seconds", strict=False)), table


def test_job_that_computes_here_does_not_import_ray() -> None:
    modules = "workers.jobs.flow, workers.jobs.predict, workers.jobs.score, workers.jobs.train, workers.jobs.backtest"
    code = f"import {modules}, sys; sys.exit(sorted({{'ray', 'torch'}} & set(sys.modules)) != [])"
    subprocess.run([sys.executable, "-c", code], check=True)
