"""Days that are regularly closed: find weekdays without rows, and refuse opening times that the rows contradict."""

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.errors import SourceError
from forecasting.series.open_calendar import EPOCH_DAY, IntArray
from forecasting.series.reasons import Reason
from forecasting.spec.frequency import learned_frequency, opening_of, step_of
from forecasting.spec.opening import MINUTES, spell_days
from forecasting.spec.spec import Spec

SMALL_CHANCE = 0.001
"""Chance below which absent rows of a weekday are not chance, if each of its days has a row as often as other days."""
STRAY_SHARE = 0.01
"""Rows of a closed weekday, as a share of those of the weekday with most rows."""
MOST_OPEN = 0.5
"""Rows at the closed times of a weekday, relative to those at open times, above which the opening times are wrong."""

# K groups of rows · 7 weekdays


def find_open_days(times: pl.LazyFrame) -> list[int] | None:
    """Return the weekdays that have rows, from Monday.

    Args:
        times: Rows of all series, with `ds` and without nulls.

    Returns:
        The days; None where all have rows, or chance may explain that some have none.
    """
    dates = times.select(date=pl.col("ds").dt.date()).group_by("date").agg(num=pl.len())
    counted = dates.with_columns(weekday=pl.col("date").dt.weekday() - 1).collect(engine="streaming")
    if counted.is_empty():
        return None
    rows_7, dates_7 = (
        np.bincount(counted["weekday"], weights=weights, minlength=7).astype(np.float64)
        for weights in (counted["num"].to_numpy(), np.ones(counted.height))
    )
    ends = counted.select(first=pl.col("date").min(), last=pl.col("date").max())
    is_closed_K7 = _closed_days(rows_7[None], dates_7[None], _days(ends["first"]), _days(ends["last"]))
    return [int(day) for day in np.flatnonzero(~is_closed_K7[0])] if is_closed_K7.any() else None


def describe_closed_days(observations: pl.LazyFrame, spec: Spec, *, has_gaps: bool) -> str | None:
    """Return a sentence about weekdays on which some series never have a row, and the option that leaves them out.

    Where no series has one, forecasts would fall on days that do not exist, and the season would be wrong: that stops a
    run that does not say what absent rows mean.

    Args:
        observations: The rows of all series.
        spec: The spec; one that says when series are open needs no sentence.
        has_gaps: Whether a grid point has no row.

    Returns:
        The sentence; None if there are no such days, or the frequency is not one day.

    Raises:
        SourceError: No series has a row on the same days of the week.
    """
    if (
        step_of(spec.freq) != "1d"
        or spec.source.open is not None
        or opening_of(learned_frequency(spec.freq)) is not None
    ):
        return None
    if not has_gaps:
        return None
    counts = (
        observations.group_by("unique_id", weekday=pl.col("ds").dt.weekday() - 1)
        .agg(num=pl.len(), first=pl.col("ds").min(), last=pl.col("ds").max())
        .sort("unique_id")
        .collect(engine="streaming")
    )
    series = counts.group_by("unique_id", maintain_order=True).agg(pl.col("first").min(), pl.col("last").max())
    place = counts["unique_id"].rle_id().to_numpy()
    rows_K7 = np.zeros((series.height, 7))
    rows_K7[place, counts["weekday"].to_numpy()] = counts["num"].to_numpy()
    is_closed_K7 = _closed_days(rows_K7, rows_K7, _days(series["first"]), _days(series["last"]))
    has_closed_K = is_closed_K7.any(axis=1)
    if not has_closed_K.any():
        return None
    one = int(np.argmax(has_closed_K))
    closed, is_open = (spell_days(np.flatnonzero(each).tolist()) for each in (is_closed_K7[one], ~is_closed_K7[one]))
    is_same = has_closed_K.all() and (is_closed_K7 == is_closed_K7[0]).all()
    if is_same and spec.source.missing_rows is None:
        raise SourceError(
            f"source {spec.source} has no rows on {closed}, on which forecasts of frequency {step_of(spec.freq)} would"
            f' fall; --open {is_open} (source.open = "{is_open}") leaves these days out of the grid, where a season is'
            f" {np.count_nonzero(~is_closed_K7[0])} steps; --open Mon-Sun keeps them as gaps"
        )
    return (
        f"{has_closed_K.sum()} of {series.height} series have no rows on some days of the week, such as"
        f" '{series['unique_id'][one]}' on {closed}; these days are gaps, and are forecast; --open {is_open}"
        f' (source.open = "{is_open}") leaves them out of the grid; "Mon-Sun" keeps them without this warning'
    )


def refuse_open_rows(refused: pl.DataFrame, num_accepted: int, spec: Spec) -> None:
    """Raise SourceError where a weekday that is closed has rows nearly as often as an open one.

    Args:
        refused: Refused rows, with `time`: their `ds` on the clock.
        num_accepted: The number of accepted rows.
        spec: The spec, whose frequency has the opening times.

    Raises:
        SourceError: The opening times are wrong.
    """
    opening = opening_of(spec.freq)
    closed = refused.filter(pl.col("reason") == Reason.CLOSED.value)
    if opening is None or closed.is_empty():
        return
    minutes_7 = np.array([sum(end - begin for begin, end in hours) for hours in opening.week])
    weekday = (closed["time"].dt.weekday() - 1).to_numpy()
    per_minute = num_accepted / minutes_7.sum()
    is_open_7 = np.bincount(weekday, minlength=7) > MOST_OPEN * per_minute * (MINUTES - minutes_7)
    is_open_7 &= minutes_7 < MINUTES
    if not is_open_7.any():
        return
    name, time = closed.select("unique_id", "ds").row(0)
    days = spell_days(np.flatnonzero(is_open_7 | (minutes_7 > 0)).tolist())
    proposal = f"--freq {step_of(spec.freq)} --open {days} (source.open) reads them"
    raise SourceError(
        f"source {spec.source}: {closed.height} of {num_accepted + refused.height} rows lie on times that are closed at"
        f" frequency {spec.freq}, such as {time} of series '{name}'; {proposal}"
    )


def _closed_days(
    rows_K7: npt.NDArray[np.float64], dates_K7: npt.NDArray[np.float64], first_K: IntArray, last_K: IntArray
) -> npt.NDArray[np.bool_]:
    """Return which weekdays are closed, from their rows, their days with rows, and the first and last days."""
    is_rare_K7 = rows_K7 <= STRAY_SHARE * rows_K7.max(axis=1, keepdims=True)
    to_first_K7 = (np.arange(7) - (first_K[:, None] + EPOCH_DAY)) % 7
    possible_K7 = np.maximum((last_K - first_K)[:, None] - to_first_K7, -1) // 7 + 1
    share_K = (dates_K7 * ~is_rare_K7).sum(1) / np.maximum((possible_K7 * ~is_rare_K7).sum(1), 1)
    chance_K7 = (1 - np.minimum(share_K, 0.99))[:, None] ** possible_K7
    # One weekday alone is a weekly grid.
    has_several_K1 = (~is_rare_K7).sum(1, keepdims=True) > 1
    is_closed_K7: npt.NDArray[np.bool_] = is_rare_K7 & (chance_K7 < SMALL_CHANCE) & has_several_K1
    return is_closed_K7


def _days(dates: pl.Series) -> IntArray:
    days: IntArray = dates.cast(pl.Date).to_physical().to_numpy().astype(np.int64)
    return days
