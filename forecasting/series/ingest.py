"""The first step of every flow: read a spec's source into observations, rejects, features and panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import CATEGORIES
from forecasting.series.budget import RowCounts, check_budget
from forecasting.series.calendar import add_calendar
from forecasting.series.categories import check_categories
from forecasting.series.clock import refuse_other_clock
from forecasting.series.closed import refuse_open_rows
from forecasting.series.columns import COVARIATE_COLUMNS, LARGEST_TIME
from forecasting.series.covariate_points import (
    add_covariates,
    lag_past,
    place_covariates,
    place_vintages,
    without_covariates,
)
from forecasting.series.covariate_tables import JoinedTable
from forecasting.series.covariates import CovariateRows, Covariates, read_covariates, scan_covariates
from forecasting.series.ends import describe_ended, describe_unmeasured, hide_ended
from forecasting.series.events import read_events
from forecasting.series.files import describe_skipped, describe_unused_dialect
from forecasting.series.found_cutoff import newest_of
from forecasting.series.gather import Gathering
from forecasting.series.gridded import put_on_grids
from forecasting.series.holiday_covariates import refuse_unknown
from forecasting.series.ignored import is_ignored
from forecasting.series.judged_blocks import JudgedBlocks, Judging
from forecasting.series.local_grid import stated_zone, to_wall_clock
from forecasting.series.misread_times import describe_misread, refuse_scrambled
from forecasting.series.names import describe_similar, describe_stripped
from forecasting.series.once import new_temporary_folder
from forecasting.series.panel import Panel, to_panel
from forecasting.series.partial import describe_part, has_parts
from forecasting.series.parts import Parts
from forecasting.series.plausible import wall_clock
from forecasting.series.read import require_series, scan_source
from forecasting.series.reasons import NAMELESS, Reason
from forecasting.series.repeats import describe_repeats
from forecasting.series.shortfall import describe_shortfall
from forecasting.series.thousands import count_spellings, describe_points, refuse_thousands
from forecasting.series.time_sniff import refuse_codes
from forecasting.series.typed_cutoff import describe_settled, settle_in
from forecasting.series.unfinished import is_unfinished
from forecasting.series.validate import validate
from forecasting.series.waiting import describe_unread_rows, describe_waiting
from forecasting.series.zone import describe_offsets, local_zone
from forecasting.spec.frequency import LARGEST_STEP
from forecasting.spec.spec import Spec

MOST_SHARED = 0.01
"""Share of all rows that may be refused because another row of their series lies in the same period."""


@dataclass(frozen=True)
class Ingested:
    """What a source has at or before the cutoff, as rows of the tables of the same names.

    A source that is larger than a block (`blocks.BLOCK_ROWS`) is kept in a temporary folder within `reading_once`;
    otherwise it is in memory.

    Attributes:
        observed: Accepted rows, sorted by unique_id and ds; `observations` in memory.
        rejects: Refused rows; if the cutoff is the newest observation, those after it as well.
        points: The series on their grids, with calendar features; `features` in memory. Grids reach the cutoff, except
            those of series that have ended, which end with their rows.
        cutoff: The last `ds` of observations and features.
        notes: Sentences about absent rows, similar names and extreme measurements, and what they were taken as.
        unused: Sentences about rows and series that are not used, because they wait or have ended.
        usual_rows: How many rows the periods of a series usually have, by its name; of series whose rows are aggregated
            and whose periods are alike.
        counts: What became of the rows of the source; None of a history that was counted before.
        set_aside: Why a series is not forecast, by its name: too many of its rows, or its newest one, are refused. It
            has observations, but no features.
        ended: Why a series gets no forecast although it is not set aside, by its name: it has ended.
        is_in_memory: Whether observations and features are in memory, and not in files.
        num_points: Grid points of each series that has some, by its name, in the order of the series; None where they
            have not been counted.
        covariates: unique_id, ds and a column per covariate, before and after the cutoff; None without covariates.
        tables: The values of tables of covariates.
        joined: A line about the rows of each of these tables.
    """

    observed: pl.LazyFrame
    rejects: pl.DataFrame
    points: pl.LazyFrame
    cutoff: datetime | int
    notes: tuple[str, ...] = ()
    counts: RowCounts | None = None
    set_aside: Mapping[str, str] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    usual_rows: Mapping[str, float] = field(default_factory=dict)
    is_in_memory: bool = True
    num_points: Mapping[str, int] | None = None
    covariates: pl.LazyFrame | None = None
    tables: tuple[JoinedTable, ...] = ()
    joined: tuple[str, ...] = ()

    @cached_property
    def observations(self) -> pl.DataFrame:
        """Accepted rows, in memory."""
        return self.observed.collect(engine="streaming")

    @cached_property
    def features(self) -> pl.DataFrame:
        """The series on their grids, in memory."""
        return self.points.collect(engine="streaming")

    @cached_property
    def lengths(self) -> Mapping[str, int]:
        """Grid points of each series that has some, by its name, in the order of the series."""
        if self.num_points is not None:
            return self.num_points
        series = self.points.select("unique_id").with_row_index("row").group_by("unique_id")
        counts = series.agg(pl.len(), pl.col("row").min()).collect(engine="streaming").sort("row")
        return dict(counts.select("unique_id", "len").iter_rows())

    @property
    def unique_ids(self) -> list[str]:
        """All series of the source, sorted, also those whose rows were all refused; unreadable names are left out."""
        rejected = self.rejects.filter(~pl.col("reason").is_in(NAMELESS))["unique_id"].drop_nulls()
        named = {*self.lengths, *rejected.unique(), *self.set_aside}
        return sorted(name for name in named if name.strip())

    def without(self, set_aside: Mapping[str, str]) -> "Ingested":
        """Return the same without the features of some series, which are not forecast for these reasons."""
        if not set_aside:
            return self
        points = self.points.filter(~pl.col("unique_id").is_in(list(set_aside)))
        ended = {name: reason for name, reason in self.ended.items() if name not in set_aside}
        lengths = {name: length for name, length in self.lengths.items() if name not in set_aside}
        return replace(self, points=points, set_aside=set_aside, ended=ended, num_points=lengths)

    def without_ended(self, spec: Spec) -> "Ingested":
        """Return the same with empty grid points in place of the features of series that have ended."""
        if not self.ended:
            return self
        points = hide_ended(self.features, self.ended, spec, cutoff=self.cutoff).lazy()
        return replace(self, points=points, num_points=None)

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
    is_settled: bool = False,
    rows: pl.LazyFrame | None = None,
    covariates: CovariateRows | Covariates | None = None,
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
        is_settled: Whether `cutoff` is what `settle_cutoff` returns, which it otherwise becomes.
        rows: Rows in the columns of `scan_source`; None reads the spec's source.
        covariates: Rows of the spec's covariates (`scan_covariates`), or their values; None reads the spec's source,
            and without any of them all are unknown.
        now: The current time in UTC, naive, after which nothing can have been measured; the wall clock where not given.
        has_budget: Whether too many refused rows stop the run, or set their series aside.
        zone: The zone of `rows` whose times are in UTC already; that of the rows' times where not given.

    Returns:
        Observations, rejects and features.

    Raises:
        UserError: The source does not have one of the requested series.
        SpecError: The requested cutoff lies after the newest period that is measured.
        SourceError: The source cannot be read, has no series at or before the cutoff, or too many of its rows are
            refused.
    """
    check_categories(spec.categories)
    refuse_unknown(spec.holidays)
    now = now or wall_clock()  # one for all that follows, which is counted together
    if rows is None:
        rows = scan_source(spec.source, spec.clock, static=spec.static_columns, storage_options=storage_options)
    if covariates is None:
        names, tables = spec.covariates.of_source, spec.covariates.tables
        covariates = scan_covariates(spec.source, spec.clock, names, tables, storage_options=storage_options)
    zone = zone or local_zone(rows, spec.source, spec.clock, spec.freq)
    if zone is not None and spec.source.ignore:
        ignored = tuple(period.in_zone(zone) for period in spec.source.ignore)
        spec = spec.model_copy(update={"source": spec.source.model_copy(update={"ignore": ignored})})
    unfinished = is_unfinished(rows.collect_schema(), spec.source, freq=spec.freq, now=now, as_of=as_of)
    with JudgedBlocks(rows, Judging(spec.freq, spec.source, now, unfinished)) as blocks:
        is_found = cutoff is None or as_of is not None or is_newest
        tried: list[Gathering] = []

        def gather_up_to(until: datetime | int, *, is_provisional: bool) -> Gathering:
            parts = _new_parts(blocks)
            tried.append(Gathering(spec, until, as_of, is_found, parts, is_provisional=is_provisional))
            return tried[-1]

        note: str | None = None
        holds = False
        if cutoff is None:
            last: datetime | int = LARGEST_TIME if spec.clock == "timestamp" else LARGEST_STEP
            latest = last if as_of is None else as_of
            on_the_way = partial(gather_up_to, latest, is_provisional=True) if series is None else None
            cutoff = newest_of(blocks, spec, not_after=as_of, also=on_the_way)
            holds = bool(tried) and tried[-1].holds_at(cutoff)
        elif not is_found and not is_settled:
            given = cutoff
            on_the_way = partial(gather_up_to, given, is_provisional=False) if series is None else None
            cutoff = settle_in(blocks, spec, given, zone=zone, also=on_the_way)
            holds = bool(tried) and cutoff == given
            note = describe_settled(given, cutoff, spec.freq)
        if is_found and has_parts(spec.source) and isinstance(cutoff, datetime):
            note = describe_part(blocks.periods(), cutoff, spec.freq)
        unused = () if note is None else (note,)
        is_whole = series is None
        read = _Read(spec, cutoff, as_of, is_found, has_budget, zone, storage_options, unused, covariates, is_whole)
        if series is None:
            return _ingest(blocks, read, tried[-1] if holds else None)
        require_series(blocks.rows, series)
        with JudgedBlocks(blocks.rows.filter(pl.col("unique_id").is_in(list(series))), blocks.how) as some:
            return _ingest(some, read)


