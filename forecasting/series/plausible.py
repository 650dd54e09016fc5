"""Find times at which nothing can have been measured: after the wall clock, or decades away from the rest of a series.

A date in a wrong century is a typing mistake or a placeholder. Accepted, it would move the end of its series there, or
put decades of gaps before its beginning.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.schemas import TIMESTAMP
from forecasting.series.clock import keeps_wall_clock
from forecasting.series.columns import OFFSET
from forecasting.spec.frequency import DAY, clock_of, fixed_width, num_months

ZONES_AHEAD = timedelta(hours=14)
"""The largest offset of a time zone; a naive time may be that much ahead of UTC."""
FAR_YEARS = 10
FAR_POINTS = 50
"""Years, and grid points, without a row that make those beyond them suspect. An outage of a year is common."""
LARGEST_SHARE = 0.05
"""Share of a series' rows that may be suspect; where more lie apart, the series itself has a long interruption."""
FEWEST_ROWS = 3
"""Rows together that show when a series lives."""
EDGE = 0.1
"""Share of the series, at each end, by which the other series do not confirm a suspect time."""


@dataclass
class Lives:
    """When the series of a source live, by which those of other blocks confirm a suspect time.

    Attributes:
        known: `first` and `last` of all series, where an earlier pass over all blocks has found them.
        is_asked: Whether those of the blocks are added.
        has_gap: Whether some series has a part that may be far, so that the result depends on `known`.
        found: Those of the blocks so far.
    """

    known: pl.DataFrame | None = None
    is_asked: bool = True
    has_gap: bool = False
    found: list[pl.DataFrame] = field(default_factory=list)

    def add(self, parts: pl.LazyFrame | None) -> None:
        """Add the parts of series: num_rows, and the times of their first and last rows."""
        if parts is not None and self.known is None:
            lives = parts.filter(pl.col("num_rows") >= FEWEST_ROWS).select("first", "last")
            self.found.append(lives.collect(engine="streaming"))

    def all(self) -> pl.DataFrame:
        """Return what is known, or else what was found."""
        return pl.concat(self.found) if self.known is None else self.known


def wall_clock() -> datetime:
    """Return the current time in UTC, naive."""
    return datetime.now(UTC).replace(tzinfo=None)


def is_future(source_time: str, dtype: pl.DataType, *, freq: str | int, now: datetime, zone: str | None) -> pl.Expr:
    """Return whether the time in `ds` lies after the wall clock; false for integer steps, which have none.

    At a day and coarser it is the period that must have begun. `ds` may stand at the end of its period, and the
    current one may be dated a few days ahead.

    Args:
        source_time: The column of times as the source has them.
        dtype: Its dtype.
        freq: The frequency of the grid.
        now: The current time in UTC, naive. Times without a known zone may be 14 hours ahead of it.
        zone: The zone of the times, where it is known.

    Returns:
        A boolean, never null.
    """
    if clock_of(freq) == "step":
        return pl.lit(False)
    time, months, width = pl.col("ds"), num_months(freq), fixed_width(freq)
    local = None if zone is None else now.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    latest = pl.lit(now + ZONES_AHEAD if local is None else local, TIMESTAMP)
    if months is not None:
        return (time.dt.truncate(f"{months}mo") > latest).fill_null(False)
    assert width is not None
    if width >= DAY:
        return (time.cast(pl.Int64) - (width - DAY) > latest.cast(pl.Int64)).fill_null(False)
    is_later = time > (latest if zone is not None and keeps_wall_clock(freq) else pl.lit(now, TIMESTAMP))
    if zone is not None:
        return is_later.fill_null(False)
    has_offset = pl.lit(False)
    if dtype == pl.String:  # matching is slow, and only few times are later
        has_offset = pl.when(is_later).then(pl.col(source_time)).str.contains(OFFSET)
    return ((time > latest) | (is_later & has_offset)).fill_null(False)


