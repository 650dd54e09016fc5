"""Scan a CSV file in its dialect: a plain file with Polars, any other one by record."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import unused_name
from forecasting.series.csv_numbers import read_decimal
from forecasting.series.csv_records import read_records
from forecasting.series.csv_shape import find_shape
from forecasting.series.reasons import Reason
from forecasting.spec.dialect import CsvDialect


class CsvRows(NamedTuple):
    """Rows of a CSV file as text.

    Attributes:
        rows: The requested columns.
        row: The name of a column of row numbers, from 0.
        problem: The name of a column that says why a row is malformed; None if no row is.
    """

    rows: pl.LazyFrame
    row: str
    problem: str | None


def scan_csv(
    uri: str,
    header: Sequence[str],
    columns: Sequence[str],
    dialect: CsvDialect,
    options: dict[str, str],
    *,
    time: str | None = None,
) -> CsvRows:
    """Scan a plain file lazily, and read any other one by record; see `find_shape`.

    Args:
        uri: A path, or the URI of an object in a store.
        header: The names of the file's columns.
        columns: Names of columns that the file has once.
        dialect: How the file is written.
        options: Options of the object store, as Polars takes them.
        time: The column of times, by which rows are recognised within a quoted field.

    Returns:
        The rows.

    Raises:
        SourceError: The file cannot be decoded, it repeats its header with the columns in another order, or a quote
            encloses the lines that follow it; see `read_records`.
    """
    row, problem = unused_name("row", header), unused_name("problem", header)
    columns = list(dict.fromkeys(columns))
    shape = find_shape(uri, options, dialect)
    if shape is None:
        records = read_records(uri, options, columns, dialect, row=row, problem=problem, time=time)
        reordered = records.filter(pl.col(problem) == Reason.OTHER_HEADER.value)
        _refuse_reordered(uri, reordered[row].to_list())
        return CsvRows(records.lazy(), row, problem)
    _refuse_reordered(uri, shape.reordered)
    rows = pl.scan_csv(
        uri,
        separator=dialect.separator,
        quote_char=dialect.quote or None,
        infer_schema=False,
        truncate_ragged_lines=True,  # which rows are ragged is known
        encoding="utf8-lossy",
        row_index_name=row,
        glob=False,
        storage_options=options,
    )
    if shape.blank:
        rows = rows.filter(~pl.col(row).is_in(shape.blank))
    rows = rows.select(row, *columns)
    if not (shape.longer or shape.shorter or shape.header):
        return CsvRows(rows, row, None)
    reason = (
        pl.when(pl.col(row).is_in(shape.longer))
        .then(pl.lit(Reason.MORE_FIELDS.value))
        .when(pl.col(row).is_in(shape.shorter))
        .then(pl.lit(Reason.FEWER_FIELDS.value))
        .when(pl.col(row).is_in(shape.header))
        .then(pl.lit(Reason.HEADER.value))
    )
    return CsvRows(rows.with_columns(reason.alias(problem)), row, problem)


def _refuse_reordered(uri: str, rows: Sequence[int]) -> None:
    """Raise SourceError for the first of some rows, numbered from 0, that repeat the header in another order."""
    if rows:
        raise SourceError(
            f"{uri}: line {min(rows) + 2} repeats the header with its columns in another order, so that the rows after"
            " it cannot be read by the first header; split the file there, and name both files or their folder"
        )


def read_measurements(
    rows: pl.LazyFrame, dialect: CsvDialect, *, column: str = "y", number: str = "number"
) -> pl.LazyFrame:
    """Replace null words by null, and add a column of numbers where the dialect does not write them as Polars does.

    Args:
        rows: Rows with measurements as text.
        dialect: How numbers are written.
        column: The column of measurements.
        number: The column to add.

    Returns:
        The rows; a number is null where the dialect does not write numbers as a text has it.
    """
    if dialect.null:
        is_word = pl.col(column).str.strip_chars().is_in(dialect.null)
        rows = rows.with_columns(pl.when(~is_word).then(column).alias(column))
    return rows if dialect.has_plain_numbers else rows.with_columns(read_decimal(column, dialect).alias(number))
