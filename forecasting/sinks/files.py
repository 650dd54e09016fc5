"""Copy forecasts into a Delta table, or into a parquet or CSV file that is replaced as a whole."""

from collections.abc import Mapping
from io import BytesIO

import polars as pl

from forecasting.errors import SinkError, first_line
from forecasting.sinks.rows import flatten
from forecasting.store.files import Files
from forecasting.store.slices import quote

NUM_ATTEMPTS = 5
"""Attempts to commit to a Delta table that other publishers write to."""


def replace_file(rows: pl.DataFrame, *, uri: str, storage_options: Mapping[str, str]) -> None:
    """Replace a file. Readers see the old content or the new one.

    Args:
        rows: Rows of `latest_forecasts`, perhaps none.
        uri: A path or an `s3://` URI that ends in `.parquet` or `.csv`.
        storage_options: Options of the object store, as deltalake takes them.

    Raises:
        StoreError: The file cannot be written.
    """
    folder, _, name = uri.rpartition("/")
    content = BytesIO()
    if name.lower().endswith(".csv"):
        flatten(rows).write_csv(content)
    else:
        rows.write_parquet(content)
    Files(folder or "/", storage_options).write_bytes(name, content.getvalue())


def replace_delta(rows: pl.DataFrame, *, uri: str, spec: str, storage_options: Mapping[str, str]) -> None:
    """Replace a spec's rows of a Delta table in one commit. The table is created where it does not exist.

    Args:
        rows: Rows of `latest_forecasts`, perhaps none.
        uri: The table's folder or `s3://` URI.
        spec: Name of the spec.
        storage_options: Options of the object store, as deltalake takes them.

    Raises:
        SinkError: The table cannot be written.
    """
    from deltalake import CommitProperties, DeltaTable, write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    options = dict(storage_options)
    for attempt in range(1, NUM_ATTEMPTS + 1):
        try:
            exists = DeltaTable.is_deltatable(uri, storage_options=options)
            write_deltalake(
                uri,
                rows.to_arrow(),
                mode="overwrite",
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
            raise SinkError(f"{uri} cannot be written: {first_line(error)}") from error
        else:
            return
