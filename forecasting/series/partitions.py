"""Columns that a file's path states, as Hive and Spark write them: `sales/store=12/day=2024-01-01/part.parquet`."""

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from urllib.parse import unquote

import polars as pl

from forecasting.errors import SourceError

NULL = "__HIVE_DEFAULT_PARTITION__"
"""The value of a key whose rows have none."""


def path_keys(uri: str) -> dict[str, str | None]:
    """Return the keys of the folders in a path, with their values as text.

    Args:
        uri: A path or URI of a file.

    Returns:
        Values by key, in order; of a key that occurs twice, the inner one.

    >>> path_keys("s3://bucket/sales/store=12/day=2024-01-01%2005%3A00/part.parquet")
    {'store': '12', 'day': '2024-01-01 05:00'}
    >>> path_keys("sales/a=b.csv")
    {}
    """
    pairs = (folder.partition("=") for folder in uri.split("/")[:-1])
    found = {unquote(key): unquote(value) for key, sign, value in pairs if key and sign}
    return {key: None if value == NULL else value for key, value in found.items()}


def needed_keys(uri: str, columns: Sequence[str]) -> dict[str, str | None]:
    """Return those keys of a path that name one of some columns."""
    return {key: value for key, value in path_keys(uri).items() if key in columns}


def add_keys(
    rows: pl.LazyFrame, keys: Mapping[str, str | None], *, uri: str, dates: Collection[str] = ()
) -> pl.LazyFrame:
    """Add the keys of a file's path as columns of text.

    Args:
        rows: The rows of the file.
        keys: Values by key.
        uri: The file.
        dates: Keys that are dates where their value is one, which is much faster than text for many files.

    Returns:
        The rows with the keys that they do not have.

    Raises:
        SourceError: The file has a column of that name with another value.
    """
    schema = rows.collect_schema()
    for key in keys.keys() & set(schema):
        _refuse_difference(rows, key, keys[key], uri)
    absent = {key: _literal(value, key in dates) for key, value in keys.items() if key not in schema}
    return rows.with_columns(**absent)


def is_whole(value: str | None) -> bool:
    """Return whether a value is the only spelling of a whole number, so that it may come back as one."""
    return value is None or (value.removeprefix("-").isdecimal() and str(int(value)) == value)


def _literal(value: str | None, may_be_date: bool) -> pl.Expr:
    if may_be_date and value is not None and re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        with contextlib.suppress(ValueError):
            return pl.lit(date.fromisoformat(value), pl.Date)
    return pl.lit(value, pl.String)


def _refuse_difference(rows: pl.LazyFrame, key: str, value: str | None, uri: str) -> None:
    differs = pl.col(key).cast(pl.String).ne_missing(pl.lit(value, pl.String))
    other = rows.filter(differs).select(pl.col(key).cast(pl.String)).head(1).collect(engine="streaming")
    if other.height:
        raise SourceError(
            f"{uri} has a column '{key}' with {other.item()!r}, but its path says {value!r}; they must be the same"
        )
