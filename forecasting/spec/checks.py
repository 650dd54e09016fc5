"""The spec's `[[checks]]`: what measurements and forecasts must be like, and what a run does where they are not."""

import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from forecasting.spec.problems import check_whole_and_parts, find_repeat

OnFailure = Literal["warn", "set_aside", "fail"]
"""What a run does where measurements fail: it says so, leaves the series out, or stops before it trains."""
OnForecast = Literal["warn", "hold", "fail"]
"""What a run does where forecasts fail: it says so, keeps the last good one in their place, or publishes nothing."""

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=60)]
_Series = Annotated[str, StringConstraints(min_length=1)]
_Finite = Annotated[StrictFloat, Field(allow_inf_nan=False)]


class _Check(BaseModel):
    """What all checks have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name | None = Field(None, description="name in the table `checks`; its kind, numbered, where not given")


class _OfSeries(_Check):
    """A check of every series by itself."""

    series: tuple[_Series, ...] | None = Field(
        None, min_length=1, description="series that are checked: names, or patterns with `*` and `?`; all by default"
    )

    @field_validator("series", mode="before")
    @classmethod
    def _is_list(cls, series: Any) -> Any:
        return [series] if isinstance(series, str) else series

    @field_validator("series", mode="wrap")
    @classmethod
    def _no_repeats(cls, series: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(series, handler, find_repeat)


class _OfMeasurements(_OfSeries):
    """A check of each series' measurements."""

    on_failure: OnFailure = Field("fail", description="`warn`, `set_aside` the series, or `fail` the run")


class _OfForecasts(_OfSeries):
    """A check of each series' forecast before it is published."""

    on_failure: OnForecast = Field("hold", description="`warn`, `hold` the forecast, or `fail` the run")


_Points = Annotated[StrictInt, Field(ge=1)] | None


class RangeCheck(_OfMeasurements):
    """Measurements lie between two values."""

    kind: Literal["range"]
    min: _Finite | None = Field(None, description="smallest measurement")
    max: _Finite | None = Field(None, description="largest measurement")
    points: _Points = Field(None, description="newest grid points that are checked; all by default")

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        _check_bounds(self.min, self.max)
        return self


class MonotoneCheck(_OfMeasurements):
    """Measurements never fall, or never rise, such as the readings of a meter."""

    kind: Literal["monotone"]
    direction: Literal["up", "down"] = Field(
        "up", description="`up` where measurements never fall, `down` where they never rise"
    )
    max: _Finite = Field(0.0, ge=0, description="largest step in the other direction")
    points: _Points = Field(None, description="newest grid points that are checked; all by default")


class MissingShareCheck(_OfMeasurements):
    """Few grid points are gaps."""

    kind: Literal["missing_share"]
    max: _Finite = Field(ge=0, le=1, description="largest share of grid points without a value")
    points: _Points = Field(None, description="newest grid points that are checked; all by default")


class FlatlineCheck(_OfMeasurements):
    """The newest measurements are not all the same, such as those of a sensor that is stuck."""

    kind: Literal["flatline"]
    max: StrictInt = Field(ge=1, description="largest number of newest measurements that are equal")


class FreshnessCheck(_OfMeasurements):
    """The newest measurement is recent, in open periods."""

    kind: Literal["freshness"]
    max: StrictInt = Field(
        ge=0, description="largest number of open periods that are over and follow the newest measurement"
    )
    per_series: StrictBool = Field(
        False, description="whether every series is checked, not the newest measurement of all of them"
    )

    @model_validator(mode="after")
    def _sets_series_aside(self) -> Self:
        if self.on_failure == "set_aside" and not self.per_series:
            raise ValueError('on_failure = "set_aside" needs per_series = true; otherwise it checks all series at once')
        return self


