"""Describe the columns that an input lacks, beside those that it has."""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from forecasting.spec.source import Source

FEWEST_COLUMNS = 2
"""Columns that make a table seem wide."""
_TIME = re.compile(
    r"(19|20)\d\d([-/. ]?\d\d?){1,2}|(19|20)\d\d[-/ ]?[QWqw]\d\d?|\d\d?[./]\d\d?[./](19|20)?\d\d", re.ASCII
)
_AROUND = " \t\u00a0\ufeff#'\""
"""Characters that surround a name without being meant."""


def describe_lacking(needed: Iterable[tuple[str, str]], columns: Sequence[Any]) -> str:
    """Describe missing columns, and those that may be meant because they differ only in case, blanks or quotes.

    Args:
        needed: The roles and names of needed columns.
        columns: The names of all columns.

    Returns:
        The description; empty if no column is missing.

    >>> describe_lacking([("time", "ds"), ("target", "y")], [" DS", "y"])
    "its time column 'ds' (is it ' DS'?); it has the columns ' DS', 'y'"
    >>> describe_lacking([("time", "ds")], ["ds"])
    ''
    """
    missing = [f"its {role} column '{name}'{_similar(name, columns)}" for role, name in needed if name not in columns]
    if not missing:
        return ""
    return f"{' and '.join(missing)}; it has the columns {', '.join(repr(name) for name in columns)}"


def needed_columns(source: Source, static: Sequence[str]) -> list[tuple[str, str]]:
    """Return the roles and names of the columns to read.

    Args:
        source: The source.
        static: Columns that classify whole series.

    Returns:
        Pairs of a role (id, time, target, covariate, newer, category) and a name.
    """
    read = [("covariate", name) for name in source.covariates] or [("target", source.target)]
    named = [*(("id", name) for name in source.ids), ("time", source.time), *read]
    if source.available_at is not None:
        named.append(("available_at", source.available_at))
    if source.newer is not None:
        named.append(("newer", source.newer))
    return named + [("category", name) for name in static]


def changed_columns(source: Source, static: Sequence[str]) -> list[tuple[str, str]]:
    """Return the roles and names of the columns to read of a source whose changed rows are read.

    Args:
        source: The source, with `modified`.
        static: Columns that classify whole series.

    Returns:
        Pairs of a role (as of `needed_columns`, or modified or key) and a name.
    """
    return [*needed_columns(source, static), *incremental_columns(source)]


def incremental_columns(source: Source) -> list[tuple[str, str]]:
    """Return the roles and names of the columns by which changed rows are found; none without `modified`."""
    if source.modified is None:
        return []
    return [("modified", source.modified), *(("key", name) for name in source.keys)]


def describe_wide(needed: Sequence[tuple[str, str]], columns: Sequence[Any]) -> str:
    """Return a clause about a table that seems to have a column for each time or for each series.

    Args:
        needed: The roles and names of needed columns.
        columns: The names of all columns.

    Returns:
        The clause, to append to a message about missing columns; empty where the table does not seem so.

    >>> describe_wide([("id", "item"), ("target", "y")], ["item", "2024-01", "2024-02"])  # doctest: +ELLIPSIS
    "; a table with a column for each time, such as '2024-01', must first get one row for each series and time: ..."
    """
    if not any(role == "target" and name not in columns for role, name in needed):
        return ""
    others = [name for name in columns if name not in [each for _, each in needed]]
    times = [name for name in others if _is_time(name)]
    has = {role: any(name in columns for each, name in needed if each == role) for role in ("id", "time")}
    if len(times) >= FEWEST_COLUMNS:
        kind, example = "time", times[0]
    elif has["time"] and not has["id"] and len(others) >= FEWEST_COLUMNS:
        kind, example = "series", others[0]
    else:
        return ""
    return (
        f"; a table with a column for each {kind}, such as {str(example)!r}, must first get one row for each series and"
        " time: unpivot in Polars, melt in pandas"
    )


def fold(name: str) -> str:
    """Return a name in small letters, without what may surround it."""
    return name.strip(_AROUND).casefold()


def _is_time(name: Any) -> bool:
    return isinstance(name, date) or (isinstance(name, str) and _TIME.match(name.strip()) is not None)


def _similar(name: str, columns: Sequence[Any]) -> str:
    found = [other for other in columns if isinstance(other, str) and fold(other) == fold(name)]
    return f" (is it {' or '.join(map(repr, found))}?)" if found else ""
