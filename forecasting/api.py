"""The public functions of Fleetcast: forecast, fit, backtest, load, and a store to query.

The input is a frame of long data, or files. Keyword arguments, a spec, or both describe the forecast.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forecasting.errors import DataWarning, SpecError, naming_extras
from forecasting.fleet.options import FitOptions
from forecasting.flow.actuals import Actuals, read_actuals
from forecasting.flow.backtests import backtest_at, place_cutoffs
from forecasting.flow.fleets import Fleet, as_text, load_fleet
from forecasting.flow.local import find_problems, forecast_here, forecast_on_ray
from forecasting.flow.one_shot import OneShot
from forecasting.flow.outcome import Keeps
from forecasting.flow.processes import Crew, count_processes
from forecasting.flow.results import Evaluation, Result
from forecasting.schemas import TABLES
from forecasting.series.events import inline_events, name_events
from forecasting.series.frames import IN_MEMORY, NativeFrames
from forecasting.series.infer import infer_frequency
from forecasting.series.inputs import Input, read_input
from forecasting.series.midnights import with_zone_of_midnights
from forecasting.series.native import NativeTypes, native_types
from forecasting.series.once import reading_once
from forecasting.series.table_inputs import read_tables
from forecasting.spec.defaults import make_inferred_spec
from forecasting.spec.place import PLACE, Scope
from forecasting.spec.problems import relabel
from forecasting.spec.recipes import configure
from forecasting.spec.source import Source, check_source
from forecasting.spec.spec import MOST_PATH_STEPS, ONE_SHOT, Spec, read_spec, static_columns_of
from forecasting.spec.training import KernelName

__all__ = ["Evaluation", "Fleet", "Result", "Store", "backtest", "fit", "forecast", "load"]


def forecast(
    frame: Any = None,
    *,
    freq: str | int | None = None,
    season_lengths: int | Sequence[int] | None = None,
    horizon: int | None = None,
    id: str | Sequence[str] | None = None,
    time: str | None = None,
    target: str | None = None,
    cutoff: Any = None,
    recipe: str | None = None,
    models: str | Sequence[str] | None = None,
    statistics: str | Sequence[str] | None = None,
    regressions: str | Sequence[str] | None = None,
    quantiles: Sequence[float] | None = None,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    integer_valued: bool | None = None,
    static: str | Sequence[str] | None = None,
    calendar: str | Sequence[str] | None = None,
    known_ahead: str | Sequence[str] | None = None,
    past: str | Sequence[str] | None = None,
    static_covariates: str | Sequence[str] | None = None,
    covariates: Any = None,
    covariate_categories: str | Sequence[str] | None = None,
    future_missing: str | None = None,
    country: str | None = None,
    holidays: str | Mapping[str, Any] | None = None,
    events: Any = None,
    margin: float | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    checks: Sequence[Mapping[str, Any]] | None = None,
    spec: Spec | str | os.PathLike[str] | None = None,
    processes: int | None = None,
    kernel: KernelName = "auto",
    ray: bool = False,
    progress: bool | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Result:
    """Forecast every series of a frame: train, backtest, choose champions and predict, all at once.

    Args:
        frame: Long data, one row per series and time: a Polars DataFrame or LazyFrame, a pandas DataFrame (index
            levels may be the series and the time), a pyarrow Table, a DuckDB relation, or paths of parquet and CSV
            files, folders and globs, of a Delta table, or the URI of a database, whose table or query `source` names.
            May be left out where `spec` has a source, or `source` a connection with a database.
        freq: Step of the grid: "15m", "1h", "1d", "1w", "1mo", "1q" and so on, or an integer for integer steps.
            Where not given, it is inferred from the distances between neighbouring rows, and a warning states it.
        season_lengths: Grid points of a season, one or several; the first one scales MASE; 1 for none. Where not
            given, those that are customary at the frequency, and a warning states them.
        horizon: Steps ahead.
        id: Column that names the series, or several that name it together. Where not given, `unique_id`; a frame
            without that column is one series.
        time: Column of timestamps or integer steps; `ds` where not given.
        target: Column of measurements; `y` where not given.
        cutoff: Last time that may be known, as text, a date, a datetime or an integer step; without an offset it is
            on the wall clock that the input's own times are written in. It must not lie after the newest
            measurement. Where not given, it is the newest finished period that at least half of the live series have.
        recipe: How to train: "fast", "standard" (the default) or "accurate".
        models: Networks to train and compare; one alone is the champion wherever it has a forecast.
        statistics: Statistical models to compare with them; the recipe's choice where not given, none for [].
        regressions: Regressions to compare with them: "ridge", and "lightgbm" where the extra `trees` is installed.
            Where not given, ridge where there are covariates.
        quantiles: Quantiles of the forecast, 0.5 among them; thirteen from 0.025 to 0.975 where not given.
        lower_bound: No forecast is below it; 0 for counts.
        upper_bound: No forecast is above it; 1 for shares.
        integer_valued: Whether the target counts things, so that forecasts are whole numbers.
        static: Columns of categories that classify whole series; networks that begin from a prior learn them.
        calendar: Categories of times that networks learn: hour, weekday, month and holiday.
        known_ahead: Columns of covariates (numbers, booleans or names), whose values over the horizon are known: rows
            after the cutoff, whose target is null, have them. Regressions read them.
        past: Columns of covariates that are known up to the cutoff alone; models read them whole seasons before.
        static_covariates: Columns of numbers that are constant in each series.
        covariates: Tables of covariates of their own, one or several: frames, paths, or mappings of a frame or path as
            `data` with fields of `[[covariates.tables]]`, such as {"data": weather, "by": "station"}. All their columns
            besides those of series and time are known ahead, unless `future` names some.
        covariate_categories: Those of these columns whose values are names; columns without any number are.
        future_missing: Where such a value is missing within the horizon: "error" (the default), "hold" for the last
            known value, or "drop_column", which leaves the covariate out.
        country: ISO 3166-1 code of the country whose holidays are the category "holiday".
        holidays: Country whose holidays are covariates, such as "US", "DE-BY" or "XNYS", or fields of a spec's
            `[holidays]`, such as {"by": "country", "window": [-1, 1]}.
        events: Named days that are known ahead: a frame with the columns event and date, and maybe that of series,
            days, before and after; paths of such files; or a list of fields of `[[events]]`.
        margin: Share of the best seasonal naive's MASE by which the serving model must be better.
        seed: Seed of the random numbers; 0 where not given.
        overrides: Parts of the recipe, such as {"max_steps": 200}.
        source: Fields of a spec's `[source]`, which say how rows are read.
        checks: Checks of measurements and forecasts, each a table such as {"kind": "range", "min": 0}.
        spec: A spec, or the path of its TOML file; other arguments take precedence over it.
        processes: Processes of one thread each; as many as there are cores where not given. Not used with `ray`.
        kernel: The implementation of the recurrence: auto, cpu, gpu or reference.
        ray: Whether the work is spread over the Ray cluster of RAY_ADDRESS, or over a local Ray.
        progress: True shows a bar, or lines in a log; None a bar on a terminal or in a notebook; False nothing. Ray
            prints its own lines on stderr.
        storage_options: Options of an object store that holds the files.

    Returns:
        Forecasts with quantiles, candidates, backtests, champions, refused rows and reasons.

    Raises:
        SpecError: Arguments are refused; the error lists all of them.
        SourceError: The frame or a file cannot be read, or has nothing to forecast.
        CheckFailed: Measurements or forecasts fail a check that stops the run.
        ServiceError: A process died.

    Examples:
        >>> import polars as pl
        >>> frame = pl.DataFrame({"ds": range(40), "y": [float(step % 4) for step in range(40)]})
        >>> result = forecast(frame, freq=1, season_lengths=4, horizon=2, recipe="fast", overrides={"max_steps": 2})
        >>> result.forecasts.select("ds", "model").height
        2
    """
    arguments = locals()
    with reading_once():
        request = _read_request(arguments, subject="forecast")
        return request.forecast(
            cutoff=request.parse_cutoff(cutoff), processes=processes, kernel=kernel, ray=ray, progress=progress
        )


def fit(
    frame: Any = None,
    *,
    freq: str | int | None = None,
    season_lengths: int | Sequence[int] | None = None,
    horizon: int | None = None,
    id: str | Sequence[str] | None = None,
    time: str | None = None,
    target: str | None = None,
    cutoff: Any = None,
    recipe: str | None = None,
    models: str | Sequence[str] | None = None,
    statistics: str | Sequence[str] | None = None,
    regressions: str | Sequence[str] | None = None,
    quantiles: Sequence[float] | None = None,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    integer_valued: bool | None = None,
    static: str | Sequence[str] | None = None,
    calendar: str | Sequence[str] | None = None,
    known_ahead: str | Sequence[str] | None = None,
    past: str | Sequence[str] | None = None,
    static_covariates: str | Sequence[str] | None = None,
    covariates: Any = None,
    covariate_categories: str | Sequence[str] | None = None,
    future_missing: str | None = None,
    country: str | None = None,
    holidays: str | Mapping[str, Any] | None = None,
    events: Any = None,
    margin: float | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    checks: Sequence[Mapping[str, Any]] | None = None,
    spec: Spec | str | os.PathLike[str] | None = None,
    processes: int | None = None,
    kernel: KernelName = "auto",
    progress: bool | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Fleet:
    """Train and backtest the networks of every series once, to forecast from newer data later.

    Args:
        frame: Long data, as of `forecast`.
        freq: Step of the grid.
        season_lengths: Grid points of a season, one or several.
        horizon: Steps ahead.
        id: Column that names the series, or several that name it together.
        time: Column of timestamps or integer steps.
        target: Column of measurements.
        cutoff: Last time that may be known; chosen as by `forecast` where not given.
        recipe: How to train: "fast", "standard" or "accurate".
        models: Networks to train and compare.
        statistics: Statistical models to compare with them.
        regressions: Regressions to compare with them; ridge where there are covariates.
        quantiles: Quantiles of the forecast.
        lower_bound: No forecast is below it.
        upper_bound: No forecast is above it.
        integer_valued: Whether the target counts things.
        static: Columns of categories that classify whole series.
        calendar: Categories of times that networks learn.
        known_ahead: Columns of covariates whose values over the horizon are known.
        past: Columns of covariates that are known up to the cutoff alone.
        static_covariates: Columns of numbers that are constant in each series.
        covariates: Tables of covariates of their own, as of `forecast`.
        covariate_categories: Those of them whose values are names.
        future_missing: Where such a value is missing: "error", "hold" or "drop_column".
        country: ISO 3166-1 code of the country whose holidays are the category "holiday".
        holidays: Country whose holidays are covariates, such as "US", "DE-BY" or "XNYS", or fields of a spec's
            `[holidays]`, such as {"by": "country", "window": [-1, 1]}.
        events: Named days that are known ahead: a frame with the columns event and date, and maybe that of series,
            days, before and after; paths of such files; or a list of fields of `[[events]]`.
        margin: Share of the best seasonal naive's MASE by which the serving model must be better.
        seed: Seed of the random numbers.
        overrides: Parts of the recipe.
        source: Fields of a spec's `[source]`, which say how rows are read.
        checks: Checks of measurements and forecasts, each a table such as {"kind": "range", "min": 0}.
        spec: A spec, or the path of its TOML file; other arguments take precedence over it.
        processes: Processes of one thread each; as many as there are cores where not given.
        kernel: The implementation of the recurrence.
        progress: How progress is shown; see `forecast`.
        storage_options: Options of an object store that holds the files.

    Returns:
        The trained fleet; its `predict` gives the forecasts that `forecast` gives.

    Raises:
        SpecError: Arguments are refused; the error lists all of them.
        SourceError: The frame or a file cannot be read, or has nothing to forecast.
        CheckFailed: Measurements or forecasts fail a check that stops the run.
        ServiceError: A process died.
    """
    arguments = locals()
    with reading_once():
        request = _read_request(arguments, subject="fit")
        outcome = request.run(
            cutoff=request.parse_cutoff(cutoff),
            keeps=Keeps(correlations=request.keeps_correlations, networks=True),
            processes=processes,
            kernel=kernel,
            progress=progress,
        )
    return request.fleet_of(outcome)


def backtest(
    frame: Any = None,
    *,
    cutoffs: int = 4,
    step: int | None = None,
    refit: bool = True,
    freq: str | int | None = None,
    season_lengths: int | Sequence[int] | None = None,
    horizon: int | None = None,
    id: str | Sequence[str] | None = None,
    time: str | None = None,
    target: str | None = None,
    recipe: str | None = None,
    models: str | Sequence[str] | None = None,
    statistics: str | Sequence[str] | None = None,
    regressions: str | Sequence[str] | None = None,
    quantiles: Sequence[float] | None = None,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    integer_valued: bool | None = None,
    static: str | Sequence[str] | None = None,
    calendar: str | Sequence[str] | None = None,
    known_ahead: str | Sequence[str] | None = None,
    past: str | Sequence[str] | None = None,
    static_covariates: str | Sequence[str] | None = None,
    covariates: Any = None,
    covariate_categories: str | Sequence[str] | None = None,
    future_missing: str | None = None,
    country: str | None = None,
    holidays: str | Mapping[str, Any] | None = None,
    events: Any = None,
    margin: float | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    spec: Spec | str | os.PathLike[str] | None = None,
    processes: int | None = None,
    kernel: KernelName = "auto",
    progress: bool | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> Any:
    """Forecast from several past cutoffs, each as if it were the newest observation, and join the actuals.

    With `refit`, each cutoff has its own training, champions and calibration. No run reads anything after its cutoff.

    Args:
        frame: Long data, as of `forecast`.
        cutoffs: Number of cutoffs. The newest one lies a horizon before the newest observation.
        step: Grid points between two cutoffs; the horizon where not given.
        refit: Whether each cutoff has its own fit; otherwise that of the oldest cutoff forecasts at all of them.
        freq: Step of the grid.
        season_lengths: Grid points of a season, one or several.
        horizon: Steps ahead.
        id: Column that names the series, or several that name it together.
        time: Column of timestamps or integer steps.
        target: Column of measurements.
        recipe: How to train: "fast", "standard" or "accurate".
        models: Networks to train and compare.
        statistics: Statistical models to compare with them.
        regressions: Regressions to compare with them; ridge where there are covariates.
        quantiles: Quantiles of the forecast.
        lower_bound: No forecast is below it.
        upper_bound: No forecast is above it.
        integer_valued: Whether the target counts things.
        static: Columns of categories that classify whole series.
        calendar: Categories of times that networks learn.
        known_ahead: Columns of covariates whose values over the horizon are known.
        past: Columns of covariates that are known up to the cutoff alone.
        static_covariates: Columns of numbers that are constant in each series.
        covariates: Tables of covariates of their own, as of `forecast`.
        covariate_categories: Those of them whose values are names.
        future_missing: Where such a value is missing: "error", "hold" or "drop_column".
        country: ISO 3166-1 code of the country whose holidays are the category "holiday".
        holidays: Country whose holidays are covariates, such as "US", "DE-BY" or "XNYS", or fields of a spec's
            `[holidays]`, such as {"by": "country", "window": [-1, 1]}.
        events: Named days that are known ahead: a frame with the columns event and date, and maybe that of series,
            days, before and after; paths of such files; or a list of fields of `[[events]]`.
        margin: Share of the best seasonal naive's MASE by which the serving model must be better.
        seed: Seed of the random numbers.
        overrides: Parts of the recipe.
        source: Fields of a spec's `[source]`, which say how rows are read.
        spec: A spec, or the path of its TOML file; other arguments take precedence over it.
        processes: Processes of one thread each; as many as there are cores where not given.
        kernel: The implementation of the recurrence.
        progress: How progress is shown; see `forecast`.
        storage_options: Options of an object store that holds the files.

    Returns:
        A frame of the kind that came in, one row per series, cutoff, step and model: series, cutoff (of the run),
        time, step (from the series' own last point), model, is_champion, the target (null in a gap), forecast and the
        quantiles; sorted by series, cutoff, model and step. Times are after the cutoff.

    Raises:
        SpecError: Arguments are refused; the error lists all of them.
        SourceError: The frame cannot be read, or is too short for so many cutoffs.
        ServiceError: A process died.
    """
    arguments = locals()
    with reading_once():
        request = _read_request(arguments, subject="backtest")
        if request.spec.checks:
            request = replace(request, spec=request.spec.model_copy(update={"checks": ()}))
            note = "a backtest does not evaluate the checks of its spec, which are of runs"
            warnings.warn(note, DataWarning, stacklevel=2)
        rows = request.given.scan(request.spec.clock, static=request.spec.static_columns)
        places = place_cutoffs(rows, request.spec, num_cutoffs=cutoffs, step=step)
        with Crew(count_processes(processes)) as crew:
            at_cutoffs = backtest_at(
                places,
                request.spec,
                rows,
                covariates=request.given.scan_covariates(
                    request.spec.clock, request.spec.covariates.of_source, request.spec.covariates.tables
                ),
                refit=refit,
                run=lambda cutoff, keeps: request.run(
                    cutoff=cutoff, keeps=keeps, processes=processes, kernel=kernel, progress=progress, crew=crew
                ),
                kernel=kernel,
                processes=processes,
                progress=progress,
            )
            outcomes = pl.concat(at_cutoffs)
    scored = request.types.restore(outcomes)
    return request.frames.restore(scored.sort("unique_id", "cutoff", "model", "step"))


def load(folder: str | os.PathLike[str]) -> Fleet:
    """Load a fleet from a folder that `Fleet.save` wrote.

    Args:
        folder: The folder.

    Returns:
        The fleet; its next forecast is that of the saved one.

    Raises:
        NothingStored: The folder does not hold a fleet.
        SourceError: A file is missing or altered, or the folder was written in another format.
    """
    return load_fleet(Path(folder))


class Store:
    """The tables of scheduled runs, to query from Python: a folder or `s3://bucket/prefix`."""

    def __init__(self, root: str | os.PathLike[str], storage_options: Mapping[str, str] | None = None) -> None:
        """Name a store; nothing is opened or created until something is read.

        Args:
            root: The root of all tables.
            storage_options: Options of an object store, as deltalake takes them.

        Raises:
            UserError: The extra `worker` is not installed.
        """
        with naming_extras():
            from forecasting.store.tables import Store as Tables

        self._tables = Tables(os.fspath(root), storage_options)

    def __repr__(self) -> str:
        return f"<forecasting.Store: {self._tables.root}>"

    def query(self, sql: str) -> pl.DataFrame:
        """Answer one SELECT, in DuckDB's dialect, over all tables and views; nothing outside the store is read.

        Args:
            sql: The query.

        Returns:
            The answer.

        Raises:
            QueryError: The text is not one readable SELECT, or DuckDB refuses it.
        """
        with naming_extras():
            from forecasting.store.query import query

        return query(self._tables, sql)

    def forecasts(self, *, spec: str, series: str | Sequence[str] | None = None) -> pl.DataFrame:
        """Return the newest forecasts of the serving models of a spec.

        Args:
            spec: The name of the spec.
            series: Series to return; all where not given.

        Returns:
            Rows of the view `latest_forecasts`, sorted by series and time.

        Raises:
            NothingStored: The spec has no forecasts.
            UserError: A series has none.
        """
        with naming_extras():
            from forecasting.store.latest import latest_forecasts

        return latest_forecasts(self._tables, spec=spec, series=series)


@dataclass(frozen=True)
class Request:
    """What is to be forecast, from which input, and how results come back; what the command calls."""

    spec: Spec
    given: Input
    types: NativeTypes
    frames: NativeFrames
    zone: tzinfo | None
    """The zone of the pipeline's clock; None where times of the input have none."""

    @classmethod
    def of(cls, spec: Spec, given: Input, frames: NativeFrames | None = None) -> "Request":
        """Read the dtypes of an input.

        Args:
            spec: What is to be forecast.
            given: The observations.
            frames: The kind of frame that results come back as; Polars with the source's names where not given.

        Returns:
            The request.

        Raises:
            SourceError: The input cannot be read.
        """
        given, note = with_zone_of_midnights(given, spec.clock, spec.freq)
        if note is not None:
            spec = spec.model_copy(
                update={"source": spec.source.model_copy(update={"timezone": given.source.timezone})}
            )
            warnings.warn(note, DataWarning, stacklevel=4)
        columns = spec.source
        frames = frames or NativeFrames(id=columns.id, time=columns.time, target=columns.target)
        if len(frames.ids) > 1:
            frames.refuse_names(sorted({*_RESERVED, *spec.quantile_columns}))
        zone = given.zone(spec.clock, spec.freq)
        return cls(spec, given, native_types(given, spec.clock, spec.freq), frames, zone)

    @property
    def has_zone(self) -> bool:
        """Whether times of the input have a time zone or an offset."""
        return self.zone is not None

    @property
    def keeps_correlations(self) -> bool:
        """Whether sample paths can be drawn: a horizon's correlations are a matrix, and paths need a spread."""
        return self.spec.horizon <= MOST_PATH_STEPS and len(self.spec.quantiles) > 1

    def parse_cutoff(self, cutoff: Any, *, subject: str = "cutoff") -> datetime | int | None:
        """Read a cutoff on the clock of the pipeline; raises SpecError, led by `subject`, where it cannot be read."""
        if cutoff is None:
            return None
        return self.types.parse_cutoff(as_text(cutoff), self.spec.clock, zone=self.zone, subject=subject)

    def fleet_of(self, outcome: OneShot) -> Fleet:
        """Return the fleet of an outcome whose networks were kept."""
        # Newer rows are of another part of a database.
        return Fleet(self.spec.within(None), outcome, self.types, self.frames, zone=self.zone)

    def read_actuals(self, given: Input) -> Actuals:
        """Read actuals that a forecast of this request can be scored by; raises SourceError where they cannot be."""
        return read_actuals(given, self.spec, has_zone=self.has_zone)

    def run(
        self,
        *,
        cutoff: datetime | int | None,
        keeps: Keeps,
        processes: int | None,
        kernel: KernelName,
        progress: bool | None,
        ray: bool = False,
        crew: Crew | None = None,
    ) -> OneShot:
        """Forecast on this machine or on a Ray cluster; the arguments are those of `forecast_here`."""
        options = FitOptions(kernel=kernel)
        if ray:
            return forecast_on_ray(self.spec, self.given, cutoff=cutoff, options=options, keeps=keeps)
        return forecast_here(
            self.spec,
            self.given,
            cutoff=cutoff,
            options=options,
            keeps=keeps,
            processes=processes,
            progress=progress,
            crew=crew,
        )

    def forecast(
        self,
        *,
        cutoff: datetime | int | None,
        processes: int | None,
        kernel: KernelName,
        progress: bool | None,
        ray: bool = False,
        crew: Crew | None = None,
        networks: bool = False,
    ) -> Result:
        """Forecast as `run` does, with everything that a result needs, and with its networks where a fleet needs it."""
        outcome = self.run(
            cutoff=cutoff,
            keeps=Keeps(correlations=self.keeps_correlations, networks=networks or bool(self.spec.covariate_names)),
            processes=processes,
            kernel=kernel,
            progress=progress,
            ray=ray,
            crew=crew,
        )
        return Result(self.spec, outcome, self.types, self.frames, has_zone=self.has_zone)


_FIELDS = {
    "freq": "freq",
    "season_lengths": "season_lengths",
    "horizon": "horizon",
    "recipe": "recipe",
    "models": "models",
    "statistics": "statistics",
    "regressions": "regressions",
    "quantiles": "quantiles",
    "lower_bound": "lower_bound",
    "upper_bound": "upper_bound",
    "integer_valued": "integer_valued",
    "seed": "seed",
    "static": "categories.static",
    "calendar": "categories.calendar",
    "known_ahead": "covariates.future",
    "past": "covariates.past",
    "static_covariates": "covariates.static",
    "covariate_categories": "covariates.categories",
    "future_missing": "covariates.future_missing",
    "country": "categories.country",
    "holidays": "holidays",
    "margin": "backtest.margin",
    "checks": "checks",
    "id": "source.id",
    "time": "source.time",
    "target": "source.target",
}
"""Fields of a spec by the argument that sets them."""
_LABELS = {field: argument for argument, field in _FIELDS.items() if field != argument} | {
    "categories": "static, calendar, country",
    "covariates": "known_ahead, past, static_covariates, covariate_categories, future_missing",
    "covariates.tables": "covariates",
}
"""Arguments by the fields of a spec that have another name."""
_LISTS = (
    "season_lengths",
    "models",
    "statistics",
    "regressions",
    "static",
    "calendar",
    "known_ahead",
    "past",
    "static_covariates",
    "covariate_categories",
)
_RESERVED = {
    column.name
    for table in ("forecasts", "backtests", "champions", "scores", "rejects", "checks")
    for column in TABLES[table].columns
    if column.name not in ("unique_id", "ds", "y")
} | {"path"}
"""Names that columns of results have, so that the input's own columns cannot have them."""


def _fields(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a spec that arguments set, by dotted name."""
    fields: dict[str, Any] = {}
    for argument, field in _FIELDS.items():
        value = _plain(arguments.get(argument))
        if argument in _LISTS and isinstance(value, (str, int)) and not isinstance(value, bool):
            value = [value]
        if value is not None:
            fields[field] = value
    tables = {"overrides": arguments["overrides"] or {}, "source": arguments["source"] or {}}
    return fields | {f"{table}.{name}": _plain(value) for table, each in tables.items() for name, value in each.items()}


def _plain(value: Any) -> Any:
    """Return numpy's numbers and arrays, and any sequence, as a spec has them."""
    if isinstance(value, np.timedelta64):
        return value.astype("timedelta64[us]").tolist()  # nanoseconds would become a number
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple, range)) else value


