"""Split the rows of a source into accepted observations and rejects with a reason.

Rows after the cutoff, and of periods that are not over, are neither accepted nor rejected, and they influence nothing:
duplicates are found and grids are anchored among the other rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import TIMESTAMP
from forecasting.series.clock import is_day_or_coarser, keeps_wall_clock, refuse_other_clock
from forecasting.series.columns import (
    as_text,
    categories_of,
    is_blank,
    is_in_range,
    read_number,
    read_times,
    refuse_time,
)
from forecasting.series.declared_zone import INSTANT, LOCAL
from forecasting.series.files import CSV_SUFFIXES
from forecasting.series.grid import anchor_series, is_closed, make_grid
from forecasting.series.ignored import is_ignored
from forecasting.series.newest import newest_first, oldest_first
from forecasting.series.place import aggregate_rows, make_placing, place_rows
from forecasting.series.plausible import is_future, mark_far, wall_clock
from forecasting.spec.frequency import clock_of, num_months
from forecasting.spec.source import Duplicates, Source


class Reason(StrEnum):
    """Why a row is refused; a row with several problems has the first reason that applies."""

    MORE_FIELDS = (
        "row has more fields than the header; quote values with separators, or see --csv-separator (source.csv)"
    )
    FEWER_FIELDS = "row has fewer fields than the header"
    HEADER = "row repeats the header"
    STRAY_QUOTE = (
        "row has a quote that does not end its field; a quote within a quoted field must be doubled, and --csv-quote"
        " none (source.csv.quote) reads quotes as text"
    )
    NO_ID = "unique_id is missing"
    NOT_UTF_8 = "unique_id is not UTF-8 text; name the encoding with --csv-encoding (source.csv.encoding)"
    CATEGORY_NOT_UTF_8 = "a category is not UTF-8 text; name the encoding with --csv-encoding (source.csv.encoding)"
    NO_TIME = "time is missing"
    BAD_TIME = (
        "time cannot be read; it needs an ISO 8601 time such as 2013-01-31 05:00:00, or its format in --time-format"
        " (source.time_format)"
    )
    BAD_FORMAT = "time is not written as --time-format (source.time_format) says"
    NO_DAY = (
        "time is a month or a week, at a frequency below a month; --time-format iso_week or yyyymm"
        " (source.time_format) says which"
    )
    BAD_STEP = "time cannot be read; it needs a whole number"
    SKIPPED = "time does not exist in the zone of source.timezone (--timezone), whose clocks skip it in spring"
    NO_ZONE = "time has no offset, unlike others of its file; --timezone (source.timezone) names the zone of such times"
    OUT_OF_RANGE = "time is outside the years 1 to 2999"
    STEP_OUT_OF_RANGE = "time is more than 10^15 steps from 0"
    FUTURE = "time is in the future, where nothing can have been measured"
    NOT_A_NUMBER = "y is not a number"
    NAN = "y is NaN"
    INFINITE = "y is infinite"
    REPEATED = "duplicate of a row with the same unique_id, time and y"
    CONFLICT = (
        "duplicate with another y than the row of the same unique_id and time that was kept;"
        ' source.duplicates = "last" (--duplicates last) keeps the newest one, and "keep" (--duplicates keep), with'
        " source.aggregate, all of them; several columns may name a series together (--id store,item; source.id)"
    )
    REPLACED = "duplicate that a newer row of the same unique_id and time replaces"
    SHARED = (
        "another row of its series, with another time, lies in the same period and nearer to its grid point;"
        " source.aggregate = sum, mean, last, first, max or min makes one measurement of them"
    )
    CLOSED = (
        "time is closed; source.open (--open) names the open times, and source.closed_holidays (--closed-holidays)"
        " whose holidays are closed"
    )
    OFF_GRID = (
        "time is off the grid that most rows of its series lie on; source.snap = nearest moves times below a day to it"
    )
    OFF_STEPS = "step is off the grid that most rows of its series lie on; freq (--freq) is the distance of its points"
    FAR_AWAY = "time is too far from the other rows of its series"


MALFORMED = (Reason.MORE_FIELDS, Reason.FEWER_FIELDS, Reason.STRAY_QUOTE, Reason.HEADER)
"""Reasons why the fields of a CSV row are, or may be, no values of their columns; it does not name a series."""
REPEATS = (Reason.REPEATED.value, Reason.REPLACED.value, Reason.HEADER.value)
"""Reasons of rows that another row makes superfluous, which is not refusal."""
UNKNOWN = (Reason.NAN.value,)
"""Reasons of rows that say that nothing is known, as a null does. Many libraries write a gap as NaN."""
OF_MEASUREMENT = (Reason.NOT_A_NUMBER.value, Reason.NAN.value, Reason.INFINITE.value, Reason.CONFLICT.value)
"""Reasons of rows whose measurement is what is wrong, not their time."""
IMPOSSIBLE = (Reason.OUT_OF_RANGE.value, Reason.STEP_OUT_OF_RANGE.value, Reason.FUTURE.value, Reason.FAR_AWAY.value)
"""Reasons of rows whose time is a mistake, so that they are not the newest of their series."""
UNREAD = (Reason.BAD_TIME.value, Reason.BAD_FORMAT.value, Reason.NO_DAY.value)
"""Reasons of rows whose time is written in another format."""
NAMELESS = (Reason.NO_ID.value, Reason.NOT_UTF_8.value, *(reason.value for reason in MALFORMED))
"""Reasons of rows whose series is not known."""

_MOMENT = "_moment"

MIN_REACH = 5_000
REACH_PER_ROW = 10
"""A series keeps the rows within max(MIN_REACH, REACH_PER_ROW × its rows) grid points of the middle row.

