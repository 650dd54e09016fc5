"""Where a run ends: one cutoff for all series, and which of them have ended before it.

The cutoff is the newest period that at least half of the live series have. A live series has a measurement within
`Spec.ended_after` steps of it, the others have ended. A live series without one at the cutoff lags, and has gaps there.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from forecasting.series.calendar import add_calendar
from forecasting.series.columns import COVARIATE_COLUMNS
from forecasting.series.grid import anchor_series, make_grid
from forecasting.series.ignored import is_ignored
from forecasting.series.local_grid import zone_in
from forecasting.series.regularise import is_live, number_at
from forecasting.spec.spec import Spec

SHARE = 0.5
"""Share of the live series that must have the period of the cutoff."""
DENSE = 0.5
"""Share of its grid points with a measurement from which on a series counts as one; below, as that share.

Of series that sell on one day in five, a fifth has a row on any day.
"""
FEWEST = 3
"""Measurements from which on the distance of the last one shows that it is odd."""
USUAL = 4
"""Times the mean distance of its measurements that the last one of a series may be away."""
NUM_POINTS = 12
"""Grid points without a measurement that show the grid of a series that has ended, with all months of a year."""


def choose_period(spans: pl.DataFrame, *, freq: str | int, ended_after: int) -> int:
    """Return the newest period that at least half of the live series have.

    A series that has ended does not count, and a single measurement far after all others of its series decides nothing.

    Args:
        spans: Rows of `measured_spans`, at least one.
        freq: The frequency of the grid.
        ended_after: The most steps without a measurement of a live series.

    Returns:
        The number of a period of the frequency's grid.
    """
    grid = make_grid(freq)
    periods = spans.select("num_measured", *(grid.period(pl.col(name)) for name in ("first", "before", "last")))
    num_S, first_S, last_S = (periods[name].to_numpy().astype(np.int64) for name in ("num_measured", "first", "last"))
    before_S = periods["before"].fill_null(periods["last"]).to_numpy().astype(np.int64)
    density_S = num_S / (before_S - first_S + 1)
    weight_S = np.where(density_S >= DENSE, 1.0, density_S)
    newest = _newest_reached(last_S, weight_S, ended_after)
    usual_S = USUAL * (before_S - first_S) / np.maximum(num_S - 2, 1)
    is_odd_S = last_S - before_S > np.maximum(ended_after, usual_S)
    is_known_S = num_S >= FEWEST
    if not is_known_S.any():
        return newest
    end_S = np.where(is_known_S & is_odd_S, before_S, last_S)
    is_meant_S = end_S <= end_S[is_known_S].max()
    sober = _newest_reached(end_S[is_meant_S], weight_S[is_meant_S], ended_after)
    # One measurement far after all others may end the single series that it is of, but not most others.
    is_live_S = is_meant_S & (end_S >= sober - ended_after)
    remains = np.count_nonzero(is_live_S & (last_S >= newest - ended_after))
    return newest if remains >= SHARE * np.count_nonzero(is_live_S) else sober


def _newest_reached(end_S: npt.NDArray[np.int64], weight_S: npt.NDArray[np.float64], ended_after: int) -> int:
    """Return the newest end that enough of the series reach that are live there."""
    order = np.argsort(end_S, kind="stable")
    ends, weights = end_S[order], np.concatenate([[0.0], np.cumsum(weight_S[order])])
    candidates = np.unique(ends)
    num_reaching = len(ends) - np.searchsorted(ends, candidates)
    num_live = weights[-1] - weights[np.searchsorted(ends, candidates - ended_after)]
    return int(candidates[np.flatnonzero(num_reaching >= SHARE * num_live)[-1]])


def up_to_cutoff(spans: pl.DataFrame, *, freq: str | int, ended_after: int) -> pl.Expr:
    """Return whether the time in `ds` lies in the period that `choose_period` returns, or before it.

    Args:
        spans: Rows of `measured_spans`, at least one.
        freq: The frequency of the grid.
        ended_after: The most steps without a measurement of a live series.

    Returns:
        A boolean.
    """
    return make_grid(freq).period(pl.col("ds")) <= choose_period(spans, freq=freq, ended_after=ended_after)


def has_not_ended(spec: Spec, *, cutoff: datetime | int) -> pl.Expr:
    """Return whether a series, as a group of rows of the features table, is forecast in spite of its end.

    Args:
        spec: The spec, with `source.ended` and `ended_after`.
        cutoff: The cutoff of the run.

    Returns:
        A boolean of `ds` and `is_observed`, true for a series without any measurement.
    """
    if spec.source.ended == "forecast":
        return pl.lit(True)
    # Points of ignored periods are gaps, although the source may have their measurements.
    is_measured = pl.col("is_observed") | is_ignored(spec.source, spec.clock)
    last = pl.col("ds").filter(is_measured).max()
    return is_live(make_grid(spec.freq), last, until=cutoff, reach=spec.ended_after).fill_null(True)


def find_ended(features: pl.DataFrame | pl.LazyFrame, spec: Spec, *, cutoff: datetime | int) -> dict[str, str]:
    """Return why each series that has ended gets no forecast, by its name.

    Args:
        features: Rows of the features table up to the cutoff: unique_id, ds and is_observed.
        spec: The spec, with `source.ended` and `ended_after`.
        cutoff: The cutoff of the run.

    Returns:
        Reasons; none where the spec has a forecast for such series too.
    """
    series = features.lazy().group_by("unique_id")
    ends = series.agg(is_live=has_not_ended(spec, cutoff=cutoff), last=pl.col("ds").filter("is_observed").max())
    ended = ends.filter(~pl.col("is_live")).sort("unique_id").select("unique_id", "last").collect(engine="streaming")
    return {name: _explain(last, spec, cutoff) for name, last in ended.iter_rows()}


def explain_ended(newest: pl.DataFrame, spec: Spec, *, cutoff: datetime | int) -> dict[str, str]:
    """Return why each series that has ended gets no forecast, as `find_ended` does.

    Args:
        newest: `unique_id` and `last`, the time of the newest measurement of each series or null; sorted.
        spec: The spec, of a source that ignores no period.
        cutoff: The cutoff of the run.

    Returns:
        Reasons by name.
    """
    if spec.source.ended == "forecast":
        return {}
    lives = is_live(make_grid(spec.freq), pl.col("last"), until=cutoff, reach=spec.ended_after).fill_null(True)
    return {name: _explain(last, spec, cutoff) for name, last in newest.filter(~lives).iter_rows()}


def _explain(last: datetime | int, spec: Spec, cutoff: datetime | int) -> str:
    return (
        f"ended: its newest measurement, {last}, lies more than {spec.ended_after} steps before the cutoff, {cutoff}"
        ' (source.ended_after, --ended-after); source.ended = "forecast" (--ended forecast) forecasts it from there'
    )


def describe_ended(ended: Mapping[str, str], num_series: int) -> str:
    """Return a sentence about the series that have ended, at least one."""
    name, reason = next(iter(ended.items()))
    return f"{len(ended):,} of {num_series:,} series get no forecast, such as '{name}', which has {reason}"


def describe_unmeasured(names: Sequence[str], num_series: int) -> str | None:
    """Return a sentence about the series without any measurement that models may learn from; None if each has one.

    Args:
        names: Those that have not ended.
        num_series: The number of all series.

    Returns:
        The sentence.
    """
    if not names:
        return None
    return (
        f"{len(names):,} of {num_series:,} series get no forecast, such as '{names[0]}', because all their measurements"
        " are missing or ignored"
    )


def hide_ended(features: pl.DataFrame, ended: Mapping[str, str], spec: Spec, *, cutoff: datetime | int) -> pl.DataFrame:
    """Replace the features of series that have ended by a few empty grid points up to the cutoff.

    No model forecasts from these, and the horizon of such a series is that of the run on the series' own grid.

    Args:
        features: Rows of the features table up to the cutoff, or some of their columns.
        ended: The series that have ended.
        spec: The spec of the features.
        cutoff: The cutoff of the run.

    Returns:
        Rows in the same columns, sorted.
    """
    if not ended:
        return features
    grid = make_grid(spec.freq)
    has_ended = pl.col("unique_id").is_in(list(ended))
    of_ended = features.filter(has_ended)
    points = (
        anchor_series(of_ended.lazy().select("unique_id", "ds"), freq=spec.freq)
        .with_columns(end=number_at(grid, cutoff))
        .with_columns(number=pl.int_ranges(pl.col("end") - NUM_POINTS + 1, pl.col("end") + 1, dtype=pl.Int64))
        .explode("number")
        .select("unique_id", ds=grid.ds(pl.col("number")))
    )
    points = points.with_columns(y=pl.lit(None, pl.Float64), is_observed=pl.lit(False))
    if "categories" in features.columns:
        classes = of_ended.lazy().group_by("unique_id").agg(pl.col("categories").last())
        points = points.join(classes, on="unique_id", how="left")
    zone = zone_in(features)
    points = points.with_columns(zone=pl.lit(zone, pl.String))
    points = points.with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in features.schema.items() if name in COVARIATE_COLUMNS
    )
    empty = add_calendar(points, freq=spec.freq, zone=zone).select(features.columns).collect()
    return pl.concat([features.filter(~has_ended), empty]).sort("unique_id", "ds")


def find_lagging(features: pl.DataFrame | pl.LazyFrame) -> list[str]:
    """Return the series, sorted, that have measurements, but none at the end of their grids."""
    series = features.lazy().group_by("unique_id").agg(is_lagging=is_lagging())
    lagging = series.filter("is_lagging").select("unique_id").collect(engine="streaming")
    return lagging["unique_id"].sort().to_list()


def is_lagging() -> pl.Expr:
    """Return whether a series, as a group of grid points, has measurements, but none at the end of its grid."""
    measured = pl.when(pl.col("y").is_not_null()).then("ds").max()  # far faster than a filter within groups
    return (measured < pl.col("ds").max()).fill_null(False)
