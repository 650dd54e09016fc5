"""The first step of every flow: read a spec's source into observations, rejects, features and panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import polars as pl

from forecasting.errors import SourceError, SpecError
from forecasting.schemas import CATEGORIES
from forecasting.series.absent import describe_absent, fill_absent
from forecasting.series.budget import RowCounts, check_budget
from forecasting.series.calendar import add_calendar
from forecasting.series.categories import check_categories
from forecasting.series.closed import describe_closed_days, refuse_open_rows
from forecasting.series.closed_hours import describe_closed_hours
from forecasting.series.ends import describe_ended, describe_unmeasured, find_ended, hide_ended
from forecasting.series.files import describe_skipped, describe_unused_dialect
from forecasting.series.found_cutoff import find_newest
from forecasting.series.grid import future_grid
from forecasting.series.ignored import describe_unused, is_ignored, mask_ignored
from forecasting.series.local_grid import stated_zone, to_wall_clock
from forecasting.series.misread_times import describe_misread, refuse_scrambled
from forecasting.series.names import describe_similar, describe_stripped
from forecasting.series.panel import Panel, to_panel
from forecasting.series.partial import describe_part, describe_within, has_parts, move_cutoff
from forecasting.series.place import make_placing
from forecasting.series.plausible import wall_clock
from forecasting.series.read import require_series, scan_source
from forecasting.series.reasons import NAMELESS, Reason
from forecasting.series.regularise import regularise
from forecasting.series.repeats import describe_repeats
from forecasting.series.shortfall import describe_shortfall, find_usual
from forecasting.series.spans import count_rows
from forecasting.series.suspicious import describe_suspicious
from forecasting.series.thousands import (
    count_spellings,
    describe_points,
    find_points,
    has_text_numbers,
    refuse_thousands,
)
from forecasting.series.time_sniff import refuse_codes
from forecasting.series.unfinished import is_unfinished
from forecasting.series.validate import Validated, later_rejects, validate
from forecasting.series.waiting import describe_unread_rows, describe_waiting
from forecasting.series.zone import describe_offsets, local_zone
from forecasting.spec.spec import Spec

MOST_SHARED = 0.01
"""Share of all rows that may be refused because another row of their series lies in the same period."""


@dataclass(frozen=True)
class Ingested:
    """What a source has at or before the cutoff, as rows of the tables of the same names.

    Attributes:
        observations: Accepted rows.
        rejects: Refused rows; if the cutoff is the newest observation, those after it as well.
        features: The series on their grids, with calendar features. Grids reach the cutoff, except those of series that
            have ended, which end with their rows.
        cutoff: The last `ds` of observations and features.
        notes: Sentences about absent rows, similar names and extreme measurements, and what they were taken as.
        unused: Sentences about rows and series that are not used, because they wait or have ended.
        usual_rows: How many rows the periods of a series usually have, by its name; of series whose rows are aggregated
            and whose periods are alike.
        counts: What became of the rows of the source; None of a history that was counted before.
        set_aside: Why a series is not forecast, by its name: too many of its rows, or its newest one, are refused. It
            has observations, but no features.
        ended: Why a series gets no forecast although it is not set aside, by its name: it has ended.
    """

    observations: pl.DataFrame
    rejects: pl.DataFrame
    features: pl.DataFrame
    cutoff: datetime | int
    notes: tuple[str, ...] = ()
    counts: RowCounts | None = None
    set_aside: Mapping[str, str] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    usual_rows: Mapping[str, float] = field(default_factory=dict)

    @property
    def unique_ids(self) -> list[str]:
        """All series of the source, sorted, also those whose rows were all refused; unreadable names are left out."""
        rejected = self.rejects.filter(~pl.col("reason").is_in(NAMELESS))["unique_id"].drop_nulls()
        named = {*self.features["unique_id"].unique(), *rejected.unique(), *self.set_aside}
        return sorted(name for name in named if name.strip())

    def without(self, set_aside: Mapping[str, str]) -> "Ingested":
        """Return the same without the features of some series, which are not forecast for these reasons."""
        if not set_aside:
            return self
        features = self.features.filter(~pl.col("unique_id").is_in(list(set_aside)))
        ended = {name: reason for name, reason in self.ended.items() if name not in set_aside}
        return replace(self, features=features, set_aside=set_aside, ended=ended)

    def without_ended(self, spec: Spec) -> "Ingested":
        """Return the same with empty grid points in place of the features of series that have ended."""
        return replace(self, features=hide_ended(self.features, self.ended, spec, cutoff=self.cutoff))

    @property
    def unserved(self) -> Mapping[str, str]:
        """Why a series gets no forecast, by its name: it is set aside or has ended."""
        return {**self.ended, **self.set_aside}


def ingest(
    spec: Spec,
    *,
    cutoff: datetime | int | None = None,
    as_of: datetime | int | None = None,
    series: Sequence[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
    is_newest: bool = False,
    rows: pl.LazyFrame | None = None,
    now: datetime | None = None,
    has_budget: bool = True,
    zone: str | None = None,
) -> Ingested:
    """Read, validate and regularise a spec's source up to a cutoff.

    Observations and features never depend on rows after the cutoff. Rejects are returned up to a requested cutoff.
    Without one, they are returned up to `as_of`, or all of them.

    Args:
        spec: The spec.
        cutoff: The requested cutoff; None takes the newest finished period that at least half of the live series have.
        as_of: The time of a run without a requested cutoff, on the clock of ds; nothing after it is read.
        series: The series to keep; None keeps all.
        storage_options: Options of the object store that holds the source, as Polars takes them.
        is_newest: Whether `cutoff` is what `find_newest` returns.
        rows: Rows in the columns of `scan_source`; None reads the spec's source.
        now: The current time in UTC, naive, after which nothing can have been measured; the wall clock where not given.
        has_budget: Whether too many refused rows stop the run, or set their series aside.
        zone: The zone of `rows` whose times are in UTC already; that of the rows' times where not given.

    Returns:
        Observations, rejects and features.

    Raises:
        UserError: The source does not have one of the requested series.
        SourceError: The source cannot be read, has no series at or before the cutoff, or too many of its rows are
            refused.
    """
    check_categories(spec.categories)
    now = now or wall_clock()  # one for all that follows, which is counted together
    if rows is None:
        rows = scan_source(spec.source, spec.clock, static=spec.categories.static, storage_options=storage_options)
    zone = zone or local_zone(rows, spec.source, spec.clock, spec.freq)
    if zone is not None and spec.source.ignore:
        ignored = tuple(period.in_zone(zone) for period in spec.source.ignore)
        spec = spec.model_copy(update={"source": spec.source.model_copy(update={"ignore": ignored})})
    is_found = cutoff is None or as_of is not None or is_newest
    if cutoff is None:
        cutoff = find_newest(rows, spec, not_after=as_of, now=now)
    unfinished = is_unfinished(rows.collect_schema(), spec.source, freq=spec.freq, now=now, as_of=as_of)
    read: dict[str, Any] = {"freq": spec.freq, "now": now, "unfinished": unfinished}
    unused: list[str] = []
    if has_parts(spec.source) and isinstance(cutoff, datetime):
        of_source = {**read, "source": spec.source}
        if is_found:
            unused += [note for note in [describe_part(rows, cutoff, of_source)] if note is not None]
        else:
            given, cutoff = cutoff, move_cutoff(rows, cutoff, of_source)
            if cutoff < given:
                unused.append(describe_within(given, cutoff, spec.freq))
    if series is not None:
        require_series(rows, series)
        rows = rows.filter(pl.col("unique_id").is_in(list(series)))
    if spec.clock == "timestamp":
        refuse_scrambled(rows, spec.source)
    validated = validate(rows, cutoff=cutoff, source=spec.source, **read)
    plans = {
        "observations": observed_rows(validated, spec),
        "counted": count_rows(rows, cutoff=cutoff, not_after=as_of, **read),
        "refused": validated.refused,
    }
    if is_found:
        plans["later"] = later_rejects(rows, cutoff=cutoff, not_after=as_of, source=spec.source, **read)
    if validated.counted is not None:
        plans["by_period"] = validated.counted
    if has_text_numbers(rows, spec.source):
        plans["points"] = find_points(rows)
    collected = dict(zip(plans, pl.collect_all(plans.values(), engine="streaming"), strict=True))
    observations, counted = collected["observations"], collected["counted"]
    refused_parts = [collected[name] for name in ("refused", "later") if name in collected]
    refused = pl.concat(refused_parts).sort("source_file", "source_row")
    ambiguous = None
    if "points" in collected and collected["points"].item():
        spellings = count_spellings(rows).collect(engine="streaming")
        refuse_thousands(spellings, spec.source)
        ambiguous = describe_points(spellings, spec.source)
    kept = _count_kept(validated, observations, spec)
    num_kept, num_waiting, num_ignored = (int(kept[name].sum()) for name in ("num_kept", "num_waiting", "num_ignored"))
    counts = RowCounts(
        counted["read"].item(),
        num_kept - num_waiting - num_ignored,
        counted["after_cutoff"].item() + num_waiting - sum(part.height for part in refused_parts[1:]),
        dict(refused["reason"].value_counts(sort=True).iter_rows()),
        ignored=num_ignored,
        unfinished=counted["unfinished"].item(),
    )
    if spec.clock == "step":
        steps = pl.concat([observations["ds"], refused["time"]])
        refuse_codes(steps, spec.source.time_format, subject=f"source {spec.source}", freq=spec.freq)
    # Before anything is put on a grid, since a run that stops should stop at once.
    _refuse_shared(refused, observations, spec)
    refuse_open_rows(refused, observations.height, spec)
    set_aside = check_budget(refused, kept, spec.source, rows) if has_budget else {}
    if not spec.categories.static:
        observations = observations.with_columns(categories=pl.lit(None, CATEGORIES))
    features, notes = _on_grids(observations, spec, cutoff, zone)
    if spec.clock == "timestamp":
        observations, features = (each.with_columns(zone=pl.lit(zone, pl.String)) for each in (observations, features))
    ended = find_ended(features, spec, cutoff=cutoff)
    ingested = Ingested(observations, refused.drop("time"), features, cutoff, notes, counts, ended=ended)
    ingested = ingested.without(set_aside)
    if not ingested.unique_ids:
        raise SourceError(f"source {spec.source} names no series at or before {cutoff}; it needs at least one")
    if set_aside and ingested.features.is_empty():
        name, reason = next(iter(set_aside.items()))
        raise SourceError(f"source {spec.source} has no series left to forecast; '{name}' is {reason}")
    unique_ids = ingested.unique_ids
    unused += describe_waiting(counted.row(0, named=True), cutoff, is_found=is_found)
    unread = describe_unread_rows(spec.source, rows.collect_schema()["ds"])
    unused += [unread] if unread is not None else []
    unused += [describe_ended(ingested.ended, len(unique_ids))] if ingested.ended else []
    unmeasured = describe_unmeasured(ingested.features, ingested.ended, len(unique_ids))
    unused += [] if unmeasured is None else [unmeasured]
    usual_rows, shortfall = _describe_periods(collected.get("by_period"), refused, spec, set_aside)
    meant = ingested.observations.filter(~is_ignored(spec.source, spec.clock))
    found = (
        *shortfall,
        describe_skipped(spec.source, storage_options),
        describe_unused_dialect(spec.source, rows),
        describe_stripped(counted["written_ids"].explode().drop_nulls(), rows),
        describe_offsets(rows, spec.source, spec.clock, spec.freq),
        ambiguous,
        describe_similar(unique_ids),
        describe_repeats(refused, counts.read, spec.source),
        *describe_suspicious(meant, rows, spec),
    )
    notes = (*ingested.notes, *(note for note in found if note is not None))
    return replace(ingested, notes=notes, unused=tuple(unused), usual_rows=usual_rows)


def later_observations(rows: pl.LazyFrame, spec: Spec, ingested: Ingested) -> pl.DataFrame:
    """Return the accepted rows after a cutoff that nobody requested, which wait until other series have that period.

    Args:
        rows: The rows of which `ingested` was made, or those of the spec's source.
        spec: The spec.
        ingested: What was read up to the cutoff.

    Returns:
        Rows in the columns of observations.
    """
    unfinished = is_unfinished(rows.collect_schema(), spec.source, freq=spec.freq, now=wall_clock())
    accepted = validate(rows, freq=spec.freq, source=spec.source, unfinished=unfinished).accepted
    later = accepted.filter(pl.col("ds") > ingested.cutoff).collect(engine="streaming")
    if "categories" not in later.columns:
        later = later.with_columns(categories=pl.lit(None, CATEGORIES))
    if spec.clock == "timestamp":
        later = later.with_columns(zone=pl.lit(stated_zone(ingested.observations), pl.String))
    return later.select(ingested.observations.columns)


def _count_kept(validated: Validated, observations: pl.DataFrame, spec: Spec) -> pl.DataFrame:
    """Return what `Validated.kept` has, from the observations where each of them is a row of the source."""
    source = spec.source
    if source.aggregate is None and source.missing_rows != "zero" and make_placing(source, spec.freq) is None:
        num_ignored = is_ignored(source, spec.clock).sum() if source.ignore else pl.lit(0)
        counted = (
            observations.lazy()
            .group_by("unique_id")
            .agg(num_kept=pl.len(), num_ignored=num_ignored, newest=pl.col("ds").max())
        )
        return counted.with_columns(num_waiting=pl.lit(0)).collect()
    return validated.kept.collect(engine="streaming")


def _describe_periods(
    counted: pl.DataFrame | None, refused: pl.DataFrame, spec: Spec, set_aside: Mapping[str, str]
) -> tuple[dict[str, float], list[str]]:
    """Return how many rows the periods of each series usually have, and sentences about those that lack some."""
    if counted is None:
        return {}, []
    usual = find_usual(counted, season_lengths=spec.season_lengths)
    used = counted.filter(~is_ignored(spec.source, spec.clock))
    notes = describe_shortfall(used, refused, spec.source, spec.freq, usual=usual, without=list(set_aside))
    return usual, list(notes)


def _refuse_shared(rejects: pl.DataFrame, observations: pl.DataFrame, spec: Spec) -> None:
    """Raise SourceError where a period often has several rows, which the source must say how to aggregate."""
    shared = rejects.filter(pl.col("reason") == Reason.SHARED.value)
    num_rows = observations.height + rejects.height
    if shared.height <= MOST_SHARED * num_rows:
        return
    name, time = shared.select("unique_id", "ds").row(0)
    remedy = describe_misread(pl.concat([observations["ds"], shared["time"]])) or (
        "source.aggregate = sum, mean, last, first, max or min (--source aggregate=sum) makes one measurement of them"
    )
    raise SourceError(
        f"source {spec.source}: {shared.height} of {num_rows} rows share their period of"
        f" {spec.freq} with a row at another time, such as {time} of series '{name}'; {remedy}"
    )


def observed_rows(validated: Validated, spec: Spec) -> pl.LazyFrame:
    """Return the rows that a run keeps as observations: those that are accepted, and gaps of refused measurements.

    The latter are kept only where an absent row means zero, so that they stay unknown also in runs that no longer read
    the source.

    Args:
        validated: The rows of the spec's source.
        spec: The spec.

    Returns:
        Rows in the columns of `Validated.accepted`.
    """
    if spec.source.missing_rows != "zero" or validated.unmeasured is None:
        return validated.accepted
    return pl.concat([validated.accepted, validated.unmeasured]).sort("unique_id", "ds")


def _on_grids(
    observations: pl.DataFrame, spec: Spec, cutoff: datetime | int, zone: str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the features, and what is to be said about absent rows."""
    freq, meaning, until = spec.freq, spec.source.missing_rows, cutoff
    if spec.source.label == "end" and observations.height:  # the newest row's own time begins the period after it
        newest: Any = observations["ds"].max()
        until = newest
    grid = regularise(observations.lazy(), freq=freq, until=until, reach=spec.ended_after)
    if meaning == "zero":
        filled = fill_absent(grid.collect(engine="streaming"), observations, freq=freq)
        features = add_calendar(filled.grid.lazy(), freq=freq, zone=zone).collect(engine="streaming")
        note = filled.describe()
    else:
        features = add_calendar(grid, freq=freq, zone=zone).collect(engine="streaming")
        note = None
    hours = describe_closed_hours(features, observations, spec, zone=zone)
    if meaning is None and hours is None:
        note = describe_absent(features, observations, freq=freq)
    notes = (
        note,
        hours,
        describe_closed_days(features, observations, spec),
        describe_unused(observations, spec.source, spec.clock),
    )
    return mask_ignored(features, spec.source, spec.clock), tuple(each for each in notes if each)


