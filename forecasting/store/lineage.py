"""Which recorded runs belong to one run of a flow, and which later ones build on them."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from forecasting.errors import NothingStored
from forecasting.series.clock import parse_clock
from forecasting.spec.frequency import Clock
from forecasting.store.tables import Store

NEEDS: Mapping[str, tuple[str, ...]] = {
    "train": ("features", "train"),
    "backtest": ("features", "train"),
    "predict": ("features", "train", "backtest"),
    "scenario": ("features", "train", "backtest"),
    "score": ("features",),
    "publish": ("predict",),
}
"""The jobs whose tables a job reads. Scores name the forecasts that they are of, and are deleted with these."""
_OF_DAG_RUN = re.compile(r"\.\d{13}\.([0-9a-f]{6})$")
"""The end of a run id that a task of Airflow has made: the generation, and a digest of the DAG run."""


@dataclass(frozen=True)
class RecordedRun:
    """A row of the table `runs`.

    Attributes:
        row: The row, by column.
        arguments: The run's arguments.
        versions: Versions of the tables that it has written, by stored name.
    """

    row: Mapping[str, Any]
    arguments: Mapping[str, Any]
    versions: Mapping[str, int]

    @property
    def run_id(self) -> str:
        """Its name."""
        return str(self.row["run_id"])

    @property
    def job(self) -> str:
        """The name of the job."""
        return str(self.row["job"])

    @property
    def spec(self) -> str:
        """The name of the spec."""
        return str(self.row["spec"])

    @property
    def status(self) -> str:
        """How it has ended."""
        return str(self.row["status"])

    @property
    def started_at(self) -> datetime:
        """When it began."""
        began: datetime = self.row["started_at"]
        return began

    @property
    def cutoff(self) -> str | None:
        """Its cutoff as text; None of a run that failed before it had one."""
        cutoff: str | None = self.row["run_cutoff"]
        return cutoff

    @property
    def clock(self) -> Clock:
        """The clock of its cutoff."""
        return "timestamp" if self.cutoff is None or "T" in self.cutoff else "step"

    @property
    def parsed_cutoff(self) -> datetime | int | None:
        """Its cutoff on its clock."""
        return None if self.cutoff is None else parse_clock(self.cutoff, self.clock)

    @property
    def covers_all(self) -> bool:
        """Whether it covers all series and models of its spec."""
        arguments = self.arguments
        return not (arguments.get("series") or arguments.get("models") or arguments.get("changed_only"))


def read_runs(store: Store, run_id: str) -> list[RecordedRun]:
    """Read the recorded runs of the spec that a run is of.

    Args:
        store: The store.
        run_id: The run.

    Returns:
        The runs, oldest first.

    Raises:
        NothingStored: No run has this name.
        StoreError: The table cannot be read.
    """
    recorded = store.scan("runs", "timestamp")
    found = recorded.filter(pl.col("run_id") == run_id).collect()
    if found.is_empty():
        raise NothingStored(f"no run is named '{run_id}'; `fleetcast runs --format csv` lists the run ids")
    rows = recorded.filter(pl.col("spec") == found["spec"][0]).sort("started_at", "run_id").collect()
    return [
        RecordedRun(row, json.loads(row["arguments"] or "{}"), json.loads(row["versions"] or "{}"))
        for row in rows.iter_rows(named=True)
    ]


def of_same_flow(run: RecordedRun, recorded: Sequence[RecordedRun]) -> list[RecordedRun]:
    """Return a run and the jobs of the same run of its flow that began after it, failed ones included.

    Args:
        run: The run.
        recorded: All runs of its spec, oldest first.

    Returns:
        The runs, oldest first.
    """
    digest = _OF_DAG_RUN.search(run.run_id)
    if digest is None:
        return [run]
    return [
        each
        for each in recorded
        if each.run_id == run.run_id
        or (
            each.started_at >= run.started_at
            and each.status in ("success", "failed")
            and each.cutoff == run.cutoff
            and each.arguments.get("flow") == run.arguments.get("flow")
            and (other := _OF_DAG_RUN.search(each.run_id)) is not None
            and other[1] == digest[1]
        )
    ]


def builds_on(runs: Sequence[RecordedRun], recorded: Sequence[RecordedRun]) -> list[RecordedRun]:
    """Return the other runs that may have read what some runs have written, directly or through further runs.

    A run reads the newest rows of each job that it needs, at its own cutoff or before: those of the newest run that
    covered everything, and of the filtered runs since.

    Args:
        runs: Runs of one spec.
        recorded: All runs of the spec, oldest first.

    Returns:
        The runs, oldest first.
    """
    chosen = {each.run_id for each in runs}
    succeeded = [each for each in recorded if each.status == "success" and each.job in {*NEEDS, "features"}]
    found = []
    for place, run in enumerate(succeeded):
        if run.run_id not in chosen and any(_reads(run, succeeded[:place], chosen)):
            chosen.add(run.run_id)
            found.append(run)
    return found


def _reads(run: RecordedRun, before: Sequence[RecordedRun], chosen: Collection[str]) -> Iterator[bool]:
    """Yield, for each earlier run whose rows a run may have read, whether it is one of the chosen."""
    cutoff: Any = run.parsed_cutoff
    for job in NEEDS.get(run.job, ()):
        if job == "train" and run.job == "train" and run.arguments.get("from_scratch"):
            continue
        for earlier in reversed(before):
            if earlier.job != job or earlier.clock != run.clock or earlier.parsed_cutoff > cutoff:
                continue
            yield earlier.run_id in chosen
            if earlier.covers_all:
                break
