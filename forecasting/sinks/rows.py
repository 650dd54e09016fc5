"""The rows that sinks receive: the served forecasts of a spec, in columns that every kind of place can hold."""

import polars as pl

KEY = ("spec", "unique_id", "ds")
"""Columns whose values together are unique."""


def flatten(rows: pl.DataFrame) -> pl.DataFrame:
    """Write lists and structs as JSON, for places that have no such columns.

    Args:
        rows: Rows of `latest_forecasts`.

    Returns:
        The same rows.
    """
    nested = [name for name, dtype in rows.schema.items() if dtype.is_nested()]
    as_json = [
        pl.when(pl.col(name).is_not_null())
        .then(pl.struct(value=pl.col(name)).struct.json_encode().str.slice(len('{"value":')).str.head(-1))
        .alias(name)
        for name in nested
    ]
    return rows.with_columns(as_json)
