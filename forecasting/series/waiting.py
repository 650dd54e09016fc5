"""What a run says of measurements that it does not use, because they wait for a later run."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import polars as pl

from forecasting.series.spans import count_rows
from forecasting.spec.source import Source


def describe_waiting(counted: Mapping[str, Any], cutoff: datetime | int, *, is_found: bool) -> Iterator[str]:
    """Yield sentences about the rows of unfinished periods, and about those after a cutoff that nobody requested.

    Args:
        counted: The row of `count_rows`.
        cutoff: The cutoff.
        is_found: Whether the cutoff was chosen from the data.

    Yields:
        Each sentence with the option that reads the rows.
    """
    if counted["unfinished"] and (is_found or counted["open_from"] <= cutoff):
        yield _describe_unfinished(counted)
    if counted["num_later"] and is_found:
        yield (
            f"{counted['num_later']:,} rows of {counted['num_later_series']:,} series, such as"
            f" '{counted['later_series']}', up to {counted['newest_later']}, are not used, because they lie after the"
            f" cutoff, {cutoff}: it is the newest finished period that at least half of the live series have;"
            " a later --cutoff (cutoff) reads them"
        )


def describe_unread_rows(source: Source, time: pl.DataType) -> str | None:
    """Return a sentence about the rows of a database that a run up to a requested time does not read.

    Args:
        source: The source, with the part that is read.
        time: The dtype of times; only times are compared in the database.

    Returns:
        The sentence; None where all rows are read.
    """
    until = source.scope.until
    if not source.is_database or until is None or time not in (pl.Date, pl.Datetime):
        return None
    return f"source {source}: rows after {until} are not read, so that no count has them"


def describe_unfinished(rows: pl.LazyFrame, *, freq: str | int, unfinished: pl.Expr | None) -> str | None:
    """Return a sentence about the rows of unfinished periods, with the option that reads them.

    Args:
        rows: Rows of `scan_source`, which are read.
        freq: The frequency of the grid.
        unfinished: Which rows are meant (`is_unfinished`).

    Returns:
        The sentence; None where there are none.
    """
    if unfinished is None:
        return None
    marks = count_rows(rows, freq=freq, cutoff=None, unfinished=unfinished).collect(engine="streaming")
    counted = marks.row(0, named=True)
    return _describe_unfinished(counted) if counted["unfinished"] else None


def _describe_unfinished(counted: Mapping[str, Any]) -> str:
    return (
        f"{counted['unfinished']:,} rows from {counted['open_from']} on are not used, because their periods are not"
        ' over; source.unfinished = "use" (--unfinished use) reads them'
    )
