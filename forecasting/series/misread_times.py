"""Recognise times that another program has misread: days for months, or seconds in another unit."""

from datetime import datetime

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import read_times, well_formed
from forecasting.series.files import name_row
from forecasting.spec.source import Source

MOST_SWAPPED = 12
"""Largest day that may be a month."""
FEWEST_DAYS = 4
"""Different days, at least, of times that lie in one month of several years."""
NUM_ORDERED = 20_000
"""Rows, at most, whose order is looked at."""
FEWEST_ORDERED = 20
"""Rows of a series whose order says something."""
_BEGIN, _END = datetime(1970, 1, 1), datetime(1970, 2, 1)


def describe_misread(times: pl.Series) -> str:
    """Return a clause that says how times seem to be misread; empty if they do not seem so.

    Months that were read as days all lie in the first days of one month, such as 5 March 2024 and 5 April 2024 as 3 and
    4 May. Seconds that were read in a finer unit lie at the beginning of 1970. Quarters such as 2024-04 that were read
    as months are the first four months of most years.

    Args:
        times: Naive timestamps, or steps, which are not misread; nulls do not count.

    Returns:
        The clause, with what reads such times.

    >>> describe_misread(pl.Series([datetime(2023, 1, 1), datetime(2024, 2, 1)]))
    ''
    """
    known = times.drop_nulls().unique()
    if known.is_empty() or not known.dtype.is_temporal():
        return ""
    is_on_minutes = known.len() > 1 and bool(
        (known.dt.truncate("1m") == known).all()
    )  # as times in a finer unit aren't
    if known.is_between(_BEGIN, _END, closed="left").all() and not is_on_minutes:
        return (
            "all times lie in January 1970, as those do that were read in a finer unit than theirs:"
            " --time-format epoch_s (source.time_format), or unit='s' of pandas.to_datetime, reads seconds"
        )
    days = known.dt.day()
    is_one_month = known.dt.month().n_unique() == 1 and known.dt.year().n_unique() > 1
    if is_one_month and days.n_unique() >= FEWEST_DAYS and bool((days <= MOST_SWAPPED).all()):
        month = known.dt.month()[0]
        return (
            f"all times lie in month {month}, on days up to {MOST_SWAPPED}, so that days and months seem to be swapped:"
            " --time-format '%d/%m/%Y' or '%Y-%d-%m' (source.time_format), or dayfirst=True of pandas.to_datetime,"
            " reads the day first"
        )
    num_years = known.dt.year().n_unique()
    is_quarter = bool((days == 1).all()) and known.dt.month().unique().sort().to_list() == [1, 2, 3, 4]
    if is_quarter and num_years > 1 and len(known) > 4 * (num_years - 1):
        return (
            "all times lie in the first four months of their years, so that they seem to be quarters that were read as"
            " months: --time-format quarter (source.time_format) reads text such as 2024-04"
        )
    return ""


def refuse_scrambled(rows: pl.LazyFrame, source: Source) -> None:
    """Check that the rows of a series are not in the order of their times with some days and months swapped.

    A program that reads `05/01/2024` as 1 May, but `19/01/2024` as 19 January, scrambles such rows. The first rows are
    read. Times of a declared format are believed.

    Args:
        rows: Rows of `scan_source` on the clock of timestamps, in the order of the source.
        source: Their source.

    Raises:
        SourceError: They are.
    """
    if source.time_format is not None:
        return
    first = well_formed(rows.head(NUM_ORDERED)).select("unique_id", "ds", "source_file", "source_row")
    times = read_times(first, "ds", clock="timestamp", keeps_wall_clock=True).drop_nulls("ds").collect()
    month, day = pl.col("ds").dt.month(), pl.col("ds").dt.day()
    may_be_swapped = (day <= MOST_SWAPPED) & (day != month)
    swapped = pl.datetime(pl.col("ds").dt.year(), day, month, time_unit="us") + (
        pl.col("ds") - pl.col("ds").dt.truncate("1d")
    )
    times = times.with_columns(swapped=pl.when(may_be_swapped).then(swapped).otherwise("ds"), is_odd=may_be_swapped)
    ordered = times.group_by("unique_id", "source_file", maintain_order=True).agg(
        num=pl.len(),
        is_ordered=_is_ordered("ds"),
        is_ordered_swapped=_is_ordered("swapped"),
        odd=pl.struct("source_row", "ds", "swapped").filter("is_odd").first(),
    )
    scrambled = ordered.filter(pl.col("num") >= FEWEST_ORDERED, ~pl.col("is_ordered"), "is_ordered_swapped")
    if scrambled.is_empty():
        return
    name, file, odd = scrambled.select("unique_id", "source_file", "odd").row(0)
    is_text = rows.collect_schema()["ds"] == pl.String
    declare = " or declare their format, such as --time-format '%Y-%m-%d' (source.time_format)," if is_text else ""
    raise SourceError(
        f"{name_row(file, odd['source_row'])}: time {odd['ds']} may be {odd['swapped']}, because the rows of series"
        f" '{name}' are in the order of their times only if days and months are swapped where both are at most"
        f" {MOST_SWAPPED}; read the text with its format, such as format='%d/%m/%Y' of pandas.to_datetime; or sort"
        f" the rows by time,{declare} if the times are right"
    )


def _is_ordered(column: str) -> pl.Expr:
    """Return whether times, of a group, only rise or only fall."""
    steps = pl.col(column).diff().dt.total_microseconds()
    return ~((steps < 0).any() & (steps > 0).any())
