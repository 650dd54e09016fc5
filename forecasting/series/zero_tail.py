"""Newest periods in which all series are 0 although they hardly ever were: measurements that are not there yet."""

from collections.abc import Sequence
from typing import Any

import polars as pl

SMALL_CHANCE = 0.001
"""Chance below which zeros are not chance, if each period is 0 as often as earlier ones were."""
LONGER = 1.5
"""How many times as long as each earlier run of such periods the newest one is, such as nights or a season's end."""
FEWEST_SERIES = 0.5
"""Share of the usual number of series that a period must have."""


def count_zeros(observations: pl.DataFrame) -> pl.DataFrame:
    """Count measurements by time.

    Args:
        observations: Accepted rows: unique_id, ds and y.

    Returns:
        ds, num (measurements) and is_zero (whether all are 0).
    """
    y = pl.col("y")
    measured = observations.lazy().filter(y.is_not_null()).group_by("ds")
    return measured.agg(num=pl.len(), is_zero=(y == 0).all()).collect(engine="streaming")


def describe_zero_tail(counts: Sequence[pl.DataFrame], observations: pl.LazyFrame) -> str | None:
    """Return a sentence about newest periods in which every measurement is 0, if that was rare before.

    Nights of a solar plant, holidays and the end of a season repeat: they are as long as an earlier run of zeros.

    Args:
        counts: Rows of `count_zeros`, of blocks of whole series.
        observations: The rows of all series: unique_id, ds and y; they are read only if there are such periods.

    Returns:
        The sentence; None if there are no such periods.
    """
    by_time = pl.concat(counts).group_by("ds").agg(pl.col("num").sum(), pl.col("is_zero").all())
    periods = by_time.filter(pl.col("num") >= FEWEST_SERIES * pl.col("num").median()).sort("ds")
    is_other = (~periods["is_zero"]).arg_true()
    if is_other.is_empty():
        return None
    first = int(is_other[-1]) + 1
    num_tail, num_before = periods.height - first, int(periods["is_zero"].head(first).sum())
    if not num_tail or ((num_before + 1) / (first + 2)) ** num_tail >= SMALL_CHANCE:
        return None
    runs = periods.head(first)["is_zero"].rle().struct.unnest()
    longest: Any = runs.filter("value")["len"].max() or 0
    if num_tail <= LONGER * longest:
        return None
    begin = periods["ds"][first]
    newest = observations.filter(pl.col("ds") >= begin).select(pl.col("unique_id").n_unique())
    num_series = newest.collect(engine="streaming").item()
    return (
        f"all {num_series:,} series are 0 in the newest {num_tail:,} periods, from {begin} on, but were so in"
        f" {num_before:,} of {first:,} before; if these measurements are not there yet, a --cutoff (cutoff) before"
        f" {begin} leaves them out"
    )
