"""Judge the rows of a source: each by itself, and then beside the other rows of its series."""

import math
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import TIMESTAMP
from forecasting.series.clock import is_day_or_coarser, keeps_wall_clock, refuse_other_clock
from forecasting.series.columns import (
    is_blank,
    is_in_range,
    read_number,
    read_times,
    refuse_time,
)
from forecasting.series.declared_zone import INSTANT, LOCAL
from forecasting.series.files import CSV_SUFFIXES
from forecasting.series.grid import anchor_series, is_closed, make_grid
from forecasting.series.newest import newest_first
from forecasting.series.place import make_placing, place_rows
from forecasting.series.plausible import Lives, is_future, mark_far, wall_clock
from forecasting.series.reasons import Reason
from forecasting.spec.frequency import clock_of, num_months
from forecasting.spec.source import Duplicates, Source

_MOMENT = "_moment"

MIN_REACH = 5_000
REACH_PER_ROW = 10
"""A series keeps the rows within max(MIN_REACH, REACH_PER_ROW × its rows) grid points of the middle row.

`plausible` finds wrong centuries at every frequency.
This bounds the size of a grid by the number of observations. Otherwise one wrong year in an hourly series would make a
grid of millions of empty points. A real outage over half of a series stays well within the bound.
"""

IS_ACCEPTED = pl.col("reason").is_null()
IS_OVER = ~pl.col("is_unfinished")


def judge_alone(
    rows: pl.LazyFrame, *, freq: str | int, now: datetime | None, unfinished: pl.Expr | None
) -> pl.LazyFrame:
    """Read `ds` and `y`, keep the source's values beside them, and add the reason why a row by itself is refused.

    Args:
        rows: Rows with the columns of `scan_source`.
        freq: The frequency of the grid.
        now: The current time in UTC, naive, after which nothing can have been measured; the wall clock where None.
        unfinished: Which rows are of periods that are not over (`is_unfinished`).

    Returns:
        The rows, with `source_ds`, `source_y`, `reason` (null where a row is accepted) and `is_unfinished`.
    """
    read = read_columns(rows, freq=freq)
    return add_reasons(read, rows.collect_schema(), freq=freq, now=now, unfinished=unfinished)


