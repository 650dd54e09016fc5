"""Read rows from a SQLite database, whose columns have the types of their values."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from forecasting.errors import ServiceError, SourceError
from forecasting.series.modified import Watermark
from forecasting.series.relation import Extent, Relation, quote_name
from forecasting.spec.place import SQLITE

_REPEATED = re.compile(r":\d+$")
"""What SQLite appends to the name of a column that a query has already."""
NUM_ROWS = 50_000
"""Rows of a batch."""


@contextmanager
def stream(uri: str, relation: Relation) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Read the needed columns of a relation.

    A column of whole numbers is Int64, one of numbers Float64, and one with any text is text, as CSV files have it.

    Args:
        uri: The URI of the file.
        relation: The table or query.

    Yields:
        The schema, and the batches, which are read one after the other.

    Raises:
        SourceError: The file or the relation cannot be read, or a column is missing or has bytes.
        ServiceError: The database is locked.
    """
    with _connect(uri, relation) as connection:
        dtypes = _dtypes(connection, relation)
        cursor = connection.execute(relation.select(_expressions(dtypes)))
        yield _schema(dtypes), _batches(cursor, dtypes)


@contextmanager
def stream_changes(
    uri: str, relation: Relation, since: Watermark | None
) -> Iterator[tuple[Extent, pa.Schema, Iterator[pa.RecordBatch]]]:
    """Read the rows of a relation that were modified at a time or later, and those that do not say when.

    Columns have the types of all their values, as in `stream`.

    Args:
        uri: The URI of the file.
        relation: The table or query; one of its columns has the role `modified`.
        since: The time or number; None reads all rows.

    Yields:
        The extent of the relation in the same transaction; the schema; and the batches, whose rows
        have no order.

    Raises:
        SourceError: As of `stream`.
        ServiceError: As of `stream`.
    """
    with _connect(uri, relation) as connection:
        dtypes = _dtypes(connection, relation)
        time = relation.column_of("time")
        extent = Extent(*connection.execute(relation.extent(f"min({_read(time, dtypes[time])})")).fetchone())
        conditions = _modified_since(relation, dtypes, since)
        cursor = connection.execute(relation.select(_expressions(dtypes), conditions, is_ordered=False))
        yield extent, _schema(dtypes), _batches(cursor, dtypes)


@contextmanager
def _connect(uri: str, relation: Relation) -> Iterator[sqlite3.Connection]:
    path = Path(uri.removeprefix(SQLITE))
    if not path.is_file():
        raise SourceError(f"{relation.name}: {path} does not exist; an absolute path follows four slashes, {SQLITE}/")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")  # all queries read the same rows
            cursor = connection.execute(f"SELECT * FROM {relation.sql} LIMIT 0")
            relation.check([_REPEATED.sub("", column[0]) for column in cursor.description])
            yield connection
    except sqlite3.Error as error:
        is_busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        raise (ServiceError if is_busy else SourceError)(f"{relation.name} cannot be read: {error}") from error


def _modified_since(relation: Relation, dtypes: dict[str, pl.DataType], since: Watermark | None) -> list[str]:
    """Return the condition of `stream_changes`; none where the values have become of another kind."""
    column = relation.column_of("modified")
    is_text, name = dtypes[column] == pl.String, quote_name(column)
    if since is None or is_text != isinstance(since, datetime):
        return []
    if isinstance(since, datetime):  # days, exact to less than a millisecond; null where a text is not a time
        earlier = since - timedelta(milliseconds=1)
        return [f"coalesce(julianday({name}) >= julianday('{earlier:%Y-%m-%d %H:%M:%S.%f}'), 1)"]
    return [f"({name} >= {since!r} OR {name} IS NULL)"]


def _expressions(dtypes: dict[str, pl.DataType]) -> list[str]:
    return [_read(name, dtype) for name, dtype in dtypes.items()]


def _schema(dtypes: dict[str, pl.DataType]) -> pa.Schema:
    return _to_arrow(pl.DataFrame(schema=dtypes)).schema


def _dtypes(connection: sqlite3.Connection, relation: Relation) -> dict[str, pl.DataType]:
    kinds = ("text", "real", "integer", "blob")
    columns = relation.columns
    found = [f"max(typeof({quote_name(column)}) = '{kind}')" for column in columns for kind in kinds]
    (values,) = connection.execute(f"SELECT {', '.join(found)} FROM {relation.sql}")
    dtypes: dict[str, pl.DataType] = {}
    for place, column in enumerate(columns):
        has_text, has_real, has_integer, has_blob = values[4 * place : 4 * place + 4]
        if has_blob:
            raise SourceError(f"{relation.name}: {relation.role_of(column)} column '{column}' has bytes (BLOB)")
        dtypes[column] = pl.Float64() if has_real else pl.Int64()
        if has_text or not (has_real or has_integer):
            dtypes[column] = pl.String()
    return dtypes


def _read(column: str, dtype: pl.DataType) -> str:
    name = quote_name(column)
    if dtype == pl.Float64:
        return f"CAST({name} AS REAL)"
    if dtype == pl.String:  # a cast to text would round
        return f"CASE typeof({name}) WHEN 'real' THEN printf('%!.17g', {name}) ELSE CAST({name} AS TEXT) END"
    return name


def _batches(cursor: sqlite3.Cursor, dtypes: dict[str, pl.DataType]) -> Iterator[pa.RecordBatch]:
    while rows := cursor.fetchmany(NUM_ROWS):
        yield from _to_arrow(pl.DataFrame(rows, schema=dtypes, orient="row")).to_batches()


def _to_arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())
