"""A table of covariates of its own: where it is, how it is read, and what joins its rows to the series."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from forecasting.spec.dialect import CsvDialect
from forecasting.spec.place import PLACE
from forecasting.spec.problems import check_whole_and_parts, describe_problems, find_repeat
from forecasting.spec.source import Source

ColumnName = Annotated[str, StringConstraints(min_length=1)]
JoinedBy = Literal["id", "all"]
"""What joins rows to series beside their time: the series' name, or nothing."""

_READING = ("id", "time", "time_format", "csv", "timezone", "label", "allow_rejects", "duplicates", "newer")
"""Fields that say how rows are read, as those of a source do."""
_OF_SOURCE = ("id", "time", "timezone")
"""Those that a table takes from the source where it does not have them."""
_RESERVED = frozenset(
    {"unique_id", "ds", "step", "begin", "held", "key", "place", "available", "covariates", "covariates_ahead"}
)
"""Columns beside covariates while these are joined with the features."""


class CovariateTable(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """A table of covariates, which is joined to the series by their names, by a column of the source, or by time."""

    connection: str | None = Field(
        None, description="name of the connection that has the keys of an object store, or the database"
    )
    uri: str | tuple[str, ...] | None = Field(
        None, description="files, folders, globs, a Delta table or a database, as `source.uri`"
    )
    table: str | None = Field(None, description="table or view of a database")
    query: str | None = Field(None, description="SELECT whose rows are read, in place of a table")
    version: Any = Field(None, description="version of a Delta table, as `source.version`")
    future: tuple[ColumnName, ...] = Field((), description="columns of numbers, booleans or names that are known ahead")
    past: tuple[ColumnName, ...] = Field((), description="columns that are known up to the cutoff alone")
    by: str | None = Field(
        None,
        min_length=1,
        description="what joins a row to series beside its time: `id`, the name of a series; `all`, for values that all"
        " series share; or a column that the source and the table have, such as `station`; where not given, `id` if the"
        " table has the columns that name series, else `all`",
    )
    available_at: str | None = Field(
        None,
        min_length=1,
        description="column with the time at which a row was published, of which a table has several for one time: each"
        " window reads the newest that was published at its origin",
    )
    aggregate: Literal["sum", "mean", "last", "first", "max", "min"] | None = Field(
        None,
        description="how several rows in one period become one: `sum`, `mean`, `last`, `first`, `max` or `min`; where"
        " not given, such rows stop the run",
    )
    id: str | tuple[str, ...] | None = Field(
        None, description="column or columns with the name of the series; where not given, those of the source"
    )
    time: str | None = Field(
        None, min_length=1, description="column of timestamps or integer steps; where not given, that of the source"
    )
    time_format: str | None = Field(None, description="how times are written, as `source.time_format`")
    timezone: str | None = Field(
        None, description="zone of times without one, such as Europe/Berlin; where not given, that of the source"
    )
    label: Literal["start", "end"] = Field(
        "start", description="whether a time is the `start` of its interval or its `end`"
    )
    csv: CsvDialect = Field(CsvDialect(), description="how CSV files are written")
    allow_rejects: float = Field(0.01, description="share of the rows that may be refused, as `source.allow_rejects`")
    duplicates: Literal["refuse", "last"] = Field(
        "refuse",
        description="what happens to rows of the same key and time with different values: `refuse` stops the run, and"
        " `last` takes the newest one",
    )
    newer: str | None = Field(
        None, description="column of which the largest value is that of the newest row, as `source.newer`"
    )

    @field_validator("future", "past", mode="wrap")
    @classmethod
    def _no_repeats(cls, values: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        return check_whole_and_parts(values, handler, find_repeat)

    @field_validator("future", "past")
    @classmethod
    def _have_names_of_their_own(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return refuse_reserved(names)

    @model_validator(mode="wrap")
    @classmethod
    def _reads_as_a_source(cls, fields: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        table: Self = check_whole_and_parts(fields, handler, _find_problem)
        return table

    @property
    def names(self) -> tuple[str, ...]:
        """All its covariates."""
        return (*self.future, *self.past)

    @property
    def by_column(self) -> str | None:
        """The column of the source that it is joined by; None where it is joined by the series' name or by time."""
        return None if self.by in (None, "id", "all") else self.by

    @property
    def is_database(self) -> bool:
        """Whether its rows are in a database."""
        return self.table is not None or self.query is not None

    def read_as(self, source: Source) -> Source:
        """Return the table as a source, whose target is its first covariate.

        Args:
            source: The source of the measurements, whose columns of series and time, and whose zone, the table has
                where it does not name its own.

        Returns:
            The source. Joined by a column, that column is its `id`.
        """
        own = {name: getattr(self, name) for name in self.model_fields_set if name in ("uri", *PLACE, *_READING)}
        taken = {name: getattr(source, name) for name in _OF_SOURCE}
        fields = taken | {name: value for name, value in own.items() if value is not None}
        if self.by_column is not None:
            fields["id"] = self.by_column
        return Source(**fields, target=self.names[0])

    def __str__(self) -> str:
        if not self.is_database:
            return ", ".join((self.uri,) if isinstance(self.uri, str) else self.uri or ())
        place = self.uri or f"connection {self.connection}"
        return f"{place} ({'query' if self.table is None else f'table {self.table}'})"


def refuse_reserved(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of covariates; raise ValueError where one is that of a column of the features."""
    if taken := [name for name in names if name in _RESERVED]:
        raise ValueError(f"{', '.join(map(repr, taken))} names a column of the features; rename it in the source")
    return names


def _find_problem(table: Any) -> str | None:
    """Return what is wrong with a table whose fields are accepted one by one."""
    if not isinstance(table, CovariateTable):
        lacks_place = isinstance(table, Mapping) and not {"uri", "connection"} & set(table)
        return "uri is missing" if lacks_place else None
    if not table.names:
        return "future or past must name a column"
    if table.available_at is not None and table.past:
        return "available_at is of covariates that are known ahead; name those of past in a table of their own"
    if table.is_database and table.by is None:
        return "a database needs by = id, all or a column, because its columns are not known before it is read"
    if table.duplicates == "last" and table.aggregate is not None:
        return 'duplicates = "last" and aggregate exclude each other'
    try:
        source = table.read_as(_STANDARD)
    except ValidationError as error:
        return "; ".join(describe_problems(error))
    if table.available_at is not None and table.available_at in (*table.names, source.time):
        return "available_at must be another column than time and the covariates"
    columns = (*(source.ids if table.by != "all" else ()), source.time)
    if both := [name for name in table.names if name in columns]:
        return f"future and past must be other columns than those of series and time: {', '.join(both)}"
    return None


_STANDARD = Source(uri="standard.parquet")
"""A source with the standard columns, of which the table's own fields are checked."""
