"""Read times that are written in a declared format, as expressions; a time that cannot be read becomes null.

Periods become their first moment: a month its first day, an ISO week its Monday. Instants become times in UTC: epochs,
and patterns with an offset. All others are naive.
"""

from collections.abc import Callable

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import TIMESTAMP
from forecasting.series.written_times import IMPOSSIBLE_OFFSET
from forecasting.spec.time_format import STEPS, complete, directives

INSTANT = pl.Datetime("us", "UTC")
_DAY_US = 86_400_000_000
_FARTHEST_US = 200_000 * 365 * _DAY_US
"""Microseconds from 1970 beyond which a time has no text."""
_EXCEL_ZERO = -25_569
"""Days from 1970 to the day 0 of Excel, which counts a 29 February 1900: serial days are right from 61 on."""
_EXCEL = (61, 2_958_466)
_FIRST_YEAR = 1000
"""The first year that %Y reads; one of two digits is another format."""


def refuse_formatted(dtype: pl.DataType, form: str, *, subject: str) -> None:
    """Check that a column's dtype can hold times in a format.

    Args:
        dtype: The dtype of the column of times.
        form: A value of `source.time_format`, other than `step`.
        subject: What the error's message begins with: the file and the column.

    Raises:
        SourceError: The column has neither text nor numbers.
    """
    if dtype == pl.String or dtype == pl.Null or dtype.is_numeric():
        return
    raise SourceError(
        f"{subject} has {dtype}, but source.time_format = {form!r} (--time-format) reads text or numbers; leave it out"
    )


def read_formatted(column: str, dtype: pl.DataType, form: str) -> pl.Expr:
    """Return the times of a column in a format.

    Args:
        column: A column of text or numbers.
        dtype: Its dtype.
        form: A value of `source.time_format`, other than `step`.

    Returns:
        Naive timestamps, or instants in UTC; null where a time cannot be read.
    """
    assert form != STEPS
    text = _spell(column, dtype).str.strip_chars()
    return _READERS[form](text) if form in _READERS else _read_pattern(text, form)


def _spell(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return numbers as text, whole ones without a fraction."""
    value = pl.col(column)
    if dtype.is_float():
        whole = value.cast(pl.Int64, strict=False)
        return pl.when(whole == value).then(whole.cast(pl.String)).otherwise(value.cast(pl.String))
    return value.cast(pl.String)


def _read_pattern(text: pl.Expr, pattern: str) -> pl.Expr:
    complete_pattern, more = complete(pattern)
    named = directives(pattern)
    zone = "UTC" if "z" in named else None
    if zone:
        complete_pattern = complete_pattern.replace("%z", "%#z")
        text = pl.when(~text.str.contains(IMPOSSIBLE_OFFSET)).then(text)
    if "." not in complete_pattern:  # whole numbers that were written as floats
        text = text.str.replace(r"^(\d+)\.0$", "${1}")
    time = (text + more).str.to_datetime(complete_pattern, time_unit="us", time_zone=zone, strict=False)
    return pl.when(time.dt.year() >= _FIRST_YEAR).then(time) if named & set("YG") else time


def _epoch(units: int, *, per: int = 1) -> Callable[[pl.Expr], pl.Expr]:
    """Return a reader of counts since 1970, of which `per` are so many microseconds."""

    def read(text: pl.Expr) -> pl.Expr:
        count = text.cast(pl.Int64, strict=False)
        most = min(_FARTHEST_US * per // units, 2**63 - 1)
        is_whole = text.str.contains(r"^-?\d{1,19}$") & count.is_between(-most, most)
        whole = pl.when(is_whole).then(count) * units // per
        part = pl.when(text.str.contains(r"^-?\d{1,15}\.\d+$")).then(text.cast(pl.Float64, strict=False)) * units / per
        moment = pl.coalesce(whole, part.round().cast(pl.Int64, strict=False))
        return pl.when(moment.abs() < _FARTHEST_US).then(moment).cast(INSTANT)

    return read


def _read_month(text: pl.Expr) -> pl.Expr:
    parts = r"^(\d{4})[-/. ]?M?(\d{2})(?:\.0)?$"
    return _date(text.str.extract(parts, 1), text.str.extract(parts, 2))


def _read_day(text: pl.Expr) -> pl.Expr:
    day = text.str.extract(r"^(\d{8})(?:\.0)?$", 1)
    return day.str.to_datetime("%Y%m%d", time_unit="us", strict=False)


def _read_quarter(text: pl.Expr) -> pl.Expr:
    text = text.str.to_uppercase()
    after, before = r"^(\d{4})(?:[-/. ]?Q?|[-/. ]Q?0)([1-4])(?:\.0)?$", r"^(?:Q([1-4])|([1-4])Q)[-/. ]?(\d{4})$"
    year = pl.coalesce(text.str.extract(after, 1), text.str.extract(before, 3))
    quarter = pl.coalesce(text.str.extract(after, 2), text.str.extract(before, 1), text.str.extract(before, 2))
    return _date(year, quarter.cast(pl.Int32) * 3 - 2)


def _read_week(text: pl.Expr) -> pl.Expr:
    """Read a week, and a day of it where the text has one; a week 53 only in the years that have it."""
    parts = r"^(\d{4})[-/. ]?[Ww]?(\d{2})(?:-([1-7])|\.0)?$"
    day = pl.coalesce(text.str.extract(parts, 3), pl.lit("1"))
    spelled = text.str.extract(parts, 1) + "-" + text.str.extract(parts, 2) + "-" + day
    return spelled.str.to_datetime("%G-%V-%u", time_unit="us", strict=False)


def _read_serial(text: pl.Expr) -> pl.Expr:
    """Read serial days; fractions are rounded to milliseconds, the resolution of Excel."""
    days = text.cast(pl.Float64, strict=False)
    least, most = _EXCEL
    known = pl.when((days >= least) & (days < most)).then(days)
    return (((known + _EXCEL_ZERO) * 86_400_000).round().cast(pl.Int64) * 1000).cast(TIMESTAMP)


def _date(year: pl.Expr, month: pl.Expr) -> pl.Expr:
    """Return the first day of a month; null where there is none."""
    number = month.cast(pl.Int32, strict=False)
    is_month = number.is_between(1, 12)
    return pl.when(is_month).then(
        pl.datetime(year.cast(pl.Int32), pl.when(is_month).then(number).otherwise(1), 1, time_unit="us")
    )


_READERS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "epoch_s": _epoch(1_000_000),
    "epoch_ms": _epoch(1_000),
    "epoch_us": _epoch(1),
    "epoch_ns": _epoch(1, per=1_000),
    "yyyymm": _read_month,
    "yyyymmdd": _read_day,
    "iso_week": _read_week,
    "quarter": _read_quarter,
    "excel": _read_serial,
}
