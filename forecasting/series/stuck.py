"""Series whose newest value repeats against their habit: a sensor is stuck, or rows are filled in."""

import polars as pl

SMALL_CHANCE = 1e-6
"""Chance below which repetition is not chance, if each value repeats the one before as often as earlier ones did."""
MOST_BEFORE = 0.2
"""Share of earlier rows that repeated a value, above which a series has the habit."""
FEWEST_BEFORE = 20
"""Rows before the repetition that show the habit."""


def describe_stuck(observations: pl.DataFrame) -> str | None:
    """Return a sentence about series that repeat their newest value too often for chance. Zeros are not meant.

    Args:
        observations: Accepted rows: unique_id, ds and y.

    Returns:
        The sentence; None if there are no such series.
    """
    y = pl.col("y").sort_by("ds")
    repeats = (y == y.shift()).fill_null(False)
    series = (
        observations.lazy()
        .filter(pl.col("y").is_not_null())
        .group_by("unique_id")
        .agg(
            num=pl.len(),
            num_repeats=repeats.sum(),
            num_tail=repeats.reverse().cast(pl.Int64).cum_min().sum(),
            newest=y.last(),
            begin=pl.col("ds").sort().get(pl.len() - 1 - repeats.reverse().cast(pl.Int64).cum_min().sum()),
        )
    )
    num_before = pl.col("num_repeats") - pl.col("num_tail")
    num_others = pl.col("num") - pl.col("num_tail")
    is_rare = num_before < MOST_BEFORE * num_others
    chance = ((num_before + 1) / (num_others + 1)).pow(pl.col("num_tail"))
    stuck = (
        series.with_columns(num_before=num_before, num_others=num_others)
        .filter(pl.col("newest") != 0, pl.col("num_others") >= FEWEST_BEFORE, is_rare, chance < SMALL_CHANCE)
        .sort("unique_id")
        .collect()
    )
    if stuck.is_empty():
        return None
    name, value, num, begin, before, others = stuck.select(
        "unique_id", "newest", "num_tail", "begin", "num_before", "num_others"
    ).row(0)
    return (
        f"{stuck.height:,} series repeat their newest value against their habit, such as '{name}', which is {value:g}"
        f" from {begin} on, in {num + 1:,} rows, but repeated a value in {before:,} of {others:,} rows before; if such"
        " rows are filled in, make their measurements null"
    )
