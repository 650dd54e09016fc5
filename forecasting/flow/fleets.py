"""Trained fleets as people use them: forecast again from newer data, save to a folder and load from it."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.classical.trees import check_installed
from forecasting.errors import DataWarning, NothingStored, SourceError, SpecError
from forecasting.flow.actuals import require_same_clock
from forecasting.flow.covariate_use import check_regressions
from forecasting.flow.effects import make_grid, respond, summarise
from forecasting.flow.forecast_checks import mark_failing
from forecasting.flow.local import find_problems, predict_here
from forecasting.flow.one_shot import OneShot
from forecasting.flow.outcome import FittedShard
from forecasting.flow.predict import Trained, forecasters_of, predict_trained
from forecasting.flow.results import Result
from forecasting.flow.scenario import place_plan, read_plan, warn_of
from forecasting.series.budget import check_budget
from forecasting.series.checks import check_measurements
from forecasting.series.clock import format_clock, parse_clock
from forecasting.series.columns import KNOWN, read_times
from forecasting.series.covariate_points import values_at
from forecasting.series.covariate_tables import JoinedTable, read_table, scan_table_of, series_keys
from forecasting.series.covariates import CovariateRows, Covariates, merge_covariates, read_covariates
from forecasting.series.frames import NativeFrames
from forecasting.series.freshness import current_time
from forecasting.series.grid import future_grid
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.inputs import Input, as_paths, read_input
from forecasting.series.lost import describe_lost
from forecasting.series.merge import KEPT, as_rows, merge_newer, without_kept
from forecasting.series.native import NativeTypes, native_types
from forecasting.series.once import reading_once
from forecasting.series.partial import has_parts, leave_part
from forecasting.series.plausible import wall_clock
from forecasting.series.reasons import REPEATS, UNKNOWN, Reason
from forecasting.series.spans import newest_observation
from forecasting.series.table_inputs import read_tables
from forecasting.series.thousands import check_thousands
from forecasting.series.typed_cutoff import describe_settled, settle_cutoff
from forecasting.series.unfinished import is_unfinished
from forecasting.series.verdicts import describe_warnings, find_set_aside, join_verdicts
from forecasting.series.waiting import describe_unfinished
from forecasting.spec.spec import Spec, make_spec
from forecasting.spec.training import KernelName
from forecasting.version import code_version

FORMAT = 1
"""Of the folder that `Fleet.save` writes; raised where an earlier version could not read it."""
MANIFEST = "fleet.json"

_TABLES = ("observations", "rejects", "backtests", "champions", "factors", "correlations")
"""Frames of an outcome that a folder keeps, a parquet file each."""
COVARIATES = "covariates.parquet"
"""File of a folder whose fleet has covariates."""
TREES = "trees.txt"
"""File of a folder whose fleet has trees."""


class Fleet:
    """Trained networks of every series, with their backtests and the history that they know."""

    def __init__(
        self, spec: Spec, fit: OneShot, types: NativeTypes, frames: NativeFrames, *, zone: tzinfo | None
    ) -> None:
        """Wrap what a fit returns; called by this library alone.

        Args:
            spec: What the fleet forecasts.
            fit: The outcome of the fit, with its networks; its forecasts may have no rows.
            types: Dtypes of ids and times in the input.
            frames: The kind of frame that results come back as.
            zone: The zone of the pipeline's clock; None where times of the input have no zone or offset.
        """
        self.spec = spec
        self._fit, self._types, self._frames, self._zone = fit, types, frames, zone
        by_checks = find_set_aside(fit.checks)  # which every forecast evaluates again
        self._set_aside = {name: why for name, why in fit.set_aside.items() if why != by_checks.get(name)}
        self._history = fit.observations
        if fit.later is not None:  # which wait until other series have that period
            later = fit.later.filter(~pl.col("unique_id").is_in(list(self._set_aside)))
            self._history = pl.concat([fit.observations, later]).sort("unique_id", "ds")
        self._covariates, self._tables = fit.covariates, fit.tables
        self._newest: OneShot | None = fit if fit.forecasts.height else None

    @property
    def backtests(self) -> Any:
        """Scores of every model at every rolling origin of the fit, in the columns of the table `backtests`."""
        return self._wrap(self._fit).backtests

    @property
    def champions(self) -> Any:
        """The serving model of each series, with its backtest error and the reason."""
        return self._wrap(self._fit).champions

    @property
    def rejects(self) -> Any:
        """Rows that the fit refused, each with its reason."""
        return self._wrap(self._fit).rejects

    @property
    def cutoff(self) -> datetime | int:
        """The last time that the fit knew, in the input's own zone."""
        return self._wrap(self._fit).cutoff

    def predict(
        self,
        frame: Any = None,
        *,
        future: Any = None,
        covariates: Any = None,
        cutoff: Any = None,
        processes: int | None = None,
        kernel: KernelName = "auto",
        progress: bool | None = None,
    ) -> Result:
        """Forecast from everything known; no network is trained.

        Newer rows join the history that the fleet keeps, and newer measurements replace older ones. Series that are
        new use the priors directly, or a seasonal naive where the recipe has no priors. Statistical models, which
        have no weights, are fitted again.

        Args:
            frame: Newer rows with the columns of the input: a frame or paths of files. None adds nothing.
            future: A plan: other values of covariates within the horizon, as a frame or paths of files with the columns
                of series, time and some covariates. A null, and a point without a row, keep the known value. They count
                for this forecast alone; rows of `frame` are kept.
            covariates: Newer rows of tables of covariates, in the order of the tables: frames or paths, with None for a
                table without any. They are kept; a table is not read again by itself.
            cutoff: The last time that may be known, not before the cutoff of the fit; the newest period of most live
                series where not given. It is read as that of `fit`: on the input's own wall clock, which is the one of
                the fit's smallest offset where days are text with offsets. Within a period whose rows were aggregated,
                it means the periods before, with a warning.
            processes: Processes of one thread each; as many as there are cores where not given.
            kernel: The implementation of the recurrence: auto, cpu, gpu or reference.
            progress: Whether progress is shown; a bar on a terminal or in a notebook where not given.

        Returns:
            Forecasts of every series. Their frames are of the kind of `frame`, or else of the kind that was fitted;
            `rejects` are those of `frame`, or else of the fit.

        Raises:
            SourceError: The newer rows cannot be read.
            SpecError: An argument is refused; a cutoff must not lie before that of the fit, nor after the newest
                measurement.
            CheckFailed: Measurements or forecasts fail a check of the spec that stops the run.
            ServiceError: A process died.
        """
        if problems := find_problems(processes=processes, kernel=kernel):
            raise SpecError("predict", problems)
        until = None if cutoff is None else self._read_cutoff(cutoff)
        frames, types, rejects = self._frames, self._types, self._fit.rejects.clear()
        if frame is not None:
            with reading_once():
                given, frames = read_input(
                    frame,
                    self._frames.named_in(self.spec.source.reading_of(as_paths(frame))),
                    static=self.spec.static_columns,
                    covariates=(*self.spec.covariates.of_source, *self.spec.covariates.by_columns),
                )
                if frames.is_single != self._frames.is_single:
                    raise SourceError(
                        f"{given.source}: the fleet was fitted to a frame {_with_ids(self._frames)}, but this one is"
                        f" {_with_ids(frames)}; both must name series alike"
                    )
                if given.frame is None or given.frame.height:
                    types = native_types(given, self.spec.clock, self.spec.freq)
                    rejects = self._extend(given, types)
        if covariates is not None:
            self._extend_tables(covariates)
        if future is not None:
            plan = self._read_plan(future)
            outcome = self._forecast(until, plan=plan, processes=processes, kernel=kernel, progress=progress)
        elif self._newest is None or until is not None:
            outcome = self._forecast(until, processes=processes, kernel=kernel, progress=progress)
            self._newest = outcome if until is None else self._newest
        else:
            outcome = self._newest
        shown = replace(outcome, rejects=rejects) if frame is not None else outcome
        return Result(self.spec, shown, types, frames, has_zone=self._zone is not None)

    def effects(self, covariate: str, grid: Iterable[Any] | None = None) -> Any:
        """Measure how the forecasts respond to a covariate that is moved over its range, all others as they are.

        The covariate has one value of the grid at all steps of the horizon, of all series. No network is trained.

        Args:
            covariate: Its name.
            grid: At least two values to compare: numbers, booleans or names. Where not given, both values of a
                covariate that has two, or seven from the 5 % to the 95 % quantile of its known values.

        Returns:
            One row per value: value; mean_forecast, over series and steps; difference, the mean difference from the
            forecasts at the first value; relative_difference, the mean of these differences in shares of the series'
            forecasts at the first value; agreeing, the share of series whose difference has the sign of the mean one;
            and num_series.

        Raises:
            SpecError: The covariate is unknown, or has no such values.
        """
        spec = self.spec
        if self._newest is None:
            self._newest = self._forecast(None, processes=None, kernel="auto", progress=False)
        outcome = self._newest
        known = pl.Series(covariate, [], dtype=pl.Float64)
        if covariate in spec.covariates.known_ahead:
            known = outcome.features[KNOWN].list.get(spec.covariate_names.index(covariate))
        moved = make_grid(covariate, grid, known, spec)
        served = outcome.forecasts.filter("is_champion", pl.col("forecast").is_not_null())["unique_id"]
        trained = Trained(outcome.fitted, outcome.priors, outcome.champions, outcome.factors, outcome.trees)
        shards = forecasters_of(spec, trained, outcome.features, served.unique().to_list(), cutoff=outcome.cutoff)
        responses = [respond(panel, spec, moved, forecast=each) for panel, _, each in shards]
        return self._frames.restore(summarise(pl.concat(responses), moved))

    def save(self, folder: str | Path) -> None:
        """Write the fleet to a folder: weights as safetensors, tables as parquet, and the rest as JSON.

        The folder appears whole or not at all; a fleet that was saved there before is replaced.

        Args:
            folder: A folder that does not exist yet, is empty, or holds a saved fleet.

        Raises:
            SpecError: The folder holds something else, or cannot be written.
        """
        folder = Path(folder).resolve()
        _refuse_folder(folder)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        new, old = temporary / "new", temporary / "old"
        try:
            new.mkdir()
            _write_folder(new, self)
            try:
                if folder.exists():
                    folder.rename(old)
                new.rename(folder)
            except BaseException:
                if old.exists() and not folder.exists():
                    old.rename(folder)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def __repr__(self) -> str:
        num_series = sum(len(shard.unique_ids) for shard in self._fit.fitted)
        return (
            f"<forecasting.Fleet: {num_series} series, {self.spec.horizon} steps of {self.spec.freq},"
            f" fitted until {self.cutoff}>"
        )

    def _extend(self, given: Input, types: NativeTypes) -> pl.DataFrame:
        """Join newer rows to the history and return those that are refused; the history never loses a row."""
        spec = self.spec
        require_same_clock(given, spec, has_zone=self._zone is not None)
        if types.keeps_wall_clock and types.zone and self._types.zone and types.zone != self._types.zone:
            raise SourceError(
                f"{given.source}: times are in {types.zone}, but those of the fleet are in {self._types.zone}, whose"
                " days begin at other times; convert them first"
            )
        rows = given.scan(spec.clock, static=spec.static_columns)
        check_thousands(rows, given.source)
        if types.unique_id.is_integer() and not self._types.unique_id.is_integer():
            known = self._history["unique_id"].unique().implode()
            other = rows.filter(~pl.col("unique_id").is_in(known)).select("unique_id").unique().head(3).collect()
            if other.height:
                raise SourceError(
                    f"{given.source}: column '{', '.join(given.source.ids)}' has whole numbers such as"
                    f" {other.item(0, 0)}, but the fleet's ids are text; give ids as they were when it was fitted"
                )
        unfinished = is_unfinished(rows.collect_schema(), given.source, freq=spec.freq, now=wall_clock())
        merged = merge_newer(self._history, rows, freq=spec.freq, unfinished=unfinished, source=spec.source)
        newest = newest_observation(merged.rows, freq=spec.freq, source=spec.source)
        joined = ingest(
            spec,
            rows=merged.rows,
            covariates=CovariateRows(),
            cutoff=newest,
            is_newest=True,
            has_budget=False,
            zone=self._types.local_zone,
        )
        waiting = describe_unfinished(rows, freq=spec.freq, unfinished=unfinished)
        if waiting is not None:
            warnings.warn(waiting, DataWarning, stacklevel=3)
        is_superfluous = pl.col("reason").is_in([*REPEATS, Reason.CONFLICT.value])
        lost = joined.rejects.filter(pl.col("source_file") == KEPT, ~is_superfluous)
        if lost.height:
            raise SourceError(
                f"{given.source}: series '{lost['unique_id'][0]}' would lose {lost.height} rows of its history, because"
                f" more rows now lie on another grid ({lost['reason'][0]}); the newer rows must lie on the fleet's grid"
            )
        misplaced = without_kept(joined.rejects).lazy().with_columns(time=pl.col("ds"))
        refused = pl.concat([merged.refused, read_times(misplaced, "time", clock=spec.clock)]).collect()
        newer = merged.rows.filter(pl.col("source_file") != KEPT).select("unique_id", "ds").collect()
        num_rows = newer.height + merged.refused.select(pl.len()).collect().item()
        accepted = joined.observations.select("unique_id", "ds").join(newer, on=["unique_id", "ds"], how="semi")
        # The last observation of each series decides whether a refused row would have been newer.
        last = joined.observations.group_by("unique_id").agg(pl.col("ds").max())
        counted = pl.concat([accepted, last]).unique().group_by("unique_id")
        kept = counted.agg(num_kept=pl.len(), newest=pl.col("ds").max())
        check_budget(refused, kept, given.source, rows)  # of the newer rows alone
        whole = joined.observations.group_by("unique_id").agg(num_kept=pl.len(), newest=pl.col("ds").max())
        set_aside = check_budget(refused, whole, given.source, rows)
        for note in (*describe_lost(refused, set_aside, num_rows=num_rows), *_describe_unknown(refused, self._history)):
            warnings.warn(note, DataWarning, stacklevel=3)
        without_news = set(self._set_aside) - set(accepted["unique_id"])
        self._set_aside = {name: self._set_aside[name] for name in without_news} | set_aside
        self._history, self._newest = joined.observations, None
        if self._covariates is not None and spec.covariates.of_source:
            found = read_covariates(given.scan_covariates(spec.clock, spec.covariates.of_source), spec)
            for note in found.notes:
                warnings.warn(note, DataWarning, stacklevel=3)
            self._covariates = merge_covariates(self._covariates, found)
        if columns := spec.covariates.by_columns:
            keys = series_keys(given.scan(spec.clock, static=columns), spec)
            self._tables = tuple(table.with_keys(keys) for table in self._tables)
        return refused.drop("time")

    def _extend_tables(self, newer: Any) -> None:
        """Join newer rows to the tables of covariates."""
        spec, several = self.spec, newer if isinstance(newer, (list, tuple)) else [newer]
        if len(several) != len(self._tables):
            raise SpecError(
                "covariates", [f"has {len(several)} tables, but the fleet was fitted with {len(self._tables)}"]
            )
        tables = list(self._tables)
        for number, (one, table) in enumerate(zip(several, spec.covariates.tables, strict=True)):
            if one is None:
                continue
            (fields,), frames = read_tables(
                {"data": one, "future": table.future, "past": table.past}, spec.source, subject="covariates"
            )
            other = table.model_copy(update={"uri": fields["uri"], "by": tables[number].by})
            with reading_once():
                scanned = scan_table_of(other, spec.source, spec.clock, frame=frames[0] if frames else None)
                found = read_table(scanned, spec, keys={}, zone=self._types.local_zone)
            for note in found.notes:
                warnings.warn(note, DataWarning, stacklevel=4)
            tables[number] = tables[number].merged_with(found)
        self._tables, self._newest = tuple(tables), None

    def _read_cutoff(self, cutoff: Any) -> datetime | int:
        until = self._types.parse_cutoff(as_text(cutoff), self.spec.clock, zone=self._zone, subject="cutoff")
        if until < self._fit.cutoff:  # type: ignore[operator]
            fitted = format_clock(self._fit.cutoff)
            raise SpecError("cutoff", [f"{format_clock(until)} lies before {fitted}, which the fleet was fitted to"])
        return until

    def _read_plan(self, future: Any) -> Covariates:
        """Read other values of the covariates."""
        fields = self._frames.named_in(self.spec.source.reading_of(as_paths(future)))
        only = str(self._history["unique_id"][0]) if self._frames.is_single else None
        with reading_once():
            return read_plan(future, self.spec, fields, has_zone=self._zone is not None, only=only)

    def _forecast(
        self,
        until: datetime | int | None,
        *,
        plan: Covariates | None = None,
        processes: int | None,
        kernel: KernelName,
        progress: bool | None,
    ) -> OneShot:
        """Forecast from the history up to a cutoff, with the covariates that are known or those of a plan."""
        has_categories = bool(self.spec.static_columns)
        rows = as_rows(self._history, with_categories=has_categories)
        until = None if until is None else self._settle(until, rows)
        ingest_with = partial(ingest, self.spec, rows=rows, cutoff=until, is_settled=True, zone=self._types.local_zone)
        covariates: CovariateRows | Covariates = CovariateRows()
        if self._covariates is not None:
            known = self._covariates
            if plan is not None:
                known = self._with_plan(known, plan, ingest_with(covariates=CovariateRows()))
            covariates = Covariates(known.lazy(), tables=self._tables)
        ingested = ingest_with(covariates=covariates)
        ingested = ingested.without(self._set_aside)
        checked = check_measurements(
            ingested, self.spec, moment=current_time(self.spec, self._zone) if until is None else None
        )
        checked.refuse()
        ingested = checked.ingested
        for note in (*describe_warnings(checked.verdicts), *ingested.unused):
            warnings.warn(note, DataWarning, stacklevel=3)
        if self._fit.trees is not None:
            check_installed("regressions")
        fit = self._fit
        forecasts = predict_trained(
            self.spec,
            Trained(fit.fitted, fit.priors, fit.champions, fit.factors, fit.trees),
            ingested,
            kernel=kernel,
            run_calls=predict_here(num_series=len(ingested.unique_ids), processes=processes, progress=progress),
        )
        features = ingested.features.lazy()
        for note in check_regressions(self.spec, forecasts.lazy(), ingested.lengths, features):
            warnings.warn(note, DataWarning, stacklevel=3)
        forecasts, of_forecasts = mark_failing(forecasts, ingested.features, self.spec, stacklevel=3)
        return replace(
            fit,
            forecasts=forecasts,
            observations=ingested.observations,
            features=ingested.features,
            cutoff=ingested.cutoff,
            counts=None,
            set_aside=ingested.set_aside,
            ended=ingested.ended,
            checks=join_verdicts([checked.verdicts, of_forecasts]),
        )

    def _with_plan(self, known: pl.DataFrame, plan: Covariates, ingested: Ingested) -> pl.DataFrame:
        """Return the known values of the covariates, replaced by those of a plan within the horizon."""
        points = ingested.without(self._set_aside).points
        horizon = future_grid(points.select("unique_id", "ds"), freq=self.spec.freq, horizon=self.spec.horizon)
        served = horizon.filter(~pl.col("unique_id").is_in(list(ingested.ended)))
        known_all = Covariates(known.lazy(), tables=self._tables)
        values = values_at(served, known_all, self.spec, origin=ingested.cutoff)
        scenario = place_plan(plan, served, values, cutoff=ingested.cutoff)
        warn_of(scenario, stacklevel=4)
        return merge_covariates(known, scenario.covariates)

    def _settle(self, given: datetime | int, rows: pl.LazyFrame) -> datetime | int:
        """Return the time that a requested cutoff means, and warn where it lies before the cutoff."""
        spec, known, until = self.spec, self._fit.cutoff, given
        if has_parts(spec.source) and isinstance(given, datetime) and isinstance(known, datetime):
            until = leave_part(self._history, given, spec.freq, known=known)
        # The fit may have known rows of its last period that are later than the aggregate that is kept of them.
        until = max(known, settle_cutoff(rows, spec, until, zone=self._types.local_zone))
        note = describe_settled(given, until, spec.freq)
        if note is not None:
            warnings.warn(note, DataWarning, stacklevel=4)
        return until

    def _wrap(self, outcome: OneShot) -> Result:
        return Result(self.spec, outcome, self._types, self._frames, has_zone=self._zone is not None)


