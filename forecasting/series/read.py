"""Scan a source as one lazy frame of rows, each with its file and its number in that file."""

import difflib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import polars as pl

from forecasting.errors import ServiceError, SourceError, UserError, first_line
from forecasting.series.arrow_types import scan_parquet
from forecasting.series.columns import (
    as_text,
    bound_times,
    has_offset,
    is_blank,
    read_id,
    read_number,
    read_times,
    refuse_time,
    unused_name,
    well_formed,
)
from forecasting.series.csv_preamble import describe_preamble
from forecasting.series.csv_records import read_header
from forecasting.series.csv_scan import read_measurements, scan_csv
from forecasting.series.csv_sniff import propose_dialect, refuse_other_spelling
from forecasting.series.declared_zone import add_declared
from forecasting.series.delta import refuse_files_of_tables, scan_table
from forecasting.series.file_types import ScannedFile, refuse_different_types
from forecasting.series.files import is_csv, list_all_files
from forecasting.series.ids import read_names
from forecasting.series.lacking import describe_lacking, describe_wide, incremental_columns, needed_columns
from forecasting.series.newest import add_age, refuse_ages
from forecasting.series.partitions import add_keys, needed_keys
from forecasting.series.places import is_remote
from forecasting.series.stores import storage_options_of
from forecasting.series.supplied import find_supplied
from forecasting.series.time_format import read_formatted, refuse_formatted
from forecasting.series.time_sniff import NUM_SNIFFED, describe_unread
from forecasting.spec.frequency import Clock
from forecasting.spec.source import Source
from forecasting.spec.time_format import STEPS

COVARIATE = "covariate "
"""How the columns of covariates begin in rows of a source that reads them; the place of each follows, from 0."""
AVAILABLE = "available"
"""The column of the times at which covariates were published, as the source has them."""
SHARED = "all series"
"""What rows that name no series have in the place of the name."""