class IdsCheck(_Check):
    """Names of series are those that are known."""

    kind: Literal["ids"]
    on_failure: OnFailure = Field("fail", description="`warn`, `set_aside` series that are not allowed, or `fail`")
    allowed: tuple[_Series, ...] | None = Field(
        None, min_length=1, description="series that may be there: names, or patterns with `*` and `?`"
    )
    expected: tuple[_Series, ...] | None = Field(None, min_length=1, description="names of series that must be there")

    @field_validator("allowed", "expected", mode="before")
    @classmethod
    def _is_list(cls, names: Any) -> Any:
        return [names] if isinstance(names, str) else names

    @field_validator("allowed", "expected", mode="wrap")
    @classmethod
    def _no_repeats(cls, names: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(names, handler, find_repeat)

    @model_validator(mode="after")
    def _has_names(self) -> Self:
        if self.allowed is None and self.expected is None:
            raise ValueError("needs allowed or expected, or both")
        if self.on_failure == "set_aside" and self.expected is not None:
            raise ValueError(
                'on_failure = "set_aside" needs allowed alone: an expected series that is absent has no row'
            )
        return self


class NumSeriesCheck(_OfSeries):
    """The source has as many series as it should, without those that have ended."""

    kind: Literal["num_series"]
    on_failure: Literal["warn", "fail"] = Field("fail", description="`warn`, or `fail` the run")
    min: Annotated[StrictInt, Field(ge=0)] | None = Field(None, description="smallest number of series")
    max: Annotated[StrictInt, Field(ge=0)] | None = Field(None, description="largest number of series")

    @field_validator("on_failure", mode="before")
    @classmethod
    def _is_of_a_run(cls, on_failure: Any) -> Any:
        if on_failure == "set_aside":
            raise ValueError("must be 'warn' or 'fail', because it checks the whole source, of which nothing is left")
        return on_failure

    @model_validator(mode="after")
    def _has_bounds(self) -> Self:
        _check_bounds(self.min, self.max)
        return self


class ForecastRangeCheck(_OfForecasts):
    """Forecasts lie near the measurements of their series."""

    kind: Literal["forecast_range"]
    max: _Finite = Field(
        1.0,
        ge=0,
        description="largest distance beyond the smallest and the largest measurement, in ranges between these two",
    )


class ForecastConstantCheck(_OfForecasts):
    """Forecasts vary, unless their series does not."""

    kind: Literal["forecast_constant"]
    min: _Finite = Field(
        0.0, ge=0, description="share of the range of the measurements that a forecast must vary by more than"
    )


class ForecastJumpCheck(_OfForecasts):
    """Forecasts are near the last good ones of the same times."""

    kind: Literal["forecast_jump"]
    max: _Finite = Field(
        5.0, ge=0, description="largest distance from the last good forecast, in robust spreads of the measurements"
    )


MeasurementCheck = (
    RangeCheck | MonotoneCheck | MissingShareCheck | FlatlineCheck | FreshnessCheck | IdsCheck | NumSeriesCheck
)
ForecastCheck = ForecastRangeCheck | ForecastConstantCheck | ForecastJumpCheck
Check = Annotated[MeasurementCheck | ForecastCheck, Field(discriminator="kind")]
CHECKS: tuple[type[_Check], ...] = (*get_args(MeasurementCheck), *get_args(ForecastCheck))
"""All kinds of checks."""


def name_checks(checks: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give every check without a name that of its kind, numbered from the second one on.

    Args:
        checks: The checks of a spec.

    Returns:
        The same checks, each with a name of its own.

    Raises:
        ValueError: Two checks have the same name.
    """
    given = Counter(check.name for check in checks if check.name is not None)
    if repeated := [name for name, count in given.items() if count > 1]:
        raise ValueError(f"must have different names; {', '.join(map(repr, repeated))} is there more than once")
    taken, named = set(given), []
    for check in checks:
        if check.name is None:
            options = (f"{check.kind}_{number}" if number > 1 else check.kind for number in range(1, len(checks) + 1))
            name = next(option for option in options if option not in taken)
            taken.add(name)
            check = check.model_copy(update={"name": name})
        named.append(check)
    return tuple(named)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a name is one of these, or matches one of their patterns.

    >>> matches("north/12", ["south/*", "north/??"]), matches("a[1]", ["a[1]"])
    (True, True)
    """
    return name in patterns or any(fnmatchcase(name, pattern) for pattern in patterns if _WILD.search(pattern))


_WILD = re.compile(r"[*?]")


def _check_bounds(low: float | None, high: float | None) -> None:
    if low is None and high is None:
        raise ValueError("needs min or max, or both")
    if low is not None and high is not None and low > high:
        raise ValueError(f"max = {high:g} must not be below min = {low:g}")
