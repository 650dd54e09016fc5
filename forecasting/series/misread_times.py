"""Recognise times that another program has misread: days for months, or seconds in another unit."""

from datetime import datetime

import polars as pl

MOST_SWAPPED = 12
"""Largest day that may be a month."""
FEWEST_DAYS = 4
"""Different days, at least, of times that lie in one month of several years."""
_BEGIN, _END = datetime(1970, 1, 1), datetime(1970, 2, 1)


def describe_misread(times: pl.Series) -> str:
    """Return a clause that says how times seem to be misread; empty if they do not seem so.

    Months that were read as days all lie in the first days of one month, such as 5 March 2024 and 5 April 2024 as 3 and
    4 May. Seconds that were read in a finer unit lie at the beginning of 1970.

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
    if known.is_between(_BEGIN, _END, closed="left").all():
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
    return ""
