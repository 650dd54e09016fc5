"""The spec's `[categories]`: classes of series and of times that networks read as learned vectors (embeddings)."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    Field,
    StrictInt,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from forecasting.spec.problems import check_whole_and_parts, find_repeat

CalendarCategory = Literal["hour", "weekday", "month", "holiday"]
"""Categories of a time: hour of the day, day of the week, month of the year, and the holiday on its day."""


class Categories(BaseModel, frozen=True, extra="forbid"):
    """Categories that networks read as learned vectors (embeddings); with both lists empty there are none."""

    static: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (), max_length=16, description="columns of the source that classify whole series, such as a store or a product"
    )
    calendar: tuple[CalendarCategory, ...] = Field((), description="categories of times, from the wall clock of ds")
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="country whose holidays are used, as an ISO 3166-1 code such as US"
    )
    subdivision: Annotated[str, StringConstraints(min_length=1, max_length=20)] | None = Field(
        None, description="part of the country with holidays of its own, as an ISO 3166-2 code such as CA"
    )
    size: StrictInt = Field(4, ge=1, le=64, description="length of a category's vector")
    most: StrictInt = Field(
        256, ge=1, le=65536, description="values of a category with vectors of their own; rarer values share one vector"
    )

    @field_validator("static", "calendar", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, find_repeat)

    @model_validator(mode="after")
    def _are_consistent(self) -> Self:
        if ("holiday" in self.calendar) != (self.country is not None):
            raise ValueError("country and 'holiday' in calendar must be set together")
        if self.subdivision is not None and self.country is None:
            raise ValueError("subdivision needs the country that it is a part of")
        shared = [name for name in self.static if name in get_args(CalendarCategory)]
        if shared:
            raise ValueError(f"static columns must not have the names of calendar categories: {', '.join(shared)}")
        return self
