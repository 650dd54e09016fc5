"""Recognise lines before the header of a CSV file, such as a title, a comment or the separator for Excel."""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice

from forecasting.series.csv_bytes import read_lines
from forecasting.series.csv_header import split_line
from forecasting.series.csv_spelling import SEPARATORS, quote_sign
from forecasting.series.lacking import fold
from forecasting.spec.dialect import CsvDialect

NUM_LINES = 50
"""Lines among which the header is looked for."""
LONGEST = 100_000
"""Characters of a line that are read."""
MOST_SHOWN = 60
"""Characters of a line that a message shows."""


def describe_preamble(uri: str, options: Mapping[str, str], columns: Collection[str], dialect: CsvDialect) -> str:
    """Describe the lines before the header of a file that lacks columns.

    Args:
        uri: A path, or the URI of an object in a store.
        options: Options of the object store, as Polars takes them.
        columns: The needed columns.
        dialect: The declared dialect.

    Returns:
        A clause to append to a message; empty if the first line may be the header.
    """
    with closing(read_lines(uri, options, dialect)) as lines, suppress(UnicodeError):
        texts = [line.rstrip("\r\n")[:LONGEST] for line in islice(lines, NUM_LINES)]
        begin = next(number for number, text in enumerate(texts) if text)
        found = _find_header(texts, columns, dialect)
        kind = _kind_of(texts[begin], columns, dialect)
        if found is not None and found[0] > begin:
            return f"; line {begin + 1} {_show(texts[begin], kind)}; {_advise(*found, dialect)}"
        if found is None and kind:
            return f"; line {begin + 1} {_show(texts[begin], kind)}; the header must be the first line"
    return ""


def _find_header(texts: Sequence[str], columns: Collection[str], dialect: CsvDialect) -> tuple[int, str] | None:
    """Return the number of the first line, from 0, with all columns, and its separator."""
    for number, text in enumerate(texts):
        for separator in dict.fromkeys([dialect.separator, *SEPARATORS]):
            if separator in text and set(columns) <= set(split_line(text, separator, dialect.quote or None)):
                return number, separator
    return None


def _kind_of(text: str, columns: Collection[str], dialect: CsvDialect) -> str:
    if re.fullmatch("(?i)sep=.", text):
        return "names the separator for Excel"
    has_name = {fold(name) for name in text.split(dialect.separator)} & {fold(name) for name in columns}
    return "is a comment" if text.startswith("#") and not has_name else ""


def _show(text: str, kind: str) -> str:
    return f"{kind or 'is not a header'}, '{text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + '…'}'"


def _advise(number: int, separator: str, dialect: CsvDialect) -> str:
    advice = f"line {number + 1} has these columns: remove the lines before it"
    if separator == dialect.separator:
        return advice
    return f"{advice}, and name its separator with --csv-separator {quote_sign(separator)} (source.csv.separator)"
