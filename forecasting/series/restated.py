"""Compare the measurements of a source with those that earlier runs stored: new, corrected and withdrawn ones."""

from typing import NamedTuple

import polars as pl

KEY = ("unique_id", "ds")
TOLERANCE = 1e-9
"""Relative difference of two aggregated measurements that are the same: the order of rows may change the last bits."""


class Compared(NamedTuple):
    """What a source has now, beside what earlier runs stored.

    Attributes:
        data_version: For each row that was read, the version of the features table that first had its value; null
            where that is not known, because a change of the spec added the row.
        restated: Measurements that the source has corrected or withdrawn: unique_id, ds, old_y, new_y, data_version.
        num_respecified: Measurements that differ because the spec reads the source in another way.
        num_gone: Measurements before the first row that the source still has of their series.
    """

    data_version: pl.Series
    restated: pl.DataFrame
    num_respecified: int
    num_gone: int


def compare(read: pl.DataFrame, stored: pl.DataFrame, *, version: int, is_aggregated: bool) -> Compared:
    """Compare the rows of some series with those that are stored of the same series.

    A measurement is restated if the source read in the same way had another value, and is withdrawn if it has none now.
    A measurement before the first row that the source has of its series is gone, not withdrawn: many sources keep only
    their newest rows.

    Args:
        read: What the source has now: unique_id, ds and y, without repeats.
        stored: What is stored, and what was known before this run: unique_id, ds; y, data_version and is_stored of the
            stored row; old_y and is_known of the measurement before this run; is_respecified where the stored row was
            read in another way.
        version: The version of the features table that has the rows that were read.
        is_aggregated: Whether measurements are aggregated from several rows.

    Returns:
        The comparison.
    """
    stored = stored.rename({"y": "stored_y"})
    both = read.select(*KEY, "y").join(stored, on=KEY, how="left", maintain_order="left")
    flags = ("is_stored", "is_known", "is_respecified")
    both = both.with_columns(
        *(pl.col(name).fill_null(value=False) for name in flags),
        is_unchanged=_is_same("y", "stored_y", is_aggregated),
        is_restated=~_is_same("y", "old_y", is_aggregated),
    )
    ends = stored.filter("is_respecified").group_by("unique_id").agg(until=pl.col("ds").max())
    both = both.join(ends, on="unique_id", how="left", maintain_order="left")
    keeps_version = pl.col("is_stored") & (pl.col("is_unchanged") | pl.col("is_respecified"))
    is_added_by_spec = (pl.col("ds") <= pl.col("until")).fill_null(value=False)
    versions = both.select(
        data_version=pl.when(keeps_version).then("data_version").when(~is_added_by_spec).then(pl.lit(version, pl.Int64))
    )["data_version"]
    corrected = both.with_columns(data_version=versions).filter("is_known", "is_restated")
    firsts = read.group_by("unique_id").agg(first=pl.col("ds").min())
    lacking = stored.join(read.select(KEY), on=KEY, how="anti").join(firsts, on="unique_id", how="left")
    is_gone = ~(pl.col("ds") >= pl.col("first")).fill_null(value=False)
    lost = lacking.filter(pl.col("old_y").is_not_null())
    withdrawn = lost.filter("is_known", ~is_gone).with_columns(
        y=pl.lit(None, pl.Float64), data_version=pl.lit(version, pl.Int64)
    )
    columns = (*KEY, "old_y", pl.col("y").alias("new_y"), "data_version")
    differs = pl.col("is_respecified") & ~pl.col("is_unchanged") & pl.col("stored_y").is_not_null()
    return Compared(
        versions,
        pl.concat([corrected.select(columns), withdrawn.select(columns)]).sort(KEY),
        both.filter(differs).height + lost.filter("is_respecified", ~is_gone).height,
        lost.filter(is_gone).height,
    )


def _is_same(one: str, other: str, is_aggregated: bool) -> pl.Expr:
    same = pl.col(one).eq_missing(pl.col(other))
    if is_aggregated:
        is_near = (pl.col(one) - pl.col(other)).abs() <= TOLERANCE * pl.col(other).abs()
        same |= is_near.fill_null(value=False)
    return same