@dataclass(frozen=True)
class _Read:
    """How a source is read up to a cutoff."""

    spec: Spec
    cutoff: datetime | int
    as_of: datetime | int | None
    is_found: bool
    has_budget: bool
    zone: str | None
    storage_options: Mapping[str, str] | None
    unused: tuple[str, ...]
    covariates: CovariateRows | Covariates
    is_whole: bool


def _new_parts(blocks: JudgedBlocks) -> Parts:
    """Return where observations go: files that last longer than the blocks, because they are read later."""
    return Parts("observations", None if blocks.is_single else new_temporary_folder())


def _ingest(blocks: JudgedBlocks, read: _Read, gathered: Gathering | None = None) -> Ingested:
    """Validate and regularise the rows of a source up to a cutoff that is known, unless they are gathered already."""
    spec, cutoff, rows = read.spec, read.cutoff, blocks.rows
    if spec.clock == "timestamp":
        refuse_scrambled(rows, spec.source)
    refuse_other_clock(read.as_of, freq=spec.freq, subject="as_of")
    if gathered is None:
        gathered = blocks.run(
            lambda: Gathering(spec, cutoff, read.as_of, read.is_found, _new_parts(blocks)), until=cutoff
        )
    refused, counted, kept = gathered.refused(), gathered.counts(), gathered.kept()
    ambiguous = None
    if gathered.has_grouped and not gathered.has_decimal:
        spellings = count_spellings(rows).collect(engine="streaming")
        refuse_thousands(spellings, spec.source)
        ambiguous = describe_points(spellings, spec.source)
    counts = _count(refused, counted, kept, num_later=gathered.num_later)
    if spec.clock == "step":
        steps = gathered.times(refused)
        refuse_codes(steps, spec.source.time_format, subject=f"source {spec.source}", freq=spec.freq)
    # Before anything is put on a grid, since a run that stops should stop at once.
    _refuse_shared(refused, gathered, spec)
    refuse_open_rows(refused, gathered.num_rows, spec)
    set_aside = check_budget(refused, kept, spec.source, rows) if read.has_budget else {}
    ends_later = spec.source.label == "end" and gathered.newest is not None
    until = gathered.newest if ends_later else cutoff  # the newest row's own time begins the period after it
    points = gathered.observed.beside("features")
    gridded = put_on_grids(gathered.observed, points, spec, cutoff=cutoff, until=until, zone=read.zone)
    observed, features = _with_other_columns(gathered.observed.scan(), points.scan(), spec, read.zone)
    rejects = refused.drop("time")
    ingested = Ingested(
        observed,
        rejects,
        features,
        cutoff,
        gridded.notes,
        counts,
        ended=gridded.ended,
        num_points=gridded.num_points,
    )
    ingested = ingested.without(set_aside)
    unique_ids = ingested.unique_ids
    if not unique_ids:
        raise SourceError(f"source {spec.source} names no series at or before {cutoff}; it needs at least one")
    if set_aside and not ingested.lengths:
        name, reason = next(iter(set_aside.items()))
        raise SourceError(f"source {spec.source} has no series left to forecast; '{name}' is {reason}")
    without = {*ingested.ended, *set_aside}
    unmeasured = [name for name in gridded.unmeasured if name not in without]
    unused = (
        *read.unused,
        *describe_waiting(counted.row(0, named=True), cutoff, is_found=read.is_found),
        describe_unread_rows(spec.source, rows.collect_schema()["ds"]),
        describe_ended(ingested.ended, len(unique_ids)) if ingested.ended else None,
        describe_unmeasured(unmeasured, len(unique_ids)),
    )
    meant = observed.filter(~is_ignored(spec.source, spec.clock)) if spec.source.ignore else observed
    found = (
        *describe_shortfall(gathered.shortfall, spec.source, spec.freq, without=list(set_aside)),
        describe_skipped(spec.source, read.storage_options),
        describe_unused_dialect(spec.source, rows),
        describe_stripped(counted["written_ids"].explode().drop_nulls(), rows),
        describe_offsets(rows, spec.source, spec.clock, spec.freq),
        ambiguous,
        describe_similar(unique_ids),
        describe_repeats(refused, counts.read, spec.source),
        *gridded.suspicions.describe(meant, rows, spec),
    )
    ingested = _with_covariates(ingested, read)
    return replace(
        ingested,
        notes=(*ingested.notes, *(note for note in found if note is not None)),
        unused=tuple(note for note in unused if note is not None),
        usual_rows={name: num for part in gathered.shortfall for name, num in part.usual.items()},
        is_in_memory=gathered.observed.are_in_memory,
    )


