"""Split the rows of a source into accepted observations and rejects with a reason.

Rows after the cutoff, and of periods that are not over, are neither accepted nor rejected, and they influence nothing:
duplicates are found and grids are anchored among the other rows.
"""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from forecasting.series.clock import is_day_or_coarser
from forecasting.series.columns import (
    as_text,
    categories_of,
)
from forecasting.series.grid import make_grid
from forecasting.series.ignored import is_ignored
from forecasting.series.judge import (
    IS_ACCEPTED,
    IS_OVER,
    judge_alone,
    judge_together,
    judge_until,
    keep_accepted,
    reach,
    source_dtype,
)
from forecasting.series.newest import oldest_first
from forecasting.series.place import aggregate_rows
from forecasting.series.plausible import Lives
from forecasting.series.reasons import IMPOSSIBLE, Reason
from forecasting.series.shortfall import count_in_periods
from forecasting.spec.frequency import clock_of
from forecasting.spec.source import Source


@dataclass(frozen=True)
class Validated:
    """Lazy frames over the same rows; the streaming engine judges the rows again for each that is collected.

    Attributes:
        accepted: unique_id, ds, y and, if they were scanned, categories; sorted, one row per (unique_id, ds). A null
            `y` is a gap that the source states.
        refused: The rejects, with `time`: their `ds` on the clock, null where it cannot be read.
        kept: By unique_id, the number of rows that are not refused (`num_kept`), those among them whose period ends
            after the cutoff (`num_waiting`), those in periods that the source ignores (`num_ignored`), and the time of
            the newest one (`newest`).
        unmeasured: unique_id, ds, a null y and, if they were scanned, categories of the grid points where a row was
            refused because of its measurement and no other is accepted; None where rows have not been placed.
        counted: The accepted rows by period (`count_in_periods`); None where they are not aggregated.
    """

    accepted: pl.LazyFrame
    refused: pl.LazyFrame
    kept: pl.LazyFrame
    unmeasured: pl.LazyFrame | None = None
    counted: pl.LazyFrame | None = None

    @property
    def rejects(self) -> pl.LazyFrame:
        """source_file, source_row, unique_id, ds and y as text, and reason; in the order of the source."""
        return self.refused.drop("time")


def validate(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    cutoff: datetime | int | None = None,
    now: datetime | None = None,
    source: Source | None = None,
    unfinished: pl.Expr | None = None,
) -> Validated:
    """Split rows into accepted observations and rejects; each row at or before the cutoff is in exactly one of them.

    Rows without a readable time are always rejected. Of several rows with the same (unique_id, ds), the first one with
    a measurement is kept, unless the source keeps another one or all. Timestamps with a zone or an
    offset become UTC; at a frequency of a day or coarser they keep their own wall clock. Dates become midnights. Only
    the schema is read.

    Args:
        rows: Rows with the columns of `scan_source`.
        freq: The frequency of the grid.
        cutoff: The last time to accept or reject; None for no limit.
        now: The current time in UTC, naive, after which nothing can have been measured; the wall clock where not given.
        source: How rows are read: which of several is kept, and how times move; exact times where not given.
        unfinished: Which rows are of periods that are not over (`is_unfinished`); None for none.

    Returns:
        The accepted rows and the rejects.

    Raises:
        SourceError: A column's dtype does not match the frequency.
        SpecError: The cutoff is not on the frequency's clock.
    """
    judged = judge_until(rows, freq=freq, cutoff=cutoff, now=now, source=source, unfinished=unfinished)
    return split_judged(judged, rows.collect_schema(), freq=freq, cutoff=cutoff, source=source)


def split_judged(
    judged: pl.LazyFrame,
    schema: pl.Schema,
    *,
    freq: str | int,
    cutoff: datetime | int | None = None,
    source: Source | None = None,
) -> Validated:
    """Split judged rows into accepted observations and rejects.

    Args:
        judged: Rows of `judge_until`, up to the cutoff.
        schema: The columns of the rows of `scan_source` that they are of.
        freq: The frequency of the grid.
        cutoff: The last time of observations; None for no limit.
        source: How rows are read, as of `validate`.

    Returns:
        What `validate` returns.
    """
    of_rows = keep_accepted(judged, cutoff)
    accepted, counted = of_rows.select("unique_id", "ds", "y", *categories_of(judged)), None
    if source is not None and source.aggregate is not None:
        accepted, counted = aggregate_rows(accepted, source.aggregate), count_in_periods(of_rows, source, freq)
    refused = refused_rows(judged, schema)
    kept = _count_accepted(judged, cutoff, is_ignored(source, clock_of(freq)))
    return Validated(accepted, refused, kept, _unmeasured(judged, accepted, freq=freq), counted)


