"""Read rows from PostgreSQL through ADBC, as a stream of Arrow batches."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import polars as pl
import pyarrow as pa
from pydantic import SecretStr

from forecasting.errors import FleetcastError, ServiceError, SourceError, first_line
from forecasting.series.modified import Watermark
from forecasting.series.relation import Extent, Relation, quote_name
from forecasting.spec.connection import mask_passwords

_PLAIN = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "bpchar", "name"}
    | {"date", "timestamp", "timestamptz", "bytea"}
)
"""Types that are read as parquet files have them."""
_TIMES = {"date": "DATE '{:%Y-%m-%d}'", "timestamp": "TIMESTAMP '{:%Y-%m-%d %H:%M:%S.%f}'"}
_TIMES["timestamptz"] = "TIMESTAMPTZ '{:%Y-%m-%d %H:%M:%S.%f}+00'"
"""Types of times, and how SQL writes a time of them."""
_NUMBERS = ("int2", "int4", "int8", "float4", "float8")
_RETRIED = ("08", "40", "53", "55", "57", "58", "XX")
"""Classes of SQLSTATE whose errors may not occur again: connections, conflicts, resources, locks and the system."""
_REFUSED = re.compile(
    r"authentication failed|no password|does not exist|invalid|permission denied|no pg_hba.conf entry"
)
"""What a refused login says, which has no SQLSTATE."""
_TRANSIENT = re.compile(r"cancel|terminat|shut|memory|disk|connection|conflict|deadlock")
_ARROW = {"date": pa.date32(), "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC")}


@contextmanager
def stream(uri: SecretStr, relation: Relation) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Read the needed columns of a relation with one query, in a transaction that only reads.

    Args:
        uri: The URI of libpq.
        relation: The table or query.

    Yields:
        The schema, and the batches, which are read one after the other.

    Raises:
        SourceError: PostgreSQL refuses the login or the query, or a column is missing or has a type that is not read.
        ServiceError: PostgreSQL cannot be reached, or fails.
    """
    with _connect(uri, relation) as cursor:
        types = _types(cursor, relation)
        yield _read(cursor, relation.select(*_parts(relation, types)))


@contextmanager
def stream_changes(
    uri: SecretStr, relation: Relation, since: Watermark | None
) -> Iterator[tuple[Extent, pa.Schema, Iterator[pa.RecordBatch]]]:
    """Read the rows of a relation that were modified at a time or later, and those that do not say when.

    Args:
        uri: The URI of libpq.
        relation: The table or query; one of its columns has the role `modified`.
        since: The time or number; None reads all rows.

    Yields:
        The extent of the relation in the same transaction; the schema; and the batches, whose rows
        have no order.

    Raises:
        SourceError: As of `stream`.
        ServiceError: As of `stream`.
    """
    with _connect(uri, relation) as cursor:
        types = _types(cursor, relation)
        expressions, conditions = _parts(relation, types)
        extent = _extent(cursor, relation, types)
        conditions += _modified_since(relation, types, since)
        yield extent, *_read(cursor, relation.select(expressions, conditions, is_ordered=False))


def time_type(uri: SecretStr, relation: Relation) -> pa.DataType | None:
    """Return the Arrow type of the column of times, where it is one of times; no rows are read."""
    (column,) = [name for role, name in relation.needed if role == "time"]
    with _connect(uri, relation) as cursor:
        return _ARROW.get(_types(cursor, relation)[column])


@contextmanager
def _connect(uri: SecretStr, relation: Relation) -> Iterator[Any]:
    from adbc_driver_manager import Error
    from adbc_driver_postgresql import dbapi

    is_connected = False
    try:
        with dbapi.connect(uri.get_secret_value()) as connection, connection.cursor() as cursor:
            is_connected = True
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield cursor
    except (Error, OSError, pa.ArrowException) as error:
        raise _explain(error, uri, relation.name, is_connected=is_connected) from None