def _with_covariates(ingested: Ingested, read: _Read) -> Ingested:
    """Return the features with covariates, and what is to be said about these."""
    if not read.covariates and (read.spec.covariates.names or not read.spec.covariate_names):
        return replace(ingested, points=without_covariates(ingested.points))
    found = read.covariates
    if not isinstance(found, Covariates):
        found = read_covariates(found, read.spec, zone=read.zone)
    joined = add_covariates(
        ingested.points,
        found,
        read.spec,
        cutoff=ingested.cutoff,
        unserved=list(ingested.unserved),
        unique_ids=ingested.unique_ids if read.is_whole else None,
        zone=read.zone,
        events=read_events(read.spec, storage_options=read.storage_options) if read.spec.events else None,
    )
    return replace(
        ingested,
        points=joined.features,
        covariates=found.rows if read.covariates else None,
        tables=found.tables,
        joined=joined.tables,
        notes=(*ingested.notes, *joined.notes),
    )


def _count(refused: pl.DataFrame, counted: pl.DataFrame, kept: pl.DataFrame, *, num_later: int) -> RowCounts:
    """Return what became of the rows; `num_later` of the refused ones lie after the cutoff."""
    num_kept, num_waiting, num_ignored = (int(kept[name].sum()) for name in ("num_kept", "num_waiting", "num_ignored"))
    return RowCounts(
        counted["read"].item(),
        num_kept - num_waiting - num_ignored,
        counted["after_cutoff"].item() + num_waiting - num_later,
        dict(refused["reason"].value_counts(sort=True).iter_rows()),
        ignored=num_ignored,
        unfinished=counted["unfinished"].item(),
    )


