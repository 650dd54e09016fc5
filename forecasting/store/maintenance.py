"""Maintenance of a store: compact tables, and remove files that nothing needs any longer.

Maintenance can run while others write. It skips a table that is being written, and removes nothing younger than `keep`,
which must therefore exceed the duration of any run or query.
"""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError

from forecasting.errors import StoreError, first_line
from forecasting.store.mirror import find_mirrors, open_at
from forecasting.store.publish import ROW_GROUP_ROWS
from forecasting.store.staging import STAGING_FOLDER
from forecasting.store.tables import WEIGHTS_FOLDER, Store, each_table

_TARGET_FILE_BYTES = 128 * 1024 * 1024


@dataclass
class Maintenance:
    """What one maintenance has done, or in a dry run would do; paths are relative to the store.

    Attributes:
        num_compacted: Small files that were merged into larger ones, by table; in a dry run an upper bound.
        removed_table_files: Removed files that no version within `keep` needs, by table.
        removed_staging: Removed staging folders.
        removed_weights: Removed files of weights.
        removed_mirrors: Removed mirrors of sources as specs had them before.
        skipped: Tables that another process was writing.
    """

    num_compacted: dict[str, int] = field(default_factory=dict)
    removed_table_files: dict[str, int] = field(default_factory=dict)
    removed_staging: list[str] = field(default_factory=list)
    removed_weights: list[str] = field(default_factory=list)
    removed_mirrors: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def maintain(store: Store, *, keep: timedelta, dry_run: bool = False) -> Maintenance:
    """Compact all tables, then remove unneeded files older than `keep`.

    Unneeded files are those of replaced table versions and failed writes, staging folders of runs that never published,
    weights that no row of `models` or `priors` names, and mirrors of sources that specs no longer have. Versions older
    than `keep` can no longer be read.

    Args:
        store: The store.
        keep: The smallest age at which a file is removed.
        dry_run: Whether to report only, and change nothing.

    Returns:
        What was compacted, removed and skipped.

    Raises:
        StoreError: `keep` is negative, or the store fails.
    """
    if keep < timedelta(0):
        raise StoreError(f"keep = {keep} must not be negative")
    report = Maintenance()
    for declared, clock in each_table():
        snapshot = store.open(declared.name, clock)
        if snapshot is not None:
            _tidy_table(declared.stored_as(clock), snapshot, keep, dry_run, report)
    oldest = datetime.now(UTC) - keep
    report.removed_mirrors = _tidy_mirrors(store, keep, dry_run, report)
    report.removed_staging = _stale_staging(store, oldest)
    report.removed_weights = _stale_weights(store, oldest)
    if not dry_run:
        for folder in report.removed_staging + report.removed_mirrors:
            store.files.delete_folder(folder)
        for path in report.removed_weights:
            store.files.delete(path)
    return report


def _tidy_table(stored_as: str, snapshot: DeltaTable, keep: timedelta, dry_run: bool, report: Maintenance) -> None:
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
            full=True,  # includes files of failed writes
        )
        if not dry_run:
            snapshot.create_checkpoint()
    except CommitFailedError:
        report.skipped.append(stored_as)
        return
    except (DeltaError, OSError) as error:
        raise StoreError(f"table '{stored_as}' could not be compacted: {first_line(error)}") from error
    if num_compacted:
        report.num_compacted[stored_as] = num_compacted
    if removed:
        report.removed_table_files[stored_as] = len(removed)


def _tidy_mirrors(store: Store, keep: timedelta, dry_run: bool, report: Maintenance) -> list[str]:
    """Tidy the newest mirror of each spec; return the others that were last written before `keep`."""
    stale = []
    oldest = datetime.now(UTC) - keep
    for written in find_mirrors(store).values():
        (newest, _), *others = written
        if (snapshot := open_at(store, newest, (), ()).snapshot) is not None:
            _tidy_table(newest, snapshot, keep, dry_run, report)
        stale += [folder for folder, modified in others if modified < oldest]
    return sorted(stale)


def _count_compactable(snapshot: DeltaTable) -> int:
    files = pl.DataFrame(snapshot.get_add_actions(flatten=True))
    partitions = [column for column in files.columns if column.startswith("partition.")]
    small = files.filter(pl.col("size_bytes") < _TARGET_FILE_BYTES)
    if not partitions:
        return small.height if small.height > 1 else 0
    return int(small.group_by(partitions).len().filter(pl.col("len") > 1)["len"].sum())


def _stale_staging(store: Store, oldest: datetime) -> list[str]:
    """Return the folders of runs whose newest file is older than `oldest`."""
    newest: dict[str, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for file in store.files.find_all(STAGING_FOLDER):
        folder = "/".join(file.path.split("/")[:2])
        newest[folder] = max(newest[folder], file.modified)
    return sorted(folder for folder, modified in newest.items() if modified < oldest)


def _stale_weights(store: Store, oldest: datetime) -> list[str]:
    # Files are listed before the registry is read, so that a file registered in between is found in the registry.
    stale = [file.path for file in store.files.find_all(WEIGHTS_FOLDER) if file.modified < oldest]
    named: set[str] = set()
    for declared, clock in each_table():
        if stale and declared.name in ("models", "priors"):
            uris = store.scan(declared.name, clock).select(pl.col("weights_uri").unique()).collect(engine="streaming")
            named.update(uris["weights_uri"].drop_nulls())
    return [path for path in stale if path not in named]
