"""Infer the frequency of an input from the distances between neighbouring rows of its series."""

from datetime import time

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.closed import find_open_days
from forecasting.series.columns import read_times, well_formed
from forecasting.series.inputs import Input
from forecasting.series.misread_times import describe_misread
from forecasting.series.time_sniff import NUM_SNIFFED, describe_unread, refuse_codes
from forecasting.spec.frequency import DAY, Clock, spell_months, spell_width
from forecasting.spec.opening import spell_days
from forecasting.spec.source import Source

LEAST_SHARE = 0.5
"""Smallest share of distances that are exactly one step."""
LEAST_FIT = 0.95
"""Smallest share of distances that are whole steps, and of series whose most frequent distance is the step."""
LEAST_UNREAD = 0.5
"""Smallest share of unreadable times for which another format is proposed."""
NUM_SHOWN = 3
MONTH_DAYS = (28, 31)
DAYS_APART = 3
"""Largest difference of two days of a month that are taken for the same one: ends of months, and last business days."""


def infer_frequency(given: Input) -> tuple[str | int, float]:
    """Infer the frequency of an input. The columns of series and times are read.

    The frequency is the most frequent distance between neighbouring times of a series. It must make up at least half of
    all distances, nearly all distances must be multiples of it, and nearly all series must have the same one. Months
    are recognised by their days: distances of 28 to 31 days between about the same days of a month.

    Args:
        given: The input.

    Returns:
        The frequency, and the share of neighbouring times that are exactly one step apart. Days of which some weekdays
        have no rows are a frequency with the other weekdays, such as `1d Mon-Fri`, unless the source has `open`.

    Raises:
        SourceError: The input cannot be read, or its frequency is ambiguous; the error shows the most frequent
            distances.
        ServiceError: A remote file cannot be reached.
    """
    rows, clock = _scan(given)
    if clock == "step":
        steps = read_times(well_formed(rows).select("ds"), "ds", clock=clock).unique().collect(engine="streaming")
        refuse_codes(steps["ds"], given.source.time_format, subject=str(given.source))
    else:
        _refuse_unread(rows, str(given.source))
        times = _read(rows, clock).select(pl.col("ds").unique()).collect(engine="streaming")["ds"]
        if misread := describe_misread(times):
            raise SourceError(f"{given.source}: {misread}; --freq (freq) takes them as they are")
    gaps = _measure_gaps(rows, clock)
    if gaps.is_empty():
        raise SourceError(
            f"{given.source}: the frequency cannot be inferred, because no series has two times; name it with --freq"
            " (freq)"
        )
    totals = gaps.group_by("in_months", "width").agg(pl.col("num").sum()).sort("num", "width", descending=[True, False])
    in_months, width, num = totals.row(0)
    share = num / totals["num"].sum()
    own = gaps.sort("num", "width", descending=[True, False]).unique("unique_id", keep="first")
    agree = own.select(((pl.col("in_months") == in_months) & (pl.col("width") == width)).mean()).item()
    distance = pl.col("months") if in_months else pl.col("gap")
    fits = (distance > 0) & (distance % width == 0)
    fit = gaps.select((fits * pl.col("num")).sum() / pl.col("num").sum()).item()
    if share < LEAST_SHARE or min(fit, agree) < LEAST_FIT:
        differ = "" if agree >= LEAST_FIT else f"; {1 - agree:.0%} of the series have another most frequent distance"
        raise SourceError(
            f"{given.source}: the frequency is ambiguous: of {totals['num'].sum():,} distances between neighbouring"
            f" times, {_describe(totals, clock)}{differ}; name it with --freq (freq)"
        )
    freq = _spell(in_months, width, clock)
    return _without_closed_days(rows, given.source) if freq == "1d" else freq, share


def _without_closed_days(rows: pl.LazyFrame, source: Source) -> str:
    """Return the frequency of a day, with the open weekdays where others have no rows."""
    dtype = rows.collect_schema()["ds"]
    times = _read(rows, "timestamp")
    is_zoned = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    if source.open is not None or (is_zoned and _has_times_of_day(times)):  # such as local midnights in UTC
        return "1d"
    open_days = find_open_days(times)
    return "1d" if open_days is None else f"1d {spell_days(open_days)}"


