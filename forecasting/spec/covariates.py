"""The spec's `[covariates]`: numbers beside the measurements that are known ahead, such as prices or the weather."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidatorFunctionWrapHandler, field_validator

from forecasting.spec.problems import check_whole_and_parts, find_repeat

MissingAhead = Literal["error", "hold", "drop_column"]
"""What a value means that is missing within the horizon."""


class Covariates(BaseModel, frozen=True, extra="forbid"):
    """Columns of the source that regressions read beside the measurements."""

    future: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = Field(
        (),
        description="columns of numbers or booleans that are known ahead; rows after the cutoff, whose y is null, have"
        " those of the horizon",
    )
    future_missing: MissingAhead = Field(
        "error",
        description="where a value is missing within the horizon: `error` stops the run, `hold` takes the last known"
        " value, `drop_column` leaves the covariate out",
    )

    @field_validator("future", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, find_repeat)
