"""Series whose newest value repeats against their habit: a sensor is stuck, or rows are filled in."""

import polars as pl

SMALL_CHANCE = 1e-6
"""Chance below which repetition is not chance, if each value repeats the one before as often as earlier ones did."""
CHANCE_OF_ANY = 1e-3
"""The same of all series together: one of many repeats a value more often than the others."""
CAUTION = 2
"""Repetitions that are added to those before, because few rows do not show how often a series repeats a value."""
MOST_BEFORE = 0.2
"""Share of earlier rows that repeated a value, above which a series has the habit."""
FEWEST_BEFORE = 20
"""Rows before the repetition that show the habit."""


def describe_stuck(observations: pl.DataFrame) -> str | None:
    """Return a sentence about series that repeat their newest value too often for chance.

    Zeros are not meant, nor a limit that a series has reached before, such as 100 % or one piece.

    Args:
        observations: Accepted rows: unique_id, ds and y.

    Returns:
        The sentence; None if there are no such series.
    """
    num_before, num_others = pl.col("num_repeats") - pl.col("num_tail"), pl.col("num") - pl.col("num_tail")
    series = _count_repeats(observations).with_columns(num_before=num_before, num_others=num_others)
    is_rare = pl.col("num_before") < MOST_BEFORE * pl.col("num_others")
    chance = ((pl.col("num_before") + CAUTION) / (pl.col("num_others") + CAUTION)).pow(pl.col("num_tail"))
    newest = pl.col("newest")
    is_limit = (newest == pl.col("lowest")) | (newest == pl.col("highest"))
    stuck = series.filter(
        newest != 0,
        pl.col("num_others") >= FEWEST_BEFORE,
        is_rare,
        chance < min(SMALL_CHANCE, CHANCE_OF_ANY / max(1, series.height)),
    )
    rows = observations.filter(pl.col("unique_id").is_in(stuck.filter(is_limit)["unique_id"].implode()))
    before = rows.join(stuck, on="unique_id").filter(pl.col("ds") < pl.col("begin"), pl.col("y") == newest)
    stuck = stuck.join(before, on="unique_id", how="anti").sort("unique_id")
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


def _count_repeats(observations: pl.DataFrame) -> pl.DataFrame:
    """Return unique_id, numbers of rows, repetitions and newest repetitions, and where the latter begin."""
    name, time, y = pl.col("unique_id"), pl.col("ds"), pl.col("y")
    is_same = name == name.shift()
    # Most rows are in order already, which costs far less to see than to sort.
    is_disordered = (name < name.shift()) | (is_same & (time < time.shift()))
    rows = observations.select("unique_id", "ds", "y").filter(y.is_not_null())
    if rows.select(is_disordered.any()).item():
        rows = rows.sort("unique_id", "ds")
    place, is_repeat = pl.col("place"), pl.col("is_repeat")
    counted = (
        rows.lazy()
        .with_columns(is_repeat=(is_same & (y == y.shift())).fill_null(False))
        .with_row_index("place")
        .group_by("unique_id")
        .agg(
            num=pl.len().cast(pl.Int64),
            num_repeats=is_repeat.sum().cast(pl.Int64),
            last=place.max().cast(pl.Int64),
            first=pl.when(~is_repeat).then(place).max().cast(pl.Int64),
            lowest=y.min(),
            highest=y.max(),
        )
        .collect(engine="streaming")
    )
    begin, newest = rows["ds"].gather(counted["first"]), rows["y"].gather(counted["last"])
    return counted.with_columns(num_tail=pl.col("last") - pl.col("first"), begin=begin, newest=newest)
