"""Rows that repeat another one exactly: each counts once, which is wrong for transactions."""

import polars as pl

from forecasting.series.reasons import Reason
from forecasting.spec.source import Source

FEWEST = 10
"""Repeats that are not mentioned, unless the rows of a period are added up."""
SHARE = 0.01
"""Share of all rows above which repeats are mentioned."""


def describe_repeats(refused: pl.DataFrame, num_rows: int, source: Source) -> str | None:
    """Return a sentence about rows that repeat another one exactly, and the options that count them.

    Args:
        refused: Rows that are not used: unique_id, ds and y as text, and reason.
        num_rows: The number of all rows of the source.
        source: The source; one that says what happens to duplicates means it.

    Returns:
        The sentence; None if there are few repeats, or the source says what happens to them.
    """
    repeats = refused.filter(pl.col("reason") == Reason.REPEATED.value)
    fewest = 0 if source.aggregate == "sum" else max(FEWEST, SHARE * num_rows)
    if repeats.height <= fewest or "duplicates" in source.model_fields_set:
        return None
    name, time, y = repeats.select("unique_id", "ds", "y").row(0)
    aggregate = f"source.aggregate = {source.aggregate}" if source.aggregate else "source.aggregate = sum"
    return (
        f"{repeats.height:,} of {num_rows:,} rows repeat another row of their series, time and measurement exactly,"
        f" such as {time}, {'' if y is None else y} of '{name}'; each such row counts once; if every row counts, as in"
        f' transactions, source.duplicates = "keep" (--duplicates keep) with {aggregate} says so; if the rows are of'
        " several series, source.id (--id store,item) lacks a column that distinguishes them;"
        ' source.duplicates = "refuse" counts them once without this warning'
    )
