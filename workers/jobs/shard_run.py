"""Shards of a job: what each computes is staged by its actor; the staged files of all come back, ready to publish."""

import re
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from forecasting.series.ingest import panel_of
from forecasting.series.panel import Panel, feature_columns
from forecasting.spec.frequency import Clock
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName
from forecasting.store.staging import completed, mark_complete, run_folder, stage
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store
from workers.cluster.local_ray import local_ray
from workers.cluster.pool import Resources, plan_resources, run_shards
from workers.cluster.shards import Shard, describe_too_large, make_shards
from workers.jobs.plan import keep_plan
from workers.jobs.run import Run
from workers.jobs.sizing import cost_of, refuse_too_little


@dataclass(frozen=True)
class Slot:
    """What a shard knows of its run, on whichever machine it is computed; it pickles."""

    store: Store
    spec: Spec
    networks: tuple[str, ...]
    run_id: str
    cutoff: datetime | int
    data_version: int | None
    kernel: KernelName
    from_scratch: bool = False

    @property
    def clock(self) -> Clock:
        return self.spec.clock

    def read_panel(self, unique_ids: Sequence[str]) -> Panel:
        """Read the features of some series, at the run's version of the table and up to its cutoff."""

        features = (
            self.store.scan("features", self.clock, version=self.data_version)
            .filter(
                pl.col("spec") == self.spec.name,
                pl.col("unique_id").is_in(list(unique_ids)),
                # Says no more, but in a way that row groups without any of them are passed over.
                pl.col("unique_id").is_between(pl.lit(min(unique_ids)), pl.lit(max(unique_ids))),
                pl.col("ds") <= self.cutoff,
            )
            .select(*feature_columns(self.spec.freq, self.spec.categories))
            .collect(engine="streaming")
        )
        return panel_of(features, self.spec, unique_ids, run_cutoff=self.cutoff)

    def stamp(self, table: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Add this run's book-keeping to rows of a table."""
        return stamp(
            rows,
            table,
            self.clock,
            spec=self.spec.name,
            run_cutoff=self.cutoff,
            run_id=self.run_id,
            quantile_columns=self.spec.quantile_columns if table == "forecasts" else (),
        )

    def checkpoint_folder(self, shard: Shard) -> Path:
        """Return where an interrupted fit of this shard is taken up again: with what the run has staged, or locally."""
        root = self.store.root if self.store.files.is_local else f"{tempfile.gettempdir()}/fleetcast"
        folder = Path(root) / run_folder(self.run_id) / "checkpoints" / f"shard={shard.number}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


Compute = Callable[[Slot, Shard], Mapping[str, pl.DataFrame]]
"""Computes the rows of a shard by table, without book-keeping."""


@dataclass(frozen=True)
class StagedRun:
    """What all shards of a run have staged: files by table, in the order of shards, and rows by table.

    `peak_mib` is the most memory that any worker has held.
    """

    files: Mapping[str, Sequence[str]]
    num_rows: Mapping[str, int]
    peak_mib: int

    def describe(self) -> str:
        return f"at most {self.peak_mib} MiB in a worker"


def slot_of(run: Run, data_version: int | None) -> Slot:
    """Return what the shards of a run know of it."""
    return Slot(
        run.store,
        run.spec,
        run.networks,
        run.arguments.run_id,
        run.cutoff,
        data_version,
        run.fleet.kernel,
        run.arguments.from_scratch,
    )


def stage_shards(
    run: Run, compute: Compute, groups: Sequence[Mapping[str, int]], *, data_version: int | None
) -> StagedRun:
    """Run `compute` for every series on Ray actors, and return what is staged.

    `groups` are series with their points that may share a shard. `data_version` is the run's `pinned_version`. What
    an earlier try of the same run has staged of the same plan is kept; what it staged of another is discarded.
    """
    slot = slot_of(run, data_version)
    with local_ray(log_to_driver=True):
        resources = plan_resources(run.workers)
        plan = keep_plan(run, groups, data_version=data_version, make=lambda: _cut_shards(run, groups, resources))
        done = {
            number: status
            for number, status in completed(run.store, slot.run_id).items()
            if status.get("plan") == plan.name  # a worker of a try that was given up may still have marked its own
        }
        statuses = run_shards(
            _StageShard(slot, compute, plan.name), plan.shards, name=run.arguments.job, resources=resources, done=done
        )
    tables = {table for status in statuses for table in status["files"]}
    return StagedRun(
        {table: [status["files"][table] for status in statuses] for table in tables},
        {table: sum(status["num_rows"][table] for status in statuses) for table in tables},
        max(status["peak_mib"] for status in statuses),
    )


def _cut_shards(run: Run, groups: Sequence[Mapping[str, int]], resources: Resources) -> list[Shard]:
    cost = cost_of(run, resources)
    refuse_too_little(cost, resources)
    parts = [
        make_shards(
            group,
            cost=cost,
            num_workers=-(-resources.num_workers // len(groups)),
            most_bytes=resources.num_bytes,
            shard_size=run.workers.shard_size,
        )
        for group in groups
    ]
    shards = [replace(shard, number=number) for number, shard in enumerate(chain.from_iterable(parts))]
    num_points = {name: points for group in groups for name, points in group.items()}
    warning = describe_too_large(shards, num_points, cost=cost, most_bytes=resources.num_bytes)
    if warning:
        print(f"{run.arguments.job}: warning: {warning}", flush=True)
    return shards


def group_by_files(num_points: Mapping[str, int], rows: pl.DataFrame) -> list[dict[str, int]]:
    """Group series that have their weights in the same files, so that a shard reads few of them.

    `rows` are registry rows: unique_id, weights_uri. Series without any row form a group of their own.
    """
    files_of = dict(
        rows.group_by("unique_id").agg(pl.col("weights_uri").drop_nulls().unique().sort().str.join("\n")).iter_rows()
    )
    groups: dict[str, dict[str, int]] = {}
    for unique_id, points in num_points.items():
        groups.setdefault(files_of.get(unique_id, ""), {})[unique_id] = points
    return [groups[files] for files in sorted(groups)]


@dataclass(frozen=True)
class _StageShard:
    slot: Slot
    compute: Compute
    plan: str

    def __call__(self, shard: Shard) -> Mapping[str, Any]:
        frames = {table: self.slot.stamp(table, rows) for table, rows in self.compute(self.slot, shard).items()}
        status = {
            "plan": self.plan,
            "files": {
                table: stage(self.slot.store, self.slot.run_id, table, shard.number, frame)
                for table, frame in frames.items()
            },
            "num_rows": {table: frame.height for table, frame in frames.items()},
            "peak_mib": peak_mib(),
        }
        mark_complete(self.slot.store, self.slot.run_id, shard.number, status)
        return status


def peak_mib() -> int:
    """Return the most memory that this process has held; where Linux does not tell, that may be its parent's."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024
