"""The spec's `[source]`: where observations come from and which columns hold them."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from forecasting.errors import SpecError
from forecasting.spec.connection import ConnectionName, has_password
from forecasting.spec.dialect import CsvDialect
from forecasting.spec.frequency import fixed_width, parse_frequency
from forecasting.spec.ignore import Period, as_periods
from forecasting.spec.modified import INCREMENTAL, Overlap, find_modified_problem
from forecasting.spec.opening import check_holidays, parse_week, spell_week
from forecasting.spec.place import (
    DATABASES,
    PLACE,
    SQLITE,
    STORES,
    Scope,
    Version,
    find_kind_problem,
    find_place_problem,
)
from forecasting.spec.problems import check_whole_and_parts, describe_problems, has_repeat
from forecasting.spec.time_format import check_time_format
from forecasting.spec.timezone import TimeZone

Duplicates = Literal["refuse", "last", "keep"]
"""Which of several rows of the same series and time is kept: the first one, the newest, or all of them."""


Aggregate = Literal["sum", "mean", "last", "first", "max", "min"]
"""How several measurements of a series in one period become one."""


class Source(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """Where observations come from, and which columns hold them."""

    connection: ConnectionName | None = Field(
        None,
        description="name of the connection that has the keys of the object store of s3:// URIs, or the database",
    )
    uri: str | tuple[str, ...] | None = Field(
        None,
        validate_default=True,
        description="a parquet or CSV file, a folder or glob of such files, a Delta table, an s3:// URI, or a list of"
        " these, which have the same columns; or a database, such as postgresql://host/database or sqlite:///file",
    )
    table: str | None = Field(
        None, min_length=1, description="table or view of a database, with its schema where needed: `sales.orders`"
    )
    query: str | None = Field(None, min_length=1, description="SELECT whose rows are read, in place of a table")
    version: Version | None = Field(
        None, description="version of a Delta table: its number, or a time in ISO 8601; where not given, the newest one"
    )
    id: str | tuple[str, ...] = Field(
        "unique_id", description="column with the name of the series, or a list of columns that name it together"
    )
    time: str = Field("ds", min_length=1, description="column of timestamps or integer steps")
    time_format: Annotated[str, AfterValidator(check_time_format)] | None = Field(
        None,
        description="how times are written where they are not ISO 8601: a strptime pattern such as `%d.%m.%Y`,"
        " `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`, `yyyymm`, `yyyymmdd`, `iso_week`, `quarter` or `excel`; `step`"
        " for integer steps that look like one of these",
    )
    target: str = Field("y", min_length=1, description="column of measurements")
    missing_rows: Literal["gap", "zero"] | None = Field(
        None,
        description="what an absent row means: `gap`, unknown, or `zero`, such as no sales; where not given, a gap,"
        " with a warning if about half of a series or more is absent",
    )
    allow_rejects: float = Field(
        0.01,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of the rows, and of the series with such rows, that may be refused; more, and more than ten,"
        " stop a run; 1 for any",
    )

    duplicates: Duplicates = Field(
        "refuse",
        description="what happens to rows of the same series and time: `refuse` keeps the first one, `last` the newest"
        " one, and `keep` all of them, also rows that are the same, such as transactions, of which `aggregate` makes"
        " one measurement",
    )
    newer: str | None = Field(
        None,
        min_length=1,
        description="column of numbers or times of which the largest is that of the newest row; where not given, the"
        ' newest row is the last one, in the order of the files\' names and of rows; needs `duplicates = "last"`',
    )

    modified: str | None = Field(
        None,
        min_length=1,
        description="column with the time, or an increasing number, of a row's last change, by which scheduled runs"
        " read only the rows of a database or a Delta table that have changed since the last run",
    )
    modified_overlap: Overlap = Field(
        None,
        description="how far before the newest known value of `modified` a run reads again, because transactions commit"
        " late: a duration, `2h` where not given, or for a column of numbers a number, which must be given",
    )
    key: str | tuple[str, ...] | None = Field(
        None,
        description="column or columns that identify a row, by which `modified` replaces it; where not given, those of"
        " `id` and `time`",
    )

    csv: CsvDialect = Field(CsvDialect(), description="how CSV files are written")
    timezone: TimeZone | None = Field(
        None,
        description="IANA zone of the data, such as `Europe/Berlin`: of times without a zone, and of the days and hours"
        " that seasons and the calendar follow; where not given, that of the times themselves",
    )
    label: Literal["start", "end"] = Field(
        "start",
        description="whether a time is the `start` of its interval or its `end`, so that a midnight belongs to the day"
        " before; for times that lie off the grid of their series, and for `aggregate`",
    )
    aggregate: Aggregate | None = Field(
        None,
        description="how rows of a series with different times in one period become one: `sum`, `mean`, `last`,"
        " `first`, `max` or `min`; where not given, only one of them is used, or the run stops",
    )
    snap: Literal["nearest"] | None = Field(
        None,
        description="`nearest` moves times that lie off their grid to its nearest point, at frequencies below a day;"
        " where not given, such rows are refused",
    )
    snap_tolerance: str | None = Field(
        None,
        description="the most that a time may move by `snap`, such as `20s`; half a step where not given",
    )
    unfinished: Literal["wait", "use"] = Field(
        "wait",
        description="whether rows of a period that is not over yet `wait` until it is, or are measurements that a run"
        " may `use`",
    )
    ended: Literal["skip", "forecast"] = Field(
        "skip",
        description="what happens to a series without a measurement for longer than `ended_after`: `skip` gives it no"
        " forecast, but a row with the reason; `forecast` gives it one from its own last measurement",
    )
    ended_after: str | int | None = Field(
        None,
        description="a duration such as `90d`, or a number of steps, 0 for any series that lags; where not given, the"
        " longer of two horizons and two first seasons",
    )

    open: str | None = Field(
        None,
        description="days and hours at which series have measurements, such as `Mon-Sat` or `Mon-Fri 08:00-18:00`; the"
        " grid has no other times; `Mon-Sun` for all days",
    )
    closed_holidays: str | None = Field(
        None,
        description="country whose holidays are closed, such as `DE`, a part of it such as `DE-BY`, or a market such as"
        " `XNYS`",
    )

    ignore: tuple[Period, ...] = Field(
        (),
        description="periods that nothing learns from, such as a strike: tables of `from` and `to`, both included, and"
        " maybe `series`",
    )

    _scope: Scope = PrivateAttr(Scope())
    _covariates: tuple[str, ...] = PrivateAttr(())
    _available_at: str | None = PrivateAttr(None)

    @field_validator("ignore", mode="before")
    @classmethod
    def _are_periods(cls, given: Any) -> Any:
        return as_periods(given)

    @field_validator("open")
    @classmethod
    def _is_week(cls, open: str | None) -> str | None:
        return None if open is None else spell_week(parse_week(open))

    @field_validator("closed_holidays")
    @classmethod
    def _is_code(cls, code: str | None) -> str | None:
        return None if code is None else check_holidays(code)

    @field_validator("uri", mode="before")
    @classmethod
    def _is_readable_kind(cls, uri: Any, info: ValidationInfo) -> Any:
        if uri is None:
            if "connection" in info.data and info.data["connection"] is None:
                raise PydanticCustomError("missing", "Field required")
            return None
        uris = uri if isinstance(uri, (list, tuple)) else [uri]
        if not uris or not all(isinstance(one, str) and _can_be_read(one) for one in uris):
            raise ValueError("must be the path or URI of a file, a folder or a glob, or a list of them")
        if secret := [one for one in uris if has_password(one)]:
            raise ValueError(f"must not have a password; {_secret_place(secret[0])}")
        if problems := [f"{one!r} {problem}" for one in uris if (problem := find_kind_problem(one))]:
            raise ValueError("; ".join(problems) if len(uris) > 1 else problems[0].removeprefix(f"{uris[0]!r} "))
        unreadable = [
            one
            for one in uris
            if not re.search(r"(?i)\.(parquet|pq|csv|csv\.gz)$|/$", one)
            and "." in Path(one).name
            and not one.startswith(DATABASES)
        ]
        if unreadable:
            which = "" if isinstance(uri, str) else ", ".join(map(repr, unreadable)) + " "
            raise ValueError(f"{which}must end in .parquet or .csv (a file or a glob), or name a folder of such files")
        return uri

    @field_validator("id", mode="before")
    @classmethod
    def _names_columns(cls, id: Any) -> Any:
        columns = list(id) if isinstance(id, (list, tuple)) else [id]
        if not columns or not all(isinstance(name, str) for name in columns):
            raise ValueError("must be the name of a column, or a list of names")
        if not all(columns):
            raise ValueError("must not be empty")
        if len(columns) > 1:
            if has_repeat(columns):
                raise ValueError("must not name anything twice")
            if reserved := [name for name in columns if name in ("unique_id", "ds", "y")]:
                raise ValueError(f"cannot have '{reserved[0]}' among several columns, because results have it")
        return columns[0] if len(columns) == 1 else tuple(columns)

    @field_validator("key", mode="before")
    @classmethod
    def _names_key(cls, key: Any) -> Any:
        columns = list(key) if isinstance(key, (list, tuple)) else [key]
        if key is not None and (not columns or not all(isinstance(name, str) and name for name in columns)):
            raise ValueError("must be the name of a column, or a list of names")
        if has_repeat(columns):
            raise ValueError("must not name anything twice")
        return columns[0] if len(columns) == 1 else tuple(columns)

    @field_validator("newer")
    @classmethod
    def _is_used(cls, newer: str | None, info: ValidationInfo) -> str | None:
        if newer is not None and info.data.get("duplicates", "last") != "last":
            raise ValueError('needs duplicates = "last", which keeps the newest of several rows')
        return newer

    @field_validator("snap_tolerance")
    @classmethod
    def _is_duration(cls, tolerance: str | None, info: ValidationInfo) -> str | None:
        if tolerance is None:
            return None
        if isinstance(parse_frequency(tolerance), int) or fixed_width(tolerance) is None:
            raise ValueError("must be a duration of fixed length such as '20s' or '2m'")
        if info.data.get("snap", "nearest") is None:
            raise ValueError('needs snap = "nearest", which moves times')
        return tolerance

    @field_validator("ended_after", mode="before")
    @classmethod
    def _is_length(cls, length: Any) -> str | int | None:
        if length in (0, "0") and not isinstance(length, bool):
            return 0
        return None if length is None else parse_frequency(length)

    @model_validator(mode="wrap")
    @classmethod
    def _columns_differ(cls, fields: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        source: Self = check_whole_and_parts(fields, handler, _find_contradiction)
        return source

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns that name a series, also where there is only one."""
        return (self.id,) if isinstance(self.id, str) else self.id

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that identify a row where rows are read by `modified`."""
        if self.key is None:
            return (*self.ids, self.time)
        return (self.key,) if isinstance(self.key, str) else self.key

    @property
    def reading(self) -> dict[str, Any]:
        """The fields that say how rows are read, by name, to read another source in the same way."""
        return self.model_dump(exclude={"uri", *PLACE, *INCREMENTAL}, exclude_unset=True)

    def reading_of(self, uris: Sequence[str] | None) -> dict[str, Any]:
        """Return the fields of `reading`, and those by which rows of another place of the same kind are found.

        Args:
            uris: The other place; None for a frame.

        Returns:
            Fields by name, without `uri`.
        """
        names: tuple[str, ...] = ()
        if uris and all(uri.startswith(STORES) for uri in uris):
            names = ("connection",)
        if uris and all(uri.startswith(DATABASES) for uri in uris):
            names = ("table", "query")
        place = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {**self.reading, **place}

    @property
    def is_database(self) -> bool:
        """Whether rows are read from a database."""
        return self.table is not None or self.query is not None

    @property
    def scope(self) -> Scope:
        """The part of a database that is read."""
        return self._scope

    def within(self, scope: Scope) -> Self:
        """Return the same source, of which a run reads a part; a copy by its fields reads all of it again."""
        part = self.model_copy()
        part._scope = scope
        return part

    @property
    def covariates(self) -> tuple[str, ...]:
        """The covariates that are read in place of the target; none where this is read."""
        return self._covariates

    @property
    def available_at(self) -> str | None:
        """The column of the times at which covariates were published; None without one."""
        return self._available_at

    def reading_covariates(
        self, names: Sequence[str], *, is_shared: bool = False, available_at: str | None = None
    ) -> Self:
        """Return the same source, of which covariates are read in place of the target.

        Args:
            names: The columns of the covariates, at least one.
            is_shared: Whether rows name no series, because all series share them.
            available_at: A column of the times at which the values were published.

        Returns:
            The source.
        """
        other = self.model_copy(update={"target": names[0]} | ({"id": ()} if is_shared else {}))
        other._covariates, other._available_at = tuple(names), available_at
        return other

    @property
    def uris(self) -> tuple[str, ...]:
        """The URIs as a tuple, also where there is only one."""
        return (self.uri,) if isinstance(self.uri, str) else self.uri or ()

    def __str__(self) -> str:
        if not self.is_database:
            return ", ".join(self.uris)
        place = self.uri or f"connection {self.connection}"
        return f"{place} ({'query' if self.table is None else f'table {self.table}'})"


def make_source(paths: Sequence[str], fields: Mapping[str, Any], *, subject: str) -> Source:
    """Make a source of files that are named relative to the working directory.

    Args:
        paths: Paths or URIs.
        fields: The other fields of the source by name.
        subject: What the error's message begins with.

    Returns:
        The source, with absolute paths.

    Raises:
        SpecError: A path or a column is refused; the error lists all of them.
    """
    return check_source([as_uri(path) for path in paths], fields, subject=subject)


def check_source(uris: Sequence[str], fields: Mapping[str, Any], *, subject: str) -> Source:
    """Make a source of URIs as they are.

    Args:
        uris: The URIs.
        fields: The other fields of the source by name.
        subject: What the error's message begins with.

    Returns:
        The source.

    Raises:
        SpecError: A URI or a column is refused; the error lists all of them.
    """
    try:
        return Source(**{**fields, "uri": uris[0] if len(uris) == 1 else tuple(uris)})
    except ValidationError as error:
        # The subject names the argument that has the paths.
        problems = [problem.removeprefix("uri = ") for problem in describe_problems(error)]
        raise SpecError(subject, problems) from error


def as_uri(path: str) -> str:
    """Return a path relative to the working directory as an absolute one, with a slash after a folder.

    Args:
        path: A path, or a URI, which is returned unchanged.

    Returns:
        The URI of a source.
    """
    if not path.strip():
        return path  # for validation to refuse; as a path it would be the working directory
    uri = absolute_uri(path, relative_to=Path.cwd())
    return uri + "/" if not uri.endswith("/") and Path(uri).is_dir() else uri


def absolute_uri(uri: str, *, relative_to: Path) -> str:
    """Return a URI unchanged, and a path as an absolute path.

    Args:
        uri: A URI with a scheme, or a path; the `~` of a known user is expanded, and a trailing slash is kept.
        relative_to: The folder from which a relative path is resolved.

    Returns:
        The URI or the absolute path. A text that is neither is returned unchanged: validation refuses it later.

    >>> absolute_uri("s3://bucket/sales.parquet", relative_to=Path("/specs"))
    's3://bucket/sales.parquet'
    >>> absolute_uri("../sales.csv", relative_to=Path("/specs"))
    '/sales.csv'
    """
    if uri.startswith(SQLITE) and uri != SQLITE:
        return SQLITE + absolute_uri(uri.removeprefix(SQLITE), relative_to=relative_to)
    if not _can_be_read(uri) or urlsplit(uri).scheme:
        return uri
    absolute = str((relative_to / os.path.expanduser(uri)).resolve())
    return absolute + "/" if uri.endswith("/") else absolute


def absolute_uris(uri: Any, *, relative_to: Path) -> Any:
    """Make every path of `source.uri` absolute, before validation.

    Args:
        uri: A path or URI, a list of them, or any other value that a TOML file can hold.
        relative_to: The folder from which relative paths are resolved.

    Returns:
        The same structure with absolute paths. Values that are not text are returned unchanged: validation refuses
        them later.
    """
    if isinstance(uri, list):
        return [absolute_uris(one, relative_to=relative_to) for one in uri]
    return absolute_uri(uri, relative_to=relative_to) if isinstance(uri, str) and uri else uri


def _can_be_read(uri: str) -> bool:
    """Return whether a text can be a path or a URI at all."""
    try:
        urlsplit(uri)
    except ValueError:  # such as the host of s3://[bucket
        return False
    return bool(uri.strip()) and "\0" not in uri


def _secret_place(uri: str) -> str:
    """Return where a secret belongs that a URI has."""
    variables = "PGPASSWORD or PGPASSFILE" if uri.startswith("postgres") else "FLEETCAST_STORAGE_OPTIONS"
    return f"source.connection (--source connection=NAME) names a connection that has it, or set {variables}"


def _find_contradiction(source: Any) -> str | None:
    def given(name: str) -> Any:
        if isinstance(source, Mapping) and name in ("id", "time", "target"):
            return source.get(name, Source.model_fields[name].default)
        return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)

    problems: list[str | None] = [_find_shared_column(source)]
    if given("duplicates") == "keep" and given("aggregate") is None:
        problems.append(
            'duplicates = "keep" (--duplicates keep) needs aggregate = sum, mean, last, first, max or min'
            " (--source aggregate=sum), which makes one measurement of several rows"
        )
    problems += [find_place_problem(given), find_modified_problem(given)]
    return "; ".join(problem for problem in problems if problem) or None


def _find_shared_column(source: Any) -> str | None:
    if isinstance(source, Mapping):
        defaults = {name: Source.model_fields[name].default for name in ("id", "time", "target")}
        id, *names = (source.get(name, default) for name, default in defaults.items())
    else:
        id, *names = (getattr(source, name, name) for name in ("id", "time", "target"))
    names = [*(id if isinstance(id, (list, tuple)) else [id]), *names]
    if not has_repeat(names):
        return None
    if len(names) > 3:
        return f"id, time and target must be different columns, not {', '.join(map(repr, names))}"
    return f"id, time and target must be three columns, not {', '.join(map(repr, names))}"
