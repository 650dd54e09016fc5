"""Values by which rows say when they were last modified: their order, and the watermark that follows from them."""

from datetime import datetime, timedelta

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import read_times
from forecasting.spec.frequency import fixed_width
from forecasting.spec.modified import DEFAULT_OVERLAP
from forecasting.spec.source import Source

TIME, NUMBER = pl.Datetime("us"), pl.Float64()
Watermark = datetime | int | float
"""A value of the column of modifications: a naive time, in UTC where the column has a zone, or a number."""


def add_modified(rows: pl.LazyFrame, source: Source, *, column: str, name: str, place: str) -> pl.LazyFrame:
    """Add the value of each row that says when it was last modified, in a type that can be compared.

    Args:
        rows: The rows.
        source: The source.
        column: The column of `source.modified`.
        name: The column to add.
        place: What an error calls the source.

    Returns:
        The rows with naive times, whole numbers or numbers in the column; null where the source has none.

    Raises:
        SourceError: The column's type has no order in time, or a text is not a time.
    """
    dtype = rows.collect_schema()[column]
    subject = f"{place}: column '{source.modified}', the modification of a row (source.modified),"
    if dtype in (pl.Datetime, pl.Date):
        return rows.with_columns(pl.col(column).cast(TIME, strict=False).clip(datetime(1, 1, 1)).alias(name))
    if dtype.is_integer():
        return rows.with_columns(pl.col(column).cast(pl.Int64, strict=False).alias(name))
    if dtype.is_float():
        return rows.with_columns(pl.col(column).cast(NUMBER).fill_nan(None).alias(name))
    if dtype != pl.String:
        raise SourceError(f"{subject} has {dtype}, which has no order, but needs times or numbers")
    if not has_times_as_text(source):
        raise SourceError(
            f"{subject} is text, whose order need not be that of time, but needs times or numbers; a query"
            " (source.query) casts it"
        )
    read = read_times(rows.with_columns(pl.col(column).alias(name)), name, clock="timestamp")
    unread = read.filter(pl.col(name).is_null() & pl.col(column).is_not_null()).select(column).head(1)
    if (found := unread.collect(engine="streaming")).height:
        raise SourceError(f"{subject} has '{found.item()}' but needs an ISO 8601 time, or null")
    return read


def has_times_as_text(source: Source) -> bool:
    """Return whether times of a source are text because its database has no type for them."""
    return source.is_database and source.uris != () and source.uris[0].startswith("sqlite:")


def lower(watermark: Watermark, source: Source) -> Watermark | None:
    """Return the value from which on rows are read again.

    Args:
        watermark: The newest known value.
        source: The source, with `modified_overlap`.

    Returns:
        The watermark less the overlap; None where that is before all times, so that all rows are read.

    Raises:
        SourceError: The overlap is not a duration for times, or not given for numbers.
    """
    overlap, subject = source.modified_overlap, f"source {source}: modified column '{source.modified}'"
    if isinstance(watermark, datetime):
        given = DEFAULT_OVERLAP if overlap is None else overlap
        if not isinstance(given, str) and given != 0:
            raise SourceError(
                f"{subject} has times, but source.modified_overlap is {overlap}; it must be a duration such as '2h'"
            )
        width = fixed_width(given) if isinstance(given, str) else 0
        assert width is not None, "a duration of fixed length"
        try:
            return watermark - timedelta(microseconds=width)
        except OverflowError:
            return None
    if not isinstance(overlap, (int, float)):
        what = "is not given" if overlap is None else f"is '{overlap}'"
        raise SourceError(
            f"{subject} has numbers, but source.modified_overlap {what}; it must be a number such as 1000, since rows"
            " may be committed in another order than they were numbered; 0 where they cannot"
        )
    return watermark - overlap
