"""Expressions that read a source's columns as ids, times and numbers, by their names and dtypes.

Timestamps become naive, with microseconds. Those with a time zone are converted to UTC or, on request, keep their wall
clock. Integer steps become Int64.
"""

from collections.abc import Collection
from datetime import datetime
from typing import TypeVar

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import STEP, TIMESTAMP, ds_dtype
from forecasting.series.written_times import IMPOSSIBLE_OFFSET, OFFSET_OF_ZONE, read_written
from forecasting.spec.frequency import LARGEST_STEP, Clock

SMALLEST_TIME = datetime(1, 1, 1)
LARGEST_TIME = datetime(2999, 12, 31, 23, 59, 59, 999_999)
_FARTHEST = {"ms": 8 * 10**15, "us": 8 * 10**18}
_FARTHEST_DAY = 90_000_000
"""Units and days from 1970 in the year 250,000, up to which Polars converts times."""

KNOWN, AHEAD = "covariates", "covariates_ahead"
COVARIATE_COLUMNS = (KNOWN, AHEAD)
"""Columns of the features that have covariates: of a grid point, and of the horizon after the last one."""

Text = TypeVar("Text", pl.Expr, pl.Series)


def read_id(column: str, dtype: pl.DataType, *, subject: str) -> pl.Expr:
    """Read a column of names as text.

    Args:
        column: The column's name.
        dtype: Its dtype.
        subject: What the error's message begins with: the file and the column.

    Returns:
        The names as text.

    Raises:
        SourceError: The dtype is neither text nor a whole number, so its values have no exact spelling.
    """
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null) or dtype.is_integer():
        return pl.col(column).cast(pl.String)
    raise SourceError(f"{subject} has {dtype} but needs text or whole numbers")


def refuse_time(dtype: pl.DataType, *, clock: Clock, subject: str) -> None:
    """Check that a column's dtype can hold times of the clock.

    Args:
        dtype: The dtype of the column of times.
        clock: The clock that the spec's frequency needs.
        subject: What the error's message begins with: the file and the column.

    Raises:
        SourceError: The times could only be guessed.
    """
    if dtype in (pl.String, pl.Null):
        return
    if clock == "step" and not dtype.is_integer():
        raise SourceError(f"{subject} has {dtype} but needs whole numbers, because the frequency is an integer step")
    if clock == "timestamp" and dtype not in (pl.Datetime, pl.Date):
        raise SourceError(
            f"{subject} has {dtype} but needs timestamps, because the frequency is a duration; "
            "whole numbers need an integer frequency such as 1"
        )


_ZONE_NAME = r"\[?(?:UTC|GMT|[A-Z][A-Za-z]+(?:/[A-Za-z_-]+)+)\]?"
OFFSET = (
    r"(:[0-9]{2}(?:\.[0-9]+)?) ?"
    rf"((?:Z|z|{OFFSET_OF_ZONE})(?: ?{_ZONE_NAME})?|{_ZONE_NAME})$"
)
"""The end of a text with a time of day and an offset or the name of a zone; the groups are what is before, and that."""


def has_offset(texts: Text) -> Text:
    """Return whether a text is a time of day with an offset or the name of a zone."""
    return texts.str.strip_chars().str.contains(OFFSET)


def read_times(rows: pl.LazyFrame, column: str, *, clock: Clock, keeps_wall_clock: bool = False) -> pl.LazyFrame:
    """Replace a column by its times on the clock; a time that cannot be read becomes null.

    Text is read as a whole number or as ISO 8601: `2013-01`, `2013-01-31` or
    `2013-01-31 05:00[:00[.000000]][Z|+01:00| UTC| Europe/Paris]`, with a blank or a T; 24:00 is the next midnight.

    Args:
        rows: The rows, in the order of their file, with `unique_id` where the hour that autumn repeats is to be read.
        column: The column of times, of a dtype that `refuse_time` accepts.
        clock: The clock that the spec's frequency needs.
        keeps_wall_clock: Whether times with a zone or an offset keep their wall clock instead of becoming UTC.

    Returns:
        The rows with naive timestamps or Int64 steps in the column.
    """
    dtype = rows.collect_schema()[column]
    if dtype == pl.String:
        if clock == "step":
            return _read_steps(rows, column)
        return _read_timestamps(rows, column, keeps_wall_clock=keeps_wall_clock)
    if keeps_wall_clock and isinstance(dtype, pl.Datetime):
        rows = rows.with_columns(pl.col(column).dt.replace_time_zone(None))
    # Polars stores timestamps with a zone in UTC, and this cast drops only the zone.
    return rows.with_columns(pl.col(column).cast(ds_dtype(clock), strict=False))


