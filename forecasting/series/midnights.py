"""Find the zone whose midnights a source has as times in UTC, as databases write days."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from forecasting.schemas import TIMESTAMP
from forecasting.series.clock import is_day_or_coarser
from forecasting.series.columns import read_times, well_formed
from forecasting.series.inputs import Input
from forecasting.series.local_grid import wall_clock_of
from forecasting.series.local_times import localise
from forecasting.spec.frequency import Clock

FEWEST = 30
"""Midnights on both sides of a clock change, together, that are not chance."""
AHEAD = 800
"""Days after the newest midnight on which zones must agree."""
_AREAS = ("Europe", "America", "Australia", "Asia", "Pacific", "Africa", "Atlantic", "Antarctica")


def with_zone_of_midnights(given: Input, clock: Clock, freq: str | int) -> tuple[Input, str | None]:
    """Declare the zone of an input of days in UTC whose times are the midnights of one zone, with its clock changes.

    Days without a clock change have one time of day, so that they need no zone.

    Args:
        given: The input.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.

    Returns:
        The input with `source.timezone`, and a sentence about it; the same input and None where no zone is found, or
        several that differ.
    """
    source = given.source
    if clock == "step" or source.timezone is not None or not is_day_or_coarser(freq):
        return given, None
    if given.own_zone(clock, freq) != "UTC":
        return given, None
    rows = read_times(well_formed(given.scan(clock)).select("unique_id", "ds"), "ds", clock=clock)
    instants = rows.select(pl.col("ds").drop_nulls().unique().sort()).collect(engine="streaming")["ds"]
    zone = find_zone(instants)
    if zone is None:
        return given, None
    note = (
        f"{source}: times are midnights in UTC of {zone}, or of a zone with the same clocks; its days are used;"
        " --timezone (source.timezone) names another zone, such as UTC"
    )
    return replace(given, source=source.model_copy(update={"timezone": zone})), note


def find_zone(instants: pl.Series) -> str | None:
    """Return the zone in which all instants are midnights, some before and some after a clock change.

    Args:
        instants: Naive times in UTC, unique and sorted.

    Returns:
        The IANA name of one of the zones with these midnights; None without one, or if they differ later.
    """
    times = instants.dt.time().unique()
    if len(instants) < FEWEST or len(times) != 2:
        return None
    examples = [instants.filter(instants.dt.time() == time)[0] for time in times]
    named = sorted((name for name in available_timezones() if _area(name) in _AREAS), key=_rank)
    likely = [name for name in named if _are_midnights(examples, name)]
    frame = instants.cast(TIMESTAMP).to_frame("ds")
    found = [name for name in likely if frame.select((wall_clock_of(pl.col("ds"), name).dt.hour() == 0).all()).item()]
    if not found:
        return None
    later = [_midnights_after(instants[-1], name) for name in found]
    return found[0] if all(each.equals(later[0]) for each in later) else None


def _area(name: str) -> str:
    return name.partition("/")[0]


def _rank(name: str) -> tuple[int, str]:
    """Return what zones are sorted by, so that the one that a message names is a place that many know."""
    return _AREAS.index(_area(name)), name


def _are_midnights(instants: list[datetime], name: str) -> bool:
    zone = ZoneInfo(name)
    local = [each.replace(tzinfo=UTC).astimezone(zone) for each in instants]
    return all((each.hour, each.minute, each.second) == (0, 0, 0) for each in local)


def _midnights_after(instant: datetime, name: str) -> pl.Series:
    day = instant.replace(tzinfo=UTC).astimezone(ZoneInfo(name)).replace(tzinfo=None)
    return localise(pl.Series([day + timedelta(days=number) for number in range(AHEAD)]), name).cast(TIMESTAMP)
