"""Calendar features: sine and cosine of the phase of `ds` within the hour, day, week and year.

Phases are those of the wall clock: of the times' zone, or of naive times. A week begins on Monday; a year has 365 or
366 days.
"""

import math

import numpy as np
import polars as pl

from forecasting.series.columns import unused_name
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
    names = calendar_columns(freq)
    nulls = {f"{period}_{wave}": pl.lit(None, pl.Float32) for period in PERIODS for wave in ("sin", "cos")}
    if not names:
        return grid.with_columns(**nulls)
    waves = pl.col("ds").map_batches(
        lambda ds: _waves(ds, freq, zone),
        return_dtype=pl.Struct(dict.fromkeys(names, pl.Float32())),
        is_elementwise=True,
    )
    column = unused_name("calendar", grid.collect_schema())
    known = {name: pl.col(column).struct.field(name) for name in names}
    return grid.with_columns(waves.alias(column)).with_columns(**{**nulls, **known}).drop(column)


def _waves(ds: pl.Series, freq: str | int, zone: str | None) -> pl.Series:
    """Return the features that vary, as a struct; each time is computed once where series share their times."""
    width = fixed_width(freq)
    if width is not None and len(ds) and not ds.has_nulls():
        time_N = ds.to_physical().to_numpy()
        first = time_N.min()
        num_times = int(time_N.max() - first) // width + 1
        place_N = (time_N - first) // width  # which is far faster than np.divmod
        if num_times <= len(ds) // 2 and np.array_equal(place_N * width, time_N - first):
            times = pl.Series(first + width * np.arange(num_times), dtype=pl.Int64).cast(ds.dtype)
            rows = pl.Series(place_N.astype(np.uint32))
            columns = _waves(times, freq, zone).struct.unnest().iter_columns()
            return pl.DataFrame([column.gather(rows) for column in columns]).to_struct(ds.name)
    time = pl.col("ds") if zone is None else wall_clock_of(pl.col("ds"), zone)
    waves = {name: _wave(name, time) for name in calendar_columns(freq)}
    return ds.to_frame("ds").select(**waves).to_struct(ds.name)


def _varies(period: str, freq: str | int) -> bool:
    if isinstance(freq, int):
        return False
    months = num_months(freq)
    if months is not None:
        return period == "year" and months < 12
    width = fixed_width(freq)
    return width is not None and width < _WIDTHS[period]


def _wave(name: str, ds: pl.Expr) -> pl.Expr:
    period, wave = name.split("_")
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
