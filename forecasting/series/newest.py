"""The order in which rows of the same series and time replace each other: the newest row comes first.

`validate` keeps the first of several rows. A row is newer if a column says so, else if it is read later.
"""

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import is_blank, read_times
from forecasting.series.files import name_row
from forecasting.spec.source import Source

_NUMBER, _TIME, _TEXT = _KEYS = ("newer_number", "newer_time", "newer_text")


def add_age(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """Replace a column that says which row is newer by columns that `newest_first` sorts by.

    Args:
        rows: The rows of one file.
        column: Numbers or times, or texts of these; the larger one is newer.

    Returns:
        The rows with the same columns for every file.
    """
    dtype = rows.collect_schema()[column]
    text = pl.col(column).cast(pl.String)
    number = text.str.strip_chars().cast(pl.Float64, strict=False) if dtype == pl.String else pl.lit(None, pl.Float64)
    if dtype.is_numeric():
        number = pl.col(column).cast(pl.Float64)
    rows = rows.with_columns(number.alias(_NUMBER), text.alias(_TEXT))
    has_times = dtype == pl.String or dtype in (pl.Datetime, pl.Date)
    times = read_times(rows, column, clock="timestamp") if has_times else rows
    time = pl.col(column) if has_times else pl.lit(None, pl.Datetime("us"))
    return times.with_columns(time.alias(_TIME)).drop(column)


def newest_first(rows: pl.LazyFrame, source: Source) -> pl.LazyFrame:
    """Put newer rows before older ones where the source says that the last of several rows is kept.

    Args:
        rows: Rows of all files in the order of files and rows, with the columns of `add_age` if the source names one.
        source: The source, with `duplicates` and `newer`.

    Returns:
        The rows without those columns. A row whose age is blank is older than all others.

    Raises:
        SourceError: An age is neither a number nor a time.
    """
    if source.duplicates != "last":
        return rows
    if source.newer is None:
        return rows.reverse()
    is_unread = pl.col(_NUMBER).is_null() & pl.col(_TIME).is_null() & ~is_blank(_TEXT, pl.String())
    unread = rows.filter(is_unread).select("source_file", "source_row", _TEXT).head(1).collect(engine="streaming")
    if unread.height:
        file, row, text = unread.row(0)
        raise SourceError(
            f"{name_row(file, row)}: column '{source.newer}', the age of a row (source.newer), has '{text}'"
            " but needs a number or an ISO 8601 time"
        )
    by_age = rows.sort(_NUMBER, _TIME, nulls_last=False, maintain_order=True)
    return by_age.drop(_KEYS).reverse()