`plausible` finds wrong centuries at every frequency.
This bounds the size of a grid by the number of observations. Otherwise one wrong year in an hourly series would make a
grid of millions of empty points. A real outage over half of a series stays well within the bound.
"""


@dataclass(frozen=True)
class Validated:
    """Two lazy frames over the same rows; `pl.collect_all` computes their common part once.

    Attributes:
        accepted: unique_id, ds, y and, if they were scanned, categories; sorted, one row per (unique_id, ds). A null
            `y` is a gap that the source states.
        refused: The rejects, with `time`: their `ds` on the clock, null where it cannot be read.
        kept: By unique_id, the number of rows that are not refused (`num_kept`), those among them whose period ends
            after the cutoff (`num_waiting`), those in periods that the source ignores (`num_ignored`), and the time of
            the newest one (`newest`).
        unmeasured: unique_id, ds, a null y and, if they were scanned, categories of the grid points where a row was
            refused because of its measurement and no other is accepted; None where rows have not been placed.
    """

    accepted: pl.LazyFrame
    refused: pl.LazyFrame
    kept: pl.LazyFrame
    unmeasured: pl.LazyFrame | None = None

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
    judged = _judge_until(rows, freq=freq, cutoff=cutoff, now=now, source=source, unfinished=unfinished)
    accepted = _accepted(judged, cutoff).select("unique_id", "ds", "y", *categories_of(rows))
    if source is not None and source.aggregate is not None:
        accepted = aggregate_rows(accepted, source.aggregate)
    refused = _refused(judged, rows.collect_schema())
    kept = _count_accepted(judged, cutoff, is_ignored(source, clock_of(freq)))
    return Validated(accepted, refused, kept, _unmeasured(judged, accepted, freq=freq))


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
    judged = oldest_first(_judge_alone(rows, freq=freq, now=now, unfinished=unfinished).filter(_IS_OVER))
    columns = ["source_file", "source_row", "unique_id", "ds", "y", *categories_of(rows)]
    refused = _refused(judged.with_columns(row_ds=pl.col("ds")), rows.collect_schema())
    return Validated(judged.filter(_IS_ACCEPTED).select(columns), refused, _count_accepted(judged, None, pl.lit(False)))


def later_rejects(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    cutoff: datetime | int,
    not_after: datetime | int | None = None,
    now: datetime | None = None,
    source: Source | None = None,
    unfinished: pl.Expr | None = None,
) -> pl.LazyFrame:
    """Return the refused rows after the cutoff; `validate` returns those at or before it.

    They are judged among all rows of their series up to `not_after`. This is meant for a cutoff that nobody requested:
    the rows after it are then bad rows, gaps and those of few series, not a future that must stay unknown.

    Args:
        rows: Rows with the columns of `scan_source`.
        freq: The frequency of the grid.
        cutoff: The last time that is known.
        not_after: The last time to reject, except for impossible times; None for no limit.
        now: The current time, as of `validate`.
        source: How rows are read, as of `validate`.
        unfinished: Which rows are left out, as of `validate`.

    Returns:
        The rows, in the columns of `Validated.refused`.

    Raises:
        SourceError: A column's dtype does not match the frequency.
        SpecError: A time is not on the frequency's clock.
    """
    refuse_other_clock(cutoff, freq=freq)
    refuse_other_clock(not_after, freq=freq, subject="as_of")
    judged = _judge_alone(rows, freq=freq, now=now, unfinished=unfinished).filter(_IS_OVER)
    if not_after is not None:
        judged = judged.filter((pl.col("ds") <= not_after) | pl.col("reason").is_in(IMPOSSIBLE))
    is_later = pl.col("ds") > cutoff
    # Judging sorts the rows, and only few series have rows this late.
    ids = judged.filter(is_later).select(pl.col("unique_id").unique())
    judged = judged.join(ids, on="unique_id", how="semi", nulls_equal=True)
    return _refused(
        _judge_together(judged, freq=freq, source=source).filter(pl.col("row_ds") > cutoff), rows.collect_schema()
    )


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
    judged = _judge_alone(rows, freq=freq, now=now, unfinished=unfinished)
    time, is_after = pl.col("ds"), pl.lit(False) if cutoff is None else (pl.col("ds") > cutoff) & _IS_OVER
    is_later = is_after & _IS_ACCEPTED & pl.col("y").is_not_null()
    if not_after is not None:
        is_later &= time <= not_after
    written = pl.col("written_id") if "written_id" in rows.collect_schema() else pl.lit(None, pl.String)
    return judged.select(
        read=pl.len(),
        after_cutoff=is_after.sum(),
        unfinished=(~_IS_OVER).sum(),
        open_from=time.filter(~_IS_OVER).min(),
        num_later=is_later.sum(),
        num_later_series=pl.col("unique_id").filter(is_later).n_unique(),
        later_series=pl.col("unique_id").filter(is_later).min(),
        newest_later=time.filter(is_later).max(),
        written_ids=written.drop_nulls().unique().sort().implode(),
    )


def measured_spans(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    not_after: datetime | int | None = None,
    now: datetime | None = None,
    source: Source | None = None,
    unfinished: pl.Expr | None = None,
) -> pl.LazyFrame:
    """Return when the accepted measurements of each series lie, by which the cutoff of a run is chosen.

    Args:
        rows: Rows with the columns of `scan_source`.
        freq: The frequency of the grid.
        not_after: The latest time that counts; None for no limit.
        now: The current time, as of `validate`.
        source: How rows are read, as of `validate`.
        unfinished: Which rows are left out, as of `validate`.

    Returns:
        By unique_id, the columns of `SPAN`; `latest` is the later one of a row's own time and its grid point.
    """
    judged = _judge_until(rows, freq=freq, cutoff=not_after, now=now, source=source, unfinished=unfinished)
    measured = _accepted(judged, not_after).filter(pl.col("y").is_not_null())
    return measured.with_columns(latest=pl.max_horizontal("ds", "row_ds")).group_by("unique_id").agg(SPAN)


def newest_observation(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    not_after: datetime | int | None = None,
    now: datetime | None = None,
    source: Source | None = None,
    unfinished: pl.Expr | None = None,
    is_meant: pl.Expr | None = None,
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
        is_meant: Which grid points, in `ds`, count; None for all.

    Returns:
        A naive datetime or an integer step; None without any such measurement.
    """
    judged = _judge_until(rows, freq=freq, cutoff=not_after, now=now, source=source, unfinished=unfinished)
    measured = _accepted(judged, not_after).filter(pl.col("y").is_not_null())
    if is_meant is not None:
        measured = measured.filter(is_meant)
    newest = measured.select(pl.max_horizontal(pl.col("ds").max(), pl.col("row_ds").max()))
    value: datetime | int | None = newest.collect(engine="streaming").item()
    return value


