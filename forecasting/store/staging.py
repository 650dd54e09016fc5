"""Staging: files with the results of each shard, until the run publishes them.

    staging/run_id=<id>/<table>/shard=<n>.parquet     rows of one shard for one table
    staging/run_id=<id>/complete/shard=<n>.json       marks the shard as complete, with the status of its worker

A file appears only when it is complete. The mark of a shard is written last. A resumed run skips the complete shards
and computes the others again, replacing their files.
"""

import io
import json
import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from forecasting.errors import StoreError
from forecasting.schemas import table as declared_table
from forecasting.store.tables import Store

STAGING_FOLDER = "staging"

_COMPLETE = "complete"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}")
_SHARD = re.compile(r"shard=(\d+)\.(?:parquet|json)")
_ROW_GROUP_ROWS = 64_000


def stage(store: Store, run_id: str, table: str, shard: int, frame: pl.DataFrame) -> str:
    """Write the rows of one shard for one table, or replace them.

    Args:
        store: The store.
        run_id: The run.
        table: The declared name of the table.
        shard: The number of the shard, from 0.
        frame: The rows.

    Returns:
        The URI of the file.

    Raises:
        StoreError: The file could not be written.
    """
    path = f"{run_folder(run_id)}/{declared_table(table).name}/{_shard_name(shard)}.parquet"
    content = io.BytesIO()
    order = [name for name in ("unique_id", "ds") if name in frame.columns]
    # LZ4 is twice as fast as the tables' ZSTD and little larger, and these files are read only once.
    (frame.sort(order) if order else frame).write_parquet(content, compression="lz4", row_group_size=_ROW_GROUP_ROWS)
    store.files.write_bytes(path, content.getvalue())
    return store.files.uri(path)


def staged(store: Store, run_id: str, table: str) -> list[str]:
    """Return the URIs of a table's staged files, in the order of shards, as `publish` takes them."""
    files = store.files.find(f"{run_folder(run_id)}/{declared_table(table).name}")
    return [store.files.uri(file.path) for file in sorted(files, key=lambda file: _shard_of(file.path))]


def mark_complete(store: Store, run_id: str, shard: int, status: Mapping[str, Any] | None = None) -> None:
    """Mark a shard as complete.

    Args:
        store: The store.
        run_id: The run.
        shard: The number of the shard, from 0.
        status: Values that are stored with the mark, as JSON, for a resumed run.

    Raises:
        StoreError: The mark could not be written.
    """
    text = json.dumps(dict(status or {}), sort_keys=True)
    store.files.write_bytes(f"{run_folder(run_id)}/{_COMPLETE}/{_shard_name(shard)}.json", text.encode())


def completed(store: Store, run_id: str) -> dict[int, dict[str, Any]]:
    """Return the complete shards of a run, each with its status."""
    files = store.files.find(f"{run_folder(run_id)}/{_COMPLETE}")
    return {_shard_of(file.path): json.loads(store.files.read_bytes(file.path)) for file in files}


def discard(store: Store, run_id: str) -> None:
    """Delete everything that a run has staged, if there is anything."""
    store.files.delete_folder(run_folder(run_id))


def run_folder(run_id: str) -> str:
    """Return the staging folder of a run.

    Args:
        run_id: The run.

    Returns:
        The path, relative to the store.

    Raises:
        StoreError: The run_id has characters that a folder name cannot have.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise StoreError(
            f"run_id '{run_id}' must start with a letter or digit and contain only letters, digits and _ . -"
        )
    return f"{STAGING_FOLDER}/run_id={run_id}"


def _shard_name(shard: int) -> str:
    if shard < 0:
        raise StoreError(f"shard {shard} must be 0 or more")
    return f"shard={shard}"


def _shard_of(path: str) -> int:
    match = _SHARD.fullmatch(path.rpartition("/")[2])
    if match is None:
        raise StoreError(f"'{path}' is not the file of a shard")
    return int(match[1])
