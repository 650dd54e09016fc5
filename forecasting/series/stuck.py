"""Series whose newest value repeats against their habit: a sensor is stuck, or rows are filled in."""

import numpy as np
import polars as pl

from forecasting.series.runs import Runs, find_runs

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


def find_stuck(observations: pl.DataFrame, runs: Runs | None = None) -> tuple[pl.DataFrame, int]:
    """Return the series that repeat their newest value too often for chance, and the number of measured series.

    Zeros are not meant, nor a limit that a series has reached before, such as 100 % or one piece.

    Args:
        observations: Accepted rows of whole series, sorted by series and time: unique_id, ds and y.
        runs: The runs of their names, where they are known.

    Returns:
        unique_id, newest (the value), num_tail (its repetitions), begin (of these), num_before and num_others
        (repetitions and rows before), and chance; sorted by unique_id.
    """
    num_before, num_others = pl.col("num_repeats") - pl.col("num_tail"), pl.col("num") - pl.col("num_tail")
    rows, num_series = _find_repeating(observations, runs)
    series = _count_repeats(rows).with_columns(num_before=num_before, num_others=num_others)
    is_rare = pl.col("num_before") < MOST_BEFORE * pl.col("num_others")
    chance = ((pl.col("num_before") + CAUTION) / (pl.col("num_others") + CAUTION)).pow(pl.col("num_tail"))
    newest = pl.col("newest")
    is_limit = (newest == pl.col("lowest")) | (newest == pl.col("highest"))
    stuck = series.with_columns(chance=chance).filter(
        newest != 0, pl.col("num_others") >= FEWEST_BEFORE, is_rare, pl.col("chance") < SMALL_CHANCE
    )
    rows = rows.filter(pl.col("unique_id").is_in(stuck.filter(is_limit)["unique_id"].implode()))
    before = rows.join(stuck, on="unique_id").filter(pl.col("ds") < pl.col("begin"), pl.col("y") == newest)
    stuck = stuck.join(before, on="unique_id", how="anti").sort("unique_id")
    return stuck.select("unique_id", "newest", "num_tail", "begin", "num_before", "num_others", "chance"), num_series


def describe_stuck(stuck: pl.DataFrame, num_series: int) -> str | None:
    """Return a sentence about series that repeat their newest value too often for chance.

    Args:
        stuck: Rows of `find_stuck`, of all series.
        num_series: The number of measured series; one of many repeats a value more often than the others.

    Returns:
        The sentence; None if there are no such series.
    """
    stuck = stuck.filter(pl.col("chance") < CHANCE_OF_ANY / max(1, num_series))
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


def _find_repeating(observations: pl.DataFrame, runs: Runs | None) -> tuple[pl.DataFrame, int]:
    """Return the rows of the few series whose newest value is the one before, and the number of all series."""
    rows = observations.select("unique_id", "ds", "y")
    if rows["y"].has_nulls():
        rows, runs = rows.drop_nulls("y"), None
    runs = find_runs(rows["unique_id"]) if runs is None else runs
    y, last_S = rows["y"], runs.last_S
    repeats_S = (runs.length_S > 1) & (y.gather(last_S) == y.gather(np.maximum(last_S - 1, 0))).to_numpy()
    return rows.filter(pl.Series(np.repeat(repeats_S, runs.length_S), dtype=pl.Boolean)), len(last_S)


def _count_repeats(rows: pl.DataFrame) -> pl.DataFrame:
    """Return unique_id, numbers of rows, repetitions and newest repetitions, and where the latter begin."""
    runs = find_runs(rows["unique_id"])
    begin_S, y_R = runs.begin_S, rows["y"].to_numpy()
    is_repeat_R = np.zeros(len(y_R), dtype=bool)
    is_repeat_R[1:] = y_R[1:] == y_R[:-1]
    is_repeat_R[begin_S] = False
    first_S = runs.newest_where(~is_repeat_R)
    reduce = [np.add, np.minimum, np.maximum]
    num_S, lowest_S, highest_S = (
        how.reduceat(of_R, begin_S) if len(begin_S) else np.zeros(0)
        for how, of_R in zip(reduce, (is_repeat_R.astype(np.int64), y_R, y_R), strict=True)
    )
    return pl.DataFrame(
        {
            "unique_id": runs.names,
            "num": runs.length_S,
            "num_repeats": num_S.astype(np.int64),
            "lowest": lowest_S,
            "highest": highest_S,
            "num_tail": runs.last_S - first_S,
            "begin": rows["ds"].gather(first_S),
            "newest": y_R[runs.last_S],
        }
    )
