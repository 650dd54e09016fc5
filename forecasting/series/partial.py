"""Find periods of which a source has only a part of the rows that it aggregates, such as a day that ends at noon."""

from datetime import datetime
from statistics import median

import polars as pl

from forecasting.schemas import TIMESTAMP
from forecasting.series.clock import is_day_or_coarser
from forecasting.series.grid import make_grid
from forecasting.spec.frequency import fixed_width
from forecasting.spec.source import Source

MOST_PERIODS = 60
"""Periods, at most, whose numbers of rows say how many are usual."""
FEWEST_PERIODS = 3
SHARE = 0.05
"""The quantile of these numbers below which a period is taken for a part."""


def has_parts(source: Source) -> bool:
    """Return whether a period may have a part of its rows: they are aggregated, and only finished periods count."""
    return source.aggregate is not None and source.unfinished != "use"


def is_part(periods: pl.DataFrame) -> bool:
    """Return whether the last of some periods, with `num_rows`, has fewer rows than nearly all before it."""
    *before, last = periods["num_rows"].to_list() or [0]
    if len(before) < FEWEST_PERIODS:
        return False
    usual = pl.Series(before).quantile(SHARE, "lower")
    return usual is not None and last < usual


def find_whole_end(periods: pl.DataFrame, newest: datetime) -> datetime:
    """Return the newest time of the periods that are whole: `newest`, or an earlier time if its period is a part.

    Nothing says that a period is over but the next one. A period is a part if it has fewer rows, of all series, than
    nearly all of the last `MOST_PERIODS` before it.

    Args:
        periods: Accepted measurements by period, as `JudgedBlocks.periods` counts them.
        newest: The time of a row.

    Returns:
        The time of a row.
    """
    known = periods.filter(pl.col("latest") <= newest).tail(MOST_PERIODS + 1)
    if is_part(known):
        whole: datetime = known["latest"][-2]
        return whole
    return newest


def describe_part(periods: pl.DataFrame, cutoff: datetime, freq: str | int) -> str | None:
    """Return a sentence about the period after a cutoff of `find_whole_end`, if it was left out for being a part."""
    after = periods.filter(pl.col("latest") > cutoff)
    known = pl.concat([periods.filter(pl.col("latest") <= cutoff).tail(MOST_PERIODS), after.head(1)])
    if after.is_empty() or not is_part(known):
        return None
    *numbers, number = known["num_rows"].to_list()
    return (
        f"the period of {freq} up to {known['latest'][-1]} is not used: it has {number:,} rows,"
        f" and {median(numbers):,.0f} are usual, so that it may not be over;"
        ' source.unfinished = "use" (--unfinished use) makes one measurement of them'
    )


def move_cutoff(periods: pl.DataFrame, cutoff: datetime, freq: str | int) -> datetime | None:
    """Return the time up to which rows are read for a requested cutoff, so that no part of a period is aggregated.

    A cutoff at the beginning of a period, where its grid point lies, means the whole period. One within a period that
    has later rows means the periods before it.

    Args:
        periods: The periods that are measured, with the newest time of each.
        cutoff: The requested cutoff.
        freq: The frequency.

    Returns:
        The time of a row, or the cutoff where all rows before it are a part of a period; None where the cutoff's period
        is not measured.
    """
    begin, number = _place(cutoff, freq)
    own: list[datetime] = periods.filter(pl.col("period") == number)["latest"].to_list()
    if not own:
        return None
    if begin == cutoff:
        return max(cutoff, own[0])
    if own[0] <= cutoff:
        return own[0]
    before: list[datetime] = periods.filter(pl.col("period") < number)["latest"].to_list()
    return before[-1] if before else cutoff


def leave_part(observations: pl.DataFrame, cutoff: datetime, freq: str | int, *, known: datetime) -> datetime:
    """Return the time up to which aggregated observations are used for a requested cutoff.

    Nothing says which rows they were made of. A cutoff within their period means the periods before it, unless the
    period is that of `known`. One at its beginning means the whole period, as of `move_cutoff`.

    Args:
        observations: unique_id and ds of periods, aggregated.
        cutoff: The requested cutoff.
        freq: The frequency.
        known: An earlier cutoff, up to which all is known.

    Returns:
        The newest time before the period; the cutoff where no part is meant.
    """
    begin, number = _place(cutoff, freq)
    if begin == cutoff or number == _place(known, freq)[1]:
        return cutoff
    period = make_grid(freq).period(pl.col("ds"))
    if observations.filter(period == number, pl.col("ds") <= cutoff).is_empty():
        return cutoff
    before: datetime | None = observations.filter(period < number)["ds"].max()  # type: ignore[assignment]
    return cutoff if before is None else max(before, known)


def _place(time: datetime, freq: str | int) -> tuple[datetime, int]:
    """Return when the period of a time begins, and its number."""
    grid, given = make_grid(freq), pl.lit(time, TIMESTAMP)
    width = None if is_day_or_coarser(freq) else fixed_width(freq)
    begin, number = pl.select(grid.begin(given, width), grid.period(given).alias("number")).row(0)
    return begin, number
