"""Find rows of periods that are not over yet: a day that is read in its morning, or this month's total so far.

A period is over where the run's time lies at or after its end. Where the zone of the times is unknown, a period counts
as over if it may be, that is, if it is over in the zone that is furthest ahead.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.schemas import TIMESTAMP
from forecasting.series.clock import is_day_or_coarser, keeps_wall_clock
from forecasting.series.columns import OFFSET
from forecasting.series.declared_zone import INSTANT
from forecasting.series.plausible import ZONES_AHEAD
from forecasting.spec.frequency import DAY, MONTHS, clock_of, fixed_width, num_months
from forecasting.spec.source import Source

_INSTANT = timedelta(microseconds=1)


def is_unfinished(
    schema: Mapping[str, pl.DataType],
    source: Source,
    *,
    freq: str | int,
    now: datetime,
    as_of: datetime | int | None = None,
) -> pl.Expr | None:
    """Return whether the period of a row's time is not over; None where no row can be of such a period.

    Args:
        schema: Columns and dtypes of the rows, as `scan_source` returns them.
        source: The source, with `unfinished`, `label` and `aggregate`.
        freq: The frequency of the grid.
        now: The current time in UTC, naive.
        as_of: The run's time on the clock of ds, which counts instead of the current one; later rows are not meant.

    Returns:
        A boolean of `ds`, read, and `source_ds`, which are the times as the source has them; it may be null.
    """
    if source.unfinished == "use" or clock_of(freq) == "step":
        return None
    time, dtype = pl.col("ds"), schema["ds"]
    if as_of is not None:
        return is_open_at(as_of, source, freq=freq)
    stated = schema.get(INSTANT, dtype)
    zone = stated.time_zone if isinstance(stated, pl.Datetime) else None
    if zone is not None:
        is_local = keeps_wall_clock(freq)
        moment = now.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) if is_local else now
        return time >= _first(moment, source, freq)
    without_zone = time >= _first(now + ZONES_AHEAD, source, freq)
    if dtype != pl.String:
        return without_zone
    # Matching is slow, and only few times are this late.
    is_late = time >= _first(now - ZONES_AHEAD, source, freq)
    zone_text = pl.when(is_late).then(pl.col("source_ds")).str.strip_chars().str.extract(OFFSET, 2)
    if not is_day_or_coarser(freq):
        return is_late & pl.when(zone_text.is_null()).then(without_zone).otherwise(time >= _first(now, source, freq))
    offset = _duration(zone_text)  # null where text has the name of a zone alone
    in_zone = time >= _first_of(pl.lit(now, TIMESTAMP) + offset, source, freq)
    return is_late & pl.when(offset.is_null()).then(without_zone).otherwise(in_zone)


def is_open_at(as_of: datetime | int, source: Source, *, freq: str | int) -> pl.Expr:
    """Return whether the period of the time in `ds` has begun, but is not over.

    Args:
        as_of: The time of a run, on the clock of ds.
        source: The source.
        freq: The frequency of the grid.

    Returns:
        A boolean; false for integer steps.
    """
    if source.unfinished == "use" or not isinstance(as_of, datetime):
        return pl.lit(False)
    return pl.col("ds").is_between(_first(as_of, source, freq), pl.lit(as_of, TIMESTAMP))


def last_finished(moment: datetime, source: Source, freq: str | int) -> pl.Expr:
    """Return the latest time whose period is over at a moment.

    Args:
        moment: A time on the clock of ds.
        source: The source, with `label` and `aggregate`.
        freq: The frequency of the grid, not of integer steps.

    Returns:
        A time.
    """
    return _first(moment, source, freq) - _INSTANT


def _first(moment: datetime, source: Source, freq: str | int) -> pl.Expr:
    """Return the earliest time whose period is not over at a moment; all later ones are not either."""
    return _first_of(pl.lit(moment, TIMESTAMP), source, freq)


def _first_of(moment: pl.Expr, source: Source, freq: str | int) -> pl.Expr:
    width, is_end = fixed_width(freq), source.label == "end"
    if source.aggregate is None and is_end:
        return moment + _INSTANT
    if source.aggregate is None and not is_day_or_coarser(freq):
        assert width is not None
        return moment - timedelta(microseconds=width) + _INSTANT
    begin = moment.dt.truncate(_period(freq))
    return begin + _INSTANT if is_end else begin


def _period(freq: str | int) -> str:
    """Return the calendar period of a time, as Polars writes it; that of `EvenGrid` and `MonthGrid`."""
    months, width = num_months(freq), fixed_width(freq)
    if months is not None:
        return f"{months if months in MONTHS.values() else 1}mo"
    assert width is not None
    if width >= DAY:
        return "1w" if width % (7 * DAY) == 0 else "1d"
    return f"{width}us"


def _duration(zone_text: pl.Expr) -> pl.Expr:
    """Return an offset such as +01:00, -0530, +01 or Z as a duration; the name of a zone may follow it."""
    offset = zone_text.str.extract(r"^(Z|z|[+-][0-9:]+)")
    digits = offset.str.replace_all(r"\D", "").str.pad_end(4, "0").cast(pl.Int32, strict=False)
    minutes = digits // 100 * 60 + digits % 100
    return pl.duration(minutes=pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes))
