"""Copy forecasts into a Delta table, or into a parquet or CSV file that is replaced as a whole."""

import re
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import polars as pl

from forecasting.errors import SinkError, SpecError, StoreError, UserError, first_line
from forecasting.series.places import local_path
from forecasting.sinks.rows import flatten
from forecasting.store.files import TEMPORARY, Files
from forecasting.store.slices import quote

NUM_ATTEMPTS = 5
"""Attempts to commit to a Delta table that other publishers write to."""
_EXISTS = re.compile("already exists")
OLDEST_PART = 3600.0
"""Seconds after which the temporary file of a publisher belongs to one that was killed."""


def replace_file(rows: pl.DataFrame, *, uri: str, storage_options: Mapping[str, str]) -> None:
    """Replace a file. Readers see the old content or the new one.

    Args:
        rows: Rows of `latest_forecasts`, perhaps none.
        uri: A path or an `s3://` URI that ends in `.parquet` or `.csv`.
        storage_options: Options of the object store, as deltalake takes them.

    Raises:
        SinkError: The file cannot be written.
    """
    path = local_path(uri)
    folder, _, name = (uri if path is None else str(path)).rpartition("/")
    content = BytesIO()
    if name.lower().endswith(".csv"):
        flatten(rows).write_csv(content)
    else:
        rows.write_parquet(content)
    try:
        Files(folder or "/", storage_options).write_bytes(name, content.getvalue())
        if path is not None:
            _delete_parts(path)
    except (StoreError, SpecError, OSError) as error:
        raise SinkError(f"{uri} cannot be written: {first_line(error.__cause__ or error)}") from error


def replace_delta(rows: pl.DataFrame, *, uri: str, spec: str, storage_options: Mapping[str, str]) -> None:
    """Replace a spec's rows of a Delta table in one commit. The table is created where it does not exist.

    Args:
        rows: Rows of `latest_forecasts`, perhaps none.
        uri: The table's folder or `s3://` URI.
        spec: Name of the spec.
        storage_options: Options of the object store, as deltalake takes them.

    Raises:
        SinkError: The table cannot be written.
        UserError: A column of the table has another type.
    """
    from deltalake import CommitProperties, DeltaTable, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    options = dict(storage_options)
    for attempt in range(1, NUM_ATTEMPTS + 1):
        exists = True
        try:
            exists = DeltaTable.is_deltatable(uri, storage_options=options)
            if exists:
                stored = pl.scan_delta(DeltaTable(uri, storage_options=options)).collect_schema()
                _refuse_other_types(stored, rows.schema, uri)
            write_deltalake(
                uri,
                rows.to_arrow(),
                mode="overwrite" if exists else "error",  # another publisher may just have created it
                partition_by=["spec"],
                predicate=f"spec = {quote(spec)}" if exists else None,
                schema_mode="merge" if exists else None,
                storage_options=options,
                commit_properties=CommitProperties(custom_metadata={"spec": spec}),
            )
        except CommitFailedError as error:
            if attempt == NUM_ATTEMPTS:
                raise SinkError(f"{uri} is being written by others: {first_line(error)}") from error
        except (DeltaError, OSError) as error:
            if not exists and attempt < NUM_ATTEMPTS and _EXISTS.search(str(error)):
                continue
            raise SinkError(f"{uri} cannot be written: {first_line(error)}") from error
        else:
            return


def _refuse_other_types(stored: pl.Schema, given: pl.Schema, uri: str) -> None:
    """Refuse a table to which deltalake would convert values, such as integer steps to times of 1970."""
    for name, dtype in given.items():
        if stored.get(name, dtype) == dtype:
            continue
        is_clock = {type(dtype), type(stored[name])} == {pl.Int64, pl.Datetime}
        why = "; integer steps and timestamps need a table each" if is_clock else ""
        raise UserError(
            f"{uri} cannot be written: its column {name} is {stored[name]}, but forecasts have {dtype}{why}; set"
            " another folder (publish.uri)"
        )


def _delete_parts(path: Path) -> None:
    """Delete what killed publishers have left beside a file."""
    for part in path.parent.iterdir():
        is_part = part.name.startswith(f"{path.name}.") and part.name.endswith(TEMPORARY)
        if is_part and part.stat().st_mtime < time.time() - OLDEST_PART:
            part.unlink(missing_ok=True)