def rows_by_period(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    now: datetime | None = None,
    source: Source | None = None,
    unfinished: pl.Expr | None = None,
) -> pl.DataFrame:
    """Count the accepted measurements of all series by period, before they are aggregated.

    Args:
        rows: Rows with the columns of `scan_source`, which are read.
        freq: The frequency of the grid.
        now: The current time, as of `validate`.
        source: How rows are read, as of `validate`.
        unfinished: Which rows are left out, as of `validate`.

    Returns:
        period (its number), num_rows and latest (the time of its newest row); oldest period first.
    """
    judged = _judge_until(rows, freq=freq, cutoff=None, now=now, source=source, unfinished=unfinished)
    measured = _accepted(judged, None).filter(pl.col("y").is_not_null())
    by_period = measured.group_by(period=make_grid(freq).period(pl.col("ds")))
    counted = by_period.agg(num_rows=pl.len(), latest=pl.col("row_ds").max())
    return counted.sort("period").collect(engine="streaming")


SPAN = (
    pl.len().alias("num_measured"),
    pl.col("ds").min().alias("first"),
    pl.col("ds").max().alias("last"),
    pl.col("ds").filter(pl.col("ds") < pl.col("ds").max()).max().alias("before"),
    pl.col("latest").max(),
)
"""Of the measurements of a series: their number, the first, the last and the one before it, and the latest time."""