def _has_times_of_day(times: pl.LazyFrame) -> bool:
    return bool(times.select((pl.col("ds").dt.time() != time()).any()).collect(engine="streaming").item())


def _scan(given: Input) -> tuple[pl.LazyFrame, Clock]:
    """Scan the rows on the clock that their times are on."""
    try:
        return given.scan("timestamp"), "timestamp"
    except SourceError as error:
        try:
            return given.scan("step"), "step"
        except SourceError:
            raise error from None


def _measure_gaps(rows: pl.LazyFrame, clock: Clock) -> pl.DataFrame:
    """Count the distances between neighbouring times: unique_id, in_months, width, gap, months and num.

    `gap` is in microseconds or steps, and `width` in months where a distance is one of months.
    """
    ordered = _read(rows, clock).unique().sort("unique_id", "ds")
    before = pl.when(pl.col("unique_id") == pl.col("unique_id").shift()).then(pl.col("ds").shift())
    pairs = ordered.with_columns(before=before).drop_nulls("before")
    gap = pl.col("ds").cast(pl.Int64) - pl.col("before").cast(pl.Int64)
    if clock == "step":
        pairs = pairs.with_columns(gap=gap, months=pl.lit(0, pl.Int64), in_months=pl.lit(False))
    else:
        pairs = pairs.with_columns(gap=gap, months=_month("ds") - _month("before")).with_columns(in_months=_in_months())
    width = pl.when("in_months").then("months").otherwise("gap").alias("width")
    counted = pairs.with_columns(width).group_by("unique_id", "in_months", "width", "gap", "months").agg(num=pl.len())
    return counted.collect(engine="streaming")


def _read(rows: pl.LazyFrame, clock: Clock) -> pl.LazyFrame:
    """Return unique_id and the times that can be read."""
    times = well_formed(rows).select("unique_id", "ds")
    return read_times(times, "ds", clock=clock, keeps_wall_clock=True).drop_nulls()


def _month(column: str) -> pl.Expr:
    return pl.col(column).dt.year().cast(pl.Int64) * 12 + pl.col(column).dt.month()


def _in_months() -> pl.Expr:
    """Return whether a distance is one of whole months: between the same days of a month, or about month ends."""
    day, day_before = (pl.col(column).dt.day() for column in ("ds", "before"))
    is_same_day = (day == day_before) | ((_days_to_end("ds") <= DAYS_APART) & (_days_to_end("before") <= DAYS_APART))
    shortest, longest = (pl.col("months") * days * DAY for days in MONTH_DAYS)
    reach = DAYS_APART * DAY
    return (pl.col("months") >= 1) & pl.col("gap").is_between(shortest - reach, longest + reach) & is_same_day


def _days_to_end(column: str) -> pl.Expr:
    return pl.col(column).dt.month_end().dt.day() - pl.col(column).dt.day()


def _refuse_unread(rows: pl.LazyFrame, subject: str) -> None:
    """Raise SourceError where many of the first times cannot be read, and another format reads them."""
    sample = well_formed(rows).head(NUM_SNIFFED)
    name = "ds_text" if "ds_text" in rows.collect_schema() else "ds"
    texts = sample.select(pl.col(name).cast(pl.String)).collect()[name].str.strip_chars()
    times = read_times(sample.select("ds"), "ds", clock="timestamp").collect()["ds"]
    unread = texts.filter(times.is_null() & (texts != "").fill_null(False))
    proposal = describe_unread(unread)
    if proposal and len(unread) >= LEAST_UNREAD * len(texts):
        raise SourceError(f"{subject}: the frequency cannot be inferred, because times cannot be read; {proposal}")


def _describe(totals: pl.DataFrame, clock: Clock) -> str:
    """Name the most frequent distances with their shares."""
    num_all = totals["num"].sum()
    named = [
        f"{num / num_all:.0%} are {_spell(in_months, width, clock)}"
        for in_months, width, num in totals.head(NUM_SHOWN).rows()
    ]
    return ", ".join(named)


def _spell(in_months: bool, width: int, clock: Clock) -> str | int:
    if clock == "step":
        return width
    return spell_months(width) if in_months else spell_width(width)
