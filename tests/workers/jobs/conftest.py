"""A small source and store, and runs of jobs on them in this process: no Ray, no Airflow."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forecasting.series.clock import format_clock
from forecasting.settings import WORKER_BYTES, FleetSettings
from forecasting.spec.spec import Spec
from forecasting.store.publish import append_run
from forecasting.store.tables import Store
from workers.arguments import RunArguments
from workers.cluster.worker import Resources
from workers.jobs import priors, shard_run, train
from workers.jobs.features import write_features
from workers.jobs.place import Place
from workers.jobs.run import Outcome, Run
from workers.settings import WorkerSettings

FIRST = datetime(2024, 1, 1)


class Small:
    """A source that a test may rewrite, and a store."""

    def __init__(self, folder: Any) -> None:
        self.source = folder / "source.csv"
        self.store = Store(folder / "store")
        self.spec = self.spec_of("small")
        self._numbers = count()

    def spec_of(self, name: str) -> Spec:
        return Spec(
            name=name,
            source={"uri": str(self.source), "ended": "forecast"},  # tests of short series have them end early
            freq="1h",
            season_lengths=(4,),
            horizon=4,
            backtest={"origins": 1},
        )

    def write(self, *extra: str, **num_points: int) -> None:
        """Write a source with `num_points` hours of each series; `extra` are further lines."""
        lines = [
            f"{name},{FIRST + timedelta(hours=hour)},{hour % 4 + 1}"
            for name, length in num_points.items()
            for hour in range(length)
        ]
        self.source.write_text("\n".join(["unique_id,ds,y", *lines, *extra]) + "\n")

    def replace(self, *lines: str) -> None:
        """Replace rows of the source, each given as `b,3,4` for series b at hour 3; `b,3` takes the row out."""
        rows = self.source.read_text().splitlines()
        for line in lines:
            name, hour, *y = line.split(",")
            start = f"{name},{FIRST + timedelta(hours=int(hour))},"
            place = next(number for number, row in enumerate(rows) if row.startswith(start))
            rows[place : place + 1] = [start + y[0]] if y else []
        self.source.write_text("\n".join(rows) + "\n")

    def read(self, hours: int = 11, **options: Any) -> Outcome:
        """Run the features job, record it, and return its outcome."""
        return self.do(write_features, "features", hours, **{"cutoff": "given"} | options)

    def do(self, work: Callable[[Run], Outcome], job: str, hours: int, **options: Any) -> Outcome:
        """Run a job, record it as a success, and return its outcome."""
        run, started_at = self.run(job, hours, **options), datetime.now(UTC)
        outcome = work(run)
        fields = {
            "run_id": run.arguments.run_id, "job": run.arguments.recorded_job, "spec": run.spec.name,
            "status": "success",
            "run_cutoff": format_clock(run.cutoff), "started_at": started_at, "seconds": 0.0,
            "arguments": run.arguments.model_dump_json(), "versions": json.dumps(dict(outcome.versions)),
        }  # fmt: skip
        append_run(self.store, fields)
        return outcome

    def run(
        self,
        job: str,
        hours: int,
        *,
        flow: str = "forecast",
        shard_size: int | None = 1,
        kernel: Any = "auto",
        **options: Any,
    ) -> Run:
        """Return a run whose cutoff is `hours` after the first point, or that step."""
        named = {"run_id": f"{job}.{next(self._numbers)}", "spec": self.spec} | options
        arguments = RunArguments(job=job, flow=flow, **named)
        settings = WorkerSettings(shard_size=shard_size)
        cutoff = hours if arguments.spec.clock == "step" else FIRST + timedelta(hours=hours)
        return Run(arguments, self.store, settings, FleetSettings(kernel=kernel), cutoff)


@pytest.fixture
def small(tmp_path: Any) -> Small:
    return Small(tmp_path)


class Begin:
    """What the same jobs leave behind: they run once in a session, and each test goes on with a copy of its own.

    A copy lies where the jobs ran, because the spec and the tables name the source by its path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[Callable[[Small], None], tuple[Small, int]] = {}

    def __call__(self, jobs: Callable[[Small], None]) -> Small:
        folder = self._folder / f"{jobs.__module__}.{jobs.__qualname__}"
        if jobs not in self._done:
            (folder / "now").mkdir(parents=True)
            small = Small(folder / "now")
            with run_serially():
                jobs(small)
            shutil.copytree(folder / "now", folder / "done")
            self._done[jobs] = small, next(small._numbers)
        shutil.rmtree(folder / "now")
        shutil.copytree(folder / "done", folder / "now")
        small, next_number = self._done[jobs]
        mine = copy(small)
        mine._numbers = count(next_number)
        return mine


@pytest.fixture(scope="session")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Begin:
    """Return the source, the store and the spec that a function of jobs leaves; see `Begin`."""
    return Begin(tmp_path_factory.mktemp("begun"))


@pytest.fixture
def serial() -> Iterator[SimpleNamespace]:
    """Units of work run in this process; see `run_serially`."""
    with run_serially() as state:
        yield state


@contextmanager
def run_serially() -> Iterator[SimpleNamespace]:
    """Run the pool's units of work in this process, one after the other, without Ray.

    Yields:
        `computed` lists the series of each shard that was computed, and `priors` the network and member of each prior
        that was trained. The run dies where `fail_after` shards have been computed.
    """
    state = SimpleNamespace(num_workers=1, num_bytes=WORKER_BYTES, computed=[], priors=[], fail_after=None)

    def compute_here(task: Callable[..., Any], shards: Any, *, done: Any, **_: Any) -> list[Any]:
        results = []
        for shard in shards:
            if shard.number not in done:
                if state.fail_after is not None and len(state.computed) >= state.fail_after:
                    raise KeyboardInterrupt
                state.computed.append(shard.unique_ids)
            results.append(done[shard.number] if shard.number in done else task(shard))
        return results

    def train_here(task: Callable[..., Any], units: Any, **_: Any) -> list[Any]:
        state.priors += [(unit.network, unit.member) for unit in units]
        return [task(pickle.loads(pickle.dumps(unit))) for unit in units]

    @contextmanager
    def open_here(_: Run, *, is_here: bool, run_units: Callable[..., list[Any]]) -> Iterator[Place]:
        yield Place(Resources(state.num_workers, 1, 0, state.num_bytes), run_units)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "local_ray", lambda **_: nullcontext())
        patch.setattr(shard_run, "open_place", partial(open_here, run_units=compute_here))
        patch.setattr(priors, "open_place", partial(open_here, run_units=train_here))
        yield state
