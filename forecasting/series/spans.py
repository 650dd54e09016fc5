"""Count the rows of a source, and find the newest measurements of its series."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl

from forecasting.series.judge import IS_ACCEPTED, IS_OVER, judge_alone, judge_until, keep_accepted
from forecasting.series.plain import Judged
from forecasting.series.runs import gather_known
from forecasting.spec.source import Source

SPAN = (
    pl.len().alias("num_measured"),
    pl.col("ds").min().alias("first"),
    pl.col("ds").max().alias("last"),
    pl.col("ds").filter(pl.col("ds") < pl.col("ds").max()).max().alias("before"),
    pl.col("latest").max(),
)
"""Of the measurements of a series: their number, the first, the last and the one before it, and the latest time."""


def count_rows(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    cutoff: datetime | int | None,
    not_after: datetime | int | None = None,
    now: datetime | None = None,
    unfinished: pl.Expr | None = None,
) -> pl.LazyFrame:
    """Count all rows, those of unfinished periods, and those whose time can be read and lies after the cutoff.

    Args:
        rows: Rows with the columns of `scan_source`.
        freq: The frequency of the grid.
        cutoff: The last time that is known; None where all are.
        not_after: The last time of rows that wait; None for no limit.
        now: The current time, as of `validate`.
        unfinished: Which rows are of periods that are not over, as of `validate`.

    Returns:
        One row: `read`; `after_cutoff`, refused or not; `unfinished` and the first time of these, `open_from`; and of
        measurements after the cutoff their number, that of their series, one of these and the newest time:
        `num_later`, `num_later_series`, `later_series` and `newest_later`. `written_ids` are the different names with
        blanks around them.
    """
    judged = judge_alone(rows, freq=freq, now=now, unfinished=unfinished)
    return count_judged(judged, cutoff=cutoff, not_after=not_after)


def count_judged(
    judged: pl.LazyFrame, *, cutoff: datetime | int | None, not_after: datetime | int | None = None
) -> pl.LazyFrame:
    """Count rows as `count_rows` does.

    Args:
        judged: Rows of `judge_alone`.
        cutoff: The last time that is known; None where all are.
        not_after: The last time of rows that wait; None for no limit.

    Returns:
        The row of `count_rows`.
    """
    time, is_after = pl.col("ds"), pl.lit(False) if cutoff is None else (pl.col("ds") > cutoff) & IS_OVER
    is_later = is_after & IS_ACCEPTED & pl.col("y").is_not_null()
    if not_after is not None:
        is_later &= time <= not_after
    written = pl.col("written_id") if "written_id" in judged.collect_schema() else pl.lit(None, pl.String)
    return judged.select(
        read=pl.len(),
        after_cutoff=is_after.sum(),
        unfinished=(~IS_OVER).sum(),
        open_from=time.filter(~IS_OVER).min(),
        num_later=is_later.sum(),
        num_later_series=pl.col("unique_id").filter(is_later).n_unique(),
        later_series=pl.col("unique_id").filter(is_later).min(),
        newest_later=time.filter(is_later).max(),
        written_ids=written.drop_nulls().unique().sort().implode(),
    )


def add_counts(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the row of `count_rows` of blocks of whole series, at least one, from that of each.

    Args:
        parts: Rows of `count_judged`.

    Returns:
        One row.
    """
    total = pl.col("read", "after_cutoff", "unfinished", "num_later", "num_later_series").sum()
    first, last = pl.col("open_from", "later_series").min(), pl.col("newest_later").max()
    written = pl.col("written_ids").explode().drop_nulls().unique().sort().implode()
    names = parts[0].columns
    return pl.concat(parts).select(total, first, last, written).select(names)


def measured_spans(judged: pl.LazyFrame, *, not_after: datetime | int | None = None) -> pl.LazyFrame:
    """Return when the accepted measurements of each series lie, by which the cutoff of a run is chosen.

    Args:
        judged: Rows of `judge_until`.
        not_after: The latest time that counts; None for no limit.

    Returns:
        By unique_id, the columns of `SPAN`; `latest` is the later one of a row's own time and its grid point.
    """
    measured = keep_accepted(judged, not_after).filter(pl.col("y").is_not_null())
    return measured.with_columns(latest=pl.max_horizontal("ds", "row_ds")).group_by("unique_id").agg(SPAN)


def spans_of(judged: Judged, not_after: datetime | int | None) -> pl.DataFrame:
    """Return the rows of `measured_spans` of a block.

    Args:
        judged: The block.
        not_after: The latest time that counts; None for no limit.

    Returns:
        One row per series with a measurement.
    """
    runs, time = judged.runs, judged.rows["ds"]
    if runs is None or judged.rows["y"].has_nulls():
        return measured_spans(judged.rows.lazy(), not_after=not_after).collect(engine="streaming")
    last = time.gather(runs.last_S)
    return pl.DataFrame(
        {
            "unique_id": runs.names,
            "num_measured": pl.Series(runs.length_S, dtype=pl.get_index_type()),
            "first": time.gather(runs.begin_S),
            "last": last,
            "before": gather_known(time, np.where(runs.length_S > 1, runs.last_S - 1, -1)),
            "latest": last,
        }
    )


def newest_observation(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    not_after: datetime | int | None = None,
    now: datetime | None = None,
    source: Source | None = None,
    unfinished: pl.Expr | None = None,
) -> datetime | int | None:
    """Return the newest accepted time with a measurement.

    It is the later one of a row's own time and its grid point.

    Args:
        rows: Rows with the columns of `scan_source`, which are read.
        freq: The frequency of the grid.
        not_after: The latest time that counts; None for no limit.
        now: The current time, as of `validate`.
        source: How rows are read, as of `validate`.
        unfinished: Which rows are left out, as of `validate`.

    Returns:
        A naive datetime or an integer step; None without any such measurement.
    """
    judged = judge_until(rows, freq=freq, cutoff=not_after, now=now, source=source, unfinished=unfinished)
    return newest_judged(judged, not_after=not_after)


def newest_judged(
    judged: pl.LazyFrame, *, not_after: datetime | int | None = None, is_meant: pl.Expr | None = None
) -> datetime | int | None:
    """Return the newest accepted time with a measurement, as `newest_observation` does.

    Args:
        judged: Rows of `judge_until`, which are read.
        not_after: The latest time that counts; None for no limit.
        is_meant: Which grid points, in `ds`, count; None for all.

    Returns:
        The time; None without any such measurement.
    """
    measured = keep_accepted(judged, not_after).filter(pl.col("y").is_not_null())
    if is_meant is not None:
        measured = measured.filter(is_meant)
    newest = measured.select(pl.max_horizontal(pl.col("ds").max(), pl.col("row_ds").max()))
    value: datetime | int | None = newest.collect(engine="streaming").item()
    return value
