"""Read other libraries' frames as Polars frames, and return results in the kind of frame that came in.

A frame is a Polars DataFrame or LazyFrame, a pandas DataFrame or Series, a pyarrow Table or a DuckDB relation; narwhals
recognises and converts it. Results keep the names and the dtypes of its columns of series and time.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import polars as pl

from forecasting.errors import DataWarning, SourceError, first_line
from forecasting.series.arrow_types import with_known_types
from forecasting.series.lacking import describe_lacking, describe_wide
from forecasting.series.local_times import zone_at_offset
from forecasting.series.object_columns import describe_unread_column

Kind = Literal["polars", "polars_lazy", "pandas", "pyarrow", "duckdb"]

IN_MEMORY = "<frame>"
"""Name of a frame in messages and in `source_file` of rejected rows."""
DEFAULT_ID = "unique_id"

_KINDS = "a Polars DataFrame or LazyFrame, a pandas DataFrame, a pyarrow Table, a DuckDB relation, or paths of files"
_ROLES = ("id", "time", "target", "category", "covariate")


@dataclass(frozen=True)
class NativeFrames:
    """The kind of frame that results come back as, with the names and dtypes of its columns of series and time.

    The dtypes are those of the frame's own library (a pandas dtype, a pyarrow type, a Polars dtype); None leaves a
    column as the conversion makes it. Several columns of series have theirs by name.
    """

    kind: Kind = "polars"
    id: str | tuple[str, ...] = DEFAULT_ID
    time: str = "ds"
    target: str = "y"
    is_single: bool = False
    """Whether the frame has no column of series, and so is one series."""
    id_dtype: Any = None
    time_dtype: Any = None

    def restore(self, rows: pl.DataFrame) -> Any:
        """Return a result as the kind of frame that came in.

        Args:
            rows: A result with columns such as unique_id, ds, cutoff and origin, in the dtypes that Polars read them.

        Returns:
            The same rows with the frame's own column names, in its own library.
        """
        names = {"ds": self.time, "y": self.target}
        times = [self.time, *(name for name in ("cutoff", "origin") if name in rows.columns)]
        if isinstance(self.id, str):
            names["unique_id"] = self.id
        else:
            rows = rows.drop("unique_id", strict=False)
        rows = rows.rename({old: new for old, new in names.items() if old in rows.columns})
        times = [name for name in times if name in rows.columns and rows.schema[name].is_temporal()]
        ids = {name: dtype for name, dtype in self._id_dtypes().items() if name in rows.columns}
        match self.kind:
            case "polars":
                return _cast_polars(rows, ids)
            case "polars_lazy":
                return _cast_polars(rows, ids).lazy()
            case "pandas":
                return _to_pandas(rows, ids | dict.fromkeys(times, self.time_dtype))
        table = _to_arrow(rows, ids | dict.fromkeys(times, self.time_dtype))
        if self.kind == "pyarrow":
            return table
        import duckdb

        return duckdb.from_arrow(table)

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns that name a series, also where there is only one."""
        return (self.id,) if isinstance(self.id, str) else self.id

    def _id_dtypes(self) -> dict[str, Any]:
        if isinstance(self.id, str):
            return {self.id: self.id_dtype}
        return {name: (self.id_dtype or {}).get(name) for name in self.id}

    def named_in(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return fields of a `Source` with the column names of the frame, to read another one like it."""
        named = {**fields, "id": self.id, "time": self.time, "target": self.target}
        if self.is_single:
            del named["id"]
        return named

    def refuse_names(self, reserved: Sequence[str]) -> None:
        """Raise SourceError where the frame's own column names are names that results need for themselves."""
        named = [*(("id", name) for name in self.ids), ("time", self.time), ("target", self.target)]
        taken = [f"{role} = {name!r}" for role, name in named if name in reserved]
        if taken:
            raise SourceError(
                f"{IN_MEMORY} cannot have {' and '.join(taken)}: forecasts have a column of that name; rename it"
            )


def read_frame(
    frame: Any,
    *,
    id: str | Sequence[str] | None,
    time: str,
    target: str,
    static: Sequence[str] = (),
    covariates: Sequence[str] = (),
    newer: str | None = None,
) -> tuple[pl.DataFrame, NativeFrames]:
    """Convert a frame of long data to Polars.

    Args:
        frame: One row per series and time; of a pandas frame, index levels may be the series and the time.
        id: The column that names the series, or several that name it together. None takes `unique_id`, or without such
            a column the whole frame as one series that is named after `target`.
        time: The column of timestamps or integer steps.
        target: The column of measurements.
        static: Columns of categories.
        covariates: Columns of covariates.
        newer: A column that says which row is newer.

    Returns:
        The columns that are named, and how results are converted back.

    Raises:
        SourceError: The frame is of no kind that can be read, lacks a column, has one twice, or cannot be converted.
    """
    if not is_frame(frame):
        raise SourceError(f"frame is of type {type(frame).__module__}.{type(frame).__qualname__}; it must be {_KINDS}")
    if nw.dependencies.is_pandas_dataframe(frame) or nw.dependencies.is_pandas_series(frame):
        with _reading():
            frame = _lay_out_index(frame, ids=_ids(id), time=time, target=target)
    levels = _unread_levels(frame)
    if nw.dependencies.is_duckdb_relation(frame):
        _refuse_repeated(frame, [*_ids(id), time, target, *static, *covariates, *([newer] if newer else [])])
    with _reading():
        native = nw.from_native(frame)
        columns = native.collect_schema().names()
    is_single = id is None and DEFAULT_ID not in columns
    ids = _ids(id)
    wanted = [*(("id", name) for name in ids), ("time", time), ("target", target)]
    needed = [*wanted, *(("category", name) for name in static), *(("covariate", name) for name in covariates)]
    needed += [("newer", newer)] if newer else []
    if lacking := describe_lacking([each for each in needed if not (is_single and each[0] == "id")], columns):
        remedy = _how_to_name(frame, time) + describe_wide(needed, columns)
        raise SourceError(f"{IN_MEMORY} lacks {lacking}{_index_levels(frame)}; {remedy}")
    names = list(dict.fromkeys(name for _, name in needed if name in columns))
    rows, kind, dtypes = _convert(native.select(*names), {name: role for role, name in needed if name in columns})
    if is_single:
        rows = rows.with_columns(pl.lit(target).alias(DEFAULT_ID))
        _require_one_series(rows, time, others=[*(name for name in columns if name not in names), *levels])
    if len(ids) > 1:
        return rows, NativeFrames(kind, ids, time, target, False, dtypes, dtypes.get(time))
    return rows, NativeFrames(kind, ids[0], time, target, is_single, dtypes.get(ids[0]), dtypes.get(time))


def read_whole(frame: Any, *, time: str = "ds") -> pl.DataFrame:
    """Convert all columns of a frame to Polars; named index levels of a pandas frame are columns.

    Args:
        frame: A frame that `is_frame` accepts.
        time: What an index of times without a name is called.

    Returns:
        The frame.

    Raises:
        SourceError: The frame has a column twice, or cannot be converted.
    """
    if nw.dependencies.is_pandas_dataframe(frame) or nw.dependencies.is_pandas_series(frame):
        with _reading():
            frame = _lay_out_index(frame, ids=(), time=time, target=getattr(frame, "name", None) or "value")
            levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
            frame = frame.reset_index(level=levels) if levels else frame
            frame = frame.rename(columns=str)
        if not frame.columns.is_unique:
            twice = str(frame.columns[frame.columns.duplicated()][0])
            raise SourceError(f"{IN_MEMORY} has the column '{twice}' more than once; every column needs its own name")
    with _reading():
        native = nw.from_native(frame)
        columns = native.collect_schema().names()
    if nw.dependencies.is_duckdb_relation(frame):
        _refuse_repeated(frame, columns)
    rows, _, _ = _convert(native, dict.fromkeys(columns, "covariate"))
    return rows


def _ids(id: str | Sequence[str] | None) -> tuple[str, ...]:
    return (id or DEFAULT_ID,) if id is None or isinstance(id, str) else tuple(id)


def is_frame(frame: Any) -> bool:
    """Return whether a value is a frame that can be read."""
    known = (
        nw.dependencies.is_polars_dataframe,
        nw.dependencies.is_polars_lazyframe,
        nw.dependencies.is_pandas_dataframe,
        nw.dependencies.is_pandas_series,
        nw.dependencies.is_pyarrow_table,
        nw.dependencies.is_duckdb_relation,
    )
    return any(is_kind(frame) for is_kind in known)


def _lay_out_index(frame: Any, *, ids: Sequence[str], time: str, target: str) -> Any:
    """Turn the index levels that name series or time into columns; an unnamed index of times is the time."""
    if nw.dependencies.is_pandas_series(frame):
        frame = frame.to_frame(name=target)
    if not frame.columns.is_unique:
        twice = sorted({str(name) for name in frame.columns[frame.columns.duplicated()]})
        raise SourceError(f"{IN_MEMORY} has the column '{twice[0]}' more than once; every column needs its own name")
    levels = list(frame.index.names)
    if time not in frame.columns and time not in levels:
        unnamed = [
            place
            for place, name in enumerate(levels)
            if name is None and frame.index.get_level_values(place).dtype.kind in "MO"
        ]
        if len(unnamed) == 1:
            levels[unnamed[0]] = time
    wanted = {*ids, time} - set(frame.columns)
    if not wanted & set(levels):
        return frame
    frame = frame.copy(deep=False)
    frame.index = frame.index.set_names(levels)
    kept = [name for name in levels if name in wanted]
    return frame.reset_index(level=kept) if frame.index.nlevels > 1 else frame.reset_index()


def _unread_levels(frame: Any) -> list[str]:
    """Return the index levels of a pandas frame that are not columns, as messages name them."""
    levels = list(getattr(getattr(frame, "index", None), "names", ()))
    if len(levels) == 1 and levels[0] is None:
        return []
    return [f"index level {place if name is None else name}" for place, name in enumerate(levels)]


def _refuse_repeated(relation: Any, names: Sequence[str]) -> None:
    """Refuse a DuckDB relation that has a column twice; its names do not differ by case."""
    folded = [name.casefold() for name in relation.columns]
    for name in names:
        if folded.count(name.casefold()) > 1:
            raise SourceError(f"{IN_MEMORY} has the column '{name}' more than once; every column needs its own name")


def _convert(native: Any, roles: Mapping[str, str]) -> tuple[pl.DataFrame, Kind, dict[str, Any]]:
    """Return the columns as a Polars frame, the kind of frame that they came in, and their dtypes there."""
    frame = native.to_native()
    kind: Kind
    with _reading():
        if nw.dependencies.is_polars_lazyframe(frame):
            rows: pl.DataFrame = frame.collect(engine="streaming")
            return rows, "polars_lazy", dict(rows.schema)
        if nw.dependencies.is_polars_dataframe(frame):
            return frame, "polars", dict(frame.schema)
        if nw.dependencies.is_pandas_dataframe(frame):
            dtypes = {name: frame[name].dtype for name in roles}
            return _from_pandas(_without_periods(frame), roles), "pandas", dtypes
        kind = "pyarrow"
        if nw.dependencies.is_duckdb_relation(frame):
            frame, kind = native.collect("pyarrow").to_native(), "duckdb"
        dtypes = {name: frame.schema.field(name).type for name in roles}
        return pl.DataFrame(with_known_types(frame, subject=IN_MEMORY)), kind, dtypes


def _from_pandas(frame: Any, roles: Mapping[str, str]) -> pl.DataFrame:
    try:
        return pl.from_pandas(frame)
    except (Exception, pl.exceptions.PanicException) as error:
        problem = describe_unread_column(frame, roles)
        if problem is None:
            raise
        raise SourceError(f"{IN_MEMORY}: {problem}") from error


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:  # any of four libraries refuses a frame in its own way
        raise SourceError(f"{IN_MEMORY} cannot be read: {first_line(error)}") from error


def _index_levels(frame: Any) -> str:
    """Name the index levels of a pandas frame, where they have names."""
    named = [str(name) for name in getattr(getattr(frame, "index", None), "names", ()) if name is not None]
    return f" and the index levels {', '.join(named)}" if named else ""


def _how_to_name(frame: Any, time: str) -> str:
    """Return which arguments name missing columns; for times in a named index level, the argument itself."""
    if nw.dependencies.is_pandas_dataframe(frame) and time not in frame.columns:
        levels = {name: frame.index.get_level_values(place).dtype for place, name in enumerate(frame.index.names)}
        times = [name for name, dtype in levels.items() if dtype.kind == "M" or str(dtype).startswith("period")]
        if len(times) == 1 and times[0] is not None:
            return f"time={times[0]!r} reads the times of its index"
    return "id, time, target and static name them"


def _without_periods(frame: Any) -> Any:
    """Return periods as their first moment, and times at a fixed offset in a zone that has it: Polars has neither.

    Raises SourceError for a zone without an IANA name, and an offset that no zone always has.
    """
    import pandas as pd

    changed = {}
    for name, dtype in frame.dtypes.items():
        if isinstance(dtype, pd.PeriodDtype):
            changed[name] = frame[name].dt.to_timestamp()
        elif isinstance(dtype, pd.DatetimeTZDtype) and not _has_name(dtype.tz):
            changed[name] = frame[name].dt.tz_convert(_iana_name(str(name), dtype.tz))
    return frame.assign(**changed) if changed else frame


def _has_name(zone: Any) -> bool:
    """Return whether a zone of zoneinfo, pytz or datetime has an IANA name; an offset of pytz has none."""
    return getattr(zone, "key", None) is not None or getattr(zone, "zone", None) is not None


def _iana_name(column: str, zone: Any) -> str:
    offset = zone.utcoffset(None)
    name = None if offset is None else zone_at_offset(offset)
    if name is None:
        raise SourceError(
            f"{IN_MEMORY}: '{column}' has the time zone {zone}; it must be an IANA zone such as 'Europe/Paris' or an"
            " offset of whole hours; dt.tz_convert changes it"
        )
    return name


def _require_one_series(rows: pl.DataFrame, time: str, *, others: Sequence[str]) -> None:
    repeated = rows.filter(pl.col(time).is_not_null()).select(pl.col(time).is_duplicated().sum()).item()
    if repeated:
        raise SourceError(
            f"{IN_MEMORY} has no column '{DEFAULT_ID}', so it would be one series, but {repeated} of its {rows.height}"
            f" rows share their '{time}' with another row; id= names the column of series"
        )
    if others:
        warnings.warn(
            f"the frame has no column '{DEFAULT_ID}', so its {rows.height} rows are one series; not read:"
            f" {', '.join(map(str, others))}; id= names the column of series",
            DataWarning,
            stacklevel=5,
        )


def _cast_polars(rows: pl.DataFrame, dtypes: Mapping[str, Any]) -> pl.DataFrame:
    for name, dtype in dtypes.items():
        if dtype is None or dtype not in (pl.Categorical, pl.Enum):
            continue
        cast = rows[name].cast(dtype, strict=False)
        if cast.null_count() == rows[name].null_count():  # a new series has a name that an Enum does not list
            rows = rows.with_columns(cast)
    return rows


def _to_pandas(rows: pl.DataFrame, dtypes: dict[str, Any]) -> Any:
    import pandas as pd

    frame = rows.to_pandas()
    for name, dtype in dtypes.items():
        if dtype is None or frame[name].dtype == dtype:
            continue
        if isinstance(dtype, pd.PeriodDtype):
            frame[name] = frame[name].dt.to_period(dtype.freq)
        elif isinstance(dtype, pd.CategoricalDtype):
            values = frame[name].astype(dtype.categories.dtype)
            new = [value for value in values.unique() if value not in dtype.categories]
            frame[name] = values.astype(pd.CategoricalDtype([*dtype.categories, *new], ordered=dtype.ordered))
        elif rows.schema[name] == pl.Date and str(dtype) == "object":
            frame[name] = pd.Series(rows[name].to_list(), dtype=object)
        elif not rows.schema[name].is_temporal() or getattr(dtype, "kind", "") == "M":  # never times as text
            try:
                frame[name] = frame[name].astype(dtype)
            except (ValueError, TypeError, OverflowError, pd.errors.OutOfBoundsDatetime):
                continue  # a value that the dtype cannot hold, such as a horizon beyond its range
    return frame


def _to_arrow(rows: pl.DataFrame, dtypes: dict[str, Any]) -> Any:
    import pyarrow as pa

    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    for name, dtype in dtypes.items():
        if dtype is None or table.schema.field(name).type == dtype or _is_shifted(table.schema.field(name).type, dtype):
            continue
        place = table.schema.get_field_index(name)
        try:
            table = table.set_column(place, name, table.column(place).cast(dtype))
        except pa.ArrowInvalid:
            continue  # a value that the type cannot hold, such as a horizon beyond its range
        except pa.ArrowNotImplementedError:
            table = table.set_column(place, name, table.column(place).combine_chunks().dictionary_encode())
    return table


def _is_shifted(made: Any, wanted: Any) -> bool:
    """Whether a cast would move times: from naive to a zone, which Arrow takes for UTC, or from times to text."""
    import pyarrow as pa

    if not pa.types.is_temporal(made):
        return False
    return not pa.types.is_temporal(wanted) or bool(getattr(wanted, "tz", None)) != bool(getattr(made, "tz", None))
