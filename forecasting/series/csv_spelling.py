"""Find the signs with which CSV files seem to write measurements, and describe dialects by their options."""

import shlex
from collections.abc import Sequence

import polars as pl

from forecasting.series.columns import is_blank, read_number
from forecasting.series.csv_numbers import read_decimal
from forecasting.spec.dialect import CsvDialect

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_SIGNS = {"": "", ".": "points", ",": "commas", " ": "blanks", "'": "apostrophes", "_": "underscores"}
_NAMES = {"\t": "tab", " ": "space", "": "none"}


def other_spellings(dialect: CsvDialect) -> list[CsvDialect]:
    """Return the dialect with all pairs of decimal and thousands signs."""
    return [
        dialect.model_copy(update={"decimal": decimal, "thousands": thousands})
        for decimal in ".,"
        for thousands in ("", ".", ",", " ", "'")
        if decimal != thousands
    ]


def count_read(rows: pl.LazyFrame, dialects: Sequence[CsvDialect]) -> tuple[int, list[int]]:
    """Count the measurements that several dialects read.

    Args:
        rows: Rows with `y` as text.
        dialects: The dialects; null words are those of the first one.

    Returns:
        The number of measurements, and of those that each dialect reads.
    """
    is_value = ~is_blank("y", pl.String()) & ~pl.col("y").str.strip_chars().is_in(dialects[0].null)
    counts = [read_spelled(dialect).count().alias(f"by_{number}") for number, dialect in enumerate(dialects)]
    num, *num_read = rows.filter(is_value).select(pl.len(), *counts).collect(engine="streaming").row(0)
    return num, num_read


def read_spelled(dialect: CsvDialect) -> pl.Expr:
    """Return the numbers that a dialect reads from `y` as text; null where it reads none."""
    return read_number("y", pl.String(), subject="y") if dialect.has_plain_numbers else read_decimal("y", dialect)


def with_fewest_changes(others: Sequence[CsvDialect], dialect: CsvDialect) -> list[CsvDialect]:
    """Return those of some spellings that differ least from a dialect."""
    fewest = min((_num_changes(other, dialect) for other in others), default=0)
    return [other for other in others if _num_changes(other, dialect) == fewest]


def describe_dialects(others: Sequence[CsvDialect], dialect: CsvDialect) -> str:
    """Describe dialects that a file may have, with the options that declare them; several are alternatives."""
    looks = " or ".join(dict.fromkeys(_look(other, dialect) for other in others))
    return f"looks like {looks}: {' or '.join(_options(other, dialect) for other in others)} (source.csv in a spec)"


def null_option(word: str) -> str:
    """Return the option that declares a null word."""
    return f"--csv-null {shlex.quote(word)} (source.csv.null)"


def quote_sign(value: str) -> str:
    """Quote a sign for a shell, also where it need not be, because a bare one is easily overlooked."""
    value = _NAMES.get(value, value)
    if len(value) > 1:
        return value
    return f'"{value}"' if value == "'" else f"'{value}'"


def _num_changes(other: CsvDialect, dialect: CsvDialect) -> int:
    return (other.decimal != dialect.decimal) + (other.thousands != dialect.thousands)


def _look(other: CsvDialect, dialect: CsvDialect) -> str:
    look = "a file"
    if other.separator != dialect.separator:
        look = f"a {SEPARATORS[other.separator]}-separated file"
    signs = []
    if other.decimal != dialect.decimal:
        signs.append(f"decimal {_SIGNS[other.decimal]}")
    if other.thousands != dialect.thousands:
        signs.append(f"thousands {_SIGNS[other.thousands]}" if other.thousands else "no thousands signs")
    look += f" with {' and '.join(signs)}" if signs else ""
    return look + (f" in {other.encoding}" if other.encoding != dialect.encoding else "")


def _options(other: CsvDialect, dialect: CsvDialect) -> str:
    changed = [
        f"--csv-{name} {quote_sign(getattr(other, name))}"
        for name in ("separator", "decimal", "thousands", "encoding")
        if getattr(other, name) != getattr(dialect, name)
    ]
    return " ".join(changed)
