"""The plan of a run: the version of the features that it reads, and its shards; retries keep the first try's plan.

    staging/run_id=<id>/plan.json     beside the shards that were staged by it, and discarded with them

Tables change between two tries, because all specs share them, and so may the size of the cluster. Staged shards stay
valid because a retry follows the plan of the first try.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from forecasting.errors import NothingStored, StoreError
from forecasting.schemas import table as declared_table
from forecasting.series.clock import format_clock
from forecasting.store.staging import discard, run_folder
from forecasting.version import code_version
from workers.cluster.shards import Shard
from workers.jobs.run import Run


@dataclass(frozen=True)
class Plan:
    """What a run computes.

    Attributes:
        name: A hash of the plan.
        data_version: Version of the features table that all shards read; None where the table does not exist.
        shards: The shards, in the order of their numbers.
    """

    name: str
    data_version: int | None
    shards: tuple[Shard, ...]


def pinned_version(run: Run) -> int | None:
    """Return the version of the features table that this run's first try read.

    The first try reads the version that the newest features job of the same cutoff has published: runs at other cutoffs
    may have replaced rows since, as those of a backfill do. Without such a job, or if maintenance has removed its
    version, it reads the newest version.

    Args:
        run: The run.

    Returns:
        The version; None where the table does not exist.
    """
    kept = _read_kept(run)
    if kept is None or kept["run"] != _describe_run(run):
        newest, published = run.store.version("features", run.clock), _published_version(run)
        if published is None or published == newest or _is_readable(run, published):
            return newest if published is None else published
        print(f"{run.arguments.job}: version {published} of features is no longer kept; version {newest} is read")
        return newest
    version: int | None = kept["data_version"]
    return version


def planned_series(run: Run) -> frozenset[str] | None:
    """Return the series of an earlier try of this run; None if there is none."""
    kept = _read_kept(run)
    if kept is None or kept["run"] != _describe_run(run):
        return None
    return frozenset(name for shard in kept["shards"] for name in shard["unique_ids"])


def keep_plan(
    run: Run,
    groups: Sequence[Mapping[str, int]],
    *,
    data_version: int | None,
    make: Callable[[], Iterable[Shard]],
) -> Plan:
    """Return the plan of an earlier try of this run for the same groups of series, else make and keep one.

    The number of workers and the size of shards decide new plans only. Shards that were staged by another plan are
    discarded.

    Args:
        run: The run.
        groups: Grid points by series, for each group of series that may share a shard.
        data_version: The run's `pinned_version`.
        make: Divides the groups into shards.

    Returns:
        The plan to follow.
    """
    wanted = {
        "run": _describe_run(run),
        "groups": _hash([sorted(group) for group in groups]),
        "data_version": data_version,
    }
    kept = _read_kept(run)
    if kept is None or any(kept[name] != value for name, value in wanted.items()):
        discard(run.store, run.arguments.run_id)
        shards = [{"unique_ids": shard.unique_ids, "num_points": shard.num_points} for shard in make()]
        kept = wanted | {"shards": shards}
        run.store.files.write_bytes(_path(run), json.dumps(kept).encode())
    return Plan(
        _hash(kept),
        data_version,
        tuple(
            Shard(number, tuple(shard["unique_ids"]), shard["num_points"])
            for number, shard in enumerate(kept["shards"])
        ),
    )


def _published_version(run: Run) -> int | None:
    """Return the version of the features table that the newest features job of the run's cutoff has published."""
    done = run.store.scan("runs", "timestamp").filter(
        pl.col("spec") == run.spec.name,
        pl.col("job") == "features",
        pl.col("status") == "success",
        pl.col("run_cutoff") == format_clock(run.cutoff),
    )
    newest = done.sort("started_at").select("versions").collect(engine="streaming")["versions"]
    versions: dict[str, int] = json.loads(newest[-1]) if len(newest) else {}
    return versions.get(declared_table("features").stored_as(run.clock))


def _is_readable(run: Run, version: int) -> bool:
    """Return whether maintenance has kept the files of a version of the features table."""
    try:
        run.rows("features", version=version).select(pl.len()).collect(engine="streaming")
    except (NothingStored, StoreError, PolarsError, OSError):
        return False
    return True


def _read_kept(run: Run) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = json.loads(run.store.files.read_bytes(_path(run)))
    except NothingStored:
        return None
    return kept


def _describe_run(run: Run) -> str:
    """Return a hash of everything that decides what a run computes, except the contents of the store."""
    return _hash([run.arguments.model_dump_json(), str(run.cutoff), code_version()])


def _path(run: Run) -> str:
    return f"{run_folder(run.arguments.run_id)}/plan.json"


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
