"""Copy forecasts into a table of PostgreSQL, in one transaction."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import polars as pl

from forecasting.errors import SinkError, UserError, naming_extras
from forecasting.series.postgres import explain_error, is_refused
from forecasting.sinks.rows import KEY, flatten
from forecasting.spec.connection import mask_passwords

_STAGING = "fleetcast_staging"
_TYPES = {
    pl.String: "text",
    pl.Boolean: "boolean",
    pl.Int8: "smallint",
    pl.Int16: "smallint",
    pl.Int32: "integer",
    pl.Int64: "bigint",
    pl.Float32: "real",
    pl.Float64: "double precision",
    pl.Date: "date",
}
_FITTING = {
    "text": ("text", "character varying"),
    "smallint": ("smallint", "integer", "bigint", "numeric"),
    "integer": ("integer", "bigint", "numeric"),
    "bigint": ("bigint", "numeric"),
    "real": ("real", "double precision", "numeric"),
    "double precision": ("double precision", "numeric"),
    "timestamp": ("timestamp without time zone",),
    "timestamptz": ("timestamp with time zone",),
}
"""Types of existing columns that keep values as they are; INSERT would round numbers and shift times for others."""


def replace_rows(rows: pl.DataFrame, *, uri: str, spec: str, table: str, place: str | None = None) -> None:
    """Replace a spec's rows of a table by others.

    The rows are copied into a temporary table with COPY, then swapped in one transaction, so that readers see the old
    rows or the new ones. The table is created where it does not exist, and so is a view `latest_<table>` of the rows
    that have a forecast. Columns that the table lacks are added, also to that view.

    Args:
        rows: Rows of `latest_forecasts`, perhaps none.
        uri: The database as libpq takes it, perhaps with a password.
        spec: Name of the spec.
        table: The table, perhaps with its schema.
        place: What errors call the database; its URI without the password where not given.

    Raises:
        SinkError: The database cannot be reached, or fails.
        UserError: The login, the database or a privilege is missing, or a column of the table has another type.
    """
    with naming_extras():
        from adbc_driver_postgresql import dbapi

    flat = flatten(rows)
    with _naming(place or mask_passwords(uri)), dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(_STAGING, flat.to_arrow(), mode="create", temporary=True)
        # Publishers wait for each other from here on, so that none finds a table half made or rows of its spec.
        schema, _, name = table.rpartition(".")
        lock = (
            "SELECT pg_advisory_xact_lock(hashtextextended(coalesce(nullif($1, ''), current_schema()) || '.' || $2, 0))"
        )
        cursor.execute(lock, (schema, name))
        cursor.fetchall()
        _prepare(cursor, flat, table)
        columns = ", ".join(map(_quote, flat.columns))
        cursor.execute(f"DELETE FROM {_quote(table)} WHERE spec = $1", (spec,))
        cursor.execute(f"INSERT INTO {_quote(table)} ({columns}) SELECT {columns} FROM pg_temp.{_STAGING}")
        cursor.execute(f"DROP TABLE pg_temp.{_STAGING}")
        connection.commit()


def _prepare(cursor: Any, rows: pl.DataFrame, table: str) -> None:
    """Create what is missing; where nothing is, issue no DDL, which needs further privileges."""
    existing = _columns(cursor, table)
    typed = {name: _type_of(dtype) for name, dtype in rows.schema.items()}
    schema, dot, name = table.rpartition(".")
    view = f"{schema}{dot}latest_{name}"
    if not existing:
        columns = ", ".join(f"{_quote(name)} {kind}" for name, kind in typed.items())
        key = ", ".join(KEY)
        if _columns(cursor, view):
            raise UserError(f"{view} exists, but table {table} does not; drop or rename it, or set another table")
        cursor.execute(f"CREATE TABLE {_quote(table)} ({columns}, PRIMARY KEY ({key}))")
        cursor.execute(f"CREATE INDEX ON {_quote(table)} (spec, ds)")
        _make_view(cursor, view, table)
        return
    _refuse_other_types(existing, typed, table)
    added = {name: kind for name, kind in typed.items() if name not in existing}
    # A view keeps the columns that its table had. One that somebody has changed stays.
    is_own = bool(added) and list(_columns(cursor, view)) == list(existing)
    for name, kind in added.items():
        cursor.execute(f"ALTER TABLE {_quote(table)} ADD COLUMN {_quote(name)} {kind}")
    if is_own:
        _make_view(cursor, view, table)


def _make_view(cursor: Any, view: str, table: str) -> None:
    sql = f"SELECT * FROM {_quote(table)} WHERE forecast IS NOT NULL"
    cursor.execute(f"CREATE OR REPLACE VIEW {_quote(view)} AS {sql}")


def _columns(cursor: Any, relation: str) -> dict[str, str]:
    """Return the types of a table's or view's columns, in their order; none where it does not exist."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (_quote(relation),),
    )
    return dict(cursor.fetchall())


def _refuse_other_types(existing: Mapping[str, str], typed: Mapping[str, str], table: str) -> None:
    for name, kind in typed.items():
        found = existing.get(name)
        if found is None or found in _FITTING.get(kind, (kind,)):
            continue
        if kind == "text" and found.startswith("character varying"):  # PostgreSQL refuses text that is too long
            continue
        wanted = _FITTING.get(kind, (kind,))[0]
        clocks = {"bigint", "timestamp without time zone"}
        why = "; integer steps and timestamps need a table each" if {found, wanted} == clocks else ""
        raise UserError(
            f"column {name} of table {table} is of type {found}, but forecasts have {wanted}{why}; set another table"
            " (publish.table)"
        )


def _type_of(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return "timestamptz" if dtype.time_zone else "timestamp"
    return _TYPES[type(dtype)]


def _quote(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Name the database in errors."""
    import pyarrow as pa
    from adbc_driver_manager import Error

    try:
        yield
    except UserError as error:
        raise UserError(f"{place} cannot be written: {error}") from None
    except (Error, OSError, pa.ArrowException) as error:
        message, may_succeed = explain_error(error)
        kind = SinkError if may_succeed and not is_refused(message) else UserError
        raise kind(f"{place} cannot be written: {message}") from None