def _refuse_arguments(arguments: Mapping[str, Any], subject: str) -> None:
    """Raise SpecError for arguments that are not fields of a spec."""
    problems = find_problems(processes=arguments["processes"], kernel=arguments["kernel"])
    spec, options = arguments["spec"], arguments["storage_options"]
    for name in ("overrides", "source"):
        table = arguments[name]
        if table is not None and not isinstance(table, Mapping):
            problems.append(f"{name} = {table!r}: must be a table of names and values")
    if spec is not None and not isinstance(spec, (Spec, str, os.PathLike)):
        problems.append(f"spec is of type {type(spec).__qualname__}: must be a Spec or the path of a TOML file")
    elsewhere = [name for name in ("id", "time", "target") if arguments[name] is not None]
    if isinstance(arguments["source"], Mapping):
        problems += [f"{name} is given in source as well" for name in elsewhere if name in arguments["source"]]
    is_text = isinstance(options, Mapping) and all(isinstance(each, str) for pair in options.items() for each in pair)
    if options is not None and not is_text:  # its values are secrets
        problems.append("storage_options must be a table of names and texts")
    if problems:
        raise SpecError(subject, problems)


def _read_request(arguments: Mapping[str, Any], *, subject: str) -> Request:
    """Read the input and check all arguments of a public function."""
    _refuse_arguments(arguments, subject)
    frame, spec, storage_options = (arguments[name] for name in ("frame", "spec", "storage_options"))
    base = spec if spec is None or isinstance(spec, Spec) else read_spec(Path(spec))
    fields: dict[str, Any] = {"name": ONE_SHOT} if base is None else base.model_dump(exclude_unset=True)
    for dotted, value in _fields(arguments).items():
        *path, last = dotted.split(".")
        part: dict[str, Any] = fields
        for name in path:
            part = part.setdefault(name, {})
        part[last] = value
    columns: Mapping[str, Any] = fields.get("source", {})
    if arguments["events"] is not None:
        fields["events"] = name_events(arguments["events"], columns.get("id"))
    frames_of_tables = _read_tables(arguments, fields, subject)
    static = (*static_columns_of(fields), *_by_columns(fields))
    if frame is None:
        if "uri" not in columns and columns.get("connection") is None:
            raise SpecError(subject, ["frame is missing: it must be a frame or paths of files"])
        scope = Scope(static)

        def read() -> Input:
            return Input(Source(**fields["source"]).within(scope), None, storage_options or {})

        wanted = _make_spec(fields, read, subject)
        given = Input(wanted.source, None, storage_options or {}, frames_of_tables)
        source = wanted.source
        frames = NativeFrames(id=source.id, time=source.time, target=source.target)
    else:
        reading = {name: value for name, value in columns.items() if name != "uri"}
        named = fields.get("covariates", {})
        columns_of_source = [name for role in ("future", "past", "static") for name in named.get(role, ())]
        given, frames = read_input(
            frame, reading, static=static, covariates=columns_of_source, storage_options=storage_options
        )
        given = replace(given, source=given.source.within(Scope(static)), tables=frames_of_tables)
        wanted = _make_spec(fields | {"source": given.source}, lambda: given, subject)
    frames.refuse_names(sorted({*_RESERVED, *wanted.quantile_columns}))
    cutoff = arguments.get("cutoff")
    wanted = inline_events(wanted, storage_options=storage_options)
    wanted = wanted.within(None if cutoff is None else as_text(cutoff))
    return Request.of(wanted, replace(given, source=wanted.source), frames)


