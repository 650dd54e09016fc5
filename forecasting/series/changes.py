"""Read the rows of a source that were modified since a watermark, of a database or a Delta table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.delta import is_table, scan_table
from forecasting.series.lacking import changed_columns, describe_lacking
from forecasting.series.modified import Watermark
from forecasting.series.read import reading
from forecasting.series.relation import Extent
from forecasting.series.stores import storage_options_of
from forecasting.spec.source import Source


class Changes(NamedTuple):
    """Rows that were read.

    Attributes:
        rows: The rows with the columns of `changed_columns`, each once, in no particular order.
        extent: What the source has in the version or transaction in which these were read.
        name: What messages and refused rows call the source.
    """

    rows: pl.LazyFrame
    extent: Extent
    name: str


def read_changes(
    source: Source,
    static: Sequence[str],
    since: Watermark | None,
    *,
    path: Path,
    storage_options: Mapping[str, str] | None = None,
) -> Changes:
    """Read the rows that were modified at a time or later, and those that do not say when.

    Args:
        source: The source, with `modified`.
        static: Columns that classify whole series.
        since: The time or number; None reads all rows.
        path: A parquet file to write them to.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        The rows, and the extent of the source.

    Raises:
        SourceError: The source is neither a database nor a Delta table, lacks a column, or cannot be read.
        SpecError: The source's connection is not known, or of another type.
        ServiceError: The source cannot be reached.
    """
    if source.is_database:
        from forecasting.series import database  # loads pyarrow, which few sources need

        extent, name = database.read_changes(source, static, since, path=path)
        return Changes(pl.scan_parquet(path), extent, name)
    options = storage_options_of(source, storage_options)
    (uri,) = source.uris
    if not is_table(uri, storage_options=options):
        raise SourceError(
            f"source {uri} has source.modified, but is neither a database nor a Delta table; files are read as a whole,"
            " so leave it out"
        )
    table, name = scan_table(uri, None, storage_options=options)
    needed, schema = changed_columns(source, static), table.collect_schema()
    if lacking := describe_lacking(needed, list(schema)):
        raise SourceError(f"{name} lacks {lacking}; id, time and target name them")
    columns = list(dict.fromkeys(name for _, name in needed))
    with reading(name):
        first = pl.col(source.time).min().to_physical()
        extent = Extent(*table.select(pl.len(), first=first).collect(engine="streaming").row(0))
        _modified_since(table.select(columns), str(source.modified), since).sink_parquet(path)
    return Changes(pl.scan_parquet(path), extent, name)


def _modified_since(rows: pl.LazyFrame, column: str, since: Watermark | None) -> pl.LazyFrame:
    """Filter rows, by a literal of the column's type, so that the statistics of files are compared with it."""
    dtype = rows.collect_schema()[column]
    if since is None or dtype.is_temporal() != isinstance(since, datetime):
        return rows  # the type has changed, so that all rows are read
    literal = pl.lit(since)
    if dtype == pl.Date:
        literal = literal.dt.date()
    elif isinstance(dtype, pl.Datetime) and dtype.time_zone:
        literal = literal.dt.replace_time_zone("UTC").cast(dtype)
    return rows.filter((pl.col(column) >= literal) | pl.col(column).is_null())
