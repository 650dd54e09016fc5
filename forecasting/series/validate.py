"""Rows as the source has them go in; accepted observations, and rejects with their reason, come out.

Bad rows never stop a run. For `validate`, rows after the cutoff are neither accepted nor rejected, and nothing about
them is looked at: duplicates are found and grids anchored among the rows at or before it.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.clock import clock_of, is_day_or_coarser, refuse_other_clock
from forecasting.series.columns import (
    as_text,
    categories_of,
    is_blank,
    is_in_range,
    read_number,
    read_times,
    refuse_time,
)
from forecasting.series.files import CSV_SUFFIXES
from forecasting.series.grid import anchor_series, make_grid


class Reason(StrEnum):
    """Why a row is refused; the first that holds is told."""

    NO_ID = "unique_id is missing"
    NOT_UTF_8 = "unique_id is not UTF-8 text; save the CSV file as UTF-8"
    NO_TIME = "time is missing"
    BAD_TIME = "time cannot be read; it needs an ISO 8601 time such as 2013-01-31 05:00:00"
    BAD_STEP = "time cannot be read; it needs a whole number"
    OUT_OF_RANGE = "time is outside the years 1 to 2999"
    STEP_OUT_OF_RANGE = "time is more than 10^15 steps from 0"
    NOT_A_NUMBER = "y is not a number"
    NAN = "y is NaN"
    INFINITE = "y is infinite"
    REPEATED = "duplicate of a row with the same unique_id, time and y"
    CONFLICT = "duplicate with another y than the row of the same unique_id and time that was kept"
    OFF_GRID = "time is off the grid that most rows of its series lie on"
    FAR_AWAY = "time is too far from the other rows of its series"


MIN_REACH = 5_000
REACH_PER_ROW = 10
"""A series' rows are kept within max(MIN_REACH, REACH_PER_ROW × its rows) grid points of their middle one.

That bounds every grid by its number of observations. One wrong year in an hourly series would else make a grid of
millions of empty points; a real outage of half of a series' life stays well within it.
"""


@dataclass(frozen=True)
class Validated:
    """Two plans over the same rows; `pl.collect_all` computes what they share once.

    `accepted`: unique_id, ds, y, and categories where they were scanned; sorted, one row per (unique_id, ds). A null
    `y` is an observed gap.
    `rejects`: source_file, source_row, unique_id, ds and y as text, reason; in the order of the source.
    """

    accepted: pl.LazyFrame
    rejects: pl.LazyFrame


def validate(rows: pl.LazyFrame, *, freq: str | int, cutoff: datetime | int | None = None) -> Validated:
    """Part rows into accepted observations and rejects; each row at or before the cutoff is in exactly one.

    Rows without a readable time are rejected whatever the cutoff. Of several rows with the same (unique_id, ds) the
    first one with a measurement is kept. Timestamps with a zone or an offset become UTC, or for frequencies of a day
    and coarser stay on their own wall clock; dates become midnights.

    Expects the columns of `scan_source`. Raises SourceError where a column's dtype does not suit the frequency, and
    SpecError where the cutoff is not on its clock. Reads no rows: only the schema is resolved.
    """
    refuse_other_clock(cutoff, freq=freq)
    judged = _judge_alone(rows, freq=freq)
    if cutoff is not None:
        judged = judged.filter(pl.col("ds").is_null() | (pl.col("ds") <= cutoff))
    judged = _judge_place(_judge_repeats(judged), freq=freq)
    accepted = judged.filter(_IS_GOOD).select("unique_id", "ds", "y", *categories_of(rows))
    return Validated(accepted, _rejects(judged, rows.collect_schema()))


def later_rejects(
    rows: pl.LazyFrame, *, freq: str | int, cutoff: datetime | int, not_after: datetime | int | None = None
) -> pl.LazyFrame:
    """Return the rejects after the cutoff, of which none is after `not_after`; those of `validate` come before it.

    They are judged among all their series' rows up to `not_after`. It is for a cutoff that is the newest accepted
    observation by then: what comes after it is bad rows and gaps, not a future that may not be known. Expects and
    raises what `validate` does.
    """
    refuse_other_clock(cutoff, freq=freq)
    refuse_other_clock(not_after, freq=freq, subject="as_of")
    judged = _judge_alone(rows, freq=freq)
    if not_after is not None:
        judged = judged.filter(pl.col("ds") <= not_after)
    is_later = pl.col("ds") > cutoff
    # Judging sorts the rows, and few series have any row this late.
    ids = judged.filter(is_later).select(pl.col("unique_id").unique())
    judged = judged.join(ids, on="unique_id", how="semi", nulls_equal=True)
    return _rejects(_judge_place(_judge_repeats(judged), freq=freq).filter(is_later), rows.collect_schema())


def newest_observation(
    rows: pl.LazyFrame, *, freq: str | int, not_after: datetime | int | None = None
) -> datetime | int | None:
    """Return the newest accepted `ds` with a measurement, at or before `not_after`; None where there is none.

    It is a run's cutoff where none is given. Reads the rows.
    """
    accepted = validate(rows, freq=freq, cutoff=not_after).accepted
    newest = accepted.filter(pl.col("y").is_not_null()).select(pl.col("ds").max())
    value: datetime | int | None = newest.collect(engine="streaming").item()
    return value


_IS_GOOD = pl.col("reason").is_null()


def _rejects(judged: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    """Return the refused rows with the texts of the source, whose schema it is."""
    return (
        judged.filter(~_IS_GOOD)
        .sort("source_file", "source_row")
        .select(
            "source_file",
            "source_row",
            "unique_id",
            as_text("source_ds", schema["ds"]).alias("ds"),
            as_text("source_y", schema["y"]).alias("y"),
            "reason",
        )
    )


def _judge_alone(rows: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Read `ds` and `y`, keep the source's own beside them, and tell what is wrong with a row by itself."""
    clock, schema = clock_of(freq), rows.collect_schema()
    refuse_time(schema["ds"], clock=clock, subject="ds")
    if schema["ds"] == pl.Date and not is_day_or_coarser(freq):
        raise SourceError(f"ds has dates without a time of day, but the frequency {freq} needs timestamps")
    is_step = clock == "step"
    time, value = pl.col("ds"), pl.col("y")
    rows = rows.with_columns(
        pl.col("unique_id").cast(pl.String),
        read_number("y", schema["y"], subject="y"),
        source_ds=pl.col("ds"),
        source_y=pl.col("y"),
    )
    # Local midnights stay midnights; as UTC they would leave the grid at every clock change.
    return read_times(rows, "ds", clock=clock, keeps_wall_clock=is_day_or_coarser(freq)).with_columns(
        reason=pl.when(is_blank("unique_id", pl.String()))
        .then(_text(Reason.NO_ID))
        .when(_is_csv() & pl.col("unique_id").str.contains("\ufffd", literal=True))
        .then(_text(Reason.NOT_UTF_8))
        .when(is_blank("source_ds", schema["ds"]))
        .then(_text(Reason.NO_TIME))
        .when(time.is_null())
        .then(_text(Reason.BAD_STEP if is_step else Reason.BAD_TIME))
        .when(~is_in_range(time, clock=clock))
        .then(_text(Reason.STEP_OUT_OF_RANGE if is_step else Reason.OUT_OF_RANGE))
        .when(value.is_null() & ~is_blank("source_y", schema["y"]))
        .then(_text(Reason.NOT_A_NUMBER))
        .when(value.is_nan())
        .then(_text(Reason.NAN))
        .when(value.is_infinite())
        .then(_text(Reason.INFINITE))
    )


