"""Read rows from a SQLite database, whose columns have the types of their values."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pyarrow as pa

from forecasting.errors import ServiceError, SourceError
from forecasting.series.relation import Relation, quote_name
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
    path = Path(uri.removeprefix(SQLITE))
    if not path.is_file():
        raise SourceError(f"{relation.name}: {path} does not exist; an absolute path follows four slashes, {SQLITE}/")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")  # both queries read the same rows
            cursor = connection.execute(f"SELECT * FROM {relation.sql} LIMIT 0")
            relation.check([_REPEATED.sub("", column[0]) for column in cursor.description])
            dtypes = _dtypes(connection, relation)
            cursor = connection.execute(relation.select([_read(name, dtype) for name, dtype in dtypes.items()]))
            schema = _to_arrow(pl.DataFrame(schema=dtypes)).schema
            yield schema, _batches(cursor, dtypes)
    except sqlite3.Error as error:
        is_busy = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
        raise (ServiceError if is_busy else SourceError)(f"{relation.name} cannot be read: {error}") from error


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
