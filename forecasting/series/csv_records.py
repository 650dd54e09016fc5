"""Read a CSV file that is not plain with Python's csv module: no record is lost, and a malformed one is marked."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from operator import itemgetter

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.csv_bytes import read_lines
from forecasting.series.csv_header import reorders_header, repeats_header
from forecasting.series.csv_swallowed import has_swallowed_rows
from forecasting.series.reasons import Reason
from forecasting.spec.dialect import CsvDialect

RECORDS_OF_FRAME = 100_000

_ADVICE = "a quote within a quoted field must be doubled, and --csv-quote none (source.csv.quote) reads quotes as text"

_Row = tuple[str | int | None, ...]


def read_header(uri: str, options: Mapping[str, str], dialect: CsvDialect) -> list[str]:
    """Return the names in the first record of a file; an empty list if there is none."""
    with closing(read_lines(uri, options, dialect)) as lines:
        return _Reader(uri, lines, dialect).header


def read_first(
    uri: str, options: Mapping[str, str], columns: Sequence[str], dialect: CsvDialect, num: int
) -> list[tuple[str, ...]]:
    """Return columns of the first well-formed records, at most `num`, as text; see `read_records`."""
    with closing(read_lines(uri, options, dialect)) as lines:
        reader = _Reader(uri, lines, dialect)
        positions = [reader.header.index(name) for name in columns]
        records = (fields for _, fields, problem in reader if problem is None and len(fields) == len(reader.header))
        return [tuple(fields[at] for at in positions) for fields in islice(records, num)]


def read_records(
    uri: str,
    options: Mapping[str, str],
    columns: Sequence[str],
    dialect: CsvDialect,
    *,
    row: str,
    problem: str,
    time: str | None = None,
) -> pl.DataFrame:
    """Read columns of all records but the header; blank lines are left out.

    The fields of a record that is longer or shorter than the header are taken from the left.

    Args:
        uri: A path, or the URI of an object in a store.
        options: Options of the object store, as Polars takes them.
        columns: The names of columns of the header.
        dialect: How the file is written.
        row: The name of the column of row numbers: the line on which the record begins, less two.
        problem: The name of the column that says why a record is malformed; null in others.
        time: The name of the header's column of times, by which rows are recognised within a quoted field.

    Returns:
        The columns as text, the row numbers and the problems.

    Raises:
        SourceError: A quote encloses the lines that follow it, and how many of them are rows is unknown, or they look
            like rows; or the file does not have the dialect's encoding.
    """
    schema = dict.fromkeys(columns, pl.String()) | {row: pl.Int64(), problem: pl.String()}
    with closing(read_lines(uri, options, dialect)) as lines:
        rows = _pick(_Reader(uri, lines, dialect, time), columns)
        return pl.concat([pl.DataFrame(schema=schema), *(_frame(part, schema) for part in _parts(rows))])


def _pick(reader: "_Reader", columns: Sequence[str]) -> Iterator[_Row]:
    positions, width = [reader.header.index(name) for name in columns], len(reader.header)
    pick = itemgetter(*positions)
    for line, fields, problem in reader:
        if len(fields) == width and problem is None:
            yield (*pick(fields), line - 2, None)
        else:
            texts = (fields[at] if at < len(fields) else None for at in positions)
            problem = problem or (Reason.MORE_FIELDS if len(fields) > width else Reason.FEWER_FIELDS)
            yield (*texts, line - 2, problem.value)


def _parts(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    while part := list(islice(rows, RECORDS_OF_FRAME)):
        yield part


def _frame(rows: Sequence[_Row], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    columns = zip(*rows, strict=True)
    return pl.DataFrame(
        [pl.Series(name, list(values), dtype) for (name, dtype), values in zip(schema.items(), columns, strict=True)]
    )


class _Reader:
    """Records of a file after its header: their first line, their fields and why they are malformed.

    Where the first record has an empty field more than the header, such a field is left out of all records.
    """

    def __init__(self, uri: str, lines: Iterator[str], dialect: CsvDialect, time: str | None = None) -> None:
        self._uri, self._dialect, self._time = uri, dialect, time
        self._lines: list[str] = []
        self._ends_in_separator: bool | None = None
        self._records = csv.reader(
            self._keep(lines),
            delimiter=dialect.separator,
            quotechar=dialect.quote or None,
            quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
            strict=True,
        )
        self.header: list[str] = []
        line, self.header, problem = next(iter(self), (0, [], None))
        if problem is not None:
            raise SourceError(f"{uri}: the header on line {line} cannot be read: {problem.value}")

    def __iter__(self) -> Iterator[tuple[int, list[str], Reason | None]]:
        records = self._records
        while True:
            first = records.line_num + 1
            self._lines.clear()
            try:
                fields = next(records)
            except StopIteration:
                return
            except csv.Error as error:
                if records.line_num > first or "expected after" not in str(error):
                    self._stop(first, error)
                yield first, self._lines[0].rstrip("\r\n").split(self._dialect.separator), Reason.STRAY_QUOTE
                continue
            if records.line_num > first:
                self._refuse_swallowed(first)
            if not fields or (self.header and not any(fields) and self._is_bare(len(fields))):
                continue
            if self.header and repeats_header(fields, self.header):
                yield first, fields, Reason.HEADER
            elif self.header and reorders_header(fields, self.header):
                yield first, fields, Reason.OTHER_HEADER
            else:
                yield first, self._without_last(fields), None

    def _keep(self, lines: Iterator[str]) -> Iterator[str]:
        try:
            for line in lines:
                self._lines.append(line)
                yield line
        except UnicodeError as error:
            raise SourceError(
                f"{self._uri} is not {self._dialect.encoding}: {error}; --csv-encoding (source.csv.encoding) names its"
                " encoding"
            ) from error

    def _without_last(self, fields: list[str]) -> list[str]:
        if not self.header or self._ends_in_separator is False:
            return fields
        has_one_more = len(fields) == len(self.header) + 1 and not fields[-1]
        if self._ends_in_separator is None:
            self._ends_in_separator = has_one_more
        return fields[:-1] if has_one_more else fields

    def _is_bare(self, num_fields: int) -> bool:
        """Return whether a record has all separators of a row, but neither text nor quotes."""
        is_row = num_fields > 1 and num_fields >= len(self.header)
        return is_row and not "".join(self._lines).rstrip("\r\n").strip(self._dialect.separator)

    def _refuse_swallowed(self, first: int) -> None:
        """Raise SourceError where lines that look like rows are within a quoted field."""
        if self._time is not None and has_swallowed_rows(self._lines, self.header, self._time, self._dialect):
            raise SourceError(
                f"{self._uri}: a quote in line {first} encloses all up to one in line {self._records.line_num}, but"
                f" both look like whole rows; {_ADVICE}"
            )

    def _stop(self, first: int, error: csv.Error) -> None:
        """Raise SourceError for a record that ends in an unknown place, so that nobody knows what follows it."""
        last = self._records.line_num
        if "unexpected end" in str(error):
            what = "opens a quote that is never closed"
        elif "field limit" in str(error):
            what = f"has a field of more than {csv.field_size_limit()} characters, perhaps a quote that is never closed"
        else:
            what = f"opens a quote that line {last} does not close at the end of a field"
        raise SourceError(f"{self._uri}: line {first} {what}; {_ADVICE}") from error
