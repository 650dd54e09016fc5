"""How old the newest measurements are, in open periods that are over: closed days and hours do not count."""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

import polars as pl

from forecasting.series.clock import is_day_or_coarser
from forecasting.series.grid import EvenGrid, make_grid
from forecasting.series.plausible import wall_clock
from forecasting.series.unfinished import last_finished
from forecasting.series.verdicts import of_series, of_whole
from forecasting.spec.checks import FreshnessCheck
from forecasting.spec.frequency import opening_of, step_of
from forecasting.spec.spec import Spec


def current_time(spec: Spec, zone: tzinfo | None, *, now: datetime | None = None) -> datetime:
    """Return the current time on the clock of ds.

    Args:
        spec: The spec, whose schedule has the zone of a source that states none.
        zone: The zone of the clock of ds; None where it is not known.
        now: The current time in UTC, naive; the wall clock where not given.

    Returns:
        A naive time.
    """
    moment = (now or wall_clock()).replace(tzinfo=UTC)
    return moment.astimezone(zone or spec.schedule.zone).replace(tzinfo=None)


def measure_ages(newest: pl.DataFrame, spec: Spec, *, moment: datetime) -> pl.DataFrame:
    """Count the open periods after the newest measurement of each series that are over.

    Args:
        newest: `unique_id`, and `newest`: the time of its newest measurement, on its grid.
        spec: The spec, with the frequency, its opening times, and what a period is.
        moment: The time of the run, on the clock of ds.

    Returns:
        The same rows with `age`; 0 where the newest period that is over has a measurement.
    """
    grid, last = make_grid(spec.freq), last_finished(moment, spec.source, spec.freq)
    number: Callable[[pl.Expr], pl.Expr] = grid.period
    if isinstance(grid, EvenGrid) and not is_day_or_coarser(spec.freq):  # hours may begin at a quarter past
        newest = newest.with_columns(anchor=pl.col("newest").cast(pl.Int64) % grid.width)
        number = grid.number
    with_numbers = newest.with_columns(last=last).with_columns(
        age=(number(pl.col("last")) - number(pl.col("newest"))).clip(lower_bound=0)
    )
    return with_numbers.select("unique_id", "newest", "age")


def check_freshness(check: FreshnessCheck, newest: pl.DataFrame, spec: Spec, *, moment: datetime) -> pl.DataFrame:
    """Return the verdicts of a check of freshness.

    Args:
        check: The check.
        newest: The newest measurement of each series that is checked, as of `measure_ages`, at least one.
        spec: The spec.
        moment: The time of the run, on the clock of ds.

    Returns:
        Rows of verdicts.
    """
    ages = measure_ages(newest, spec, moment=moment)
    periods = f"{'' if opening_of(spec.freq) is None else 'open '}periods of {step_of(spec.freq)}"
    message = pl.format(
        f"its newest measurement, {{}}, is followed by {{}} {periods} that were over at {{}}; max = {{}}",
        pl.col("newest").dt.to_string("%Y-%m-%d %H:%M:%S"),
        "age",
        pl.lit(str(moment)),
        pl.lit(str(check.max)),
    )
    found = ages.select(
        "unique_id", found=pl.col("age").cast(pl.Float64), bound=pl.lit(float(check.max)), message=message
    )
    if check.per_series:
        return of_series(check, found.filter(pl.col("found") > check.max), num_checked=found.height)
    best: dict[str, Any] = found.sort("found", "unique_id").row(0, named=True)
    whose = best["message"].removeprefix("its ")
    return of_whole(check, f"the {whose}", has_failed=best["found"] > check.max, found=best["found"], bound=check.max)
