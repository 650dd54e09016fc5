"""The spec's `[covariates]`: numbers beside the measurements that are known ahead, such as prices or the weather."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, ValidatorFunctionWrapHandler, field_validator, model_validator

from forecasting.spec.problems import check_whole_and_parts, find_repeat

MissingAhead = Literal["error", "hold", "drop_column"]
"""What a value means that is missing within the horizon."""
_RESERVED = frozenset({"unique_id", "ds", "step", "begin", "held", "covariates", "covariates_ahead"})
"""Columns beside covariates while these are joined with the features."""


class Covariates(BaseModel, frozen=True, extra="forbid"):
    """Columns of the source that regressions read beside the measurements."""

    future: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (),
        description="columns of numbers, booleans or names that are known ahead; rows after the cutoff, whose y is"
        " null, have those of the horizon",
    )
    categories: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (),
        description="those of them whose values are names, not numbers; a column without any number is one of them",
    )
    future_missing: MissingAhead = Field(
        "error",
        description="where a value is missing within the horizon: `error` stops the run, `hold` takes the last known"
        " value, `drop_column` leaves the covariate out",
    )

    @field_validator("future", "categories", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, find_repeat)

    @field_validator("future")
    @classmethod
    def _have_names_of_their_own(cls, future: tuple[str, ...]) -> tuple[str, ...]:
        if taken := [name for name in future if name in _RESERVED]:
            raise ValueError(f"{', '.join(map(repr, taken))} names a column of the features; rename it in the source")
        return future

    @model_validator(mode="after")
    def _are_known_ahead(self) -> Self:
        if other := [name for name in self.categories if name not in self.future]:
            raise ValueError(f"categories must be among the columns of future, but {', '.join(other)} is not")
        return self