def bound_times(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return times without those that Polars cannot convert, such as DuckDB's infinity: the year 250,000 instead."""
    farthest = _farthest(dtype)
    if farthest is None:
        return pl.col(column)
    return pl.col(column).to_physical().clip(-farthest, farthest).cast(dtype)


def _farthest(dtype: pl.DataType) -> int | None:
    if dtype == pl.Date:
        return _FARTHEST_DAY
    return _FARTHEST.get(dtype.time_unit) if isinstance(dtype, pl.Datetime) else None


def is_in_range(time: pl.Expr, *, clock: Clock) -> pl.Expr:
    """Return whether a time leaves room for its grid and a horizon: years 1 to 2999, or 10^15 steps around 0."""
    if clock == "step":
        return time.is_between(-LARGEST_STEP, LARGEST_STEP)
    return time.is_between(pl.lit(SMALLEST_TIME, TIMESTAMP), pl.lit(LARGEST_TIME, TIMESTAMP))


def read_number(column: str, dtype: pl.DataType, *, subject: str) -> pl.Expr:
    """Read a column of measurements.

    Args:
        column: The column's name.
        dtype: Its dtype.
        subject: What the error's message begins with: the file and the column.

    Returns:
        Float64 values; null for text that is not a number.

    Raises:
        SourceError: The dtype is neither numeric nor text.
    """
    if dtype == pl.String:
        return pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
    if dtype.is_numeric() or dtype == pl.Null:
        return pl.col(column).cast(pl.Float64)
    raise SourceError(f"{subject} has {dtype} but needs numbers")


def unused_name(name: str, columns: Collection[str]) -> str:
    """Return a name that no column has, by appending underscores."""
    while name in columns:
        name += "_"
    return name


def well_formed(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Leave out CSV rows with a `problem`, whose fields may be in other columns than their own."""
    return rows.filter(pl.col("problem").is_null()) if "problem" in rows.collect_schema() else rows


def categories_of(rows: pl.LazyFrame) -> list[str]:
    """Return the name of the column of categories in a list; an empty list if the rows have none."""
    return [name for name in ("categories",) if name in rows.collect_schema()]


def is_blank(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return whether a value is null, or text that consists of white space."""
    value = pl.col(column)
    return value.is_null() | (value.str.strip_chars() == "") if dtype == pl.String else value.is_null()


def as_text(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return times of `bound_times` and numbers as text that `read_times` and `read_number` read back."""
    text = pl.col(column).cast(pl.String)
    if isinstance(dtype, pl.Datetime):
        text = pl.col(column).dt.to_string("%Y-%m-%dT%H:%M:%S%.f" + ("%:z" if dtype.time_zone else ""))
    farthest = _farthest(dtype)
    if farthest is None:
        return text
    number = pl.col(column).to_physical()
    beyond = pl.when(number == farthest).then(pl.lit("infinity")).when(number == -farthest).then(pl.lit("-infinity"))
    return beyond.otherwise(text).alias(column)


def _read_steps(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    text = pl.col(column).str.strip_chars()
    number = text.str.strip_chars_start("+").cast(STEP, strict=False)
    return rows.with_columns(pl.when(text.str.contains(r"^[+-]?[0-9]+$")).then(number).alias(column))


_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z")
_UNREAD, _WRITTEN = "_unread", "_written"


def _read_timestamps(rows: pl.LazyFrame, column: str, *, keeps_wall_clock: bool) -> pl.LazyFrame:
    """Read texts in one of the formats, and those that state an offset or a zone in another way."""
    time = pl.col(column)
    read = time.map_batches(
        lambda texts: _read_formats(texts, keeps_wall_clock=keeps_wall_clock),
        return_dtype=TIMESTAMP,
        is_elementwise=True,
    )
    rows = rows.with_columns(time.alias(_WRITTEN), read.alias(column))
    ids = [pl.col("unique_id")] if "unique_id" in rows.collect_schema() else []
    written = pl.struct(pl.when(time.is_null()).then(_WRITTEN).alias("text"), *ids).map_batches(
        lambda rest: read_written(rest, keeps_wall_clock=keeps_wall_clock), return_dtype=TIMESTAMP
    )
    return rows.with_columns(pl.coalesce(time, written).alias(column)).drop(_WRITTEN)


def _read_formats(texts: pl.Series, *, keeps_wall_clock: bool) -> pl.Series:
    """Try one format after the other, each on the remaining texts: parsing dominates the cost of a CSV file."""
    distinct = texts.unique()
    if 0 < 2 * len(distinct) <= len(texts):  # as where series share their times
        times = _read_formats(distinct, keeps_wall_clock=keeps_wall_clock)
        return texts.replace_strict(distinct, times, return_dtype=TIMESTAMP)
    text, time = pl.col(_UNREAD), pl.col("time")
    rows = pl.LazyFrame({_UNREAD: texts}).select(
        pl.col(_UNREAD).str.strip_chars().str.replace("T", " ", literal=True),
        time=pl.lit(None, TIMESTAMP),
    )
    rows = rows.with_columns(
        pl.when(text.str.len_bytes() == len("2013-01"))
        .then(text + "-01")
        # chrono reads '01-02-13' as a day of the year 1.
        .when(text.str.contains(r"^\d{4}-"))
        .then(text)
    )
    if keeps_wall_clock:
        rows = rows.with_columns(text.str.replace(OFFSET, "$1"))
    for form in _FORMATS:
        zone = "UTC" if form.endswith("%#z") else None
        is_unread = time.is_null()
        if zone is not None:
            is_unread &= ~pl.when(is_unread).then(text).str.contains(IMPOSSIBLE_OFFSET)
        read = pl.when(is_unread).then(text).str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)
        rows = rows.with_columns(time=pl.coalesce(time, read.dt.replace_time_zone(None)))
    return rows.select(time.alias(texts.name)).collect().to_series()