def mark_far(
    judged: pl.LazyFrame, *, is_accepted: pl.Expr, freq: str | int, lives: Lives | None = None
) -> pl.LazyFrame:
    """Mark the few rows of a series that lie decades before or after all others.

    A series is cut where neither 10 years nor 50 grid points have a row. The part with most rows is the series. Parts
    at its ends are far if they are single rows or hold less than 5 % of the series, and the lives of the other series
    do not reach them. A series of one part, whenever it lived, has none.

    Args:
        judged: Rows of which the accepted ones come first, sorted by unique_id and ds.
        is_accepted: Whether a row is accepted so far.
        freq: The frequency of the grid.
        lives: When other series live; those of these rows are added. None where there are no others.

    Returns:
        The same rows in their order, with a boolean `is_far`.
    """
    if clock_of(freq) == "step":
        return judged.with_columns(is_far=pl.lit(False))
    gap = far_gap(freq)
    # Almost no source has such a gap; Polars' lazy frames cannot skip the rest where there is none.
    return judged.with_columns(
        is_far=pl.struct("unique_id", "ds", is_accepted.alias("is_accepted")).map_batches(
            lambda rows: _find_far(rows.struct.unnest(), gap, lives), return_dtype=pl.Boolean
        )
    )


def _find_far(rows: pl.DataFrame, gap: timedelta, lives: Lives | None) -> pl.Series:
    """Return which rows are far, of rows sorted as those of `mark_far`."""
    after_gap = ((rows["ds"].diff() >= gap) & rows["is_accepted"]).fill_null(False)
    nothing = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    if lives is None and not after_gap.any():
        return nothing
    lives = Lives() if lives is None else lives
    key = rows["unique_id"]
    begins = rows["is_accepted"] & ((key != key.shift()) | after_gap).fill_null(True)
    numbered = rows.with_columns(part=begins.cum_sum())
    parts = (
        numbered.filter("is_accepted")
        .group_by("part", maintain_order=True)
        .agg(pl.col("unique_id").first(), num_rows=pl.len(), first=pl.col("ds").min(), last=pl.col("ds").max())
    )
    lives.add(parts.lazy())
    if not after_gap.any():
        return nothing
    lives.has_gap = True
    return numbered["part"].is_in(_far_parts(parts, lives.all()).implode()) & rows["is_accepted"]


def _far_parts(parts: pl.DataFrame, lives: pl.DataFrame) -> pl.Series:
    """Return the numbers of the parts of series that are far from the rest of their series and from other series."""
    earliest, latest = lives["first"].quantile(EDGE, "higher"), lives["last"].quantile(1 - EDGE, "lower")
    is_confirmed = pl.lit(False)
    if lives.height:
        is_confirmed = (pl.col("last") >= earliest) & (pl.col("first") <= latest)
    ranked = (
        parts.filter(pl.len().over("unique_id") > 1)
        .with_columns(is_confirmed=is_confirmed)
        .sort("unique_id", "num_rows", "is_confirmed", "last", descending=[False, True, True, True])
    )
    main_rows, total = pl.col("num_rows").first().over("unique_id"), pl.col("num_rows").sum().over("unique_id")
    main_is_certain = (main_rows >= FEWEST_ROWS) | pl.col("is_confirmed").first().over("unique_id")
    is_small = pl.col("num_rows") <= pl.max_horizontal(pl.lit(1), total * LARGEST_SHARE)
    is_main = pl.int_range(pl.len()).over("unique_id") == 0
    is_far = ~is_main & is_small & ~pl.col("is_confirmed") & main_is_certain
    kept = ranked.select("unique_id", "part", is_far=is_far).with_columns(
        low=pl.col("part").filter(~pl.col("is_far")).min().over("unique_id"),
        high=pl.col("part").filter(~pl.col("is_far")).max().over("unique_id"),
    )
    # Rows between two parts that are kept do not make the grid longer.
    return kept.filter("is_far", ~pl.col("part").is_between("low", "high"))["part"]


def far_gap(freq: str | int) -> timedelta:
    """Return how long no row of a series must lie for those beyond to be suspect; not of integer steps."""
    months, width = num_months(freq), fixed_width(freq)
    point = timedelta(days=30.44 * months) if months is not None else timedelta(microseconds=width or 0)
    return max(timedelta(days=365.25 * FAR_YEARS), FAR_POINTS * point)
