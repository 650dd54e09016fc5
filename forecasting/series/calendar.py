"""Calendar features: sine and cosine of the phase of `ds` within the hour, day, week and year.

Phases are those of the wall clock: of the times' zone, or of naive times. A week begins on Monday; a year has 365 or
366 days.
"""

import math

import polars as pl

from forecasting.series.local_grid import wall_clock_of
from forecasting.spec.frequency import DAY, fixed_width, num_months

PERIODS = ("hour", "day", "week", "year")
_WIDTHS = {"hour": DAY // 24, "day": DAY, "week": 7 * DAY, "year": 365 * DAY}


def calendar_columns(freq: str | int) -> tuple[str, ...]:
    """Return the names of the calendar features that vary along a grid.

    These are the features of periods longer than the distance of two grid points.

    Args:
        freq: The frequency; integer steps have no calendar.

    Returns:
        Column names such as `day_sin` and `day_cos`.

    >>> calendar_columns("1d")
    ('week_sin', 'week_cos', 'year_sin', 'year_cos')
    """
    return tuple(f"{period}_{wave}" for period in PERIODS if _varies(period, freq) for wave in ("sin", "cos"))


def add_calendar(grid: pl.LazyFrame, *, freq: str | int, zone: str | None = None) -> pl.LazyFrame:
    """Add all calendar columns of the features table.

    Args:
        grid: Rows with `ds`.
        freq: The frequency of the grid.
        zone: The zone whose wall clock phases are of, where `ds` is in UTC; None where `ds` is on it.

    Returns:
        The rows with further columns, Float32 in [-1, 1]; columns that do not vary at this frequency are null.
    """
    ds = pl.col("ds") if zone is None else wall_clock_of(pl.col("ds"), zone)
    return grid.with_columns(
        _wave(period, wave, ds).alias(f"{period}_{wave}")
        if _varies(period, freq)
        else pl.lit(None, pl.Float32).alias(f"{period}_{wave}")
        for period in PERIODS
        for wave in ("sin", "cos")
    )


def _varies(period: str, freq: str | int) -> bool:
    if isinstance(freq, int):
        return False
    months = num_months(freq)
    if months is not None:
        return period == "year" and months < 12
    width = fixed_width(freq)
    return width is not None and width < _WIDTHS[period]


def _wave(period: str, wave: str, ds: pl.Expr) -> pl.Expr:
    angle = _phase(period, ds) * math.tau
    return (angle.sin() if wave == "sin" else angle.cos()).cast(pl.Float32)


def _phase(period: str, ds: pl.Expr) -> pl.Expr:
    """Return the elapsed share of the period, 0 to 1."""
    time = ds.cast(pl.Int64)
    if period == "hour":
        return (time % (DAY // 24)) / (DAY // 24)
    if period == "day":
        return (time % DAY) / DAY
    if period == "week":
        # 1970 began on a Thursday.
        return ((time + 3 * DAY) % (7 * DAY)) / (7 * DAY)
    days = ds.dt.ordinal_day() - 1 + (time % DAY) / DAY
    return days / pl.when(ds.dt.is_leap_year()).then(366).otherwise(365)
