"""Describe the columns that an input lacks, beside those that it has."""

from collections.abc import Iterable, Sequence
from typing import Any

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


def fold(name: str) -> str:
    """Return a name in small letters, without what may surround it."""
    return name.strip(_AROUND).casefold()


def _similar(name: str, columns: Sequence[Any]) -> str:
    found = [other for other in columns if isinstance(other, str) and fold(other) == fold(name)]
    return f" (is it {' or '.join(map(repr, found))}?)" if found else ""
