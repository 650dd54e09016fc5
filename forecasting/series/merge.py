"""Join newer rows to observations that were accepted before; newer measurements replace older ones."""

from typing import NamedTuple

import polars as pl

from forecasting.series.columns import categories_of
from forecasting.series.validate import read_rows

KEPT = "<history>"
"""`source_file` of observations that were accepted before."""
_KEY = ["unique_id", "ds"]


class Merged(NamedTuple):
    """Rows in the columns of `scan_source`, and newer rows that cannot be read, as in `Validated.refused`."""

    rows: pl.LazyFrame
    refused: pl.LazyFrame


def merge_newer(
    observations: pl.DataFrame, newer: pl.LazyFrame, *, freq: str | int, unfinished: pl.Expr | None = None
) -> Merged:
    """Join newer rows to earlier observations, ready to be validated together.

    A newer row with a measurement replaces the earlier one of the same series and time; one without leaves it.

    Args:
        observations: Accepted rows: unique_id, ds, y, and categories where there are static ones.
        newer: Rows of `scan_source` or `scan_frame`.
        freq: The frequency of the grid.
        unfinished: Which newer rows are left out, because their periods are not over (`is_unfinished`).

    Returns:
        All rows; those that were accepted before have `KEPT` for their file.

    Raises:
        SourceError: The newer rows are not on the clock of the frequency.
    """
    read = read_rows(newer, freq=freq, unfinished=unfinished)
    kept = as_rows(observations, with_categories=bool(categories_of(newer)))
    replaced = read.accepted.filter(pl.col("y").is_not_null()).select(_KEY).unique()
    remaining = kept.join(replaced, on=_KEY, how="anti", maintain_order="left")
    return Merged(pl.concat([read.accepted.select(kept.collect_schema().names()), remaining]), read.refused)


def as_rows(observations: pl.DataFrame, *, with_categories: bool) -> pl.LazyFrame:
    """Return observations that were accepted before as rows in the columns of `scan_source`."""
    categories = ["categories"] if with_categories else []
    rows = observations.lazy().with_columns(source_file=pl.lit(KEPT), source_row=pl.lit(0, pl.Int64))
    return rows.select("source_file", "source_row", "unique_id", "ds", "y", *categories)


def without_kept(rejects: pl.DataFrame) -> pl.DataFrame:
    """Leave out rejects of observations that were accepted before."""
    return rejects.filter(pl.col("source_file") != KEPT)
