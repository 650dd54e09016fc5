"""Publishing: replace a slice of a table by checked rows, in one commit."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from polars.exceptions import PolarsError

from forecasting.errors import StoreError, first_line
from forecasting.schemas import TABLES, Table
from forecasting.schemas import table as declared_table
from forecasting.spec.frequency import Clock
from forecasting.spec.quantiles import is_quantile_column
from forecasting.store.rows import Frames, Rows, gather
from forecasting.store.slices import Slice, equals
from forecasting.store.tables import Store

NUM_ATTEMPTS = 20
LONGEST_WAIT = 1.0
ROW_GROUP_ROWS = 64_000


def publish(
    store: Store,
    table: str,
    clock: Clock,
    frames: Frames,
    *,
    slice: Slice,
    application: str,
    generation: int,
    quantile_columns: Sequence[str] = (),
) -> int:
    """Replace a slice of a table by new rows in one commit.

    The commit carries (application, generation) as a Delta transaction. If the table already has that transaction,
    nothing is written, so that a retry publishes once. If an error is raised, the table is unchanged.

    Args:
        store: The store.
        table: The declared name of the table.
        clock: The clock of the spec.
        frames: A DataFrame, a LazyFrame or URIs of staged Parquet files; no files or no rows delete the slice.
        slice: The rows to replace.
        application: The name of the writer, the same for all retries of a run.
        generation: The number of the run among repeated runs.
        quantile_columns: The spec's quantile columns; those that the table does not have yet are added to it.

    Returns:
        The version of the table after the commit.

    Raises:
        StoreError: Rows do not match the table's schema or lie outside the slice, a higher generation is already
            published, the store fails, or other writers win every attempt to commit.
    """
    declared = declared_table(table)
    stored_as = declared.stored_as(clock)
    invalid = [name for name in quantile_columns if not is_quantile_column(name)]
    if invalid:
        raise StoreError(
            f"table '{stored_as}' cannot take {', '.join(invalid)} as quantile columns; their names must be like q02_5"
        )
    predicate = slice.predicate(declared, clock)
    if _is_published(store.open(table, clock), stored_as, application, generation):
        return _version(store, table, clock)
    schema = declared.schema(clock, quantile_columns)
    with gather(frames, declared, stored_as, schema, store.storage_options) as rows:
        rows.check(slice.contains(declared, clock))
        return _commit(store, declared, clock, rows, predicate, application, generation)


def rewrite(
    store: Store, table: str, clock: Clock, change: Callable[[pl.LazyFrame], pl.LazyFrame], *, slice: Slice
) -> int:
    """Replace a slice of a table by rows made of the stored ones, in one commit.

    If another writer changes the slice in the meantime, the rows are made again of what it has written.

    Args:
        store: The store.
        table: The declared name of a table that exists.
        clock: The clock of the spec.
        change: Takes the stored rows of the slice and returns the new ones.
        slice: The rows to replace.

    Returns:
        The version of the table after the commit.

    Raises:
        StoreError: The new rows cannot be stored, the store fails, or other writers win every attempt to commit.
    """
    declared = declared_table(table)
    stored_as, predicate = declared.stored_as(clock), slice.predicate(declared, clock)
    for attempt in range(NUM_ATTEMPTS):
        snapshot = store.open(table, clock)
        assert snapshot is not None, "a slice of a table that exists is rewritten"
        stored = store.scan(table, clock, version=snapshot.version()).filter(slice.contains(declared, clock))
        schema = stored.collect_schema()
        with gather(change(stored), declared, stored_as, schema, store.storage_options) as rows:
            rows.check(slice.contains(declared, clock))
            if _is_committed(store, snapshot, rows, predicate, [], attempt):
                return int(snapshot.version())
    raise _contested(store, stored_as)


def append_run(store: Store, row: Mapping[str, Any]) -> int:
    """Write one row of `runs`, or replace the row of the same run_id.

    Args:
        store: The store.
        row: Values by column name; columns that are left out become null.

    Returns:
        The version of the table after the commit.

    Raises:
        StoreError: A column is unknown, a value has the wrong type, or the store fails.
    """
    declared = TABLES["runs"]
    schema = declared.schema("timestamp")
    unknown = [name for name in row if name not in schema]
    if unknown:
        raise StoreError(f"table 'runs' has no column {', '.join(unknown)}")
    try:
        frame = pl.DataFrame([{name: row.get(name) for name in schema}], schema=schema, strict=True)
    except (PolarsError, TypeError) as error:
        raise StoreError(f"a row of table 'runs' cannot be read: {first_line(error)}") from error
    rows = Rows(frame.lazy(), schema, declared.key, "runs")
    rows.check(None)
    return _commit(store, declared, "timestamp", rows, equals("run_id", str(row["run_id"])), None, 0)


def _commit(
    store: Store, declared: Table, clock: Clock, rows: Rows, predicate: str, application: str | None, generation: int
) -> int:
    """Overwrite the predicate's rows; after a lost race, try again on a new snapshot after a random wait.

    Delta Lake refuses the second of two commits whose rows could overlap; commits of different specs do not.
    """
    stored_as = declared.stored_as(clock)
    transactions = [Transaction(application, generation)] if application is not None else []
    for attempt in range(NUM_ATTEMPTS):
        snapshot = store.open(declared.name, clock)
        if snapshot is None:
            store.create(declared.name, clock)
            continue
        if application is not None and _is_published(snapshot, stored_as, application, generation):
            return int(snapshot.version())
        if _is_committed(store, snapshot, rows, predicate, transactions, attempt):
            return int(snapshot.version())
    raise _contested(store, stored_as)


def _is_committed(
    store: Store, snapshot: DeltaTable, rows: Rows, predicate: str, transactions: Sequence[Transaction], attempt: int
) -> bool:
    """Overwrite the predicate's rows; after a lost race, wait and return False."""
    _check_stored_schema(snapshot, rows.schema, rows.stored_as)
    try:
        write_deltalake(
            snapshot,
            rows.to_arrow(),
            mode="overwrite",
            predicate=predicate,
            schema_mode="merge",
            writer_properties=_writer_properties(rows.schema),
            commit_properties=CommitProperties(app_transactions=list(transactions) or None),
        )
    except CommitFailedError:
        time.sleep(random.uniform(0, min(LONGEST_WAIT, 0.02 * 2**attempt)))
        return False
    except (DeltaError, OSError) as error:
        raise StoreError(
            f"table '{rows.stored_as}' of store {store.root} could not be written: {first_line(error)}"
        ) from error
    return True


