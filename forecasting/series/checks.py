"""Check the measurements of a run before it trains: evaluate the checks of a spec, and apply what follows."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from forecasting.errors import CheckFailed
from forecasting.series.freshness import check_freshness
from forecasting.series.ignored import is_ignored
from forecasting.series.ingest import Ingested
from forecasting.series.measurement_checks import find_failing
from forecasting.series.verdicts import (
    FINDINGS,
    find_set_aside,
    join_verdicts,
    of_series,
    of_whole,
    refuse_failed,
    skipped,
)
from forecasting.spec.checks import ForecastCheck, FreshnessCheck, IdsCheck, NumSeriesCheck, matches
from forecasting.spec.spec import Spec

REQUESTED = "the cutoff was requested, so that the age of the newest measurement says nothing"
FILTERED = "the run is of some series alone"


@dataclass(frozen=True)
class Checked:
    """Measurements after their checks.

    Attributes:
        ingested: The measurements, without the features of series that a check sets aside.
        verdicts: The verdict of every check.
    """

    ingested: Ingested
    verdicts: pl.DataFrame

    def refuse(self) -> None:
        """Stop the run where a check fails that stops it.

        Raises:
            CheckFailed: A check fails with `on_failure = "fail"`, or checks set all series aside.
        """
        refuse_failed(self.verdicts)
        set_aside = find_set_aside(self.verdicts)
        if set_aside and not set(self.ingested.unique_ids) - set(self.ingested.unserved):
            name, reason = next(iter(set_aside.items()))
            raise CheckFailed(f"no series is left to forecast; '{name}' is {reason}", self.verdicts)


def check_measurements(
    ingested: Ingested, spec: Spec, *, moment: datetime | None, is_filtered: bool = False
) -> Checked:
    """Evaluate the checks of a spec's measurements.

    Series that have ended or are set aside already are not checked one by one.

    Args:
        ingested: What was read up to the cutoff.
        spec: The spec.
        moment: The time of the run on the clock of ds; None where its cutoff was requested.
        is_filtered: Whether the run is of some series alone, so that names and numbers of series say nothing.

    Returns:
        The measurements that are left, and verdicts; `Checked.refuse` stops a run that must not go on.
    """
    checks = [check for check in spec.checks if not isinstance(check, ForecastCheck)]
    if not checks:
        return Checked(ingested, join_verdicts([]))
    points = _points_of(ingested, spec)
    names = ingested.unique_ids
    parts = []
    for check in checks:
        if is_filtered and isinstance(check, IdsCheck | NumSeriesCheck):
            parts.append(skipped(check, FILTERED))
        elif isinstance(check, IdsCheck):
            parts.append(_check_ids(check, names))
        else:
            parts.append(_check_selected(check, points, names, ingested, spec, moment, is_filtered))
    verdicts = join_verdicts(parts)
    set_aside = {**find_set_aside(verdicts), **ingested.set_aside}
    return Checked(ingested.without(set_aside), verdicts)


def check_stale(
    newest: pl.DataFrame, spec: Spec, *, moment: datetime | None, ended: Collection[str] = ()
) -> pl.DataFrame:
    """Evaluate the checks of freshness alone, of a run that has nothing new to read.

    Args:
        newest: `unique_id` and `newest`, the time of the newest measurement of each series.
        spec: The spec.
        moment: The time of the run on the clock of ds; None where its cutoff was requested.
        ended: Series that have ended.

    Returns:
        Rows of verdicts.
    """
    checks = [check for check in spec.checks if isinstance(check, FreshnessCheck)]
    return join_verdicts([_check_freshness(check, newest, spec, moment, unserved=ended) for check in checks])


def newest_measurements(points: pl.LazyFrame) -> pl.LazyFrame:
    """Return `unique_id` and `newest` of observations: the time of each series' newest measurement."""
    measured = points.filter(pl.col("y").is_not_null())
    return measured.group_by("unique_id").agg(newest=pl.col("ds").max())


