"""Read-only SQL: DuckDB runs one SELECT over the tables and views of a store."""

import re
from collections import Counter
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from forecasting.errors import FleetcastError, QueryError
from forecasting.schemas import TIMESTAMP
from forecasting.store.spec_views import MARK, spec_views
from forecasting.store.tables import Store, each_table
from forecasting.store.views import DS_LOCAL, DS_LOCAL_MEANING, VIEWS
from forecasting.temporary import temporary_folder

_LOCKS = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET python_scan_all_frames = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_FOREIGN = re.compile(r"INTERVAL|UNION|BIT\b|BIGNUM|VARINT|VARIANT|GEOMETRY|TIME WITH TIME ZONE")
"""DuckDB types without a counterpart in Polars; columns of these types are returned as text."""


def query(store: Store, sql: str) -> pl.DataFrame:
    """Run one SELECT (or FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW TABLES) over the tables and views.

    Tables that do not exist yet are empty. Filters and columns are pushed down into the scan of a table. Nothing
    outside the store can be read.

    Args:
        store: The store.
        sql: The statement.

    Returns:
        The result. Intervals and other types that Polars lacks become text; repeated column names are numbered.

    Raises:
        QueryError: The text is not a single SELECT, or DuckDB refuses it; the message is one line with DuckDB's hint.
        StoreError: A table could not be read.
    """
    with temporary_folder() as spill, _connect(spill) as connection:
        try:
            statement = _one_select(connection, sql)
            _register_tables(connection, store, sql)
            for lock in _LOCKS:
                connection.execute(lock)
            return _answer(connection.query(statement))
        except FleetcastError:
            raise
        except (duckdb.Error, pl.exceptions.PolarsError, pa.ArrowException, RuntimeError) as error:
            raise QueryError(_one_line(error)) from error


def describe_tables(store: Store) -> pl.DataFrame:
    """Describe the tables and views that `query` can read.

    Args:
        store: The store.

    Returns:
        One row per column of each table and view: table, meaning, rows (null for views), column, dtype and
        column_meaning. Tables of timestamps are always listed, tables of steps only if the store has them.
    """
    stored = {table.name: table.num_rows for table in store.tables()}
    described = []
    for declared, clock in each_table():
        name = declared.stored_as(clock)
        if clock == "step" and name not in stored:
            continue
        meanings = {column.name: column.meaning for column in declared.columns}
        schema = store.scan(declared.name, clock).collect_schema()
        readers: list[tuple[str, str, int | None]] = [(name, declared.meaning, stored.get(name, 0))]
        readers += [(view.name, view.meaning, None) for view in VIEWS if view.reads == name and not view.columns]
        described += [
            (reader, meaning, num_rows, column, str(dtype), meanings.get(column, "a further quantile"))
            for reader, meaning, num_rows in readers
            for column, dtype in schema.items()
        ]
        described += [
            (view.name, view.meaning, None, column.name, str(column.dtype), column.meaning)
            for view in VIEWS
            if view.reads == name
            for column in view.columns
        ]
        described += [
            (view.name, view.meaning, None, DS_LOCAL, str(TIMESTAMP), DS_LOCAL_MEANING)
            for view in VIEWS
            if view.reads == name and view.adds_local
        ]
    names = ("table", "meaning", "rows", "column", "dtype", "column_meaning")
    dtypes = {name: pl.Int64() if name == "rows" else pl.String() for name in names}
    return pl.DataFrame(described, dtypes, orient="row")


def _connect(spill: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )


def _one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise QueryError(f"a query is one SELECT statement; this has {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rpartition(".")[2]
        raise QueryError(f"a query is one SELECT statement; this is {kind}, and only runs write tables")
    return str(statements[0].query)


def _register_tables(connection: duckdb.DuckDBPyConnection, store: Store, sql: str) -> None:
    """Register all tables and views, but open only those in the text, because opening a table costs a listing.

    DuckDB's functions `query` and `query_table` can compose a name at run time; with them all tables are opened.
    """
    text = sql.casefold()
    opens_all = "query" in text
    of_specs = spec_views(store) if opens_all or MARK in text else []
    text += " ".join(view.sql for view in of_specs if view.name.casefold() in text)
    text += " ".join(view.sql for view in VIEWS if view.name in text)
    for declared, clock in each_table():
        name = declared.stored_as(clock)
        if opens_all or name in text:
            rows = store.scan(declared.name, clock)
        else:
            rows = pl.LazyFrame(schema=declared.schema(clock))
        connection.register(name, rows)
    for view in (*VIEWS, *of_specs):
        connection.execute(f'CREATE TEMP VIEW "{view.name}" AS {view.sql}')


def _answer(relation: duckdb.DuckDBPyRelation) -> pl.DataFrame:
    foreign = [name for name, kind in zip(relation.columns, relation.types, strict=True) if _FOREIGN.search(str(kind))]
    if foreign:
        if len(set(relation.columns)) < len(relation.columns):
            raise QueryError(
                f"column {foreign[0]} has a type that is returned as text; for that, every column needs its own name"
            )
        quoted = {name: '"' + name.replace('"', '""') + '"' for name in relation.columns}
        relation = relation.project(
            ", ".join(f"CAST({q} AS VARCHAR) AS {q}" if name in foreign else q for name, q in quoted.items())
        )
    answer = relation.to_arrow_table()
    frame = pl.from_arrow(answer.rename_columns(_number_repeats(answer.column_names)))
    assert isinstance(frame, pl.DataFrame), "a table becomes a frame"
    return frame


def _number_repeats(names: list[str]) -> list[str]:
    """Number repeated names.

    >>> _number_repeats(["a", "b", "a"])
    ['a', 'b', 'a_1']
    """
    taken, seen, numbered = set(names), Counter[str](), []
    for name in names:
        unique = name
        while seen[name] and unique in taken:
            unique = f"{name}_{seen[name]}"
            seen[name] += 1
        seen[name] = seen[name] or 1
        taken.add(unique)
        numbered.append(unique)
    return numbered


def _one_line(error: Exception) -> str:
    """Return DuckDB's message and its hint in one line, without the copy of the query that follows."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
