"""The shards of a job: actors compute and stage them; the staged files are then ready to publish."""

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

from forecasting.schemas import WITH_QUANTILES
from forecasting.series.columns import AHEAD
from forecasting.series.ends import find_ended, hide_ended
from forecasting.series.ingest import panel_of
from forecasting.series.panel import Panel, feature_columns
from forecasting.series.verdicts import find_set_aside
from forecasting.spec.frequency import Clock
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName
from forecasting.store.staging import completed, mark_complete, run_folder, stage
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store
from workers.cluster.shards import Shard, describe_too_large, make_shards
from workers.cluster.worker import Resources
from workers.jobs.place import HERE, is_short, open_place
from workers.jobs.plan import keep_plan
from workers.jobs.run import Run, set_aside_by_checks
from workers.jobs.sizing import cost_of, predict_work, refuse_too_little


@dataclass(frozen=True)
class Slot:
    """What a worker needs to know about its run; it pickles.

    Attributes:
        store: The tables.
        spec: The spec of the run.
        networks: Networks that the run is filtered to.
        run_id: Name of the run.
        cutoff: The last `ds` that the run may know, on the clock of ds.
        data_version: Version of the features table to read.
        kernel: Recurrence that trains and forecasts.
        from_scratch: Whether training ignores earlier weights.
        scenario: Name of the scenario that the run makes; None for the forecast.
        ahead: File with the covariates of the horizon that a plan changes, by series (`workers.jobs.scenario`).
    """

    store: Store
    spec: Spec
    networks: tuple[str, ...]
    run_id: str
    cutoff: datetime | int
    data_version: int | None
    kernel: KernelName
    from_scratch: bool = False
    scenario: str | None = None
    ahead: str | None = None

    @property
    def clock(self) -> Clock:
        """The clock of ds."""
        return self.spec.clock

    def read_panel(self, unique_ids: Sequence[str]) -> Panel:
        """Read the features of some series at the run's version and up to its cutoff; none of those that have ended."""
        return self.read_live(unique_ids)[0]

    def read_live(self, unique_ids: Sequence[str], *, has_ended: bool = False) -> tuple[Panel, Mapping[str, str]]:
        """Read a panel as `read_panel` does, and why a series has ended, by its name.

        Args:
            unique_ids: The series of the panel.
            has_ended: Whether the panel has the measurements of series that have ended.

        Returns:
            The panel and the reasons.
        """
        features = (
            self.store.scan("features", self.clock, version=self.data_version)
            .filter(
                pl.col("spec") == self.spec.name,
                pl.col("unique_id").is_in(list(unique_ids)),
                # Redundant, but it lets the reader skip row groups without any of these series.
                pl.col("unique_id").is_between(pl.lit(min(unique_ids)), pl.lit(max(unique_ids))),
                pl.col("ds") <= self.cutoff,
            )
            .select(*feature_columns(self.spec.freq, self.spec.categories, self.spec.covariate_names), "is_observed")
            .collect(engine="streaming")
        )
        if self.ahead is not None:
            features = self._with_plan(features)
        ended = {} if has_ended else find_ended(features, self.spec, cutoff=self.cutoff)
        live = hide_ended(features, ended, self.spec, cutoff=self.cutoff)
        return panel_of(live, self.spec, unique_ids, run_cutoff=self.cutoff), ended

    def _with_plan(self, features: pl.DataFrame) -> pl.DataFrame:
        """Replace the covariates of the horizon by those of a plan, in the series that it changes."""
        assert self.ahead is not None, "the run has a plan"
        options = self.store.storage_options or None
        planned = pl.scan_parquet(self.ahead, storage_options=options, glob=False)
        ours = planned.filter(pl.col("unique_id").is_in(features["unique_id"].unique().implode())).collect()
        joined = features.join(ours, on="unique_id", how="left", maintain_order="left", suffix="_planned")
        is_last = pl.col("ds") == pl.col("ds").max().over("unique_id")
        changed = pl.when(is_last & pl.col(AHEAD).is_not_null()).then(pl.coalesce(f"{AHEAD}_planned", AHEAD))
        return joined.with_columns(changed.alias(AHEAD)).select(features.columns)

    def read_set_aside(self, unique_ids: Sequence[str]) -> dict[str, str]:
        """Read why the features job of the run's cutoff has set some of the series aside, by name."""
        rejects = self.store.scan("rejects", self.clock).filter(
            pl.col("spec") == self.spec.name,
            pl.col("run_cutoff") == self.cutoff,
            pl.col("unique_id").is_in(list(unique_ids)),
            pl.col("set_aside").is_not_null(),
        )
        reasons = rejects.select("unique_id", "set_aside").unique("unique_id").sort("unique_id")
        is_ours = pl.col("unique_id").is_in(list(unique_ids))
        checks = set_aside_by_checks(self.store, self.spec, self.cutoff).filter(is_ours).collect(engine="streaming")
        return {**find_set_aside(checks), **dict(reasons.collect(engine="streaming").iter_rows())}

    def stamp(self, table: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Add this run's bookkeeping columns to rows of a table."""
        return stamp(
            rows,
            table,
            self.clock,
            spec=self.spec.name,
            run_cutoff=self.cutoff,
            run_id=self.run_id,
            data_version=self.data_version,
            quantile_columns=self.spec.quantile_columns if table in WITH_QUANTILES else (),
        )

    def checkpoint_folder(self, unit: str) -> Path:
        """Return the folder, which exists, of the checkpoints from which an interrupted fit goes on.

        It lies beside the run's staged files, or in the temporary folder where the store is remote.

        Args:
            unit: What is fitted, such as `shard=3`.

        Returns:
            A folder on this machine, or one that all machines share where the store is such a folder.
        """
        root = self.store.root if self.store.files.is_local else f"{tempfile.gettempdir()}/fleetcast"
        folder = Path(root) / run_folder(self.run_id) / "checkpoints" / unit
        folder.mkdir(parents=True, exist_ok=True)
        return folder


Compute = Callable[[Slot, Shard], Mapping[str, pl.DataFrame]]
"""Computes the rows of a shard by table, without bookkeeping columns."""


@dataclass(frozen=True)
class StagedRun:
    """What the shards of a run have staged.

    Attributes:
        files: Staged files by table, in the order of the shards.
        num_rows: Number of rows by table.
        peak_mib: Peak memory of the largest worker, in MiB.
    """

    files: Mapping[str, Sequence[str]]
    num_rows: Mapping[str, int]
    peak_mib: int

    def describe(self) -> str:
        """Describe the workers' memory, for the result of a job."""
        return f"at most {self.peak_mib} MiB in a worker"


def slot_of(run: Run, data_version: int | None) -> Slot:
    """Return what the workers of a run need to know about it."""
    return Slot(
        run.store,
        run.spec,
        run.networks,
        run.arguments.run_id,
        run.cutoff,
        data_version,
        run.fleet.kernel,
        run.arguments.from_scratch,
        run.arguments.scenario,
    )


def stage_shards(
    run: Run,
    compute: Compute,
    groups: Sequence[Mapping[str, int]],
    *,
    data_version: int | None,
    ahead: str | None = None,
) -> StagedRun:
    """Compute every series, on Ray actors or in this process, and stage the rows.

    Shards that an earlier try of the run has staged by the same plan are kept. Those of another plan are discarded.

    Args:
        run: The run.
        compute: Computes the rows of a shard.
        groups: Grid points by series, for each group of series that may share a shard.
        data_version: The run's `pinned_version`.
        ahead: File with covariates of a plan.

    Returns:
        The staged files of all shards.
    """
    slot = replace(slot_of(run, data_version), ahead=ahead)
    num_points = {name: points for group in groups for name, points in group.items()}
    with open_place(run, is_here=are_short(run, num_points)) as place:
        resources = place.resources
        plan = keep_plan(run, groups, data_version=data_version, make=lambda: _cut_shards(run, groups, resources))
        done: dict[int, Mapping[str, Any]] = {
            number: status
            for number, status in completed(run.store, slot.run_id).items()
            if status.get("plan") == plan.name  # a worker of an abandoned try may still have marked its shard
        }
        statuses = place.run_units(
            _StageShard(slot, compute, plan.name), plan.shards, name=run.arguments.job, resources=resources, done=done
        )
    tables = {table for status in statuses for table in status["files"]}
    return StagedRun(
        {table: [status["files"][table] for status in statuses] for table in tables},
        {table: sum(status["num_rows"][table] for status in statuses) for table in tables},
        max(status["peak_mib"] for status in statuses),
    )


def are_short(run: Run, num_points: Mapping[str, int]) -> bool:
    """Return whether the shards of a run are computed in the job's own process."""
    return is_short(run, *predict_work(cost_of(run, HERE), num_points))


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
    """Group series that have their weights in the same files, so that a shard reads few files.

    Args:
        num_points: Grid points by series.
        rows: Registry rows with unique_id and weights_uri.

    Returns:
        Grid points by series, for each group. Series without a row form one group.
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
    """Return the peak memory of this process in MiB; without Linux's `VmHWM`, it may be that of its parent."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text() if status.exists() else "", re.MULTILINE)
    return (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024
