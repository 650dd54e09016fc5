"""The order in which rows of the same series and time replace each other: the newest row comes first.

`validate` keeps the first of several rows. A row is newer if a column says so, else if it is read later. Rows are
ordered after their times have been read, because the order of the file decides between the hours that autumn repeats.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import bound_times, is_blank, read_times
from forecasting.series.files import name_row
from forecasting.spec.source import Source

_NUMBER, _TIME, _EXACT, _TEXT = _KEYS = ("newer_number", "newer_time", "newer_exact", "newer_text")
_DECIMAL = pl.Decimal(38, 9)
"""Orders numbers that are the same Float64, such as whole numbers above 2^53."""


def add_age(rows: pl.LazyFrame, column: str, *, subject: str) -> pl.LazyFrame:
    """Replace a column that says which row is newer by columns that `newest_first` sorts by.

    Args:
        rows: The rows of one file.
        column: Numbers, times or durations, or texts of numbers or times; the larger one is newer.
        subject: What an error's message begins with: the file and the column.

    Returns:
        The rows with the same columns for every file.

    Raises:
        SourceError: The column's dtype is none of these.
    """
    dtype = rows.collect_schema()[column]
    value = bound_times(column, dtype)
    if dtype in (pl.Categorical, pl.Enum):
        value, dtype = value.cast(pl.String), pl.String()
    is_text, is_time = dtype == pl.String, dtype in (pl.Datetime, pl.Date)
    if not (is_text or is_time or dtype.is_numeric() or dtype in (pl.Duration, pl.Null)):
        raise SourceError(f"{subject}, the age of a row (source.newer), has {dtype} but needs numbers or times")
    if dtype == pl.Duration:
        value = value.dt.total_nanoseconds()
    if is_text:
        value = value.str.strip_chars()
    no_number = is_time or dtype == pl.Null
    number = pl.lit(None, pl.Float64) if no_number else value.cast(pl.Float64, strict=False).fill_nan(None)
    exact = pl.lit(None, _DECIMAL) if no_number else value.cast(_DECIMAL, strict=False)
    if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
        exact = value.dt.nanosecond().cast(_DECIMAL)  # beyond the microseconds of `read_times`
    text = value.cast(pl.String)
    if is_text or dtype.is_float():
        is_nan = value.cast(pl.Float64, strict=False).is_nan().fill_null(False)  # a blank, to many libraries
        text = pl.when(~is_nan).then(text)
    rows = rows.with_columns(number.alias(_NUMBER), exact.alias(_EXACT), text.alias(_TEXT), value.alias(column))
    rows = read_times(rows, column, clock="timestamp") if is_text or is_time else rows
    time = pl.col(column) if is_text or is_time else pl.lit(None, pl.Datetime("us"))
    return rows.with_columns(time.alias(_TIME)).drop(column)


def refuse_ages(rows: pl.LazyFrame, source: Source) -> None:
    """Check that the ages of rows can be compared; they are read.

    Args:
        rows: Rows of all files, with the columns of `add_age` if the source names one.
        source: The source, with `newer`.

    Raises:
        SourceError: An age is neither a number nor a time, or some are numbers and others are times.
    """
    if source.newer is None:
        return
    is_number, is_time = pl.col(_NUMBER).is_not_null(), pl.col(_TIME).is_not_null()
    is_unread = ~is_number & ~is_time & ~is_blank(_TEXT, pl.String())
    place = pl.struct("source_file", "source_row", _TEXT)
    found = rows.select(
        place.filter(kind).first().alias(name)
        for name, kind in (("unread", is_unread), ("number", is_number), ("time", is_time))
    )
    unread, number, time = found.collect(engine="streaming").row(0)
    subject = f"column '{source.newer}', the age of a row (source.newer),"
    if unread:
        file, row, text = unread.values()
        raise SourceError(f"{name_row(file, row)}: {subject} has '{text}' but needs a number or an ISO 8601 time")
    if number and time:
        raise SourceError(
            f"{subject} has numbers, such as {_spell(number)}, and times, such as {_spell(time)}; it needs only one of"
            " these, because they cannot be compared"
        )


def newest_first(rows: pl.LazyFrame, source: Source | None) -> pl.LazyFrame:
    """Put newer rows before older ones where the source says that the last of several rows is kept.

    Args:
        rows: Rows of all files in the order of files and rows, with the columns of `add_age` if the source names one.
        source: The source, with `duplicates`.

    Returns:
        The rows without those columns.
    """
    if source is None or source.duplicates != "last":
        return rows
    return oldest_first(rows).reverse()


def oldest_first(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Put older rows before newer ones where a column says which are; a row whose age is blank is the oldest.

    Args:
        rows: Rows of all files in the order of files and rows, with the columns of `add_age` if the source names one.

    Returns:
        The rows without those columns.
    """
    if _NUMBER not in rows.collect_schema():
        return rows
    return rows.sort(_NUMBER, _TIME, _EXACT, nulls_last=False, maintain_order=True).drop(_KEYS)


def without_age(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows without the columns of `add_age`."""
    return rows.drop(_KEYS, strict=False)


def _spell(found: Mapping[str, Any]) -> str:
    file, row, text = found.values()
    return f"'{text}' ({name_row(file, row)})"
