"""Columns of a pandas frame that have no single type, which messages name with what makes one of them."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from forecasting.errors import first_line

_REMEDIES = {
    "time": "pandas.to_datetime reads times",
    "target": "pandas.to_numeric, or astype(float), makes numbers of them",
}
_OTHER = "astype(str) makes text of them"


def describe_unread_column(frame: Any, roles: Mapping[str, str]) -> str | None:
    """Return what is wrong with the first column that Polars cannot read, and what to do.

    Args:
        frame: A pandas frame.
        roles: By the name of a column, `id`, `time`, `target`, `category` or `newer`.

    Returns:
        The sentence; None if every column can be read by itself.
    """
    for name, role in roles.items():
        if name not in frame.columns:
            continue
        try:
            pl.from_pandas(frame[[name]])
        except (Exception, pl.exceptions.PanicException) as error:  # pandas, pyarrow and Polars each have their own
            kinds = sorted({type(value).__name__ for value in frame[name].dropna()})
            return (
                f"{role} column '{name}' of dtype {frame[name].dtype} has values of the type{'s' * (len(kinds) != 1)}"
                f" {', '.join(kinds)}, which cannot be read as one ({first_line(error)}); {_REMEDIES.get(role, _OTHER)}"
            )
    return None
