"""The spec's `[[events]]`: named days that are known ahead, such as campaigns, in the spec itself or in a file."""

from datetime import date
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictInt,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from forecasting.spec.dialect import CsvDialect
from forecasting.spec.problems import check_whole_and_parts
from forecasting.spec.time_format import check_time_format

SLOTS = ("event", "event_2", "event_3")
"""Covariates that events have: a series may have that many different events at a time."""
EVENT, DATE, DAYS, BEFORE, AFTER = "event", "date", "days", "before", "after"
"""Columns of a file of events; the last three may be absent."""
LONGEST, LONGEST_WINDOW = 366, 31
"""Most days of an event, and around it with effects of their own."""

_Text = Annotated[str, StringConstraints(min_length=1)]


class Events(BaseModel, frozen=True, extra="forbid"):
    """The days of one event, or a file of events."""

    name: _Text | None = Field(None, description="name of the event")
    dates: tuple[date, ...] = Field((), description="its day each time, or its first one")
    days: Annotated[StrictInt, Field(ge=1, le=LONGEST)] = Field(1, description="how many days it lasts each time")
    series: tuple[_Text, ...] | None = Field(None, description="the series that it affects; all where not given")
    window: tuple[StrictInt, ...] = Field(
        (0, 0), description="first and last day around the event with an effect of its own, such as `[-1, 1]`"
    )
    uri: str | tuple[str, ...] | None = Field(
        None, description="a file of events in place of one event: parquet, CSV or a Delta table, or several of these"
    )
    time_format: Annotated[str, AfterValidator(check_time_format)] | None = Field(
        None, description="how the file writes days where they are not ISO 8601"
    )
    csv: CsvDialect = Field(CsvDialect(), description="how CSV files of events are written")

    @model_validator(mode="after")
    def _are_named(self) -> Self:
        if self.uri is None and (self.name is None or not self.dates):
            raise ValueError("needs the name of an event and its dates, or the uri of a file of events")
        if self.uri is None and self.time_format is not None:
            raise ValueError("time_format needs the uri of a file")
        if self.uri is not None and (self.name, self.dates, self.days, self.series, self.window) != _UNSET:
            raise ValueError("name, dates, days, series and window cannot be given beside uri; the file has them")
        return self

    @field_validator("window", mode="wrap")
    @classmethod
    def _is_around_the_day(cls, window: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(window, handler, _find_window_problem)


_UNSET = (None, (), 1, None, (0, 0))
"""Fields of one event that a file has in their place."""


def _find_window_problem(window: Any) -> str | None:
    is_pair = isinstance(window, (list, tuple)) and len(window) == 2
    if is_pair and -LONGEST_WINDOW <= window[0] <= 0 <= window[1] <= LONGEST_WINDOW:
        return None
    return f"must be two numbers of days from -{LONGEST_WINDOW} to 0 and from 0 to {LONGEST_WINDOW}, such as [-1, 1]"