_IS_ACCEPTED = pl.col("reason").is_null()
_IS_OVER = ~pl.col("is_unfinished")


def _refused(judged: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Return the refused rows, with times and measurements as text; `schema` is the source's."""
    return (
        judged.filter(~_IS_ACCEPTED)
        .sort("source_file", "source_row")
        .select(
            "source_file",
            "source_row",
            "unique_id",
            as_text("source_ds", _source_dtype(schema)).alias("ds"),
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
        .filter(grid.ds(number) == pl.col("ds"), (number - pl.col("middle")).abs() <= _reach())
    )
    columns = [pl.col("unique_id"), pl.col("ds"), pl.lit(None, pl.Float64).alias("y"), *categories_of(judged)]
    unique = at_points.select(columns).unique(["unique_id", "ds"], keep="first", maintain_order=True)
    return unique.join(accepted, on=["unique_id", "ds"], how="anti")


def _judge_alone(
    rows: pl.LazyFrame, *, freq: str | int, now: datetime | None, unfinished: pl.Expr | None
) -> pl.LazyFrame:
    """Read `ds` and `y`, keep the source's values beside them, and add the reason why a row by itself is refused.

    `is_unfinished` marks the measurements of periods that are not over.
    """
    clock, schema = clock_of(freq), rows.collect_schema()
    refuse_time(schema["ds"], clock=clock, subject="ds")
    if schema["ds"] == pl.Date and not is_day_or_coarser(freq):
        raise SourceError(f"ds has dates without a time of day, but the frequency {freq} needs times of day")
    is_step, is_formatted = clock == "step", "ds_text" in schema
    time, value = pl.col("ds"), pl.col("y")
    rows = rows.with_columns(
        pl.col("unique_id").cast(pl.String),
        pl.col("number").alias("y") if "number" in schema else read_number("y", schema["y"], subject="y"),
        source_ds=pl.col("ds_text" if is_formatted else "ds"),
        source_y=pl.col("y"),
    )
    problem = pl.lit(None, pl.String)
    # Local midnights stay midnights; in UTC they would leave the grid at every clock change.
    is_local, is_skipped = keeps_wall_clock(freq), pl.lit(False)
    lacks_zone = pl.col("lacks_zone") if "lacks_zone" in schema and not is_local else pl.lit(False)
    stated = schema.get(INSTANT, schema["ds"])
    zone = stated.time_zone if isinstance(stated, pl.Datetime) else None
    if is_local:
        rows = _with_moments(rows)
    if INSTANT in schema:
        is_skipped = pl.col("is_skipped")
        rows = rows.with_columns(
            ds=pl.col(LOCAL if is_local else INSTANT).cast(TIMESTAMP),
            is_skipped=pl.col(INSTANT).is_null() & pl.col(LOCAL).is_not_null(),
        ).drop(INSTANT, LOCAL)
    else:
        rows = read_times(rows, "ds", clock=clock, keeps_wall_clock=is_local)
    if "problem" in schema:
        problem = pl.col("problem")
        rows = rows.with_columns(pl.when(problem.is_null()).then("ds").alias("ds"))
    judged = rows.with_columns(
        reason=pl.when(problem.is_not_null())
        .then(problem)
        .when(is_blank("unique_id", pl.String()))
        .then(_text(Reason.NO_ID))
        .when(_is_csv() & pl.col("unique_id").str.contains("\ufffd", literal=True))
        .then(_text(Reason.NOT_UTF_8))
        .when(_has_unreadable_category(schema))
        .then(_text(Reason.CATEGORY_NOT_UTF_8))
        .when(is_blank("source_ds", _source_dtype(schema)))
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
    is_measured = _IS_ACCEPTED & value.is_not_null()
    return judged.with_columns(is_unfinished=is_measured & unfinished.fill_null(False))


def _source_dtype(schema: pl.Schema) -> pl.DataType:
    """Return the dtype of times as the source has them."""
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


def _judge_until(
    rows: pl.LazyFrame,
    *,
    freq: str | int,
    cutoff: datetime | int | None,
    now: datetime | None,
    source: Source | None,
    unfinished: pl.Expr | None,
) -> pl.LazyFrame:
    """Judge the rows at or before the cutoff whose period is over; accepted ones are sorted by unique_id and ds."""
    refuse_other_clock(cutoff, freq=freq)
    judged = _judge_alone(rows, freq=freq, now=now, unfinished=unfinished).filter(_IS_OVER)
    if cutoff is not None:
        judged = judged.filter(pl.col("ds").is_null() | (pl.col("ds") <= cutoff))
    return _judge_together(judged, freq=freq, source=source)


def _accepted(judged: pl.LazyFrame, cutoff: datetime | int | None) -> pl.LazyFrame:
    """Return accepted rows without those whose grid point follows the cutoff, as that of a period may."""
    # One filter, after which Polars still shares the judged rows between accepted and refused ones.
    return judged.filter(_IS_ACCEPTED if cutoff is None else _IS_ACCEPTED & (pl.col("ds") <= cutoff))


def _count_accepted(judged: pl.LazyFrame, cutoff: datetime | int | None, is_ignored: pl.Expr) -> pl.LazyFrame:
    """Return `Validated.kept`."""
    is_waiting = pl.lit(False) if cutoff is None else pl.col("ds") > cutoff
    time = pl.col("row_ds") if cutoff is not None else pl.col("ds")
    accepted = judged.filter(_IS_ACCEPTED).with_columns(
        is_waiting=is_waiting, is_ignored=is_ignored & ~is_waiting, time=time
    )
    counts = accepted.group_by("unique_id")
    return counts.agg(
        num_kept=pl.len(),
        num_waiting=pl.col("is_waiting").sum(),
        num_ignored=pl.col("is_ignored").sum(),
        newest=pl.col("time").max(),
    )


def _judge_together(judged: pl.LazyFrame, *, freq: str | int, source: Source | None) -> pl.LazyFrame:
    """Refuse rows that repeat others, or do not lie where the other rows of their series do."""
    key = ["unique_id", "ds"]
    if source is not None and source.aggregate is not None and _MOMENT in judged.collect_schema():
        key.append(_MOMENT)
    judged = _judge_repeats(newest_first(judged, source), "refuse" if source is None else source.duplicates, key)
    judged = _judge_periods(_judge_far(judged, freq=freq), freq=freq, source=source)
    return _judge_place(judged, freq=freq)


def _judge_repeats(judged: pl.LazyFrame, duplicates: Duplicates, key: Sequence[str]) -> pl.LazyFrame:
    """Sort accepted rows first, each before its repeats, and refuse those that repeat a key, unless all are kept."""
    ordered = judged.sort(~_IS_ACCEPTED, *key, pl.col("y").is_null(), maintain_order=True)
    if duplicates == "keep":
        return ordered
    is_repeat = _IS_ACCEPTED & pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in key)
    # An accepted y is never NaN, so NaN can represent a gap that is carried forward.
    kept_y = pl.when(~pl.col("is_repeat")).then(pl.col("y").fill_null(math.nan)).forward_fill()
    is_same = pl.col("y").fill_null(math.nan) == kept_y
    differs = _text(Reason.REPLACED if duplicates == "last" else Reason.CONFLICT)
    return ordered.with_columns(is_repeat=is_repeat.fill_null(False)).with_columns(
        reason=pl.when("is_repeat")
        .then(pl.when(is_same).then(_text(Reason.REPEATED)).otherwise(differs))
        .otherwise("reason")
    )


def _judge_far(judged: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Refuse accepted rows in a wrong century, which must not anchor a grid; the order is kept."""
    marked = mark_far(judged, is_accepted=_IS_ACCEPTED, freq=freq)
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
    placed = place_rows(judged, placing, is_accepted=_IS_ACCEPTED)
    reason = pl.when("is_shared").then(_text(Reason.SHARED)).otherwise("reason")
    return placed.with_columns(reason=reason).drop("is_shared")


def _judge_place(judged: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Refuse accepted rows that are off their series' grid or too far from its other rows; the order is kept."""
    grid = make_grid(freq)
    number = grid.number(pl.col("ds"))
    anchors = anchor_series(judged.filter(_IS_ACCEPTED), freq=freq)
    return judged.join(anchors, on="unique_id", how="left", maintain_order="left").with_columns(
        reason=pl.when(~_IS_ACCEPTED)
        .then("reason")
        .when(is_closed(freq, pl.col("ds")))
        .then(_text(Reason.CLOSED))
        .when(grid.ds(number) != pl.col("ds"))
        .then(_text(Reason.OFF_STEPS if clock_of(freq) == "step" else Reason.OFF_GRID))
        .when((number - pl.col("middle")).abs() > _reach())
        .then(_text(Reason.FAR_AWAY))
    )


def _reach() -> pl.Expr:
    return pl.max_horizontal(pl.lit(MIN_REACH), REACH_PER_ROW * pl.col("num_points"))


def _text(reason: Reason) -> pl.Expr:
    return pl.lit(reason.value)
