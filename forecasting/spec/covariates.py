"""The spec's `[covariates]`: numbers beside the measurements that are known ahead, such as prices or the weather."""

from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidatorFunctionWrapHandler, field_validator, model_validator

from forecasting.spec.covariate_table import ColumnName, CovariateTable, refuse_reserved
from forecasting.spec.problems import check_whole_and_parts, find_repeat

MissingAhead = Literal["error", "hold", "drop_column"]
"""What a value means that is missing within the horizon."""


class Covariates(BaseModel, frozen=True, extra="forbid"):
    """Columns of the source, and tables of their own, that models read beside the measurements."""

    future: tuple[ColumnName, ...] = Field(
        (),
        description="columns of numbers, booleans or names that are known ahead; rows after the cutoff, whose y is"
        " null, have those of the horizon",
    )
    past: tuple[ColumnName, ...] = Field(
        (),
        description="columns that are known up to the cutoff alone, such as the number of visitors; models read them at"
        " their values of whole seasons before",
    )
    static: tuple[ColumnName, ...] = Field(
        (), description="columns of numbers that are constant in each series, such as the size of a shop"
    )
    categories: tuple[ColumnName, ...] = Field(
        (),
        description="those of them whose values are names, not numbers; a column without any number is one of them",
    )
    future_missing: MissingAhead = Field(
        "error",
        description="where a value is missing within the horizon: `error` stops the run, `hold` takes the last known"
        " value, `drop_column` leaves the covariate out",
    )
    tables: tuple[CovariateTable, ...] = Field(
        (), description="tables with covariates of their own, such as the weather, which are joined to the series"
    )

    @field_validator("future", "past", "static", "categories", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, find_repeat)

    @field_validator("future", "past", "static")
    @classmethod
    def _have_names_of_their_own(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return refuse_reserved(names)

    @model_validator(mode="after")
    def _are_covariates(self) -> Self:
        if other := [name for name in self.categories if name not in self.names]:
            raise ValueError(f"categories must be among the columns of future or past, but {', '.join(other)} is not")
        return self

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise ValueError(
                f"the source and tables have several covariates named {', '.join(map(repr, repeated))}; each needs a"
                " name of its own, so rename the column in all but one of them"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All covariates, in the order of the features: those known ahead, those of the past, and static ones."""
        return (*self.known_ahead, *self.of_past, *self.static)

    @property
    def known_ahead(self) -> tuple[str, ...]:
        """The covariates that are known for the horizon: columns of the source, then those of tables."""
        return (*self.future, *(name for table in self.tables for name in table.future))

    @property
    def vintages(self) -> tuple[str, ...]:
        """Those of them whose values were published at times that are known."""
        return tuple(name for table in self.tables if table.available_at is not None for name in table.future)

    @property
    def of_past(self) -> tuple[str, ...]:
        """The covariates that are known up to the cutoff alone: columns of the source, then those of tables."""
        return (*self.past, *(name for table in self.tables for name in table.past))

    @property
    def of_source(self) -> tuple[str, ...]:
        """The covariates that are columns of the source."""
        return (*self.future, *self.past, *self.static)

    @property
    def by_columns(self) -> tuple[str, ...]:
        """The columns of the source that tables are joined by."""
        return tuple(dict.fromkeys(table.by_column for table in self.tables if table.by_column is not None))
