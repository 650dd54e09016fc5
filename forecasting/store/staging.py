"""Staging: what one shard of a run has computed goes in; the files that are ready to publish come out.

    staging/run_id=<id>/<table>/shard=<n>.parquet     rows of one shard for one table
    staging/run_id=<id>/complete/shard=<n>.json       the shard is done, and what its worker has to say about it

A name appears only with its whole content. A shard is done when its mark stands, which is written last: a run that
is taken up again skips those and computes the others anew, over whatever they had left.
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
    """Write the rows of one shard for one table, replacing what the shard had staged, and return the file's URI."""
    path = f"{run_folder(run_id)}/{declared_table(table).name}/{_shard_name(shard)}.parquet"
    content = io.BytesIO()
    order = [name for name in ("unique_id", "ds") if name in frame.columns]
    # Written once and read once: twice as fast as what a table is compressed with, and little larger.
    (frame.sort(order) if order else frame).write_parquet(content, compression="lz4", row_group_size=_ROW_GROUP_ROWS)
    store.files.write_bytes(path, content.getvalue())
    return store.files.uri(path)


def staged(store: Store, run_id: str, table: str) -> list[str]:
    """Return the URIs of every staged file of a table, in the order of shards, as `publish` takes them."""
    files = store.files.find(f"{run_folder(run_id)}/{declared_table(table).name}")
    return [store.files.uri(file.path) for file in sorted(files, key=lambda file: _shard_of(file.path))]


def mark_complete(store: Store, run_id: str, shard: int, status: Mapping[str, Any] | None = None) -> None:
    """Say that a shard has staged all it has to; `status` is kept as JSON for the run that finds it."""
    text = json.dumps(dict(status or {}), sort_keys=True)
    store.files.write_bytes(f"{run_folder(run_id)}/{_COMPLETE}/{_shard_name(shard)}.json", text.encode())


def completed(store: Store, run_id: str) -> dict[int, dict[str, Any]]:
    """Return the shards of a run that are done, each with its status."""
    files = store.files.find(f"{run_folder(run_id)}/{_COMPLETE}")
    return {_shard_of(file.path): json.loads(store.files.read_bytes(file.path)) for file in files}


def discard(store: Store, run_id: str) -> None:
    """Delete all that a run has staged; a run without anything staged is no error."""
    store.files.delete_folder(run_folder(run_id))


def run_folder(run_id: str) -> str:
    """Return the folder of a run, relative to the store; raises StoreError for a run_id that cannot name one."""
    if not _RUN_ID.fullmatch(run_id):
        raise StoreError(f"run_id '{run_id}' must start with a letter or digit and hold only those and _ . -")
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