def _describe_unknown(refused: pl.DataFrame, history: pl.DataFrame) -> Iterator[str]:
    """Yield a sentence about newer rows without a measurement where the history has one, if there are any."""
    known = history.filter(pl.col("y").is_not_null()).select("unique_id", time="ds")
    has_none = pl.col("reason").is_in([Reason.NO_MEASUREMENT.value, *UNKNOWN])
    unknown = refused.filter(has_none).join(known, on=["unique_id", "time"], how="semi", maintain_order="left")
    if unknown.height:
        name, ds = unknown.select("unique_id", "ds").row(0)
        yield (
            f"{unknown.height:,} newer rows have no measurement where the fleet has one, which it keeps, such as {ds}"
            f" of '{name}'; source.ignore leaves a period out when a fleet is fitted"
        )


def _with_ids(frames: NativeFrames) -> str:
    return "without a column of series" if frames.is_single else f"with the column of series '{', '.join(frames.ids)}'"


def as_text(cutoff: Any) -> str:
    """Return a cutoff (text, a datetime of any library, a date or an integer step) as text."""
    return cutoff.isoformat() if hasattr(cutoff, "isoformat") else str(cutoff)


def load_fleet(folder: str | Path) -> Fleet:
    """Load a fleet from a folder that `Fleet.save` wrote.

    Args:
        folder: The folder.

    Returns:
        The fleet; its next forecast is that of the saved one. Frames come back in the kind that was fitted, without
        dtypes of pandas and pyarrow that Polars does not have, such as categories.

    Raises:
        NothingStored: The folder does not hold a fleet.
        SourceError: A file is missing or altered, or the folder was written in another format.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    _refuse_unlisted(manifest, folder / MANIFEST)
    content = {name: _read_checked(folder / name, digest) for name, digest in manifest["files"].items()}
    spec = make_spec(manifest["spec"], subject=f"fleet {folder}")
    tables = {name: pl.read_parquet(content[f"{name}.parquet"]) for name in (*_TABLES, "forecasts", "types")}
    types = tables.pop("types").schema
    frames = manifest["frames"] | {"id": _as_ids(manifest["frames"]["id"])}
    fit = OneShot(
        **tables,  # type: ignore[arg-type]
        features=pl.DataFrame(),
        cutoff=parse_clock(manifest["cutoff"], spec.clock),
        fitted=tuple(
            FittedShard(tuple(shard["unique_ids"]), tuple(content[name] for name in shard["weights"]))
            for shard in manifest["shards"]
        ),
        priors=tuple(content[name] for name in manifest["priors"]),
        trees=content.get(TREES),
        set_aside=manifest.get("set_aside", {}),  # earlier versions did not set series aside
        usual_rows=manifest.get("usual_rows", {}),
        covariates=pl.read_parquet(content[COVARIATES]) if COVARIATES in content else None,
        tables=tuple(_read_table(table, content) for table in manifest.get("covariate_tables", ())),
    )
    return Fleet(
        spec,
        fit,
        NativeTypes(
            types["unique_id"],
            types["ds"],
            keeps_wall_clock=manifest["keeps_wall_clock"],
            timezone=spec.source.timezone,
            id_columns={name: dtype for name, dtype in types.items() if name not in ("unique_id", "ds")},
        ),
        NativeFrames(**frames),
        zone=_read_zone(manifest["zone"]),
    )


def _write_folder(folder: Path, fleet: Fleet) -> None:
    fit, types, frames = fleet._fit, fleet._types, fleet._frames
    files: dict[str, str] = {}

    def write(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        files[name] = hashlib.sha256(content).hexdigest()
        return name

    for name in _TABLES:
        write(f"{name}.parquet", _as_parquet(fleet._history if name == "observations" else getattr(fit, name)))
    write("forecasts.parquet", _as_parquet(fit.forecasts.clear()))
    if fleet._covariates is not None:
        write(COVARIATES, _as_parquet(fleet._covariates))
    tables = [
        {
            "name": table.name,
            "by": table.by,
            "is_by_period": table.is_by_period,
            "values": write(f"covariates-{number}.parquet", _as_parquet(table.values)),
            "keys": None if table.keys is None else write(f"covariates-{number}-keys.parquet", _as_parquet(table.keys)),
        }
        for number, table in enumerate(fleet._tables)
    ]
    empty = pl.DataFrame(schema={"unique_id": types.unique_id, "ds": types.ds, **types.id_columns})
    write("types.parquet", _as_parquet(empty))
    shards = [
        {
            "unique_ids": shard.unique_ids,
            "weights": [
                write(f"shard-{number}-{place}.safetensors", weights) for place, weights in enumerate(shard.weights)
            ],
        }
        for number, shard in enumerate(fit.fitted)
    ]
    priors = [write(f"prior-{number}.safetensors", weights) for number, weights in enumerate(fit.priors)]
    trees = None if fit.trees is None else write(TREES, fit.trees)
    manifest = {
        "format": FORMAT,
        "code_version": code_version(),
        "spec": fleet.spec.model_dump(mode="json", exclude_unset=True),
        "cutoff": format_clock(fit.cutoff),
        "frames": {name: getattr(frames, name) for name in ("kind", "id", "time", "target", "is_single")},
        "keeps_wall_clock": types.keeps_wall_clock,
        "zone": None if fleet._zone is None else str(fleet._zone),
        "set_aside": fleet._set_aside,
        "usual_rows": fit.usual_rows,
        "covariate_tables": tables,
        "shards": shards,
        "priors": priors,
        "trees": trees,
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _read_table(stored: Mapping[str, Any], content: Mapping[str, bytes]) -> JoinedTable:
    keys = None if stored["keys"] is None else pl.read_parquet(content[stored["keys"]])
    values = pl.read_parquet(content[stored["values"]])
    return JoinedTable(stored["name"], stored["by"], stored["is_by_period"], values, keys)


def _read_zone(name: str | None) -> tzinfo | None:
    """Return the zone with a name such as UTC, Europe/Paris or UTC+02:00, as `str` writes it.

    >>> _read_zone("UTC-03:30"), _read_zone("UTC") is UTC, _read_zone(None)
    (datetime.timezone(datetime.timedelta(days=-1, seconds=73800)), True, None)
    """
    if name is None:
        return None
    if name == "UTC":
        return UTC
    offset = name.removeprefix("UTC")
    return ZoneInfo(name) if offset == name else datetime.strptime(offset, "%z").tzinfo


def _as_ids(id: str | list[str]) -> str | tuple[str, ...]:
    return id if isinstance(id, str) else tuple(id)


def _as_parquet(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    return buffer.getvalue()


def _refuse_folder(folder: Path) -> None:
    problem = None
    if folder.exists() and not folder.is_dir():
        problem = "is a file; it must be a folder"
    elif folder == Path.cwd():
        problem = "is the working directory; name a folder within it"
    elif folder.is_dir() and (others := _others_in(folder)):
        problem = f"holds something else than a saved fleet, '{others[0]}'; name a folder that does not exist yet"
    elif not folder.absolute().parent.is_dir():
        problem = f"cannot be written: the folder {folder.absolute().parent} does not exist"
    elif not os.access(folder.absolute().parent, os.W_OK):
        problem = f"cannot be written: no permission to write to {folder.absolute().parent}"
    if problem:
        raise SpecError("folder", [f"{str(folder)!r} {problem}"])


def _others_in(folder: Path) -> list[str]:
    """Return what a folder holds besides the files of a saved fleet."""
    listed: set[str] = set()
    with contextlib.suppress(NothingStored, SourceError):
        listed = {MANIFEST, *_read_manifest(folder)["files"]}
    return sorted(path.name for path in folder.iterdir() if path.name not in listed)


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    try:
        manifest: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NothingStored(f"{folder} does not hold a saved fleet: it has no {MANIFEST}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder / MANIFEST} cannot be read: {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise SourceError(f"{folder} holds a fleet of format {found}; this version of Fleetcast reads {FORMAT}")
    needed = ("spec", "cutoff", "frames", "keeps_wall_clock", "zone", "shards", "priors", "files")
    if missing := [name for name in needed if name not in manifest]:
        raise SourceError(f"{folder / MANIFEST} lacks {', '.join(missing)}; the saved fleet is not whole")
    return manifest


def _refuse_unlisted(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise SourceError where the list of files lacks one that the fleet consists of."""
    shards = [name for shard in manifest["shards"] for name in shard["weights"]]
    tables = [f"{name}.parquet" for name in (*_TABLES, "forecasts", "types")]
    covariates = manifest["spec"].get("covariates", {})
    if any(covariates.get(role) for role in ("future", "past", "static", "tables")):
        tables.append(COVARIATES)
    joined = manifest.get("covariate_tables", ())
    tables += [name for table in joined for name in (table["values"], table["keys"]) if name is not None]
    if manifest.get("trees"):  # earlier versions had none
        tables.append(TREES)
    if missing := [name for name in (*tables, *shards, *manifest["priors"]) if name not in manifest["files"]]:
        raise SourceError(f"{path} lists no {', '.join(missing)}; the saved fleet is not whole")


def _read_checked(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}; the saved fleet is not whole") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise SourceError(f"{path} is not the file that was saved: its SHA-256 differs from that in {MANIFEST}")
    return content