def _is_csv() -> pl.Expr:
    """Whether a row's text was decoded: what is no UTF-8 becomes U+FFFD then, and different names become the same."""
    file = pl.col("source_file").str.to_lowercase()
    return pl.any_horizontal(file.str.ends_with(suffix) for suffix in CSV_SUFFIXES)


def _judge_repeats(judged: pl.LazyFrame) -> pl.LazyFrame:
    """Sort the good rows to the front, and among them the row to keep before those that repeat its (unique_id, ds)."""
    ordered = judged.sort(~_IS_GOOD, "unique_id", "ds", pl.col("y").is_null(), maintain_order=True)
    is_repeat = _IS_GOOD & pl.all_horizontal(pl.col(key) == pl.col(key).shift() for key in ("unique_id", "ds"))
    # A good y is never NaN, which can thus stand for a gap and be carried forward.
    kept_y = pl.when(~pl.col("is_repeat")).then(pl.col("y").fill_null(math.nan)).forward_fill()
    is_same = pl.col("y").fill_null(math.nan) == kept_y
    return ordered.with_columns(is_repeat=is_repeat.fill_null(False)).with_columns(
        reason=pl.when("is_repeat")
        .then(pl.when(is_same).then(_text(Reason.REPEATED)).otherwise(_text(Reason.CONFLICT)))
        .otherwise("reason")
    )


def _judge_place(judged: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Tell which of the rows that are still good lie off their series' grid or too far away; keeps the order."""
    grid = make_grid(freq)
    number = grid.number(pl.col("ds"))
    reach = pl.max_horizontal(pl.lit(MIN_REACH), REACH_PER_ROW * pl.col("num_points"))
    anchors = anchor_series(judged.filter(_IS_GOOD), freq=freq)
    return judged.join(anchors, on="unique_id", how="left", maintain_order="left").with_columns(
        reason=pl.when(~_IS_GOOD)
        .then("reason")
        .when(grid.ds(number) != pl.col("ds"))
        .then(_text(Reason.OFF_GRID))
        .when((number - pl.col("middle")).abs() > reach)
        .then(_text(Reason.FAR_AWAY))
    )


def _text(reason: Reason) -> pl.Expr:
    return pl.lit(reason.value)
