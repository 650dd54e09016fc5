"""Profile an input without training: what a run would use of it, and what its series look like."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from forecasting.errors import CheckFailed, SourceError
from forecasting.fleet.plan import required_length
from forecasting.series.checks import check_measurements
from forecasting.series.columns import KNOWN
from forecasting.series.covariate_names import is_coded
from forecasting.series.ends import is_lagging
from forecasting.series.freshness import current_time
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.seasons import Season, find_seasons
from forecasting.series.unread_columns import unread_columns
from forecasting.series.zone import clock_zone
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec

INTERMITTENT_SHARE = 0.5
"""Share of zeros among measurements from which on a series is intermittent."""


@dataclass(frozen=True)
class Profile:
    """What a run would use of an input.

    Attributes:
        spec: The spec.
        ingested: Accepted and refused rows, grids, and notes.
        series: One row per series: `unique_id`, `status` (`forecast`, `lagging`, `ended` or `set aside`), `first` and
            `last` (the grid's first time and the newest measurement's, on the clock of ds), `num_points` and
            `num_observed` of its grid, `num_zeros`, `lowest` and `highest` in units of y, `is_whole` (all measurements
            are whole numbers) and `reason`.
        asked: The spec's seasons.
        found: Seasons that the data show, strongest first.
        needed: Grid points that a series needs for a network of its own.
        checks: The verdicts of the spec's checks of measurements.
        stops: Why a run would stop before it trains; empty where it would not.
        unread: Columns of the source that are not read.
        covariates: One row per covariate, of the grid points up to the cutoff: `covariate`, `lowest` and `highest`
            value, `num_names` where its values are names, `num_known` and `num_missing` points.
    """

    spec: Spec
    ingested: Ingested
    series: pl.DataFrame
    asked: tuple[Season, ...]
    found: tuple[Season, ...]
    needed: int
    checks: pl.DataFrame
    stops: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    covariates: pl.DataFrame = field(default_factory=pl.DataFrame)

    def count(self, status: str) -> int:
        """Return the number of series with a status."""
        return self.series.filter(status=status).height


def make_profile(
    spec: Spec, *, cutoff: datetime | int | None = None, storage_options: Mapping[str, str] | None = None
) -> Profile:
    """Read and validate a spec's source as a run does, and describe it.

    A large source is kept in a temporary folder within `reading_once`, and in memory outside of it.

    Args:
        spec: The spec.
        cutoff: The requested cutoff, on the clock of ds; None takes the one that a run would take.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        The profile.

    Raises:
        SourceError: The source cannot be read at all; too many refused rows are only reported.
        ServiceError: A remote file cannot be reached.
    """
    stops: list[str] = []
    read: dict[str, Any] = {"cutoff": cutoff, "storage_options": storage_options}
    try:
        ingested = ingest(spec, **read)
    except SourceError as error:
        stops.append(str(error))
        try:
            ingested = ingest(spec, has_budget=False, **read)
        except SourceError:
            raise error from None
    has_moment = cutoff is None and spec.clock == "timestamp" and bool(spec.checks)
    zone = clock_zone(spec.source, spec.clock, spec.freq, storage_options=storage_options) if has_moment else None
    checked = check_measurements(ingested, spec, moment=current_time(spec, zone) if has_moment else None)
    try:
        checked.refuse()
    except CheckFailed as error:
        stops.append(str(error))
    asked, found = find_seasons(ingested.points, spec.season_lengths, unique_ids=list(ingested.lengths))
    return Profile(
        spec,
        checked.ingested,
        _describe_series(checked.ingested),
        tuple(asked),
        tuple(found),
        required_length(configure(spec), horizon=spec.horizon),
        checked.verdicts,
        tuple(stops),
        tuple(unread_columns(spec, storage_options)),
        _describe_covariates(checked.ingested, spec),
    )


def suggest_fields(profile: Profile) -> Iterator[tuple[str, Any]]:
    """Yield fields of a spec that match the data and are not set: bounds, and whether y counts things.

    Args:
        profile: The profile.

    Yields:
        Names and values.
    """
    spec, measured = profile.spec, profile.series.filter(pl.col("num_observed") > 0)
    if measured.is_empty():
        return
    if spec.lower_bound is None and measured.select((pl.col("lowest") >= 0).all()).item():
        yield "lower_bound", 0
    if not spec.integer_valued and measured["is_whole"].all():
        yield "integer_valued", True


def _describe_covariates(ingested: Ingested, spec: Spec) -> pl.DataFrame:
    values = ingested.points.select(
        pl.col(KNOWN).list.get(number, null_on_oob=True).alias(name)
        for number, name in enumerate(spec.covariates.names)
    )
    columns = ("covariate", "lowest", "highest", "num_names", "num_known", "num_missing")
    rows = []
    for name in spec.covariates.names:
        value = values.select(name).collect(engine="streaming")[name]
        known = value.drop_nulls()
        num_names = known.n_unique() if is_coded(known.to_numpy()) else 0
        rows.append((name, known.min(), known.max(), num_names, len(known), value.null_count()))
    return pl.DataFrame(rows, schema=columns, orient="row")


def _describe_series(ingested: Ingested) -> pl.DataFrame:
    y = pl.col("y")
    described = ingested.points.group_by("unique_id").agg(
        first=pl.col("ds").min(),
        last=pl.when("is_observed").then("ds").max(),
        num_points=pl.len(),
        num_observed=y.count(),
        num_zeros=(y == 0).sum(),
        lowest=y.min(),
        highest=y.max(),
        is_whole=(y == y.round()).all(),
        is_lagging=is_lagging(),
    )
    names = pl.LazyFrame({"unique_id": ingested.unique_ids}, schema={"unique_id": pl.String})
    unserved = dict(ingested.unserved)
    status = (
        pl.when(pl.col("unique_id").is_in(list(ingested.set_aside)))
        .then(pl.lit("set aside"))
        .when(pl.col("unique_id").is_in(list(ingested.ended)))
        .then(pl.lit("ended"))
        .when("is_lagging")
        .then(pl.lit("lagging"))
        .otherwise(pl.lit("forecast"))
    )
    reason = pl.col("unique_id").replace_strict(unserved, default=None, return_dtype=pl.String)
    columns = ["unique_id", "status", *described.collect_schema().names()[1:-1], "reason"]
    return (
        names.join(described, on="unique_id", how="left")
        .with_columns(pl.col("num_points", "num_observed", "num_zeros").fill_null(0), status=status, reason=reason)
        .select(columns)
        .sort("unique_id")
        .collect(engine="streaming")
    )