def _points_of(ingested: Ingested, spec: Spec) -> pl.LazyFrame:
    """Return the grid points that are checked; `from_end` counts those of a series from the newest one, from 1."""
    points = ingested.points.select("unique_id", "ds", "y", "is_observed")
    if any(getattr(check, "points", None) is not None for check in spec.checks):
        lengths = ingested.lengths
        end = np.cumsum(np.fromiter(lengths.values(), dtype=np.int64, count=len(lengths)))
        ends = pl.LazyFrame({"unique_id": pl.Series(list(lengths), dtype=pl.String), "end": end})
        numbered = points.with_row_index("row").join(ends, on="unique_id", how="left", maintain_order="left")
        from_end = pl.col("end") - pl.col("row").cast(pl.Int64)
        points = numbered.with_columns(from_end=from_end).drop("row", "end")
    unserved = list(ingested.unserved)
    points = points.filter(~pl.col("unique_id").is_in(unserved)) if unserved else points
    return points.filter(~is_ignored(spec.source, spec.clock)) if spec.source.ignore else points


def _check_ids(check: IdsCheck, names: Collection[str]) -> pl.DataFrame:
    unknown = [name for name in names if check.allowed is not None and not matches(name, check.allowed)]
    absent = sorted(set(check.expected or ()) - set(names))
    why = dict.fromkeys(unknown, "it is not among the allowed names")
    why |= dict.fromkeys(absent, "it is expected, but the source has no row of it")
    findings = pl.DataFrame([(name, None, None, reason) for name, reason in why.items()], FINDINGS, orient="row")
    return of_series(check, findings, num_checked=len({*names, *absent}))


def _check_selected(
    check: Any,
    points: pl.LazyFrame,
    names: Collection[str],
    ingested: Ingested,
    spec: Spec,
    moment: datetime | None,
    is_filtered: bool,
) -> pl.DataFrame:
    """Return the verdicts of a check of the series that it names."""
    selected = set(names)
    if check.series is not None:
        selected = {name for name in names if matches(name, check.series)}
        if not selected and is_filtered:
            return skipped(check, FILTERED)
        if not selected and not isinstance(check, NumSeriesCheck):
            patterns = ", ".join(map(repr, check.series))
            return of_whole(check, f"the source has no series that matches {patterns}", has_failed=True)
    live = selected - set(ingested.unserved)
    if isinstance(check, NumSeriesCheck):
        return _check_number(check, len(selected - set(ingested.ended)))
    if isinstance(check, FreshnessCheck):
        newest = newest_measurements(ingested.observed).collect(engine="streaming")
        return _check_freshness(check, newest, spec, moment, unserved=ingested.unserved)
    num_left_out = len(selected) - len(live)
    more = f"; {num_left_out:,} that have ended or are set aside were not checked" if num_left_out else ""
    if check.series is not None:
        points = points.filter(pl.col("unique_id").is_in(list(live)))
    return of_series(check, find_failing(check, points), num_checked=len(live), more=more)


def _check_freshness(
    check: FreshnessCheck, newest: pl.DataFrame, spec: Spec, moment: datetime | None, *, unserved: Collection[str]
) -> pl.DataFrame:
    if moment is None:
        return skipped(check, REQUESTED)
    if check.series is not None:
        wanted = [name for name in newest["unique_id"] if matches(name, check.series)]
        newest = newest.filter(pl.col("unique_id").is_in(wanted))
    if check.per_series:
        newest = newest.filter(~pl.col("unique_id").is_in(list(unserved)))
    if newest.is_empty():
        return of_whole(check, "no series that it is of has a measurement", has_failed=True)
    return check_freshness(check, newest, spec, moment=moment)


def _check_number(check: NumSeriesCheck, number: int) -> pl.DataFrame:
    low, high = check.min, check.max
    is_low, is_high = low is not None and number < low, high is not None and number > high
    bounds = " and ".join(f"{name} = {bound:,}" for name, bound in (("min", low), ("max", high)) if bound is not None)
    return of_whole(
        check,
        f"the source has {number:,} series that have not ended; {bounds}",
        has_failed=is_low or is_high,
        found=number,
        bound=low if is_low or high is None else high,
    )
