"""The first step of every flow: a spec's source in; observations, rejects, features and panels out (no torch)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import CATEGORIES
from forecasting.series.calendar import add_calendar
from forecasting.series.categories import check_categories
from forecasting.series.panel import Panel, to_panel
from forecasting.series.read import require_series, scan_source
from forecasting.series.regularise import regularise
from forecasting.series.validate import Reason, later_rejects, newest_observation, validate
from forecasting.spec.spec import Spec

NUM_REASONS = 3
"""Reasons that are named where every row was refused."""


@dataclass(frozen=True)
class Ingested:
    """What a source holds at or before `cutoff`: observations, rejects and features, as frames of the tables.

    Where the cutoff was not asked for, rejects after it are told too.
    """

    observations: pl.DataFrame
    rejects: pl.DataFrame
    features: pl.DataFrame
    cutoff: datetime | int

    @property
    def unique_ids(self) -> list[str]:
        """Every series that the source names, wholly rejected ones included, sorted; a name that is lost makes none."""
        rejected = self.rejects.filter(pl.col("reason") != Reason.NOT_UTF_8.value)["unique_id"].drop_nulls()
        named = {*self.features["unique_id"].unique(), *rejected.unique()}
        return sorted(name for name in named if name.strip())


def ingest(
    spec: Spec,
    *,
    cutoff: datetime | int | None = None,
    as_of: datetime | int | None = None,
    series: Sequence[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    is_newest: bool = False,
    rows: pl.LazyFrame | None = None,
) -> Ingested:
    """Read, validate and regularise a spec's source up to the cutoff; observations and features never look past it.

    The cutoff is the one given, or else the newest observation of any series not after `as_of`. Refused rows are told
    up to a cutoff that was asked for. With `as_of` they are told up to that time; without one, all are told where the
    cutoff is the newest observation: found here, or by `find_newest` before (`is_newest`). `series` keeps those alone.
    Raises UserError for a series that the source does not name, SourceError where nothing can be forecast.
    """
    check_categories(spec.categories)
    if rows is None:
        rows = scan_source(spec.source, spec.clock, static=spec.categories.static, storage_options=storage_options)
    tells_later = cutoff is None or as_of is not None or is_newest
    if cutoff is None:
        cutoff = find_newest(rows, spec, not_after=as_of)
    if series is not None:
        require_series(rows, series)
        rows = rows.filter(pl.col("unique_id").is_in(list(series)))
    validated = validate(rows, freq=spec.freq, cutoff=cutoff)
    plans = [validated.accepted, validated.rejects]
    if tells_later:
        plans.append(later_rejects(rows, freq=spec.freq, cutoff=cutoff, not_after=as_of))
    observations, *refused = pl.collect_all(plans, engine="streaming")
    if not spec.categories.static:
        observations = observations.with_columns(categories=pl.lit(None, CATEGORIES))
    rejects = pl.concat(refused).sort("source_file", "source_row")
    features = add_calendar(regularise(observations.lazy(), freq=spec.freq), freq=spec.freq).collect(engine="streaming")
    ingested = Ingested(observations, rejects, features, cutoff)
    if not ingested.unique_ids:
        raise SourceError(f"source {spec.source} names no series at or before {cutoff}; it needs at least one")
    return ingested


def find_newest(rows: pl.LazyFrame, spec: Spec, *, not_after: datetime | int | None = None) -> datetime | int:
    """Return the newest observation in rows of `scan_source`, at or before `not_after`: a run's cutoff.

    Raises SourceError where there is none; it names the most frequent reasons for which rows were refused.
    """
    newest = newest_observation(rows, freq=spec.freq, not_after=not_after)
    if newest is not None:
        return newest
    until = "" if not_after is None else f" at or before {not_after}"
    rejects = validate(rows, freq=spec.freq, cutoff=not_after).rejects
    counts = rejects.group_by("reason").len().sort("len", "reason", descending=[True, False]).collect()
    told = "".join(f"; {count} rows: {reason}" for reason, count in counts.head(NUM_REASONS).iter_rows())
    more = f"; and {counts.height - NUM_REASONS} more reasons" if counts.height > NUM_REASONS else ""
    raise SourceError(f"source {spec.source} has no accepted observation{until}; it needs at least one{told}{more}")


def panel_of(features: pl.DataFrame, spec: Spec, unique_ids: Sequence[str], *, run_cutoff: datetime | int) -> Panel:
    """Return the panel of some series of a spec's features; one without any has the run's cutoff for its own."""
    panel = to_panel(
        features,
        freq=spec.freq,
        horizon=spec.horizon,
        unique_ids=unique_ids,
        run_cutoff=run_cutoff,
        categories=spec.categories,
    )
    own_cutoff = pl.Series([run_cutoff], dtype=panel.clock_dtype).to_numpy()[0]
    panel.ds_SN[panel.length_S == 0, -spec.horizon - 1] = own_cutoff
    return panel