def explain_error(error: BaseException) -> tuple[str, bool]:
    """Return what PostgreSQL says, and whether another attempt may succeed.

    Args:
        error: What ADBC raised once it was connected; its message repeats the query, and maybe a part of the URI.

    Returns:
        One line without passwords and without the query.
    """
    text, state = str(error), getattr(error, "sqlstate", None) or ""
    found = re.search(r"SQLSTATE: (\w{5})", text)
    state = state or (found[1] if found else "")
    stated = re.search(r"(?:ERROR|FATAL|Failed to connect|\[libpq\]):\s+(.*)", text)
    while stated and (inner := re.search(r"(?:ERROR|FATAL):\s+(.*)", stated[1])):
        stated = inner
    message = mask_passwords(stated[1] if stated else first_line(error)).strip()
    # While rows are read, ADBC reports the message alone.
    may_succeed = state.startswith(_RETRIED) if state else "ERROR:" not in text or bool(_TRANSIENT.search(message))
    return message, may_succeed


def is_refused(message: str) -> bool:
    """Return whether a server that could not be connected to has refused the login.

    Args:
        message: What it says.

    Returns:
        Whether it has, so that another attempt fails as well.
    """
    return bool(_REFUSED.search(message))


def _explain(error: BaseException, uri: SecretStr, name: str, *, is_connected: bool) -> FleetcastError:
    """Return the error of this package; the original one would repeat the query, and maybe a part of the URI."""
    message, may_succeed = explain_error(error)
    if not is_connected:
        kind = SourceError if is_refused(message) else ServiceError
        return kind(f"{name}: PostgreSQL cannot be reached: {message}")
    kind = ServiceError if may_succeed else SourceError
    return kind(f"{name} cannot be read: {message}")


def _types(cursor: Any, relation: Relation) -> dict[str, str]:
    """Return the types of the needed columns, as PostgreSQL names them."""
    schema = cursor.adbc_execute_schema(f"SELECT * FROM {relation.sql}")
    relation.check(schema.names)
    types = {field.name: (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode() for field in schema}
    return {name: types[name] for name in relation.columns}


def _read(cursor: Any, query: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    cursor.execute(query)
    reader = cursor.fetch_record_batch()
    schema = pa.schema([pa.field(field.name, _storage(field.type)) for field in reader.schema])
    return schema, (batch.cast(schema) if batch.schema != schema else batch for batch in reader)


def _extent(cursor: Any, relation: Relation, types: dict[str, str]) -> Extent:
    time = relation.column_of("time")
    is_ordered = types[time] in (*_TIMES, *_NUMBERS)  # text has the order of a collation
    cursor.execute(relation.extent(f"min({quote_name(time)})" if is_ordered else "NULL::integer"))
    found = pl.DataFrame(cursor.fetch_arrow_table())  # in Python, infinite times have no value
    return Extent(found["num_rows"].item(), found["first"].to_physical().item())


def _modified_since(relation: Relation, types: dict[str, str], since: Watermark | None) -> list[str]:
    """Return the condition of `stream_changes`; none for a type that is refused later."""
    column = relation.column_of("modified")
    is_time, name = types[column] in _TIMES, quote_name(column)
    if since is None or is_time != isinstance(since, datetime) or not (is_time or types[column] in _NUMBERS):
        return []
    value = _TIMES[types[column]].format(since) if is_time else f"{since!r}"
    return [f"({name} >= {value} OR {name} IS NULL)"]


def _parts(relation: Relation, types: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return the expressions and the conditions of the query."""
    expressions, conditions = [], []
    for column, type in types.items():
        name, role = quote_name(column), relation.role_of(column)
        if type == "money":
            raise SourceError(
                f"{relation.name}: {role} column '{column}' is of type money; --query (source.query) casts it:"
                f" SELECT {name}::numeric"
            )
        if type not in _PLAIN:
            target = "double precision" if role == "target" else "text"
            name = f"CAST({name} AS {target}) AS {name}"
        expressions.append(name)
        if role == "time" and relation.scope.until is not None and type in _TIMES:
            until = _TIMES[type].format(relation.scope.until)
            conditions.append(f"({quote_name(column)} <= {until} OR {quote_name(column)} IS NULL)")
    return expressions, conditions


def _storage(type: pa.DataType) -> pa.DataType:
    return type.storage_type if isinstance(type, pa.BaseExtensionType) else type
