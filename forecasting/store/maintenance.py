"""Maintenance: a store goes in, tidied; an account of what was (or would be) compacted and removed comes out.

It may run beside writers: a table that is being written is left for the next time, and nothing younger than `keep`
is removed, which must therefore be longer than any run or query lasts.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError

from forecasting.errors import StoreError, first_line
from forecasting.store.publish import ROW_GROUP_ROWS
from forecasting.store.staging import STAGING_FOLDER
from forecasting.store.tables import WEIGHTS_FOLDER, Store, each_table

_TARGET_FILE_BYTES = 128 * 1024 * 1024


@dataclass
class Maintenance:
    """What one maintenance did, or in a dry run would do; paths are relative to the store."""

    num_compacted: dict[str, int] = field(default_factory=dict)
    """Small files that were merged into larger ones, by table; in a dry run an upper bound."""
    removed_table_files: dict[str, int] = field(default_factory=dict)
    """Files that no version within `keep` needs, by table."""
    removed_staging: list[str] = field(default_factory=list)
    removed_weights: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Tables that somebody else was writing."""


def maintain(store: Store, *, keep: timedelta, dry_run: bool = False) -> Maintenance:
    """Compact tables, then remove what nobody can need any more and is older than `keep`.

    That is: table files of replaced versions and of failed writes; staging folders of runs that never published;
    weights that no row of `models` or `priors` names. Time travel to versions older than `keep` ends. Raises
    StoreError for a negative `keep` and where the store fails.
    """
    if keep < timedelta(0):
        raise StoreError(f"keep = {keep} must not be negative")
    done = Maintenance()
    for declared, clock in each_table():
        snapshot = store.open(declared.name, clock)
        if snapshot is not None:
            _tidy_table(declared.stored_as(clock), snapshot, keep, dry_run, done)
    oldest = datetime.now(UTC) - keep
    done.removed_staging = _stale_staging(store, oldest)
    done.removed_weights = _stale_weights(store, oldest)
    if not dry_run:
        for folder in done.removed_staging:
            store.files.delete_folder(folder)
        for path in done.removed_weights:
            store.files.delete(path)
    return done


def _tidy_table(stored_as: str, snapshot: DeltaTable, keep: timedelta, dry_run: bool, done: Maintenance) -> None:
    try:
        if dry_run:
            num_compacted = _count_compactable(snapshot)
        else:
            properties = WriterProperties(compression="ZSTD", max_row_group_size=ROW_GROUP_ROWS)
            metrics = snapshot.optimize.compact(target_size=_TARGET_FILE_BYTES, writer_properties=properties)
            num_compacted = int(metrics["numFilesRemoved"])
        removed = snapshot.vacuum(
            retention_hours=math.ceil(keep / timedelta(hours=1)),
            dry_run=dry_run,
            enforce_retention_duration=False,
            full=True,  # also what failed writes left behind
        )
        if not dry_run:
            snapshot.create_checkpoint()
    except CommitFailedError:
        done.skipped.append(stored_as)
        return
    except (DeltaError, OSError) as error:
        raise StoreError(f"table '{stored_as}' could not be tidied: {first_line(error)}") from error
    if num_compacted:
        done.num_compacted[stored_as] = num_compacted
    if removed:
        done.removed_table_files[stored_as] = len(removed)


def _count_compactable(snapshot: DeltaTable) -> int:
    files = pl.DataFrame(snapshot.get_add_actions(flatten=True))
    partitions = [column for column in files.columns if column.startswith("partition.")]
    small = files.filter(pl.col("size_bytes") < _TARGET_FILE_BYTES)
    if not partitions:
        return small.height if small.height > 1 else 0
    return int(small.group_by(partitions).len().filter(pl.col("len") > 1)["len"].sum())


def _stale_staging(store: Store, oldest: datetime) -> list[str]:
    """A run's folder is stale when the newest file in it is."""
    newest: dict[str, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for file in store.files.find_all(STAGING_FOLDER):
        folder = "/".join(file.path.split("/")[:2])
        newest[folder] = max(newest[folder], file.modified)
    return sorted(folder for folder, modified in newest.items() if modified < oldest)


def _stale_weights(store: Store, oldest: datetime) -> list[str]:
    # Listed before the registry is read: a file that is registered between the two is then found in it.
    stale = [file.path for file in store.files.find_all(WEIGHTS_FOLDER) if file.modified < oldest]
    named: set[str] = set()
    for declared, clock in each_table():
        if stale and declared.name in ("models", "priors"):
            uris = store.scan(declared.name, clock).select(pl.col("weights_uri").unique()).collect(engine="streaming")
            named.update(uris["weights_uri"].drop_nulls())
    return [path for path in stale if path not in named]
