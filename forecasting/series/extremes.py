"""Measurements that are so much larger than the others of their series that they are probably mistakes."""

import polars as pl

FACTOR = 1e6
"""How many times as large as the median magnitude a measurement is that is reported."""
FEWEST = 10
"""Fewest measurements of a series whose median says what is usual."""
SHARE = 0.1
"""Share of a series' magnitudes, added up, that one measurement must have. Most series are ruled out by this alone."""
NUM_SHOWN = 3


def describe_extremes(observations: pl.DataFrame) -> str | None:
    """Return a sentence about measurements that are a million times as large as is usual for their series.

    They are used as they are: a meter that was reset, or a sale of a lifetime, may be true.

    Args:
        observations: Accepted rows: unique_id, ds and y.

    Returns:
        The sentence; None if there are none.
    """
    magnitude = pl.col("y").abs()
    smallest, largest = observations.filter(pl.col("y") != 0).select(magnitude.min(), top=magnitude.max()).row(0)
    if smallest is None or largest <= FACTOR * smallest:
        return None
    # Each share is divided before they are added up: the sum of the magnitudes may be larger than the largest float.
    share = 1 / (magnitude / magnitude.max()).sum()
    by_series = observations.lazy().group_by("unique_id").agg(num=pl.col("y").count(), share=share)
    suspects = by_series.filter(pl.col("num") >= FEWEST, pl.col("share") > SHARE).collect()["unique_id"]
    rows = observations.filter(pl.col("unique_id").is_in(suspects.implode()))
    usual = magnitude.filter(pl.col("y") != 0).median().over("unique_id")
    extreme = rows.with_columns(usual=usual).filter(magnitude > FACTOR * pl.col("usual"))
    if extreme.is_empty():
        return None
    worst = extreme.sort("unique_id", magnitude, descending=[False, True]).unique("unique_id", maintain_order=True)
    shown = "; ".join(
        f"'{name}' has {y:g} at {ds}, but a median magnitude of {usual:g}"
        for name, ds, y, usual in worst.select("unique_id", "ds", "y", "usual").head(NUM_SHOWN).iter_rows()
    )
    more = f"; and {worst.height - NUM_SHOWN} more series" if worst.height > NUM_SHOWN else ""
    return (
        f"{worst.height} series have measurements that are more than a million times as large as is usual for them:"
        f" {shown}{more}; they are used as they are; source.ignore (--ignore) leaves a period out"
    )
