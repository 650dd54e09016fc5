"""Rows of databases: read once in a run, into a temporary parquet file that ends with it."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import SecretStr

from forecasting.connections import find_connection
from forecasting.errors import naming_extras
from forecasting.series import postgres, sqlite
from forecasting.series.lacking import changed_columns, needed_columns
from forecasting.series.modified import Watermark
from forecasting.series.once import find_once, temporary_folder
from forecasting.series.relation import Extent, Relation
from forecasting.spec.place import SQLITE, Scope
from forecasting.spec.source import Source


class _Snapshot(NamedTuple):
    path: Path
    columns: frozenset[str]
    scope: Scope

    def has(self, relation: Relation) -> bool:
        until, most_rows = relation.scope.until, relation.scope.most_rows
        is_late = self.scope.until is None or (until is not None and until <= self.scope.until)
        is_long = self.scope.most_rows is None or (most_rows is not None and most_rows <= self.scope.most_rows)
        return self.columns >= set(relation.columns) and is_late and is_long


def read_database(source: Source, *, static: Sequence[str] = ()) -> tuple[pl.LazyFrame, str]:
    """Read the needed columns of a source in a database.

    Within `reading_once`, one query reads the rows of all scans into a temporary file, with the memory of a batch.
    Outside of it, each call reads them again, into memory.

    Args:
        source: The source; its scope is the part to read.
        static: Columns that classify whole series.

    Returns:
        The rows, and what messages and refused rows call their place.

    Raises:
        SourceError: The database refuses the login or the query, or a column is missing or has a type that is not read.
        SpecError: The source's connection is not known, or of another type.
        ServiceError: The database cannot be reached.
    """
    relation = _relation(source, static)
    snapshots = find_once(("rows", *_key(source)), list[_Snapshot])
    known = next((snapshot for snapshot in snapshots if snapshot.has(relation)), None)
    if known is not None:
        return pl.scan_parquet(known.path), relation.name
    folder = temporary_folder()
    with naming_extras(), _stream(source, relation) as (schema, batches):
        if folder is None:
            table = pa.Table.from_batches(batches, schema)
            return pl.DataFrame(table).lazy(), relation.name
        path = folder / f"{len(list(folder.iterdir()))}.parquet"
        _write(path, schema, batches)
    snapshots.append(_Snapshot(path, frozenset(relation.columns), relation.scope))
    return pl.scan_parquet(path), relation.name


def read_changes(source: Source, static: Sequence[str], since: Watermark | None, *, path: Path) -> tuple[Extent, str]:
    """Write the rows of a source that were modified at a time or later, and those that do not say when, into a file.

    Args:
        source: The source, with `modified`.
        static: Columns that classify whole series.
        since: The time or number; None reads all rows.
        path: The parquet file to write.

    Returns:
        The extent of the source, and what messages and refused rows call their place.

    Raises:
        SourceError: As of `read_database`.
        SpecError: As of `read_database`.
        ServiceError: As of `read_database`.
    """
    relation, uri = Relation.of(source.within(Scope()), changed_columns(source, static)), _uri(source)
    with naming_extras():
        reading = (
            sqlite.stream_changes(uri, relation, since)
            if isinstance(uri, str)
            else postgres.stream_changes(uri, relation, since)
        )
        with reading as (extent, schema, batches):
            _write(path, schema, batches)
    return extent, relation.name


def time_dtype(source: Source) -> pl.DataType | None:
    """Return the dtype of the column of times of a source in a database, without reading rows.

    Args:
        source: The source.

    Returns:
        The dtype; None where the column does not have times, so that only its values show them.

    Raises:
        SourceError: As of `read_database`.
        SpecError: As of `read_database`.
        ServiceError: As of `read_database`.
    """
    uri = _uri(source)
    if isinstance(uri, str):
        return None
    with naming_extras():
        found = find_once(("time", *_key(source)), lambda: postgres.time_type(uri, _relation(source, ())))
    return None if found is None else pl.Schema(pa.schema([("ds", found)]))["ds"]


def _write(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _relation(source: Source, static: Sequence[str]) -> Relation:
    return Relation.of(source, needed_columns(source, list(dict.fromkeys([*static, *source.scope.columns]))))


def _key(source: Source) -> tuple[object, ...]:
    """Return what decides which rows a source has, and in which types."""
    columns = (source.id, source.time, source.target, source.newer)
    return (source.uri, source.connection, source.table, source.query, *columns)


def _uri(source: Source) -> SecretStr | str:
    """Return the URI of PostgreSQL, which may have a password, or that of a SQLite file."""
    if source.connection is not None:
        return find_connection(source.connection).postgres_uri()
    (uri,) = source.uris
    return uri if uri.startswith(SQLITE) else SecretStr(uri)


def _stream(source: Source, relation: Relation) -> AbstractContextManager[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    uri = _uri(source)
    return sqlite.stream(uri, relation) if isinstance(uri, str) else postgres.stream(uri, relation)
