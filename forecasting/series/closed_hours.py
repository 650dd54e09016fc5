"""Hours that are regularly closed: find those of the week without rows at frequencies below a day."""

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.series.closed import SMALL_CHANCE, STRAY_SHARE
from forecasting.series.local_grid import wall_clock_of
from forecasting.spec.frequency import DAY, UNITS, fixed_width, learned_frequency, opening_of
from forecasting.spec.opening import Hours, spell_week
from forecasting.spec.spec import Spec

FEWEST_ABSENT = 0.1
"""Share of the grid points without a row from which closed hours are looked for."""
LONGEST_PROPOSAL = 60
"""Characters of opening times that are proposed; longer ones are a pattern of the data rather than opening times."""

# 7 weekdays · T steps of a day


def describe_closed_hours(
    observations: pl.LazyFrame, spec: Spec, *, num_points: int, num_rows: int, zone: str | None = None
) -> str | None:
    """Return a sentence about hours of the week in which no series has rows, and the option that leaves them out.

    Args:
        observations: The rows of all series.
        spec: The spec; one that says when series are open needs no sentence.
        num_points: The number of grid points that the rows lie among.
        num_rows: The number of rows.
        zone: The zone whose hours are meant, where times are in UTC; None where times are on the wall clock.

    Returns:
        The sentence; None if all hours have rows, or the frequency is not of whole minutes that divide a day.
    """
    width = fixed_width(spec.freq)
    if isinstance(spec.freq, int) or width is None or width >= DAY or DAY % width or width % UNITS["m"]:
        return None
    num_absent = num_points - num_rows
    is_said = spec.source.open is not None or opening_of(learned_frequency(spec.freq)) is not None
    if is_said or num_absent <= FEWEST_ABSENT * num_points:
        return None
    times = observations.group_by("ds").agg(num=pl.len()).collect(engine="streaming")
    if zone is not None:
        times = times.with_columns(ds=wall_clock_of(pl.col("ds"), zone))
    is_closed_7T = _closed_hours(times, width)
    if not is_closed_7T.any():
        return None
    opening = spell_week([_hours(~is_closed_T, width) for is_closed_T in is_closed_7T])
    if len(opening) > LONGEST_PROPOSAL:
        return None
    return (
        f"no series has rows at other times of the week than {opening}; the other times are gaps, and are forecast;"
        f' --open "{opening}" (source.open) leaves them out of the grid; "Mon-Sun" keeps them without this warning'
    )


def _closed_hours(times: pl.DataFrame, width: int) -> npt.NDArray[np.bool_]:
    """Return which steps of the week have no rows that chance does not explain."""
    place = (times["ds"].dt.weekday() - 1).to_numpy().astype(np.int64) * (DAY // width)
    place += times["ds"].to_physical().to_numpy() % DAY // width
    shape = (7, DAY // width)
    rows_7T, times_7T = (
        np.bincount(place, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
        for weights in (times["num"].to_numpy(), np.ones(len(place)))
    )
    is_rare_7T: npt.NDArray[np.bool_] = rows_7T <= STRAY_SHARE * rows_7T.max()
    num_weeks = np.ptp(times["ds"].to_physical().to_numpy()) // (7 * DAY)
    share = times_7T[~is_rare_7T].mean() / max(num_weeks, 1)
    is_chance = (1 - min(share, 0.99)) ** num_weeks >= SMALL_CHANCE
    is_closed_7T: npt.NDArray[np.bool_] = is_rare_7T & ~is_chance
    return is_closed_7T


def _hours(is_open_T: npt.NDArray[np.bool_], width: int) -> Hours:
    """Return the intervals of open steps in minutes."""
    edges = np.flatnonzero(np.diff(is_open_T.astype(np.int8), prepend=0, append=0)) * (width // UNITS["m"])
    return tuple((int(begin), int(end)) for begin, end in edges.reshape(-1, 2))