def refuse_later_cutoff(ingested: Ingested, spec: Spec) -> None:
    """Raise SpecError for a cutoff that lies a grid step or more after the newest measurement.

    Args:
        ingested: The data up to the cutoff.
        spec: The spec.

    Raises:
        SpecError: Nothing is known of the time right before the cutoff.
    """
    measured = ingested.observations.filter(pl.col("y").is_not_null()).select("unique_id", "ds")
    last = measured["ds"].arg_max()
    if last is None:
        return
    name, newest = measured.row(last)
    # A series that is set aside may have the newest measurement, and has no features.
    points = ingested.observations if name in ingested.set_aside else ingested.features
    grid = points.lazy().filter(pl.col("unique_id") == name, pl.col("ds") <= newest)
    following: Any = future_grid(grid.select("unique_id", "ds"), freq=spec.freq, horizon=1).collect()["ds"].item()
    if ingested.cutoff >= following:
        num_open = 0 if ingested.counts is None else ingested.counts.unfinished
        unused = f"; {num_open:,} rows of periods that are not over need --unfinished use" if num_open else ""
        raise SpecError(
            "cutoff",
            [f"{ingested.cutoff} lies after the newest measurement, {newest}; it must be before {following}{unused}"],
        )


def panel_of(features: pl.DataFrame, spec: Spec, unique_ids: Sequence[str], *, run_cutoff: datetime | int) -> Panel:
    """Return the panel of some series of a spec.

    Args:
        features: Rows of the features table; the columns of `feature_columns` are enough.
        spec: The spec of the features.
        unique_ids: The series, in the order of the panel.
        run_cutoff: The cutoff of the run, which becomes the cutoff of a series without features.

    Returns:
        The panel.
    """
    panel = to_panel(
        features,
        freq=spec.freq,
        horizon=spec.horizon,
        unique_ids=unique_ids,
        run_cutoff=run_cutoff,
        categories=spec.categories,
    )
    own_cutoff = pl.Series([to_wall_clock(run_cutoff, panel.zone)], dtype=panel.clock_dtype).to_numpy()[0]
    panel.ds_SN[panel.length_S == 0, -spec.horizon - 1] = own_cutoff
    return panel
