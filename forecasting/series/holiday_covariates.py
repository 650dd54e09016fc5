"""Holidays as covariates: the name of a day's holiday, days around it, bridge days, and counts of longer periods.

A day is one of the wall clock. Names are codes (`forecasting.series.covariate_names`).
"""

# T times · D consecutive days

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.errors import SourceError, SpecError
from forecasting.schemas import TIMESTAMP
from forecasting.series.covariate_names import code_of
from forecasting.series.grid import make_grid
from forecasting.series.holiday_calendar import HolidayCalendar, find_calendar
from forecasting.series.local_grid import wall_clock_of
from forecasting.spec.frequency import DAY, fixed_width
from forecasting.spec.holidays import BRIDGE, COUNT, NAME, WORKING_DAY, WORKING_DAYS, Holidays, around_name, has_days
from forecasting.spec.spec import Spec

NO_HOLIDAY = "none"
_NONE = code_of(NO_HOLIDAY)

IntArray = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeriesHolidays:
    """Whose holidays each series has.

    Attributes:
        spec: The spec, with holidays.
        codes: unique_id and `code`, empty where a series has none; None where all have that of the spec.
        zone: The zone on whose wall clock days are, where times are in UTC; None where they are on it.
        notes: What is to be said about series without a code.
    """

    spec: Spec
    codes: pl.DataFrame | None
    zone: str | None
    notes: tuple[str, ...] = ()

    def add_to(self, points: pl.LazyFrame, column_of: Mapping[str, str]) -> pl.LazyFrame:
        """Add the covariates to points.

        Args:
            points: unique_id and ds.
            column_of: The columns to add, by the names of covariates.

        Returns:
            The points in their order, with the columns.
        """
        names = self.spec.holidays.covariates(self.spec.freq)
        if self.codes is None:
            times = points.select(pl.col("ds").unique()).collect(engine="streaming")["ds"]
            values = _values_at(times, str(self.spec.holidays.country), self.spec, self.zone)
            values = values.rename({name: column_of[name] for name in names})
            return points.join(values.lazy(), on="ds", how="left", maintain_order="left")
        coded = points.join(self.codes.lazy(), on="unique_id", how="left", maintain_order="left")
        pairs = coded.select("code", "ds").unique().collect(engine="streaming").sort("code", "ds")
        parts = [
            _values_at(times["ds"], str(code), self.spec, self.zone).with_columns(code=pl.lit(code))
            for (code,), times in pairs.group_by("code", maintain_order=True)
        ]
        none = pl.DataFrame(schema={"ds": TIMESTAMP, **dict.fromkeys(names, pl.Float64()), "code": pl.String()})
        values = pl.concat([none, *parts]).rename({name: column_of[name] for name in names})
        return coded.join(values.lazy(), on=["code", "ds"], how="left", maintain_order="left").drop("code")

    def describe_first(self, known: pl.LazyFrame, ahead: pl.DataFrame, column_of: Mapping[str, str]) -> list[str]:
        """Describe the holidays of the horizon that series have not had before, as far as they have had others.

        Args:
            known: Grid points up to the cutoff with unique_id and the covariates.
            ahead: Those of the horizon, also with ds.
            column_of: The columns of covariates by their names.

        Returns:
            A sentence for each such holiday.
        """
        if NAME not in column_of:
            return []
        column = column_of[NAME]
        key = ["unique_id", column]
        had = known.select(key).unique().collect(engine="streaming")
        new = ahead.filter(pl.col(column) != _NONE).join(had, on=key, how="anti")
        new = new.join(had.filter(pl.col(column) != _NONE), on="unique_id", how="semi").sort("ds", "unique_id")
        if new.is_empty():
            return []
        first, last = (int(day) for day in _whole_days(pl.Series([new["ds"].min(), new["ds"].max()], dtype=TIMESTAMP)))
        codes = [str(self.spec.holidays.country)] if self.codes is None else self.codes["code"].unique().sort()
        names = [name for code in codes if code for name in find_calendar(code, first, last).name_D if name is not None]
        of_code = {code_of(name): name for name in names}
        return [
            f"holiday '{of_code[code]}' lies within the horizon of {series.n_unique()} series for the first time in"
            f" their history, such as of '{series[0]}'; models know the effect of their other holidays alone"
            for (code,), series in ((key, rows["unique_id"]) for key, rows in new.group_by(column, maintain_order=True))
        ]


def find_holidays(points: pl.LazyFrame, spec: Spec, *, zone: str | None) -> SeriesHolidays:
    """Find whose holidays each series has.

    Args:
        points: unique_id, ds and, where the spec reads a column of codes, `categories`.
        spec: The spec, with holidays.
        zone: The zone of the wall clock, where times are in UTC.

    Returns:
        The holidays. A series has its newest code, else that of the spec, else none, which notes name.

    Raises:
        SourceError: A series has a code that is not known.
        SpecError: The spec's own code is not known.
    """
    holidays = spec.holidays
    if holidays.country is not None:
        refuse_unknown(holidays)
    if holidays.by is None:
        return SeriesHolidays(spec, None, zone)
    value = (
        pl.col("categories")
        .list.eval(pl.element().filter(pl.element().struct.field("name") == holidays.by).struct.field("value"))
        .list.first()
    )
    newest = points.with_columns(code=value.str.strip_chars()).group_by("unique_id")
    known = pl.col("code").get(pl.col("ds").arg_max())
    codes = newest.agg(known).collect(engine="streaming").sort("unique_id")
    codes = codes.with_columns(pl.when(pl.col("code") != "").then("code"))
    for unique_id, code in codes.drop_nulls("code").unique("code", keep="first", maintain_order=True).iter_rows():
        try:
            find_calendar(code, 0, 0)
        except ValueError as error:
            raise SourceError(
                f"source {spec.source}: series '{unique_id}' has '{code}' in column '{holidays.by}' (holidays.by); it"
                f" {error}"
            ) from error
    lacking = codes.filter(pl.col("code").is_null())["unique_id"]
    notes: tuple[str, ...] = ()
    if len(lacking):
        have = "series has" if len(lacking) == 1 else "series have"
        instead = (
            f"they have the holidays of {holidays.country} (holidays.country)"
            if holidays.country is not None
            else "they have no holidays; holidays.country (--holidays) gives them those of a country"
        )
        without = f"{len(lacking)} of {codes.height} {have} no code in column '{holidays.by}'"
        notes = (f"{without}, such as '{lacking[0]}'; {instead}",)
    return SeriesHolidays(spec, codes.with_columns(pl.col("code").fill_null(holidays.country or "")), zone, notes)