def _with_other_columns(
    observed: pl.LazyFrame, points: pl.LazyFrame, spec: Spec, zone: str | None
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Add to observations and grid points the columns that are the same in many rows, and the calendar."""
    if not spec.static_columns:
        none = pl.lit(None, CATEGORIES)
        observed, points = observed.with_columns(categories=none), points.with_columns(categories=none)
    points = add_calendar(points, freq=spec.freq, zone=zone)
    if spec.clock == "timestamp":
        of_all = pl.lit(zone, pl.String)
        observed, points = observed.with_columns(zone=of_all), points.with_columns(zone=of_all)
    return observed, points


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


def _refuse_shared(rejects: pl.DataFrame, gathered: Gathering, spec: Spec) -> None:
    """Raise SourceError where a period often has several rows, which the source must say how to aggregate."""
    shared = rejects.filter(pl.col("reason") == Reason.SHARED.value)
    num_rows = gathered.num_rows + rejects.height
    if shared.height <= MOST_SHARED * num_rows:
        return
    name, time = shared.select("unique_id", "ds").row(0)
    times = gathered.observed.scan().select(pl.col("ds").unique()).collect(engine="streaming")["ds"]
    remedy = describe_misread(pl.concat([times, shared["time"]])) or (
        "source.aggregate = sum, mean, last, first, max or min (--source aggregate=sum) makes one measurement of them"
    )
    raise SourceError(
        f"source {spec.source}: {shared.height} of {num_rows} rows share their period of"
        f" {spec.freq} with a row at another time, such as {time} of series '{name}'; {remedy}"
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
        features.drop(COVARIATE_COLUMNS, strict=False),
        freq=spec.freq,
        horizon=spec.horizon,
        unique_ids=unique_ids,
        run_cutoff=run_cutoff,
        categories=spec.categories,
    )
    own_cutoff = pl.Series([to_wall_clock(run_cutoff, panel.zone)], dtype=panel.clock_dtype).to_numpy()[0]
    panel.ds_SN[panel.length_S == 0, -spec.horizon - 1] = own_cutoff
    names = spec.covariate_names
    if not names:
        return panel
    values_SNK = place_covariates(features, panel, names=names, freq=spec.freq)
    first = len(spec.covariates.known_ahead)
    past = slice(first, first + len(spec.covariates.of_past))
    values_SNK[:, :, past] = lag_past(values_SNK[:, :, past], spec.past_lag)
    vintages = tuple(names.index(name) for name in spec.covariates.vintages)
    if not vintages:
        return replace(panel, covariate_SNK=values_SNK)
    ahead_SNFV = place_vintages(features, panel, columns=vintages, freq=spec.freq)
    return replace(panel, covariate_SNK=values_SNK, vintage_SNFV=ahead_SNFV, vintages=vintages)
