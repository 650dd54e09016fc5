"""The plan of a run: what it reads and its shards go in at the first try; a retry takes out the very same.

    staging/run_id=<id>/plan.json     beside the shards that are staged by it, and discarded with them

The tables move on between two tries, because every spec shares them, and so may the cluster's size. What is staged
stays good as long as a retry goes by the plan of the first try.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forecasting.errors import NothingStored
from forecasting.store.staging import discard, run_folder
from forecasting.version import code_version
from workers.cluster.shards import Shard
from workers.jobs.run import Run


@dataclass(frozen=True)
class Plan:
    """The shards of a run, and the version of the features that all of them read; `name` is a hash of the plan."""

    name: str
    data_version: int | None
    shards: tuple[Shard, ...]


def pinned_version(run: Run) -> int | None:
    """Return the version of the features table that this run's first try began to read; at first, the newest."""
    kept = _read_kept(run)
    if kept is None or kept["asked"] != _describe_run(run):
        return run.store.version("features", run.clock)
    version: int | None = kept["data_version"]
    return version


def keep_plan(
    run: Run,
    groups: Sequence[Mapping[str, int]],
    *,
    data_version: int | None,
    make: Callable[[], Iterable[Shard]],
) -> Plan:
    """Return the plan that an earlier try of this run has made for the same groups of series, else make and keep one.

    Neither the number of workers nor the size of shards counts: only new shards depend on them. What was staged by
    another plan is discarded.
    """
    asked = {
        "asked": _describe_run(run),
        "groups": _hash([sorted(group) for group in groups]),
        "data_version": data_version,
    }
    kept = _read_kept(run)
    if kept is None or any(kept[name] != value for name, value in asked.items()):
        discard(run.store, run.arguments.run_id)
        shards = [{"unique_ids": shard.unique_ids, "num_points": shard.num_points} for shard in make()]
        kept = asked | {"shards": shards}
        run.store.files.write_bytes(_path(run), json.dumps(kept).encode())
    return Plan(
        _hash(kept),
        data_version,
        tuple(
            Shard(number, tuple(shard["unique_ids"]), shard["num_points"])
            for number, shard in enumerate(kept["shards"])
        ),
    )


def _read_kept(run: Run) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = json.loads(run.store.files.read_bytes(_path(run)))
    except NothingStored:
        return None
    return kept


def _describe_run(run: Run) -> str:
    """Return a hash of all that decides what a run computes, but for what the store held when it began."""
    return _hash([run.arguments.model_dump_json(), str(run.cutoff), code_version()])


def _path(run: Run) -> str:
    return f"{run_folder(run.arguments.run_id)}/plan.json"


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
