"""Recognise rows within a quoted field, which a quote that was meant as text has swallowed."""

import re
from collections.abc import Sequence

from forecasting.spec.dialect import CsvDialect


def has_swallowed_rows(lines: Sequence[str], header: Sequence[str], time: str, dialect: CsvDialect) -> bool:
    """Find out whether both the first and the last line of a record look like whole rows.

    A text of several lines does not: its first line lacks the columns after it, or its last line those before it.

    Args:
        lines: The lines of a record.
        header: The names of the columns.
        time: The name of the column of times. Both lines must have times of the same form in it.
        dialect: How the file is written.

    Returns:
        Whether they do.

    >>> header, dialect = ["note", "id", "ds", "y"], CsvDialect()
    >>> has_swallowed_rows(['"12 inch,a,2024-01-03,3', 'n",a,2024-01-09,9'], header, "ds", dialect)
    True
    >>> has_swallowed_rows(['"one, two', 'three",a,2024-01-09,9'], header, "ds", dialect)
    False
    """
    if len(lines) < 2:
        return False
    first, last = (_form_of_time(line, header, time, dialect) for line in (lines[0], lines[-1]))
    return bool(first) and first == last


def _form_of_time(line: str, header: Sequence[str], time: str, dialect: CsvDialect) -> str:
    """Return a line's day with `0` for each number and `a` for each word; empty unless it looks like a row."""
    separator, quote = re.escape(dialect.separator), re.escape(dialect.quote)
    quoted = rf"(?:^|(?<={separator})){quote}([^{quote}]*){quote}(?={separator}|$)"
    without = re.sub(quoted, lambda field: field[1].replace(dialect.separator, " "), line.rstrip("\r\n"))
    fields = without.split(dialect.separator)
    if len(fields) == len(header) + 1 and not fields[-1]:
        fields.pop()
    if len(fields) != len(header):
        return ""
    text = fields[header.index(time)].strip(f"{dialect.quote} ")
    day = re.split("[ T]", text)[0]
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", day)) if re.search(r"\d", text) else ""
