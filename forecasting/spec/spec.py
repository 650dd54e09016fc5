"""The forecast spec: one TOML file with what to forecast, how far ahead, how often and with which models.

`read_spec` reads TOML; `Spec.model_validate_json` reads the JSON that a job carries. A `Spec` is frozen and complete,
and its paths are absolute. All refused fields are reported together, as one `SpecError`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from forecasting.errors import SpecError
from forecasting.spec.airflow import AirflowOptions
from forecasting.spec.categories import Categories
from forecasting.spec.checks import Check, name_checks
from forecasting.spec.covariates import Covariates
from forecasting.spec.ended import steps_to_end
from forecasting.spec.events import SLOTS, Events
from forecasting.spec.frequency import (
    DAY,
    LONGEST_SEASON,
    Clock,
    check_reach,
    clock_of,
    fixed_width,
    open_frequency,
    parse_frequency,
    varies_within,
)
from forecasting.spec.holidays import Holidays, has_days
from forecasting.spec.place import Scope, find_end
from forecasting.spec.problems import check_whole_and_parts, describe_problems, find_repeat
from forecasting.spec.publish import Sink
from forecasting.spec.quantiles import DEFAULT_QUANTILES, find_quantile_problem, quantile_column
from forecasting.spec.schedule import Schedule
from forecasting.spec.source import Source, absolute_uri, absolute_uris
from forecasting.spec.time_format import STEPS, has_time_of_day
from forecasting.spec.toml_file import read_toml
from forecasting.spec.training import RecipeOverrides

RecipeName = Literal["fast", "standard", "accurate"]
NetworkName = Literal["elman", "jordan", "lstm", "gru", "indrnn", "bidirectional", "seq2seq", "attention", "window_mlp"]
NETWORKS: tuple[str, ...] = get_args(NetworkName)
StatisticName = Literal["theta", "ets", "ces", "mstl", "croston_sba", "tsb", "adida"]
STATISTICS: tuple[str, ...] = get_args(StatisticName)
RegressionName = Literal["ridge", "lightgbm"]
REGRESSIONS: tuple[str, ...] = get_args(RegressionName)
USUAL_REGRESSIONS = ("ridge",)
"""Those of a spec with covariates that names none. Others need an optional package, which must not change a forecast
by being installed."""

ONE_SHOT = "one_shot"
"""Name of a spec that only options or arguments describe."""

MOST_PATH_STEPS, MOST_PATH_POINTS = 1000, 1_000_000
"""Limits of sample paths: steps, because their correlations are a square matrix, and points of a series' paths."""


def _of_country(holidays: Any) -> Any:
    return {"country": holidays} if isinstance(holidays, str) else holidays


class Backtest(BaseModel, frozen=True, extra="forbid"):
    """How candidates are compared before one of them becomes the champion."""

    origins: StrictInt = Field(
        3,
        ge=1,
        le=100,
        description="rolling origins, as far as the history allows; the oldest lies whole seasons before the end",
    )
    step: StrictInt | None = Field(
        None,
        ge=1,
        description="grid points between two origins; by default the horizon, with an oldest origin whole seasons back",
    )
    margin: StrictFloat = Field(
        -1.0,
        ge=-1000,
        lt=1,
        description="share by which a champion's MASE must be below the best baseline's; negative: may be above it",
    )


