"""The forecast spec: one TOML file that says what to forecast, how far, how often and by which models.

A spec goes in as TOML (`read_spec`) or as the JSON that a job carries (`Spec.model_validate_json`) and comes out
frozen, complete and with absolute paths. Every refused field is reported at once, as a `SpecError`.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
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
from forecasting.spec.cron import check_cron
from forecasting.spec.frequency import check_reach, parse_frequency, varies_within
from forecasting.spec.problems import check_whole_and_parts, describe_problems
from forecasting.spec.training import RecipeOverrides

Clock = Literal["timestamp", "step"]
"""How `ds` counts: timestamps, or integer steps for series without dates."""

CalendarCategory = Literal["hour", "weekday", "month", "holiday"]
"""Categories that a time has: hour of the day, day of the week, month of the year, and the holiday of its day."""

RecipeName = Literal["fast", "standard", "accurate"]
NetworkName = Literal["elman", "jordan", "lstm", "gru", "indrnn", "bidirectional", "seq2seq", "attention", "window_mlp"]
NETWORKS: tuple[str, ...] = get_args(NetworkName)
StatisticName = Literal["theta", "ets", "ces", "mstl", "croston_sba", "tsb", "adida"]
STATISTICS: tuple[str, ...] = get_args(StatisticName)

MOST_PATH_STEPS, MOST_PATH_POINTS = 1000, 1_000_000
"""Of sample paths: steps, whose correlations are a matrix; and points of all paths of a series."""

DEFAULT_QUANTILES = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)


def quantile_column(quantile: float) -> str:
    """Name the column of a quantile, in percent.

    >>> [quantile_column(q) for q in (0.025, 0.05, 0.5, 0.975)]
    ['q02_5', 'q05', 'q50', 'q97_5']
    """
    whole, tenth = divmod(round(quantile * 1000), 10)
    return f"q{whole:02d}" + (f"_{tenth}" if tenth else "")


def _check_timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("must be an IANA time zone such as 'UTC' or 'America/New_York'")
    return name


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Part):
    """Where observations come from, and which columns hold them."""

    uri: str | tuple[str, ...] = Field(
        description="a parquet or CSV file, a folder or a glob of them, or an s3:// URI; or several, of the same layout"
    )
    id: str = Field("unique_id", min_length=1, description="column that names the series")
    time: str = Field("ds", min_length=1, description="column of timestamps or integer steps")
    target: str = Field("y", min_length=1, description="column of measurements")

    @field_validator("uri", mode="before")
    @classmethod
    def _is_readable_kind(cls, uri: Any) -> Any:
        uris = uri if isinstance(uri, (list, tuple)) else [uri]
        if not uris or not all(isinstance(one, str) and one.strip() for one in uris):
            raise ValueError("must be the path or URI of a file, a folder or a glob, or a list of such")
        odd = [
            one for one in uris if not re.search(r"(?i)\.(parquet|pq|csv|csv\.gz)$|/$", one) and "." in Path(one).name
        ]
        if odd:
            which = "" if isinstance(uri, str) else ", ".join(map(repr, odd)) + " "
            raise ValueError(f"{which}must end in .parquet or .csv (a file or a glob), or name a folder of such files")
        return uri

    @model_validator(mode="wrap")
    @classmethod
    def _columns_differ(cls, fields: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        source: Self = check_whole_and_parts(fields, handler, _find_shared_column)
        return source

    @property
    def uris(self) -> tuple[str, ...]:
        return (self.uri,) if isinstance(self.uri, str) else self.uri

    def __str__(self) -> str:
        return ", ".join(self.uris)


class Schedule(_Part):
    """When the DAGs run; without a cron expression a DAG runs only when it is triggered."""

    train: Annotated[str, AfterValidator(check_cron)] | None = None
    forecast: Annotated[str, AfterValidator(check_cron)] | None = None
    timezone: Annotated[str, AfterValidator(_check_timezone)] = Field(
        "UTC", description="the zone of the cron expressions and the wall clock that timestamps without a zone keep"
    )

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


class Backtest(_Part):
    """How candidates are compared before one of them serves."""

    origins: StrictInt = Field(
        3,
        ge=1,
        le=100,
        description="rolling origins, where the history allows; the oldest lies whole seasons before the end",
    )
    step: StrictInt | None = Field(
        None, ge=1, description="grid points between any two origins; the horizon, but for the oldest, where not given"
    )
    margin: StrictFloat = Field(
        -1.0,
        ge=-1000,
        lt=1,
        description="share of the best baseline's MASE by which what serves must be better; below 0, may be worse",
    )


class Categories(_Part):
    """Categories that networks read as vectors which they learn (embeddings); none where both lists are empty."""

    static: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (), max_length=16, description="columns of the source that class whole series, such as a store or a product"
    )
    calendar: tuple[CalendarCategory, ...] = Field((), description="categories of times, by the clock of ds")
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="whose holidays, by its ISO 3166-1 code such as US"
    )
    subdivision: Annotated[str, StringConstraints(min_length=1, max_length=20)] | None = Field(
        None, description="a part of the country with holidays of its own, by its ISO 3166-2 code such as CA"
    )
    size: StrictInt = Field(4, ge=1, le=64, description="numbers in the vector of a category")
    most: StrictInt = Field(
        256, ge=1, le=65536, description="values of a category with vectors of their own; rarer ones share one"
    )

    @field_validator("static", "calendar", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, _find_repeat)

    @model_validator(mode="after")
    def _are_told(self) -> Self:
        if ("holiday" in self.calendar) != (self.country is not None):
            raise ValueError("country and the calendar's holiday go together: whose holidays, and that they are read")
        if self.subdivision is not None and self.country is None:
            raise ValueError("subdivision needs the country that it is a part of")
        shared = [name for name in self.static if name in get_args(CalendarCategory)]
        if shared:
            raise ValueError(f"static columns must not have the names of calendar categories: {', '.join(shared)}")
        return self


class Spec(_Part):
    """One forecast's description."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=60)]
    description: str = ""
    source: Source
    freq: Annotated[str | int, BeforeValidator(parse_frequency)]
    season_lengths: tuple[Annotated[StrictInt, Field(ge=1, le=100_000)], ...] = Field(min_length=1)
    horizon: StrictInt = Field(ge=1, le=10_000)
    quantiles: tuple[StrictFloat, ...] = DEFAULT_QUANTILES
    paths: StrictInt = Field(
        0, description="sample paths of each series that come with a forecast; 0 for none, else 10 to 10,000"
    )
    models: tuple[NetworkName, ...] = Field(("lstm", "gru"), min_length=1)
    statistics: tuple[StatisticName, ...] | None = Field(
        None, description="statistical models to compare with the networks; the recipe's choice where not given"
    )
    lower_bound: StrictFloat | None = Field(
        None, allow_inf_nan=False, description="no forecast is below it; 0 for counts"
    )
    integer_valued: StrictBool = Field(False, description="y counts things: forecasts and quantiles are whole numbers")
    seed: StrictInt = Field(0, ge=0, lt=2**31)
    categories: Categories = Categories()
    recipe: RecipeName = "standard"
    overrides: RecipeOverrides = Field(default_factory=RecipeOverrides)  # type: ignore[valid-type]
    schedule: Schedule = Schedule()
    backtest: Backtest = Backtest()

    @field_validator("horizon")
    @classmethod
    def _ends_in_time(cls, horizon: int, others: ValidationInfo) -> int:
        if "freq" in others.data:
            check_reach(others.data["freq"], horizon)
        return horizon

    @field_validator("season_lengths", "models", "statistics", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, _find_repeat)

    @field_validator("quantiles", mode="wrap")
    @classmethod
    def _is_quantile_grid(cls, quantiles: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(quantiles, handler, _find_quantile_problem)

    @field_validator("paths")
    @classmethod
    def _can_be_drawn(cls, paths: int, others: ValidationInfo) -> int:
        if paths and not 10 <= paths <= 10_000:
            raise ValueError("must be 0 for none, or 10 to 10,000")
        horizon, quantiles = others.data.get("horizon", 0), others.data.get("quantiles", DEFAULT_QUANTILES)
        if paths and horizon > MOST_PATH_STEPS:
            raise ValueError(f"need a horizon of {MOST_PATH_STEPS:,} steps at most, not {horizon:,}")
        if paths * horizon > MOST_PATH_POINTS:
            most = MOST_PATH_POINTS // horizon
            raise ValueError(
                f"must be {most:,} at most for a horizon of {horizon:,}: {MOST_PATH_POINTS:,} points a series"
            )
        if paths and len(quantiles) == 1:
            raise ValueError("need quantiles besides the median to spread by")
        return paths

    @field_validator("categories")
    @classmethod
    def _vary_along_the_grid(cls, categories: Categories, others: ValidationInfo) -> Categories:
        freq = others.data.get("freq")
        unsuited = [] if freq is None else [name for name in categories.calendar if not varies_within(freq, name)]
        if unsuited:
            raise ValueError(
                f"calendar {', '.join(map(repr, unsuited))} needs a finer grid than {freq}"
                if isinstance(freq, str)
                else f"calendar {', '.join(map(repr, unsuited))} needs timestamps, but the frequency is an integer step"
            )
        return categories

    @model_validator(mode="after")
    def _are_other_columns(self) -> Self:
        columns = (self.source.id, self.source.time, self.source.target)
        if both := [name for name in self.categories.static if name in columns]:
            raise ValueError(f"categories.static must be other columns than id, time and target: {', '.join(both)}")
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
        return "step" if isinstance(self.freq, int) else "timestamp"

    @property
    def quantile_columns(self) -> tuple[str, ...]:
        return tuple(quantile_column(q) for q in self.quantiles)

    @property
    def origin_step(self) -> int:
        """Grid points between two backtest origins."""
        return self.backtest.step or self.horizon


def read_spec(path: str | Path) -> Spec:
    """Read a spec from a TOML file; a relative source path is taken from the file's folder.

    Raises SpecError with every refused field, or where the file cannot be read or is not TOML.
    """
    path = Path(path)
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"spec {path}", [f"cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"spec {path}", [f"is not TOML: {error}"]) from error
    source = fields.get("source")
    if isinstance(source, dict) and "uri" in source:
        source["uri"] = _absolute_uris(source["uri"], relative_to=path.parent)
    return make_spec(fields, subject=f"spec {path}")


def make_spec(fields: Mapping[str, Any], *, subject: str) -> Spec:
    """Build a spec from plain values; raises SpecError, led by `subject`, with every refused field."""
    try:
        return Spec.model_validate(fields)
    except ValidationError as error:
        raise SpecError(subject, describe_problems(error)) from error


def absolute_uri(uri: str, *, relative_to: Path) -> str:
    """Return a URI unchanged and a path as an absolute one.

    >>> absolute_uri("s3://bucket/sales.parquet", relative_to=Path("/specs"))
    's3://bucket/sales.parquet'
    >>> absolute_uri("../sales.csv", relative_to=Path("/specs"))
    '/sales.csv'
    """
    if urlsplit(uri).scheme:
        return uri
    absolute = str((relative_to / Path(uri).expanduser()).resolve())
    return absolute + "/" if uri.endswith("/") else absolute


def _absolute_uris(uri: Any, *, relative_to: Path) -> Any:
    """Make every path absolute; what is no text is left for validation to refuse."""
    if isinstance(uri, list):
        return [_absolute_uris(one, relative_to=relative_to) for one in uri]
    return absolute_uri(uri, relative_to=relative_to) if isinstance(uri, str) and uri else uri


def _find_shared_column(source: Any) -> str | None:
    if isinstance(source, Mapping):
        defaults = {name: Source.model_fields[name].default for name in ("id", "time", "target")}
        names = [source.get(name, default) for name, default in defaults.items()]
    else:
        names = [getattr(source, name, name) for name in ("id", "time", "target")]
    if not _has_repeat(names):
        return None
    return f"id, time and target must be three columns, not {', '.join(map(repr, names))}"


def _find_repeat(values: Any) -> str | None:
    is_list = isinstance(values, (list, tuple))
    return "must not name anything twice" if is_list and _has_repeat(values) else None


def _has_repeat(values: Sequence[Any]) -> bool:
    """Whether a value comes twice; what TOML holds besides names and numbers has no hash."""
    return any(value in values[:place] for place, value in enumerate(values))


def _find_quantile_problem(quantiles: Any) -> str | None:
    """Say all that is wrong with the quantiles; of what is no number nothing is said here."""
    if not isinstance(quantiles, (list, tuple)):
        return None
    numbers = [q for q in quantiles if isinstance(q, (int, float)) and not isinstance(q, bool)]
    inside = [q for q in numbers if 0 < q < 1]
    problems = {
        "must lie strictly between 0 and 1": len(inside) < len(numbers),
        "must rise without repeats": numbers != sorted(set(numbers)),
        "must hold 0.5, because the forecast is the median": 0.5 not in numbers and len(numbers) == len(quantiles),
        "must be whole tenths of a percent, such as 0.025": any(abs(q * 1000 - round(q * 1000)) > 1e-6 for q in inside),
    }
    return "; ".join(problem for problem, is_found in problems.items() if is_found) or None
