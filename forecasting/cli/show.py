"""Print frames on stdout: as a table for people, as CSV or as JSON."""

import json
import math
import sys
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TextIO

import polars as pl
from rich.console import Console
from rich.table import Table

from forecasting.cli.formats import Format

WIDTH_OF_A_PIPE = 10_000
ROWS_OF_A_TABLE = 100
"""Rows that a table shows by default; CSV and JSON show all."""


def show(rows: pl.DataFrame, output: Format, *, limit: int | None = None, title: str | None = None) -> None:
    """Print a frame on stdout; a note on stderr states how many rows are left out.

    Args:
        rows: The rows.
        output: The format.
        limit: The number of rows to print, 0 for all; None for the format's default.
        title: A line above a table.
    """
    bound = limit if limit is not None else ROWS_OF_A_TABLE if output is Format.TABLE else 0
    shown = rows.head(bound) if bound else rows
    if output is Format.CSV:
        sys.stdout.write(pl.DataFrame([_flatten(column) for column in shown]).write_csv())
    elif output is Format.JSON:
        sys.stdout.writelines(_as_json(shown))
    else:
        _print_table(shown, title=title)
    if shown.height < rows.height:
        print(f"{shown.height} of {rows.height} rows; --limit 0 shows all", file=sys.stderr)


def open_console(stream: TextIO) -> Console:
    """Return a console that prints text unchanged; rows are never cut in a pipe, which has no width."""
    width = None if stream.isatty() else WIDTH_OF_A_PIPE
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)


def printable(text: str) -> str:
    """Return a text with control characters escaped, because a terminal would execute them."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _print_table(rows: pl.DataFrame, *, title: str | None) -> None:
    console = open_console(sys.stdout)
    table = Table()
    for name, dtype in rows.schema.items():
        table.add_column(
            printable(name),
            justify="right" if dtype.is_numeric() else "left",
            overflow="fold",
            no_wrap=dtype != pl.String,
        )
    for row in rows.iter_rows():
        table.add_row(*(_cell(value) for value in row))
    if title:
        print(printable(title))
    if console.measure(table, options=console.options.update(width=WIDTH_OF_A_PIPE)).minimum > console.width:
        # Cells cut or folded to single letters are unreadable; one line per cell fits every width.
        for cells in rows.iter_rows(named=True):
            console.rule(style="dim")
            for name, value in cells.items():
                console.print(f"{printable(name)}: {_cell(value)}")
    else:
        console.print(table)
    if rows.is_empty():
        print("no rows", file=sys.stderr)


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return printable(value if isinstance(value, str) else str(value))


def _flatten(column: pl.Series) -> pl.Series:
    """Write lists, structs and bytes as JSON, because CSV cannot represent them."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        texts = [None if value is None else json.dumps(_plain(value), ensure_ascii=False) for value in column]
        return pl.Series(column.name, texts, dtype=pl.String)
    return column


def _as_json(rows: pl.DataFrame) -> Iterator[str]:
    lines = (json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) for row in rows.iter_rows(named=True))
    yield "["
    for number, line in enumerate(lines):
        yield ("," if number else "") + "\n" + line
    yield "\n]\n"


def _plain(value: Any) -> Any:
    """Return a value that JSON can represent; NaN and infinite values become null."""
    if isinstance(value, pl.Series):
        value = value.to_list()
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (date, datetime, time)):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