def scan_source(
    source: Source,
    clock: Clock,
    *,
    static: Sequence[str] = (),
    series: Sequence[str] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> pl.LazyFrame:
    """Scan the files of a source. Of parquet files, only schemas and the first rows are read.

    A file that several URIs name is read once. `ds` and `y` keep the source's dtypes, which for CSV files is text, so
    that `validate` can refuse single rows. If files differ in dtype, the columns are text or on the clock. CSV files
    are checked as a whole first; those that Polars could not read without losing a row are read at once, by record.

    Args:
        source: The files (parquet, `.csv` or `.csv.gz`), folders and globs, and the columns to read.
        clock: Whether times are timestamps or integer steps.
        static: Columns that classify whole series.
        series: The series to keep; None keeps all.
        storage_options: Options of the object store, as Polars takes them; not used if the source has a connection.

    Returns:
        Rows with source_file, source_row (from 1 in each file; of a CSV row, the line on which it begins, less one),
        unique_id (text without blanks around it), ds, y and, with `static`, categories: a list of names and values
        (text). `written_id` has names with blanks around them, and is null elsewhere. With a time format, `ds` has the
        times that it reads, and `ds_text` those of the source as text. If a CSV file has malformed rows, `problem` is
        the reason why a row is refused. If CSV files write numbers with other signs than Polars, `number` has those in
        `y`. If the source declares a zone, there are the columns of `add_declared`. In a file whose first times are
        text with offsets, `lacks_zone` says which are not. If the source names a column of ages, there are the columns
        of `add_age`. If covariates of the source are read, `y` is 1 in each row, and each covariate has a column as `y`
        otherwise is, named `COVARIATE` and its place, with numbers in the column that `number_of` names.

    Raises:
        SourceError: The source has no files or rows, a file cannot be read or lacks a column, or a dtype does not
            match the clock.
        ServiceError: A remote file cannot be reached.
    """
    rows = concat_files(scan_files(source, clock, storage_options=storage_options, static=static), clock)
    with reading(str(source)):
        first = rows.head(1).collect()
    if first.is_empty():
        raise SourceError(f"source {source} has no rows; it needs at least one")
    with reading(str(source)):
        refuse_ages(rows, source)
    return rows if series is None else rows.filter(pl.col("unique_id").is_in(list(series)))


def scan_files(
    source: Source,
    clock: Clock,
    *,
    storage_options: Mapping[str, str] | None = None,
    static: Sequence[str] = (),
) -> list[pl.LazyFrame]:
    """Scan each file of a source by itself.

    Args:
        source: The files, folders and globs, and the columns to read.
        clock: Whether times are timestamps or integer steps.
        storage_options: Options of the object store, as Polars takes them.
        static: Columns that classify whole series.

    Returns:
        One frame per file in the columns of `scan_source`, sorted by URI; each keeps its file's dtypes.

    Raises:
        SourceError: The source has no files, one of them cannot be read (see `scan_source`), or they differ in type
            (see `refuse_different_types`).
        ServiceError: A remote file cannot be reached.
    """
    if (supplied := find_supplied(source)) is not None:
        return [_scan_table(*supplied, source, clock, static).rows]
    if source.is_database:
        from forecasting.series.database import read_database  # loads pyarrow, which few sources need

        return [_scan_table(*read_database(source, static=static), source, clock, static).rows]
    options = storage_options_of(source, storage_options)
    files = list_all_files(source.uris, storage_options=options)
    if source.version is not None and not files[0].endswith("/"):
        raise SourceError(f"source {source} has a version (source.version), but is not a Delta table; leave it out")
    scanned = [_scan_file(uri, source, clock, options, static) for uri in files]
    for uri in set(files) & set(source.uris):
        if is_remote(uri) and not uri.endswith("/"):
            refuse_files_of_tables(uri, [uri], storage_options=options)
    with reading(str(source)):
        refuse_different_types(scanned, clock, timezone=source.timezone)
    return [file.rows for file in scanned]


def concat_files(files: Sequence[pl.LazyFrame], clock: Clock) -> pl.LazyFrame:
    """Concatenate files; columns that differ in dtype become text, or times and numbers if none of them is text.

    Times with a zone become text as well: how they are read depends on the frequency, which only `validate` has.

    Args:
        files: Frames of `scan_files`.
        clock: Whether times are timestamps or integer steps.

    Returns:
        All rows.
    """
    times = {file.collect_schema()["ds"] for file in files}
    if len(times) > 1:
        is_text = pl.String in times or any(isinstance(time, pl.Datetime) and time.time_zone for time in times)
        files = [_as_text(file, "ds") if is_text else read_times(file, "ds", clock=clock) for file in files]
    values = [name for name in files[0].collect_schema() if name == "y" or name.startswith(COVARIATE)]
    for name in values:
        dtypes = {file.collect_schema()[name] for file in files}
        if len(dtypes) > 1:
            files = [_as_text(file, name) if pl.String in dtypes else _as_number(file, name) for file in files]
    for column in ("problem", *map(number_of, values), "lacks_zone"):
        if any(column in file.collect_schema() for file in files):
            files = [_with_column(file, column) for file in files]
    return pl.concat(files)


def require_series(rows: pl.LazyFrame, series: Sequence[str]) -> None:
    """Check that all series exist. The column of ids is read.

    Args:
        rows: Rows with unique_id.
        series: The requested series.

    Raises:
        UserError: Series do not exist; the error names up to ten of them, with similar names.
    """
    known = rows.select(pl.col("unique_id").unique()).collect(engine="streaming")["unique_id"].drop_nulls().to_list()
    missing = sorted(set(series) - set(known))
    if missing:
        named = ", ".join(_with_close_matches(name, known) for name in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise UserError(
            f"{len(missing)} of {len(set(series))} series are not among the {len(known)} known: {named}{more}"
        )


def _with_close_matches(name: str, known: Sequence[str]) -> str:
    by_fold = {other.casefold(): other for other in sorted(known)}
    close = [by_fold[fold] for fold in difflib.get_close_matches(name.casefold(), by_fold, n=3)]
    return f"'{name}'" + (f" (is it {' or '.join(repr(other) for other in close)}?)" if close else "")


def _scan_file(uri: str, source: Source, clock: Clock, options: dict[str, str], static: Sequence[str]) -> ScannedFile:
    needed = needed_columns(source, static)
    if uri.endswith("/"):
        rows, name = scan_table(uri, source.version, storage_options=options)
        _refuse_missing(name, list(rows.collect_schema()), [*needed, *incremental_columns(source)])
        return _scan_table(rows, name, source, clock, static)
    if is_csv(uri):
        return ScannedFile(uri, _scan_csv(uri, source, clock, options, static, needed), pl.String())
    with reading(uri):
        schema = scan_parquet(uri, columns := [name for _, name in needed], options).collect_schema()
    keys = _keys(uri, needed)
    _refuse_missing(uri, [*schema, *(key for key in keys if key not in schema)], needed)
    row = unused_name("row", schema)
    with reading(uri):
        rows = scan_parquet(uri, columns, options, row=row)
    if keys:
        with reading(uri):
            rows = add_keys(rows, keys, uri=uri, dates=() if source.time_format else (source.time,))
        schema = rows.collect_schema()
    id_dtype = schema[source.id] if isinstance(source.id, str) else pl.Null()
    return ScannedFile(uri, _select(rows, schema, uri, source, clock, static, row=row), id_dtype)


def _scan_table(rows: pl.LazyFrame, name: str, source: Source, clock: Clock, static: Sequence[str]) -> ScannedFile:
    """Scan the rows of a table as those of a file; they have no order."""
    needed = needed_columns(source, static)
    schema = rows.collect_schema()
    _refuse_missing(name, list(schema), needed)
    if source.duplicates == "last" and source.newer is None:
        raise SourceError(
            f'{name}: duplicates = "last" (--duplicates last) needs --source newer=COLUMN (source.newer), a column of'
            " which the largest value is that of the newest row, because the rows of a table have no order"
        )
    row = unused_name("row", schema)
    id_dtype = schema[source.id] if isinstance(source.id, str) else pl.Null()
    selected = _select(rows.with_row_index(row), schema, name, source, clock, static, row=row)
    return ScannedFile(name, selected, id_dtype)


def _scan_csv(
    uri: str,
    source: Source,
    clock: Clock,
    options: dict[str, str],
    static: Sequence[str],
    needed: Sequence[tuple[str, str]],
) -> pl.LazyFrame:
    dialect = source.csv
    with reading(uri):
        header = read_header(uri, options, dialect)
    if not header:
        raise SourceError(f"{uri} is empty; it needs a header with its columns")
    keys = _keys(uri, needed)
    needed = [(role, name) for role, name in needed if name in header or name not in keys]
    columns = [name for _, name in needed]
    if not set(columns) <= set(header):
        with reading(uri):
            proposal = describe_preamble(uri, options, columns, dialect)
            proposal = proposal or propose_dialect(uri, options, columns, source.target, dialect)
        _refuse_missing(uri, header, needed, proposal)
    _refuse_repeated(uri, header, needed)
    with reading(uri):
        time = source.time if source.time in header else None
        rows, row, problem = scan_csv(uri, header, columns, dialect, options, time=time)
        rows = add_keys(rows, keys, uri=uri)
    schema = pl.Schema(dict.fromkeys([*header, *keys], pl.String()))
    selected = _select(rows, schema, uri, source, clock, static, row=row, problem=problem)
    values = {covariate_column(number): name for number, name in enumerate(source.covariates)} or {"y": source.target}
    role = "covariate" if source.covariates else "target"
    for column, name in values.items():
        with reading(uri):
            texts = selected.with_columns(pl.col(column).alias("y"))
            refuse_other_spelling(uri, options, texts, name, dialect, role=role)
        selected = read_measurements(selected, dialect, column=column, number=number_of(column))
    return selected


def _refuse_missing(uri: str, columns: Sequence[str], needed: Sequence[tuple[str, str]], proposal: str = "") -> None:
    if lacking := describe_lacking(needed, columns):
        raise SourceError(
            f"{uri} lacks {lacking}; id, time and target name them{proposal or describe_wide(needed, columns)}"
        )


def scan_frame(rows: pl.DataFrame, source: Source, clock: Clock, *, static: Sequence[str] = ()) -> pl.LazyFrame:
    """Scan a frame in memory as `scan_source` scans a file of a source.

    Args:
        rows: The columns that `source` and `static` name, in dtypes of their own.
        source: The names of the columns; its URI is what messages and rejected rows name.
        clock: Whether times are timestamps or integer steps.
        static: Columns that classify whole series.

    Returns:
        Rows in the columns of `scan_source`; `source_row` counts from 1.

    Raises:
        SourceError: The frame has no rows, or a column whose dtype does not match the clock.
    """
    if rows.is_empty():
        raise SourceError(f"{source} has no rows; it needs at least one")
    row = unused_name("row", rows.columns)
    selected = _select(rows.lazy().with_row_index(row), rows.schema, str(source), source, clock, static, row=row)
    refuse_ages(selected, source)
    return selected


def _keys(uri: str, needed: Sequence[tuple[str, str]]) -> dict[str, str | None]:
    """Return the keys of a file's path that are needed columns other than the measurement."""
    return needed_keys(uri, [name for role, name in needed if role not in ("target", "covariate")])


def _select(
    rows: pl.LazyFrame,
    schema: pl.Schema,
    uri: str,
    source: Source,
    clock: Clock,
    static: Sequence[str],
    *,
    row: str,
    problem: str | None = None,
) -> pl.LazyFrame:
    """Select the columns of `scan_source` from rows that `row` numbers from 0; `problem` has reasons to refuse them."""
    subjects = {role: f"{uri}: {role} column '{name}'" for role, name in needed_columns(source, ())}
    classes = [
        pl.struct(
            pl.lit(name).alias("name"),
            _blank_as_null(read_id(name, schema[name], subject=f"{uri}: category column '{name}'")).alias("value"),
        )
        for name in static
    ]
    names = unused_name("names", schema)
    written = pl.col(names).struct.field("written_id")
    # `validate` reads these two columns; their dtypes are checked here, where the file's name is known.
    _refuse_time(rows, schema[source.time], uri, source, clock, subject=subjects["time"])
    measured = [pl.col(source.target).alias("y")]
    if source.covariates:
        measured = [
            pl.lit(1.0).alias("y"),
            *(
                _covariate(name, schema[name], uri).alias(covariate_column(number))
                for number, name in enumerate(source.covariates)
            ),
        ]
    else:
        read_number(source.target, schema[source.target], subject=subjects["target"])
    form, time = source.time_format if clock == "timestamp" else None, schema[source.time]
    newer = pl.col(source.newer or row)
    if problem:
        newer = pl.when(pl.col(problem).is_null()).then(newer)
        written = pl.when(pl.col(problem).is_null()).then(written)
    named = read_names(source.ids, schema, uri=uri) if source.ids else _shared_name()
    rows = rows.with_columns(named.alias(names)).select(
        pl.lit(uri).alias("source_file"),
        (pl.col(row).cast(pl.Int64) + 1).alias("source_row"),
        pl.col(names).struct.field("unique_id"),
        (read_formatted(source.time, time, form) if form else bound_times(source.time, time)).alias("ds"),
        *measured,
        *([pl.concat_list(classes).alias("categories")] if classes else []),
        *([newer.alias("newer")] if source.newer is not None else []),
        *([pl.col(source.time).cast(pl.String).alias("ds_text")] if form else []),
        *([_available(source.available_at, schema, form).alias(AVAILABLE)] if source.available_at is not None else []),
        written.alias("written_id"),
        *([pl.col(problem).alias("problem")] if problem else []),
    )
    if source.newer is not None:
        rows = add_age(rows, "newer", subject=subjects["newer"])
    if source.timezone is not None and clock == "timestamp":
        rows = add_declared(rows, source.timezone)
    if schema[source.time] == pl.String and form is None:
        sample = _refuse_text_of_other_clock(rows, uri, clock, subject=subjects["time"])
        if source.timezone is None and clock == "timestamp" and has_offset(sample).any():
            rows = rows.with_columns(lacks_zone=~has_offset(pl.col("ds")))
    return rows


def covariate_column(number: int) -> str:
    """Return the column of the covariate at a place."""
    return f"{COVARIATE}{number}"


def number_of(column: str) -> str:
    """Return the column with the numbers of `y` or of a covariate whose spelling is not that of Polars."""
    return "number" if column == "y" else f"number of {column}"


def _covariate(name: str, dtype: pl.DataType, uri: str) -> pl.Expr:
    """Return the values of a covariate: numbers, truth values as 0 and 1, or text."""
    if dtype == pl.Boolean:
        return pl.col(name).cast(pl.Int8)
    if dtype in (pl.Categorical, pl.Enum):
        return pl.col(name).cast(pl.String)
    read_number(name, dtype, subject=f"{uri}: covariate column '{name}'")
    return pl.col(name)


def _available(column: str, schema: pl.Schema, form: str | None) -> pl.Expr:
    """Return the times at which covariates were published; those of text are read in the format of the other times."""
    dtype = schema[column]
    is_formatted = form is not None and (dtype == pl.String or dtype.is_numeric())
    return read_formatted(column, dtype, str(form)) if is_formatted else bound_times(column, dtype)


def _shared_name() -> pl.Expr:
    return pl.struct(unique_id=pl.lit(SHARED), written_id=pl.lit(None, pl.String))


def _refuse_time(
    rows: pl.LazyFrame, dtype: pl.DataType, uri: str, source: Source, clock: Clock, *, subject: str
) -> None:
    """Refuse a column that cannot hold times of the clock in the declared format, and propose another format."""
    form = source.time_format
    if form is not None and (form == STEPS) != (clock == "step"):
        needs = (
            "means integer steps, but the frequency is a duration; --freq 1 (freq) counts steps"
            if form == STEPS
            else "reads times, but the frequency is an integer step; name a duration such as 1mo, 1w, 1d or 1h with"
            f" --freq (freq), or --time-format {STEPS} for integer steps"
        )
        raise SourceError(f"{subject}: --time-format {form} (source.time_format) {needs}")
    if form is not None and form != STEPS:
        refuse_formatted(dtype, form, subject=subject)
        return
    try:
        refuse_time(dtype, clock=clock, subject=subject)
    except SourceError as error:
        if clock == "step" or not dtype.is_numeric():
            raise
        with reading(uri):
            sample = rows.select(pl.col(source.time).cast(pl.String)).head(NUM_SNIFFED).collect()[source.time]
        unread = describe_unread(sample)
        raise SourceError(f"{error}; {unread or '--time-format (source.time_format) reads times'}") from None


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Convert the errors of Polars while a source is read.

    Args:
        uri: What is read, for the messages; a URI with a scheme is a remote file.

    Yields:
        Nothing.

    Raises:
        SourceError: A file does not exist, is empty or cannot be read.
        ServiceError: A remote file cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"{uri} does not exist") from error
    except pl.exceptions.NoDataError as error:
        raise SourceError(f"{uri} is empty; it needs a header with its columns") from error
    except pl.exceptions.PanicException as error:  # a type or a value that Polars does not expect, and no lost link
        raise SourceError(f"{uri} cannot be read: {first_line(error)}") from error
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:  # the last two: a broken .csv.gz
        kind = ServiceError if is_remote(uri) else SourceError
        raise kind(f"{uri} cannot be read: {first_line(error)}") from error


def _blank_as_null(text: pl.Expr) -> pl.Expr:
    stripped = text.str.strip_chars()
    return pl.when(stripped != "").then(stripped)


def _refuse_repeated(uri: str, header: Sequence[str], columns: Sequence[tuple[str, str]]) -> None:
    """Refuse a header that names one of these columns twice, because either of the two could be meant."""
    repeated = [
        f"{role} column '{name}' {header.count(name)} times" for role, name in columns if header.count(name) > 1
    ]
    if repeated:
        raise SourceError(f"{uri} has its {' and its '.join(repeated)}; every column to read needs its own name")


def _refuse_text_of_other_clock(rows: pl.LazyFrame, uri: str, clock: Clock, *, subject: str) -> pl.Series:
    """Return the first times of a file; refuse it if all are of the other clock, so that every row would be refused."""
    with reading(uri):
        sample = well_formed(rows).select("ds").head(NUM_SNIFFED).filter(~is_blank("ds", pl.String())).collect()
    other: Clock = "step" if clock == "timestamp" else "timestamp"
    if sample.is_empty() or read_times(sample.lazy(), "ds", clock=other).collect()["ds"].has_nulls():
        return sample["ds"]
    needs = (
        "timestamps, because the frequency is a duration"
        if clock == "timestamp"
        else "whole numbers, because the frequency is an integer step"
    )
    unread = describe_unread(sample["ds"]) if clock == "timestamp" else ""
    raise SourceError(
        f"{subject} has times such as '{sample['ds'][0]}' but needs {needs}" + (f"; {unread}" if unread else "")
    )


def _as_text(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    return rows.with_columns(as_text(column, rows.collect_schema()[column]))


def _with_column(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """Put a column last; where a file has none, no row has a problem or lacks a zone, and numbers are those written."""
    schema = rows.collect_schema()
    if column in ("problem", "lacks_zone"):
        absent = pl.lit(None, pl.String) if column == "problem" else pl.lit(False)
    else:
        written = "y" if column == number_of("y") else column.removeprefix("number of ")
        absent = read_number(written, schema[written], subject=written)
    return rows.select(pl.exclude(column), pl.col(column) if column in schema else absent.alias(column))


def _as_number(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    return rows.with_columns(read_number(column, rows.collect_schema()[column], subject=column))