def _contested(store: Store, stored_as: str) -> StoreError:
    return StoreError(
        f"table '{stored_as}' of store {store.root} is contested: other writers won {NUM_ATTEMPTS} commits in a row"
    )


def _writer_properties(schema: pl.Schema) -> WriterProperties:
    """Disable dictionaries for floats: their values hardly repeat, and building one takes most of the write's time."""
    floats = [name for name, dtype in schema.items() if dtype.is_float()]
    return WriterProperties(
        compression="ZSTD",
        max_row_group_size=ROW_GROUP_ROWS,
        column_properties={name: ColumnProperties(dictionary_enabled=False) for name in floats},
    )


def _is_published(snapshot: DeltaTable | None, stored_as: str, application: str, generation: int) -> bool:
    published = None if snapshot is None else snapshot.transaction_version(application)
    if published is not None and published > generation:
        raise StoreError(
            f"table '{stored_as}' already has generation {published} of '{application}';"
            f" generation {generation} comes from a writer that a later run has replaced"
        )
    return published == generation


def _version(store: Store, table: str, clock: Clock) -> int:
    version = store.version(table, clock)
    assert version is not None, "a published table exists"
    return version


def _check_stored_schema(snapshot: DeltaTable, schema: pl.Schema, stored_as: str) -> None:
    """Refuse a table that is stored with other dtypes, because Delta Lake would silently cast the rows."""
    stored = pl.Schema(snapshot.schema().to_arrow())
    for name, dtype in schema.items():
        if name in stored and stored[name] != dtype:
            raise StoreError(f"table '{stored_as}' is stored with column '{name}' as {stored[name]} but needs {dtype}")