class Spec(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """One forecast's description."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=60)] = Field(
        description="name of the spec in tables and DAGs: lower-case words joined by _"
    )
    description: str = Field("", description="one line for people")
    source: Source = Field(description="where observations come from")
    freq: Annotated[str | int, BeforeValidator(parse_frequency)] = Field(
        description="distance of two grid points: a duration such as '1h' or '1mo', `1b` for business days, or an"
        " integer step"
    )
    season_lengths: tuple[Annotated[StrictInt, Field(ge=1, le=LONGEST_SEASON)], ...] = Field(
        min_length=1, description="grid points per season; the first one scales errors"
    )
    horizon: StrictInt = Field(ge=1, le=10_000, description="grid points to forecast")
    quantiles: tuple[StrictFloat, ...] = Field(
        DEFAULT_QUANTILES, description="levels to forecast, rising; 0.5 must be one of them"
    )
    paths: StrictInt = Field(
        0, description="sample paths of each series in a forecast: 0 for none, otherwise 10 to 10,000"
    )
    attributions: StrictBool = Field(
        False, description="whether forecast runs also write how much of each forecast comes from what"
    )
    models: tuple[NetworkName, ...] = Field(("lstm", "gru"), min_length=1, description="networks to train")
    statistics: tuple[StatisticName, ...] | None = Field(
        None, description="statistical models to compare with the networks; by default the recipe's choice"
    )
    regressions: tuple[RegressionName, ...] | None = Field(
        None, description="regressions to compare with the networks; by default ridge where there are covariates"
    )
    lower_bound: StrictFloat | None = Field(
        None, allow_inf_nan=False, description="smallest value that a forecast may have; 0 for counts"
    )
    upper_bound: StrictFloat | None = Field(
        None, allow_inf_nan=False, description="largest value that a forecast may have; 1 for shares"
    )
    integer_valued: StrictBool = Field(False, description="whether y is a count: forecasts are then whole numbers")
    seed: StrictInt = Field(0, ge=0, lt=2**31, description="seed of all random numbers")
    categories: Categories = Field(Categories(), description="classes of series and times that networks read")
    covariates: Covariates = Field(Covariates(), description="columns and tables known ahead that forecasts depend on")
    holidays: Annotated[Holidays, BeforeValidator(_of_country)] = Field(
        Holidays(), description="holidays that forecasts depend on; a code such as `DE` alone is their country"
    )
    events: tuple[Events, ...] = Field(
        (), description="named days that forecasts depend on, such as campaigns: events, or files of them"
    )
    recipe: RecipeName = Field("standard", description="named training configuration")
    overrides: RecipeOverrides = Field(  # type: ignore[valid-type]
        default_factory=RecipeOverrides, description="fields of the training configuration that replace the recipe's"
    )
    schedule: Schedule = Field(Schedule(), description="when the DAGs run")
    airflow: AirflowOptions = Field(AirflowOptions(), description="how Airflow runs the DAGs, and on which cluster")
    backtest: Backtest = Field(Backtest(), description="how candidates are compared")
    checks: tuple[Check, ...] = Field(
        (), description="what measurements and forecasts must be like, and what a run does where they are not"
    )

    publish: tuple[Sink, ...] = Field(
        (), description="where the newest forecasts are copied to after each forecast: databases, tables and files"
    )

    @field_validator("freq")
    @classmethod
    def _has_opening_times(cls, freq: str | int, others: ValidationInfo) -> str | int:
        source = others.data.get("source")
        return freq if source is None else open_frequency(freq, week=source.open, holidays=source.closed_holidays)

    @field_validator("horizon")
    @classmethod
    def _stays_in_calendar(cls, horizon: int, others: ValidationInfo) -> int:
        if "freq" in others.data:
            check_reach(others.data["freq"], horizon)
        return horizon

    @field_validator("season_lengths", "models", "statistics", "regressions", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, find_repeat)

    @field_validator("quantiles", mode="wrap")
    @classmethod
    def _is_quantile_grid(cls, quantiles: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(quantiles, handler, find_quantile_problem)

    @field_validator("paths")
    @classmethod
    def _can_be_drawn(cls, paths: int, others: ValidationInfo) -> int:
        if paths and not 10 <= paths <= 10_000:
            raise ValueError("must be 0 for none, or 10 to 10,000")
        horizon, quantiles = others.data.get("horizon", 0), others.data.get("quantiles", DEFAULT_QUANTILES)
        if paths and horizon > MOST_PATH_STEPS:
            raise ValueError(f"needs a horizon of at most {MOST_PATH_STEPS:,} steps, not {horizon:,}")
        if paths * horizon > MOST_PATH_POINTS:
            most = MOST_PATH_POINTS // horizon
            raise ValueError(
                f"must be at most {most:,} for a horizon of {horizon:,}; the limit is {MOST_PATH_POINTS:,} points"
            )
        if paths and len(quantiles) == 1:
            raise ValueError("needs quantiles besides the median, which alone has no spread")
        return paths

    @field_validator("categories")
    @classmethod
    def _vary_along_the_grid(cls, categories: Categories, others: ValidationInfo) -> Categories:
        freq = others.data.get("freq")
        constant = [] if freq is None else [name for name in categories.calendar if not varies_within(freq, name)]
        if constant:
            needs = "timestamps, but the frequency is an integer step" if isinstance(freq, int) else None
            raise ValueError(
                f"calendar {', '.join(map(repr, constant))} needs {needs or f'a finer frequency than {freq}'}"
            )
        return categories

    @field_validator("checks", "publish", "events", mode="before")
    @classmethod
    def _is_list(cls, blocks: Any) -> Any:
        return [blocks] if isinstance(blocks, Mapping) else blocks

    @field_validator("checks")
    @classmethod
    def _have_names(cls, checks: tuple[Check, ...]) -> tuple[Check, ...]:
        return name_checks(checks)

    @model_validator(mode="after")
    def _can_be_checked(self) -> Self:
        for check in self.checks:
            if check.kind == "freshness" and self.clock == "step":
                raise ValueError(f"checks: '{check.name}' needs timestamps, but the frequency is an integer step")
            if check.kind == "forecast_constant" and self.horizon == 1:
                raise ValueError(f"checks: '{check.name}' needs a horizon of 2 steps or more, not 1")
        return self

    @model_validator(mode="after")
    def _ignores_periods_of_the_clock(self) -> Self:
        for period in self.source.ignore:
            try:
                period.bounds(self.clock)
            except ValueError as error:
                raise ValueError(f"source.ignore: {error}") from error
        return self

    @model_validator(mode="after")
    def _has_times_of_day(self) -> Self:
        form, width = self.source.time_format, None if self.clock == "step" else fixed_width(self.freq)
        if form not in (None, STEPS) and width is not None and width < DAY and not has_time_of_day(form):
            raise ValueError(
                f"source.time_format = {form!r} reads no time of day, which the frequency {self.freq} needs; freq must"
                " be 1d or coarser, or the format must read hours, such as '%Y%m%d %H:%M'"
            )
        return self

    @model_validator(mode="after")
    def _are_other_columns(self) -> Self:
        columns = (self.source.id, self.source.time, self.source.target)
        if both := [name for name in self.categories.static if name in columns]:
            raise ValueError(f"categories.static must be other columns than id, time and target: {', '.join(both)}")
        for role in ("future", "past", "static"):
            names = getattr(self.covariates, role)
            if both := [name for name in names if name in (*self.source.ids, *columns[1:])]:
                raise ValueError(f"covariates.{role} must be other columns than id, time and target: {', '.join(both)}")
        if self.holidays.by in (*self.source.ids, *columns[1:]):
            raise ValueError(f"holidays.by must be another column than id, time and target: {self.holidays.by}")
        return self

    @model_validator(mode="after")
    def _have_holidays(self) -> Self:
        holidays = self.holidays
        if not holidays.are_used:
            return self
        if self.clock == "step":
            raise ValueError("holidays need timestamps, but the frequency is an integer step")
        if not has_days(self.freq) and holidays.need_days:
            raise ValueError(
                f"holidays.window and holidays.bridge_days need a frequency of a day or less, not {self.freq}"
            )
        if both := [name for name in holidays.covariates(self.freq) if name in self.covariates.names]:
            raise ValueError(
                f"covariates has a column {', '.join(both)}, which the block holidays also makes; rename the column, or"
                " leave one of both out"
            )
        return self

    @model_validator(mode="after")
    def _have_events(self) -> Self:
        if self.events and self.clock == "step":
            raise ValueError("events need timestamps, but the frequency is an integer step")
        if self.events and (both := [name for name in SLOTS if name in self.covariates.names]):
            raise ValueError(f"covariates has a column {', '.join(both)}, which events also make; rename the column")
        return self

    @model_validator(mode="after")
    def _can_join_tables(self) -> Self:
        of_source = (*self.source.ids, self.source.time, self.source.target)
        for table in self.covariates.tables:
            if both := [name for name in table.names if name in of_source]:
                raise ValueError(
                    f"covariates.tables: {table} has covariates with the names of the source's id, time or target:"
                    f" {', '.join(both)}; rename them"
                )
            if table.by_column in (self.source.time, self.source.target):
                raise ValueError(
                    f"covariates.tables: {table} is joined by {table.by!r}, the source's time or target; by must be"
                    " id, all or a column that classifies series"
                )
        unread = [name for name in self.covariates.by_columns if name not in self.static_columns]
        if unread and self.source.modified is not None:
            raise ValueError(
                f"covariates.tables: by = {unread[0]!r} cannot be read from a source with source.modified unless"
                " categories.static has it too"
            )
        return self

    @model_validator(mode="after")
    def _can_read_covariates(self) -> Self:
        role = next((role for role in ("future", "past", "static") if getattr(self.covariates, role)), None)
        if role is None:
            return self
        if self.source.aggregate is not None:
            raise ValueError(
                f"covariates.{role} needs one row per period, but source.aggregate makes one of several; a table of"
                " their own (covariates.tables) has an aggregate of its own"
            )
        if self.source.modified is not None:
            raise ValueError(
                f"covariates.{role} cannot be read from a source with source.modified, whose rows are kept without"
                " other columns; leave source.modified out, or name a table of their own (covariates.tables)"
            )
        return self

    @model_validator(mode="after")
    def _ends_in_steps(self) -> Self:
        steps_to_end(self.source.ended_after, freq=self.freq, default=0)
        return self

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        low, high = self.lower_bound, self.upper_bound
        if low is None or high is None:
            return self
        if low > high or (self.integer_valued and math.ceil(low) > math.floor(high)):
            raise ValueError(f"upper_bound = {high:g}: must leave a value above lower_bound = {low:g}")
        return self

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        design = getattr(self.overrides, "design", None)
        problems = [problem for model in self.models if design and (problem := design.problem_with(model))]
        if problems:
            raise ValueError("overrides.design: " + "; ".join(problems))
        return self

    @property
    def clock(self) -> Clock:
        """What `ds` counts: timestamps or integer steps."""
        return clock_of(self.freq)

    def within(self, cutoff: str | None) -> Self:
        """Return the same spec, whose source has no rows of a database long after a cutoff.

        Args:
            cutoff: A requested cutoff or the time of a run, as text; None for none.

        Returns:
            The spec, for one run.
        """
        columns = (*self.static_columns, *self.covariates.by_columns)
        scope = Scope(columns, find_end(cutoff, self.freq))
        return self.model_copy(update={"source": self.source.within(scope)})

    @property
    def chosen_regressions(self) -> tuple[str, ...]:
        """The regressions that compete: those of the spec, by default the usual ones where it has covariates."""
        if self.regressions is not None:
            return self.regressions
        varying = [name for name in self.covariate_names if name not in self.covariates.static]
        return USUAL_REGRESSIONS if varying else ()

    @property
    def past_lag(self) -> int:
        """How many grid points before a step models read covariates that are known up to the cutoff alone."""
        season = self.season_lengths[0]
        return -(-self.horizon // season) * season

    @property
    def covariate_names(self) -> tuple[str, ...]:
        """The covariates in the order of the features: of the source and of tables, of holidays, and of events."""
        of_events = SLOTS if self.events else ()
        return (*self.covariates.names, *self.holidays.covariates(self.freq), *of_events)

    @property
    def static_columns(self) -> tuple[str, ...]:
        """The columns of the source that hold for whole series: categories, and the code of a series' holidays."""
        by = () if self.holidays.by is None else (self.holidays.by,)
        return tuple(dict.fromkeys((*self.categories.static, *by)))

    @property
    def has_trees(self) -> bool:
        """Whether trees that are fitted to the whole fleet are among the regressions."""
        return "lightgbm" in self.chosen_regressions

    @property
    def quantile_columns(self) -> tuple[str, ...]:
        """The columns of the quantiles, in their order."""
        return tuple(quantile_column(q) for q in self.quantiles)

    @property
    def ended_after(self) -> int:
        """The most grid points from a series' last measurement to the cutoff before it has ended."""
        default = 2 * max(self.horizon, self.season_lengths[0])
        return steps_to_end(self.source.ended_after, freq=self.freq, default=default)

    @property
    def origin_step(self) -> int:
        """Grid points between two backtest origins."""
        return self.backtest.step or self.horizon


def read_spec(path: str | Path) -> Spec:
    """Read a spec from a TOML file.

    Args:
        path: The file. A relative source path is resolved from the file's folder.

    Returns:
        The complete spec.

    Raises:
        SpecError: The file cannot be read, is not TOML, or has refused fields; the error lists all of them.
    """
    path = Path(path)
    fields = read_toml(path, subject=f"spec {path}")
    source = fields.get("source")
    if isinstance(source, dict) and "uri" in source:
        source["uri"] = absolute_uris(source["uri"], relative_to=path.parent)
    covariates = fields.get("covariates")
    for table in _as_list(covariates.get("tables")) if isinstance(covariates, dict) else []:
        if isinstance(table, dict) and "uri" in table:
            table["uri"] = absolute_uris(table["uri"], relative_to=path.parent)
    for events in _as_list(fields.get("events")):
        if isinstance(events, dict) and "uri" in events:
            events["uri"] = absolute_uris(events["uri"], relative_to=path.parent)
    sinks = fields.get("publish")
    for sink in _as_list(sinks):  # `[publish]` is one of them
        if isinstance(sink, dict) and isinstance(sink.get("uri"), str):
            sink["uri"] = absolute_uri(sink["uri"], relative_to=path.parent)
    return make_spec(fields, subject=f"spec {path}")


def make_spec(fields: Mapping[str, Any], *, subject: str) -> Spec:
    """Build a spec from plain values.

    Args:
        fields: The spec's fields as TOML has them.
        subject: What the error's message begins with, such as `spec sales.toml`.

    Returns:
        The complete spec.

    Raises:
        SpecError: Fields are refused; the error lists all of them.
    """
    try:
        return Spec.model_validate(fields)
    except ValidationError as error:
        raise SpecError(subject, describe_problems(error)) from error
    except RecursionError:
        raise SpecError(subject, ["is nested too deeply"]) from None


def _as_list(blocks: Any) -> list[Any]:
    """Return the tables of a list of tables, which may be a single one."""
    return blocks if isinstance(blocks, list) else [blocks]


def static_columns_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return `Spec.static_columns` of a spec's fields, before a spec is made of them."""
    holidays = fields.get("holidays")
    by = holidays.get("by") if isinstance(holidays, Mapping) else None
    static = fields.get("categories", {}).get("static") or ()
    return tuple(dict.fromkeys((*static, *([by] if isinstance(by, str) else ()))))
