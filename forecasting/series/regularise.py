"""Put accepted observations on the even grids of their series, with gaps as null."""

import polars as pl

from forecasting.series.columns import categories_of
from forecasting.series.grid import anchor_series, make_grid


def regularise(observations: pl.LazyFrame, *, freq: str | int) -> pl.LazyFrame:
    """Put each series on an even grid from its first to its last timestamp.

    Args:
        observations: Rows that `validate` accepts: one per (unique_id, ds), on the grid, none far from the others.
        freq: The frequency of the grid.

    Returns:
        unique_id, ds, y, is_observed and, if the observations have them, categories; sorted. A grid point without a
        measurement has a null `y` and a false `is_observed`. A series has the newest value of each category.
    """
    grid = make_grid(freq)
    categories = categories_of(observations)
    spans = observations.group_by("unique_id").agg(first=pl.col("ds").min(), last=pl.col("ds").max())
    if categories:
        spans = spans.join(_classes(observations), on="unique_id", how="left")
    points = (
        spans.join(anchor_series(observations, freq=freq), on="unique_id", how="left")
        .sort("unique_id")
        .with_columns(
            number=pl.int_ranges(grid.number(pl.col("first")), grid.number(pl.col("last")) + 1, dtype=pl.Int64)
        )
        .explode("number")
        .select("unique_id", *categories, ds=grid.ds(pl.col("number")))
    )
    return points.join(
        observations.select("unique_id", "ds", "y"), on=["unique_id", "ds"], how="left", maintain_order="left"
    ).select("unique_id", "ds", "y", pl.col("y").is_not_null().alias("is_observed"), *categories)


def _classes(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Return unique_id and categories: the newest value of each name that is not null, sorted by name."""
    given = observations.select("unique_id", "ds", pl.col("categories")).explode("categories").unnest("categories")
    newest = (
        given.drop_nulls("value")
        .group_by("unique_id", "name")
        .agg(pl.col("value").get(pl.col("ds").arg_max()))
        .sort("unique_id", "name")
    )
    return newest.group_by("unique_id").agg(categories=pl.struct("name", "value"))