def read_rows(
    rows: pl.LazyFrame, *, freq: str | int, now: datetime | None = None, unfinished: pl.Expr | None = None
) -> Validated:
    """Split rows into readable and unreadable ones, each judged by itself; repeats and grids are not checked.

    Args:
        rows: Rows in the columns of `scan_source`.
        freq: The frequency of the grid.
        now: The current time, as of `validate`.
        unfinished: Which rows are left out, as of `validate`.

    Returns:
        Lazy frames like those of `validate`; accepted rows keep `source_file` and `source_row`, in the order of the
        source or, if it names a column of ages, from the oldest to the newest.

    Raises:
        SourceError: A column's dtype does not match the frequency.
    """
    judged = oldest_first(judge_alone(rows, freq=freq, now=now, unfinished=unfinished).filter(IS_OVER))
    columns = ["source_file", "source_row", "unique_id", "ds", "y", *categories_of(rows)]
    refused = refused_rows(judged.with_columns(row_ds=pl.col("ds")), rows.collect_schema())
    return Validated(judged.filter(IS_ACCEPTED).select(columns), refused, _count_accepted(judged, None, pl.lit(False)))


def later_rejects(
    alone: pl.LazyFrame,
    schema: pl.Schema,
    *,
    freq: str | int,
    cutoff: datetime | int,
    not_after: datetime | int | None = None,
    source: Source | None = None,
    lives: Lives | None = None,
) -> pl.LazyFrame:
    """Return the refused rows after the cutoff; `validate` returns those at or before it.

    They are judged among all rows of their series up to `not_after`. This is meant for a cutoff that nobody requested:
    the rows after it are then bad rows, gaps and those of few series, not a future that must stay unknown.

    Args:
        alone: Rows of `judge_alone`.
        schema: The columns of the rows of `scan_source` that they are of.
        freq: The frequency of the grid.
        cutoff: The last time that is known.
        not_after: The last time to reject, except for impossible times; None for no limit.
        source: How rows are read, as of `validate`.
        lives: When series of other blocks live that have rows after the cutoff.

    Returns:
        The rows, in the columns of `Validated.refused`.
    """
    judged = alone.filter(IS_OVER)
    if not_after is not None:
        judged = judged.filter((pl.col("ds") <= not_after) | pl.col("reason").is_in(IMPOSSIBLE))
    # Judging sorts the rows, and only few series have rows this late.
    ids = judged.filter(pl.col("ds") > cutoff).select(pl.col("unique_id").unique())
    judged = judged.join(ids, on="unique_id", how="semi", nulls_equal=True)
    together = judge_together(judged, freq=freq, source=source, lives=lives)
    return refused_rows(together.filter(pl.col("row_ds") > cutoff), schema)


def refused_rows(judged: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Return the refused rows, with times and measurements as text; `schema` is the source's."""
    return (
        judged.filter(~IS_ACCEPTED)
        .sort("source_file", "source_row")
        .select(
            "source_file",
            "source_row",
            "unique_id",
            as_text("source_ds", source_dtype(schema)).alias("ds"),
            as_text("source_y", schema["y"]).alias("y"),
            "reason",
            time=pl.col("row_ds"),
        )
    )


def _unmeasured(judged: pl.LazyFrame, accepted: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Return the grid points whose only rows were refused because of their measurements."""
    grid, place = make_grid(freq), pl.col("ds")
    if is_day_or_coarser(freq):
        place = grid.point_in(grid.begin(place, None), None)
    number = grid.number(pl.col("ds"))
    at_points = (
        judged.filter(pl.col("reason").is_in([Reason.NOT_A_NUMBER.value, Reason.NAN.value, Reason.INFINITE.value]))
        .with_columns(ds=place)
        .filter(grid.ds(number) == pl.col("ds"), (number - pl.col("middle")).abs() <= reach())
    )
    columns = [pl.col("unique_id"), pl.col("ds"), pl.lit(None, pl.Float64).alias("y"), *categories_of(judged)]
    unique = at_points.select(columns).unique(["unique_id", "ds"], keep="first", maintain_order=True)
    return unique.join(accepted, on=["unique_id", "ds"], how="anti")


def _count_accepted(judged: pl.LazyFrame, cutoff: datetime | int | None, is_ignored: pl.Expr) -> pl.LazyFrame:
    """Return `Validated.kept`."""
    is_waiting = pl.lit(False) if cutoff is None else pl.col("ds") > cutoff
    time = pl.col("row_ds") if cutoff is not None else pl.col("ds")
    accepted = judged.filter(IS_ACCEPTED).with_columns(
        is_waiting=is_waiting, is_ignored=is_ignored & ~is_waiting, time=time
    )
    counts = accepted.group_by("unique_id")
    return counts.agg(
        num_kept=pl.len(),
        num_waiting=pl.col("is_waiting").sum(),
        num_ignored=pl.col("is_ignored").sum(),
        newest=pl.col("time").max(),
    )
