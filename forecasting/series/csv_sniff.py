"""Propose the dialect of a CSV file that cannot be read in the declared one; nothing is guessed without a word."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import well_formed
from forecasting.series.csv_bytes import starts_with_utf_16
from forecasting.series.csv_records import read_first, read_header
from forecasting.series.csv_spelling import (
    SEPARATORS,
    count_read,
    describe_dialects,
    other_spellings,
    with_fewest_changes,
)
from forecasting.spec.dialect import CsvDialect

NUM_SNIFFED = 100
LEAST_READ = 0.9
"""Share of measurements that a proposed dialect reads, at least, and that the declared one does not reach."""


def propose_dialect(
    uri: str, options: Mapping[str, str], columns: Collection[str], target: str, dialect: CsvDialect
) -> str:
    """Describe a dialect in which a file has the columns that it lacks in the declared one.

    Args:
        uri: A path, or the URI of an object in a store.
        options: Options of the object store, as Polars takes them.
        columns: The needed columns.
        target: The column of measurements.
        dialect: The declared dialect.

    Returns:
        The description, with the options that declare it, to append to a message; empty if none is found.
    """
    found: list[tuple[bool, int, CsvDialect]] = []
    declared = len(_header(uri, options, dialect))
    for other in _other_layouts(uri, dialect):
        header = _header(uri, options, other)
        has_all = set(columns) <= set(header)
        if has_all or declared < len(columns) <= len(header):
            found.append((has_all, len(header), other))
    if not found:
        return ""
    has_all, _, best = max(found, key=lambda one: one[:2])
    if not has_all:
        return f"; it {describe_dialects([best], dialect)}"
    texts = [text for (text,) in read_first(uri, options, [target], best, NUM_SNIFFED)]
    return f"; it {describe_dialects(_better_spellings(_as_rows(texts), best) or [best], dialect)}"


def refuse_other_spelling(
    uri: str,
    options: Mapping[str, str],
    rows: pl.LazyFrame,
    target: str,
    dialect: CsvDialect,
    *,
    role: str = "target",
) -> None:
    """Check that the declared dialect reads the measurements, if another one would.

    The first rows are read, and the whole column if another dialect reads these better.

    Args:
        uri: A path, or the URI of an object in a store.
        options: Options of the object store, as Polars takes them.
        rows: All rows, with `y` as text.
        target: The column of measurements.
        dialect: The declared dialect.
        role: What messages call the column.

    Raises:
        SourceError: Another dialect reads nearly all measurements, and the declared one does not.
    """
    texts = [text for (text,) in read_first(uri, options, [target], dialect, NUM_SNIFFED)]
    if _better_spellings(_as_rows(texts), dialect) and (better := _better_spellings(well_formed(rows), dialect)):
        raise SourceError(f"{uri}: {role} column '{target}' {describe_dialects(better, dialect)}")


def _as_rows(texts: Sequence[str]) -> pl.LazyFrame:
    return pl.LazyFrame({"y": texts}, schema={"y": pl.String})


def _header(uri: str, options: Mapping[str, str], dialect: CsvDialect) -> list[str]:
    try:
        return read_header(uri, options, dialect)
    except SourceError:  # a dialect that the file does not have
        return []


def _other_layouts(uri: str, dialect: CsvDialect) -> Iterator[CsvDialect]:
    encodings = [dialect.encoding]
    if dialect.is_utf_8:
        encodings = ["utf-16"] if starts_with_utf_16(uri) else [dialect.encoding, "cp1252"]
    for encoding in encodings:
        for separator in (dialect.separator, *SEPARATORS):
            other = dialect.model_copy(update={"encoding": encoding, "separator": separator})
            if other != dialect and separator != dialect.quote:
                yield other


def _better_spellings(rows: pl.LazyFrame, dialect: CsvDialect) -> list[CsvDialect]:
    """Return the dialects with the fewest changes that read nearly all measurements; none if the declared one does."""
    spellings = other_spellings(dialect)
    num, (declared, *others) = count_read(rows, [dialect, *spellings])
    if declared >= LEAST_READ * num:
        return []
    best = [other for other, count in zip(spellings, others, strict=True) if count >= LEAST_READ * num]
    return with_fewest_changes(best, dialect)
