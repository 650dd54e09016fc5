"""Quantiles: the default grid, the check of a spec's grid, and the table columns that hold them."""

import re
from collections.abc import Iterable
from typing import Any

DEFAULT_QUANTILES = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)

_COLUMN = re.compile(r"q(\d\d)(?:_(\d))?")


def quantile_column(quantile: float) -> str:
    """Return the name of a quantile's column, in percent.

    Args:
        quantile: The level, between 0 and 1, in whole tenths of a percent.

    Returns:
        The column's name.

    >>> [quantile_column(q) for q in (0.025, 0.05, 0.5, 0.975)]
    ['q02_5', 'q05', 'q50', 'q97_5']
    """
    whole, tenth = divmod(round(quantile * 1000), 10)
    return f"q{whole:02d}" + (f"_{tenth}" if tenth else "")


def is_quantile_column(name: str) -> bool:
    """Return whether a column name is that of a quantile."""
    return _COLUMN.fullmatch(name) is not None


def quantile_levels(columns: Iterable[str]) -> dict[float, str]:
    """Find the quantile columns among column names, and their levels.

    Args:
        columns: Column names of any kind.

    Returns:
        The column of each level, in the order of `columns`.

    >>> quantile_levels(["ds", "q02_5", "q50"])
    {0.025: 'q02_5', 0.5: 'q50'}
    """
    matches = {name: match for name in columns if (match := _COLUMN.fullmatch(name))}
    return {round(int(match[1]) / 100 + int(match[2] or 0) / 1000, 4): name for name, match in matches.items()}


def find_quantile_problem(quantiles: Any) -> str | None:
    """Return everything that is wrong with a spec's quantiles as a whole.

    Args:
        quantiles: The value of the field, before or after its items are validated. Items that are not numbers are
            ignored: validation refuses each of them by itself.

    Returns:
        The problems, separated by semicolons; None if there are none, or if the value is not a list.
    """
    if not isinstance(quantiles, (list, tuple)):
        return None
    numbers = [q for q in quantiles if isinstance(q, (int, float)) and not isinstance(q, bool)]
    inside = [q for q in numbers if 0 < q < 1]
    problems = {
        "must lie strictly between 0 and 1": len(inside) < len(numbers),
        "must rise without repeats": numbers != sorted(set(numbers)),
        "must contain 0.5, because the forecast is the median": 0.5 not in numbers and len(numbers) == len(quantiles),
        "must be whole tenths of a percent, such as 0.025": any(abs(q * 1000 - round(q * 1000)) > 1e-6 for q in inside),
    }
    return "; ".join(problem for problem, is_found in problems.items() if is_found) or None
