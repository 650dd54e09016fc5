"""Propose the CSV options that read refused measurements, and refuse a file that these show to be misread."""

import re
from collections.abc import Iterator

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import well_formed
from forecasting.series.csv_spelling import (
    count_read,
    describe_dialects,
    null_option,
    other_spellings,
    with_fewest_changes,
)
from forecasting.series.files import is_csv, name_row
from forecasting.series.reasons import Reason
from forecasting.spec.dialect import CsvDialect

LEAST_READ = 0.5
"""Share of the refused measurements, without null words, that a proposal reads at least."""
LEAST_WORD = 0.1
"""Share of the refused measurements that a proposed null word has at least."""
MOST_WORDS = 3
_SIGNS = (".", ",", "'", " ", "_")


def refuse_misread(refused: pl.DataFrame, rows: pl.LazyFrame, dialect: CsvDialect) -> None:
    """Check that no refused measurement shows that other numbers are read as another value.

    `1.000.234` and `1.234,5` cannot have decimal points: where there are such texts, `1.012` is a thousand.

    Args:
        refused: Refused rows.
        rows: All rows, with `y` as text.
        dialect: The declared dialect.

    Raises:
        SourceError: A text has thousands signs that are not the declared ones, and with these signs more of the
            measurements of its file can be read.
    """
    unread = _of_csv(refused)
    for sign in _SIGNS if unread.height and _is_text(rows) else ():
        if sign == dialect.thousands:
            continue
        decimal = {".": ",", ",": "."}[sign] if sign == dialect.decimal else dialect.decimal
        grouped = unread.filter(pl.col("y").str.strip_chars().str.contains(_grouped(sign, decimal, dialect)))
        if grouped.is_empty():
            continue
        other = dialect.model_copy(update={"decimal": decimal, "thousands": sign})
        _, (declared, better) = count_read(_of_files(rows, grouped), [dialect, other])
        if better > declared:
            file, row, text = grouped.select("source_file", "source_row", "y").row(0)
            raise SourceError(f"{name_row(file, row)}: measurement '{text}' {describe_dialects([other], dialect)}")


def describe_unread_numbers(refused: pl.DataFrame, rows: pl.LazyFrame | None, dialect: CsvDialect) -> Iterator[str]:
    """Describe how refused measurements of CSV files could be read.

    Args:
        refused: Refused rows.
        rows: All rows, with `y` as text, of which a proposal must read more than the declared dialect.
        dialect: The declared dialect.

    Yields:
        A null word with its option, or how the measurements look.
    """
    unread = _of_csv(refused)
    texts = unread["y"].str.strip_chars()
    counts = texts.filter(~texts.str.contains(r"\d")).value_counts(sort=True).head(MOST_WORDS)
    words = {word: num for word, num in counts.iter_rows() if num >= LEAST_WORD * len(texts)}
    yield from (
        f"'{word}' is the measurement of {num:,} refused rows: {null_option(word)} reads it as a gap"
        for word, num in words.items()
    )
    unread = unread.filter(~texts.is_in(list(words)))
    if unread.is_empty():
        return
    spellings = other_spellings(dialect)
    num, num_read = count_read(unread.lazy(), spellings)
    others = [other for other, count in zip(spellings, num_read, strict=True) if count >= LEAST_READ * num]
    if others and rows is not None and _is_text(rows):
        _, (declared, *num_read) = count_read(_of_files(rows, unread), [dialect, *others])
        others = [other for other, count in zip(others, num_read, strict=True) if count > declared]
    if others:
        best = with_fewest_changes(others, dialect)
        yield f"measurement '{unread['y'][0]}' {describe_dialects(best, dialect)}"


def describe_refusal(reason: str, text: str | None, file: str) -> str:
    """Return the reason why a row is refused, with the text that it is about and the option that reads it as a gap.

    >>> describe_refusal("y is not a number", "n/a", "x.csv")
    "'n/a': y is not a number; --csv-null n/a (source.csv.null) reads it as a gap"
    """
    shown = f"'{text}': {reason}" if text is not None and text.strip() else reason
    is_word = reason == Reason.NOT_A_NUMBER.value and text is not None and not re.search(r"\d", text)
    return f"{shown}; {null_option(text.strip())} reads it as a gap" if text and is_word and is_csv(file) else shown


def _of_csv(refused: pl.DataFrame) -> pl.DataFrame:
    """Return rows of CSV files whose measurement is text that no number was read from."""
    files = [file for file in refused["source_file"].unique() if is_csv(file)]
    return refused.filter(pl.col("reason") == Reason.NOT_A_NUMBER.value, pl.col("source_file").is_in(files))


def _of_files(rows: pl.LazyFrame, refused: pl.DataFrame) -> pl.LazyFrame:
    return well_formed(rows).filter(pl.col("source_file").is_in(refused["source_file"].unique().to_list()))


def _is_text(rows: pl.LazyFrame) -> bool:
    return rows.collect_schema()["y"] == pl.String


def _grouped(sign: str, decimal: str, dialect: CsvDialect) -> str:
    """Return a pattern of numbers in which a sign separates thousands, and cannot be a decimal sign."""
    group, fraction = rf"(?:{re.escape(sign)}\d{{3}})", re.escape(decimal) + r"\d"
    several = rf"{group}{{2,}}(?:{fraction}*)?"
    return rf"^[+-]?\d{{1,3}}(?:{several}" + (rf"|{group}{fraction}+)$" if sign == dialect.decimal else ")$")
