"""Copy forecasts into a table of PostgreSQL, in one transaction."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from forecasting.errors import SinkError, UserError, first_line
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
_REFUSALS = re.compile(r"permission denied|does not exist|authentication failed|must be owner", re.IGNORECASE)
"""Errors that another attempt does not mend."""


def replace_rows(rows: pl.DataFrame, *, uri: str, spec: str, table: str) -> None:
    """Replace a spec's rows of a table by others.

    The rows are copied into a temporary table with COPY, then swapped in one transaction, so that readers see the old
    rows or the new ones. The table is created where it does not exist, and so is a view `latest_<table>` of the rows
    that have a forecast. Columns that the table lacks are added.

    Args:
        rows: Rows of `latest_forecasts`, perhaps none.
        uri: The database as libpq takes it, perhaps with a password.
        spec: Name of the spec.
        table: The table, perhaps with its schema.

    Raises:
        SinkError: The database cannot be reached, or fails.
        UserError: The login, the database or a privilege is missing.
    """
    from adbc_driver_postgresql import dbapi

    flat = flatten(rows)
    with _naming(uri), dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(_STAGING, flat.to_arrow(), mode="create", temporary=True)
        # Publishers wait for each other from here on, so that none finds a table half made or rows of its spec.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (f"fleetcast {table}",))
        cursor.fetchall()
        _prepare(cursor, flat, table)
        columns = ", ".join(map(_quote, flat.columns))
        cursor.execute(f"DELETE FROM {_quote(table)} WHERE spec = $1", (spec,))
        cursor.execute(f"INSERT INTO {_quote(table)} ({columns}) SELECT {columns} FROM pg_temp.{_STAGING}")
        cursor.execute(f"DROP TABLE pg_temp.{_STAGING}")
        connection.commit()


def _prepare(cursor: Any, rows: pl.DataFrame, table: str) -> None:
    """Create what is missing; where nothing is, issue no DDL, which needs further privileges."""
    cursor.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
        (_quote(table),),
    )
    existing = {name for (name,) in cursor.fetchall()}
    typed = {name: _type_of(dtype) for name, dtype in rows.schema.items()}
    if not existing:
        columns = ", ".join(f"{_quote(name)} {kind}" for name, kind in typed.items())
        key = ", ".join(KEY)
        cursor.execute(f"CREATE TABLE {_quote(table)} ({columns}, PRIMARY KEY ({key}))")
        cursor.execute(f"CREATE INDEX ON {_quote(table)} (spec, ds)")
        schema, _, name = table.rpartition(".")
        view = f"{schema}.latest_{name}" if schema else f"latest_{name}"
        cursor.execute(
            f"CREATE OR REPLACE VIEW {_quote(view)} AS SELECT * FROM {_quote(table)} WHERE forecast IS NOT NULL"
        )
    else:
        for name, kind in typed.items():
            if name not in existing:
                cursor.execute(f"ALTER TABLE {_quote(table)} ADD COLUMN {_quote(name)} {kind}")


def _type_of(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return "timestamptz" if dtype.time_zone else "timestamp"
    return _TYPES[type(dtype)]


def _quote(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


@contextmanager
def _naming(uri: str) -> Iterator[None]:
    """Name the database in errors, without its password."""
    from adbc_driver_manager import Error

    try:
        yield
    except Error as error:
        message = first_line(error)
        kind = UserError if _REFUSALS.search(message) else SinkError
        raise kind(f"{mask_passwords(uri)} cannot be written: {mask_passwords(message)}") from None