def _read_tables(arguments: Mapping[str, Any], fields: dict[str, Any], subject: str) -> tuple[pl.DataFrame | None, ...]:
    """Put the tables of covariates into the fields of a spec, and return their frames."""
    if arguments["covariates"] is None:
        return ()
    reading = {name: value for name, value in fields.get("source", {}).items() if name != "uri"}
    source = check_source(
        [IN_MEMORY], {name: value for name, value in reading.items() if name not in PLACE}, subject=subject
    )
    tables, frames = read_tables(
        arguments["covariates"], source, subject=subject, storage_options=arguments["storage_options"]
    )
    fields["covariates"] = {**fields.get("covariates", {}), "tables": tables}
    return frames


def _by_columns(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns of the source that tables of covariates are joined by."""
    by = [table.get("by") for table in fields.get("covariates", {}).get("tables", ()) if isinstance(table, Mapping)]
    return tuple(dict.fromkeys(name for name in by if isinstance(name, str) and name not in ("id", "all")))


def _make_spec(fields: Mapping[str, Any], read: Callable[[], Input], subject: str) -> Spec:
    """Build the spec; a warning states what is not given and is inferred from the input."""
    try:
        spec, notes = make_inferred_spec(fields, lambda: infer_frequency(read()), subject=subject)
        configure(spec)  # refuses static categories that no member can learn
    except SpecError as error:
        raise SpecError(subject, [relabel(problem, _LABELS) for problem in error.problems]) from error
    for note in notes:
        warnings.warn(note, DataWarning, stacklevel=4)  # at the call of the public function
    return spec
