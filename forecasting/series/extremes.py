"""Measurements that are so much larger than the others of their series that they are probably mistakes."""

import numpy as np
import numpy.typing as npt
import polars as pl

FACTOR = 1e6
"""How many times as large as the median magnitude a measurement is that is reported."""
FEWEST = 10
"""Fewest measurements of a series whose median says what is usual."""
SHARE = 0.1
"""Share of a series' magnitudes, added up, that one measurement must have. Most series are ruled out by this alone."""
NUM_SHOWN = 3


def find_extremes(observations: pl.DataFrame) -> pl.DataFrame:
    """Return the measurements that are a million times as large as is usual for their series, the largest of each.

    Args:
        observations: Accepted rows of whole series: unique_id, ds and y.

    Returns:
        unique_id, ds, y and `usual`, the median magnitude, sorted by unique_id.
    """
    magnitude = pl.col("y").abs()
    none = observations.clear().select("unique_id", "ds", "y", usual="y")
    other = magnitude.filter(pl.col("y") != 0)
    smallest, largest = observations.lazy().select(other.min(), top=other.max()).collect(engine="streaming").row(0)
    if smallest is None or largest <= FACTOR * smallest:
        return none
    # Each share is divided before they are added up: the sum of the magnitudes may be larger than the largest float.
    share = 1 / (magnitude / magnitude.max()).sum()
    by_series = observations.lazy().group_by("unique_id").agg(num=pl.col("y").count(), share=share)
    suspects = by_series.filter(pl.col("num") >= FEWEST, pl.col("share") > SHARE).collect()["unique_id"]
    rows = observations.filter(pl.col("unique_id").is_in(suspects.implode()))
    usual = magnitude.filter(pl.col("y") != 0).median().over("unique_id")
    extreme = rows.with_columns(usual=usual).filter(magnitude > FACTOR * pl.col("usual"))
    worst = extreme.sort("unique_id", magnitude, descending=[False, True]).unique("unique_id", maintain_order=True)
    return worst.select(none.columns)


def describe_extremes(worst: pl.DataFrame) -> str | None:
    """Return a sentence about measurements that are a million times as large as is usual for their series.

    They are used as they are: a meter that was reset, or a sale of a lifetime, may be true.

    Args:
        worst: Rows of `find_extremes`, of all series.

    Returns:
        The sentence; None if there are none.
    """
    if worst.is_empty():
        return None
    shown = "; ".join(
        f"'{name}' has {y:g} at {ds}, but a median magnitude of {usual:g}"
        for name, ds, y, usual in worst.select("unique_id", "ds", "y", "usual").head(NUM_SHOWN).iter_rows()
    )
    more = f"; and {worst.height - NUM_SHOWN} more series" if worst.height > NUM_SHOWN else ""
    return (
        f"{worst.height} series have measurements that are more than a million times as large as is usual for them:"
        f" {shown}{more}; they are used as they are; source.ignore (--ignore) leaves a period out"
    )


def has_extreme(y_SN: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mark the series with a measurement that `find_extremes` returns.

    Args:
        y_SN: The series (S, N) in units of y, NaN in gaps; infinite values do not count.

    Returns:
        Marks (S,).
    """
    size_SN = np.where(np.isfinite(y_SN) & (y_SN != 0), np.abs(y_SN), np.nan)
    is_extreme_S = np.zeros(len(y_SN), dtype=bool)
    top_S = np.where(np.isnan(size_SN), 0.0, size_SN).max(axis=1, initial=0.0)
    least_S = np.where(np.isnan(size_SN), np.inf, size_SN).min(axis=1, initial=np.inf)
    enough_S = np.isfinite(y_SN).sum(axis=1) >= FEWEST
    rows = np.flatnonzero(enough_S & (top_S / FACTOR > least_S))
    if rows.size:
        share_R = 1 / np.nansum(size_SN[rows] / top_S[rows, None], axis=1)
        is_extreme_S[rows] = (share_R > SHARE) & (top_S[rows] / FACTOR > np.nanmedian(size_SN[rows], axis=1))
    return is_extreme_S