def refuse_unknown(holidays: Holidays) -> None:
    """Raise SpecError where the holidays of the spec's country are not known."""
    if holidays.country is None:
        return
    try:
        find_calendar(holidays.country, 0, 0)
    except ValueError as error:
        raise SpecError("holidays.country", [f"'{holidays.country}' {error}"]) from error


def days_of(ds: pl.Series, spec: Spec, zone: str | None) -> tuple[IntArray, IntArray]:
    """Return the days of grid points.

    Args:
        ds: Grid points.
        spec: Has the frequency, and whether times are ends.
        zone: The zone on whose wall clock days are, where times are in UTC.

    Returns:
        The first day of each, and the day after its last one, in days since 1970.
    """
    local = pl.DataFrame({"ds": ds})
    if zone is not None:
        local = local.with_columns(wall_clock_of(pl.col("ds"), zone))
    width = fixed_width(spec.freq)
    if width is None:
        grid = make_grid(spec.freq)
        begin = local.select(ds=grid.begin(pl.col("ds"), None))
        end = begin.select(ds=grid.end(pl.col("ds"), None))["ds"]
        return _whole_days(begin["ds"]), _whole_days(end)
    # A time that ends its interval at midnight belongs to the day before; aggregates have the beginning of theirs.
    is_end = width < DAY and spec.source.label == "end" and spec.source.aggregate is None
    day_T = (local["ds"].to_physical().to_numpy() - (1 if is_end else 0)) // DAY
    return day_T, day_T + max(width // DAY, 1)


def _values_at(ds: pl.Series, code: str, spec: Spec, zone: str | None) -> pl.DataFrame:
    """Return ds and the covariates of one code; without a code, no day is a holiday or a working day."""
    begin_T, end_T = days_of(ds, spec, zone)
    names = spec.holidays.covariates(spec.freq)
    if not code:
        nothing = {name: _NONE if name == NAME else 0.0 for name in names}
        return pl.DataFrame({"ds": ds}).with_columns(pl.lit(value).alias(name) for name, value in nothing.items())
    calendar = find_calendar(code, int(begin_T.min(initial=0)), int(end_T.max(initial=0)))
    place_T, stop_T = begin_T - calendar.first, end_T - calendar.first
    is_day = has_days(spec.freq)
    values = _of_days(calendar, place_T, spec.holidays) if is_day else _of_periods(calendar, place_T, stop_T)
    return pl.DataFrame({"ds": ds, **{name: values[name] for name in names}})


def _whole_days(ds: pl.Series) -> IntArray:
    days: IntArray = ds.to_physical().to_numpy() // DAY
    return days


def _of_days(calendar: HolidayCalendar, place_T: IntArray, holidays: Holidays) -> dict[str, Values]:
    """Return the covariates of days, by their places in the calendar."""
    code_D = _codes(calendar)
    is_named_D = code_D != _NONE
    values = {NAME: code_D[place_T], WORKING_DAY: calendar.is_working_D[place_T].astype(np.float64)}
    for offset in holidays.offsets:
        values[around_name(offset)] = (is_named_D[place_T - offset] & ~is_named_D[place_T]).astype(np.float64)
    is_free_D = ~calendar.is_working_D
    before, after = place_T - 1, place_T + 1
    is_bridge_T = (
        calendar.is_working_D[place_T]
        & (is_free_D[before] & is_free_D[after])
        & (is_named_D[before] | is_named_D[after])
    )
    return values | {BRIDGE: is_bridge_T.astype(np.float64)}


def _of_periods(calendar: HolidayCalendar, place_T: IntArray, stop_T: IntArray) -> dict[str, Values]:
    """Return the covariates of periods of several days: from a day, and up to but without another one."""
    code_D = _codes(calendar)
    is_named_D = code_D != _NONE
    next_D = np.minimum.accumulate(np.where(is_named_D, np.arange(len(code_D)), len(code_D) - 1)[::-1])[::-1]
    first_T = next_D[place_T]
    return {
        NAME: np.where(is_named_D[first_T] & (first_T < stop_T), code_D[first_T], _NONE),
        COUNT: _count(is_named_D & ~calendar.is_weekend_D, place_T, stop_T),
        WORKING_DAYS: _count(calendar.is_working_D, place_T, stop_T),
    }


def _count(is_meant_D: npt.NDArray[np.bool_], place_T: IntArray, stop_T: IntArray) -> Values:
    """Return how many of the days of each period are meant."""
    before = np.concatenate([[0], np.cumsum(is_meant_D)])
    counts: Values = (before[stop_T] - before[place_T]).astype(np.float64)
    return counts


def _codes(calendar: HolidayCalendar) -> Values:
    names = {name for name in calendar.name_D if name is not None}
    code = {name: code_of(name) for name in names} | {None: _NONE}
    return np.array([code[name] for name in calendar.name_D])