def read_columns(rows: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Read `ds` and `y`, and keep the source's values beside them.

    Args:
        rows: Rows with the columns of `scan_source`.
        freq: The frequency of the grid.

    Returns:
        The rows, with `source_ds` and `source_y`; `ds` is on the clock, and `y` is Float64.
    """
    clock, schema = clock_of(freq), rows.collect_schema()
    refuse_time(schema["ds"], clock=clock, subject="ds")
    if schema["ds"] == pl.Date and not is_day_or_coarser(freq):
        raise SourceError(f"ds has dates without a time of day, but the frequency {freq} needs times of day")
    rows = rows.with_columns(
        pl.col("unique_id").cast(pl.String),
        pl.col("number").alias("y") if "number" in schema else read_number("y", schema["y"], subject="y"),
        source_ds=pl.col("ds_text" if "ds_text" in schema else "ds"),
        source_y=pl.col("y"),
    )
    # Local midnights stay midnights; in UTC they would leave the grid at every clock change.
    is_local = keeps_wall_clock(freq)
    if is_local:
        rows = _with_moments(rows)
    if INSTANT in schema:
        rows = rows.with_columns(
            ds=pl.col(LOCAL if is_local else INSTANT).cast(TIMESTAMP),
            is_skipped=pl.col(INSTANT).is_null() & pl.col(LOCAL).is_not_null(),
        ).drop(INSTANT, LOCAL)
    else:
        rows = read_times(rows, "ds", clock=clock, keeps_wall_clock=is_local)
    if "problem" in schema:
        rows = rows.with_columns(pl.when(pl.col("problem").is_null()).then("ds").alias("ds"))
    return rows


def add_reasons(
    read: pl.LazyFrame, schema: pl.Schema, *, freq: str | int, now: datetime | None, unfinished: pl.Expr | None
) -> pl.LazyFrame:
    """Add the reason why a row by itself is refused, which depends on nothing but that row.

    Args:
        read: Rows of `read_columns`.
        schema: The columns of the rows of `scan_source` that they are of.
        freq: The frequency of the grid.
        now: The current time, as of `judge_alone`.
        unfinished: Which rows are of periods that are not over, as of `judge_alone`.

    Returns:
        The rows of `judge_alone`.
    """
    clock, time, value = clock_of(freq), pl.col("ds"), pl.col("y")
    is_step, is_formatted = clock == "step", "ds_text" in schema
    problem = pl.col("problem") if "problem" in schema else pl.lit(None, pl.String)
    is_skipped = pl.col("is_skipped") if INSTANT in schema else pl.lit(False)
    lacks_zone = pl.col("lacks_zone") if "lacks_zone" in schema and not keeps_wall_clock(freq) else pl.lit(False)
    stated = schema.get(INSTANT, schema["ds"])
    zone = stated.time_zone if isinstance(stated, pl.Datetime) else None
    judged = read.with_columns(
        reason=pl.when(problem.is_not_null())
        .then(problem)
        .when(is_blank("unique_id", pl.String()))
        .then(_text(Reason.NO_ID))
        .when(_is_csv() & pl.col("unique_id").str.contains("\ufffd", literal=True))
        .then(_text(Reason.NOT_UTF_8))
        .when(_has_unreadable_category(schema))
        .then(_text(Reason.CATEGORY_NOT_UTF_8))
        .when(is_blank("source_ds", source_dtype(schema)))
        .then(_text(Reason.NO_TIME))
        .when(time.is_null() & is_skipped)
        .then(_text(Reason.SKIPPED))
        .when(time.is_not_null() & lacks_zone)
        .then(_text(Reason.NO_ZONE))
        .when(time.is_null())
        .then(_text(Reason.BAD_STEP if is_step else Reason.BAD_FORMAT if is_formatted else Reason.BAD_TIME))
        .when(_has_no_day(schema["ds"], freq))
        .then(_text(Reason.NO_DAY))
        .when(~is_in_range(time, clock=clock))
        .then(_text(Reason.STEP_OUT_OF_RANGE if is_step else Reason.OUT_OF_RANGE))
        .when(
            is_future("source_ds", schema["ds"], freq=freq, now=now or wall_clock(), zone=zone)
            & ~is_blank("source_y", schema["y"])  # a row without y may hold categories of the future
        )
        .then(_text(Reason.FUTURE))
        .when(value.is_null() & ~is_blank("source_y", schema["y"]))
        .then(_text(Reason.NOT_A_NUMBER))
        .when(value.is_nan())
        .then(_text(Reason.NAN))
        .when(value.is_infinite())
        .then(_text(Reason.INFINITE))
    )
    if unfinished is None:
        return judged.with_columns(is_unfinished=pl.lit(False))
    is_measured = IS_ACCEPTED & value.is_not_null()
    return judged.with_columns(is_unfinished=is_measured & unfinished.fill_null(False))


def judge_until(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    cutoff: datetime | int | None,
    now: datetime | None,
    source: Source | None,
    unfinished: pl.Expr | None,
) -> pl.LazyFrame:
    """Judge the rows at or before the cutoff whose period is over, each by itself and beside the others.

    Args:
        rows: Rows with the columns of `scan_source`.
        freq: The frequency of the grid.
        cutoff: The last time to judge; None for no limit.
        now: The current time, as of `judge_alone`.
        source: How rows are read: which of several is kept, and how times move; exact times where None.
        unfinished: Which rows are left out, as of `judge_alone`.

    Returns:
        The rows, with `reason` and `row_ds`, the time before it moved to its grid point; accepted ones are sorted by
        unique_id and ds.
    """
    refuse_other_clock(cutoff, freq=freq)
    judged = judge_alone(rows, freq=freq, now=now, unfinished=unfinished).filter(IS_OVER)
    if cutoff is not None:
        judged = judged.filter(pl.col("ds").is_null() | (pl.col("ds") <= cutoff))
    return judge_together(judged, freq=freq, source=source)


def keep_accepted(judged: pl.LazyFrame, cutoff: datetime | int | None) -> pl.LazyFrame:
    """Return accepted rows without those whose grid point follows the cutoff, as that of a period may.

    Args:
        judged: Rows of `judge_until`.
        cutoff: The cutoff; None for no limit.

    Returns:
        The rows.
    """
    # One filter, so that an engine that shares common parts of plans can share the judged rows.
    return judged.filter(IS_ACCEPTED if cutoff is None else IS_ACCEPTED & (pl.col("ds") <= cutoff))


def judge_together(
    judged: pl.LazyFrame, *, freq: str | int, source: Source | None, lives: Lives | None = None
) -> pl.LazyFrame:
    """Refuse rows that repeat others, or do not lie where the other rows of their series do.

    Args:
        judged: Rows of `judge_alone`.
        freq: The frequency of the grid.
        source: How rows are read, as of `judge_until`.
        lives: When series live that are not among the rows; those of the rows are added when these are collected.

    Returns:
        The rows, as `judge_until` returns them.
    """
    key = ["unique_id", "ds"]
    if source is not None and source.aggregate is not None and _MOMENT in judged.collect_schema():
        key.append(_MOMENT)
    judged = _judge_repeats(newest_first(judged, source), "refuse" if source is None else source.duplicates, key)
    judged = _judge_periods(_judge_far(judged, freq=freq, lives=lives), freq=freq, source=source)
    return _judge_place(judged, freq=freq)


def _judge_repeats(judged: pl.LazyFrame, duplicates: Duplicates, key: Sequence[str]) -> pl.LazyFrame:
    """Sort accepted rows first, each before its repeats, and refuse those that repeat a key, unless all are kept."""
    ordered = judged.sort(~IS_ACCEPTED, *key, pl.col("y").is_null(), maintain_order=True)
    if duplicates == "keep":
        return ordered
    is_repeat = IS_ACCEPTED & pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in key)
    # An accepted y is never NaN, so NaN can represent a gap that is carried forward.
    kept_y = pl.when(~pl.col("is_repeat")).then(pl.col("y").fill_null(math.nan)).forward_fill()
    is_same = pl.col("y").fill_null(math.nan) == kept_y
    replaced = _text(Reason.REPLACED if duplicates == "last" else Reason.CONFLICT)
    differs = pl.when(pl.col("y").is_null()).then(_text(Reason.NO_MEASUREMENT)).otherwise(replaced)
    return ordered.with_columns(is_repeat=is_repeat.fill_null(False)).with_columns(
        reason=pl.when("is_repeat")
        .then(pl.when(is_same).then(_text(Reason.REPEATED)).otherwise(differs))
        .otherwise("reason")
    )


def _judge_far(judged: pl.LazyFrame, *, freq: str | int, lives: Lives | None) -> pl.LazyFrame:
    """Refuse accepted rows in a wrong century, which must not anchor a grid; the order is kept."""
    marked = mark_far(judged, is_accepted=IS_ACCEPTED, freq=freq, lives=lives)
    reason = pl.when("is_far").then(_text(Reason.FAR_AWAY)).otherwise("reason")
    return marked.with_columns(reason=reason).drop("is_far")


def _judge_periods(judged: pl.LazyFrame, *, freq: str | int, source: Source | None) -> pl.LazyFrame:
    """Move accepted rows to the grid points of their periods and refuse all but one of each; the order is kept.

    `row_ds` has the time of the row itself.
    """
    judged = judged.with_columns(row_ds=pl.col("ds"))
    placing = None if source is None else make_placing(source, freq)
    if placing is None:
        return judged
    placed = place_rows(judged, placing, is_accepted=IS_ACCEPTED)
    reason = pl.when("is_shared").then(_text(Reason.SHARED)).otherwise("reason")
    return placed.with_columns(reason=reason).drop("is_shared")


def _judge_place(judged: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Refuse accepted rows that are off their series' grid or too far from its other rows; the order is kept."""
    grid = make_grid(freq)
    number = grid.number(pl.col("ds"))
    anchors = anchor_series(judged.filter(IS_ACCEPTED), freq=freq)
    return judged.join(anchors, on="unique_id", how="left", maintain_order="left").with_columns(
        reason=pl.when(~IS_ACCEPTED)
        .then("reason")
        .when(is_closed(freq, pl.col("ds")))
        .then(_text(Reason.CLOSED))
        .when(grid.ds(number) != pl.col("ds"))
        .then(_text(Reason.OFF_STEPS if clock_of(freq) == "step" else Reason.OFF_GRID))
        .when((number - pl.col("middle")).abs() > reach())
        .then(_text(Reason.FAR_AWAY))
    )


def reach() -> pl.Expr:
    """Return how many grid points a row may be away from the middle row of its series, which has `num_points` rows."""
    return pl.max_horizontal(pl.lit(MIN_REACH), REACH_PER_ROW * pl.col("num_points"))


def source_dtype(schema: pl.Schema) -> pl.DataType:
    """Return the dtype of times as a source with these columns has them."""
    return schema.get("ds_text", schema["ds"])


def _has_no_day(dtype: pl.DataType, freq: str | int) -> pl.Expr:
    """Return whether a readable time is a text such as 2021-05, which is a week as often as a month."""
    if dtype != pl.String or clock_of(freq) == "step" or num_months(freq) is not None:
        return pl.lit(False)
    return pl.col("source_ds").str.strip_chars().str.len_bytes() == len("2021-05")


def _with_moments(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Add the instants of times that keep a wall clock, where they are known; the hours that autumn repeats differ."""
    schema = rows.collect_schema()
    if INSTANT in schema:
        return rows.with_columns(pl.col(INSTANT).cast(TIMESTAMP).alias(_MOMENT))
    if isinstance(schema["ds"], pl.Datetime) and schema["ds"].time_zone:
        return rows.with_columns(pl.col("ds").cast(TIMESTAMP).alias(_MOMENT))
    if "lacks_zone" in schema:
        return read_times(rows.with_columns(pl.col("ds").alias(_MOMENT)), _MOMENT, clock="timestamp")
    return rows


def _is_csv() -> pl.Expr:
    """Return whether a row's text was decoded; bytes that are not UTF-8 are then U+FFFD, and names may collide."""
    file = pl.col("source_file").str.to_lowercase()
    return pl.any_horizontal(file.str.ends_with(suffix) for suffix in CSV_SUFFIXES)


def _has_unreadable_category(schema: pl.Schema) -> pl.Expr:
    if "categories" not in schema:
        return pl.lit(False)
    is_unreadable = pl.element().struct.field("value").str.contains("\ufffd", literal=True)
    return _is_csv() & pl.col("categories").list.eval(is_unreadable).list.any().fill_null(False)


def _text(reason: Reason) -> pl.Expr:
    return pl.lit(reason.value)
