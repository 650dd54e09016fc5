"""Join newer rows to observations that were accepted before; newer measurements replace older ones."""

from typing import NamedTuple

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.columns import categories_of
from forecasting.series.place import Placing, aggregate_rows, make_placing, place_rows
from forecasting.series.validate import read_rows
from forecasting.spec.source import Source

KEPT = "<history>"
"""`source_file` of observations that were accepted before."""
_KEY = ["unique_id", "ds"]


class Merged(NamedTuple):
    """Rows in the columns of `scan_source`, and newer rows that cannot be read, as in `Validated.refused`."""

    rows: pl.LazyFrame
    refused: pl.LazyFrame


def merge_newer(
    observations: pl.DataFrame,
    newer: pl.LazyFrame,
    *,
    freq: str | int,
    unfinished: pl.Expr | None = None,
    source: Source | None = None,
) -> Merged:
    """Join newer rows to earlier observations, ready to be validated together.

    A newer row with a measurement replaces the earlier one of the same series and grid point; one without leaves it.

    Args:
        observations: Accepted rows: unique_id, ds, y, and categories where there are static ones.
        newer: Rows of `scan_source` or `scan_frame`.
        freq: The frequency of the grid.
        unfinished: Which newer rows are left out, because their periods are not over (`is_unfinished`).
        source: How times move; exact times where not given.

    Returns:
        All rows; those that were accepted before have `KEPT` for their file.

    Raises:
        SourceError: The newer rows are not on the clock of the frequency, or make another measurement of a period that
            was aggregated before.
    """
    read = read_rows(newer, freq=freq, unfinished=unfinished)
    kept = as_rows(observations, with_categories=bool(categories_of(newer)))
    measured = read.accepted.filter(pl.col("y").is_not_null())
    placing = None if source is None else make_placing(source, freq)
    if placing is not None:
        measured = _place_newer(kept, measured, placing)
    if source is not None and source.aggregate is not None:
        _refuse_other_totals(kept, measured, source, freq)
    replaced = measured.select(_KEY).unique()
    remaining = kept.join(replaced, on=_KEY, how="anti", maintain_order="left")
    return Merged(pl.concat([read.accepted.select(kept.collect_schema().names()), remaining]), read.refused)


def _place_newer(kept: pl.LazyFrame, measured: pl.LazyFrame, placing: Placing) -> pl.LazyFrame:
    """Return newer rows with the grid points that they move to beside the earlier ones."""
    columns = ["source_file", *_KEY, "y"]
    both = pl.concat([kept.select(columns), measured.select(columns)]).sort(_KEY, maintain_order=True)
    return place_rows(both, placing, is_accepted=pl.lit(True)).filter(pl.col("source_file") != KEPT)


def _refuse_other_totals(kept: pl.LazyFrame, measured: pl.LazyFrame, source: Source, freq: str | int) -> None:
    """Raise SourceError where newer rows, perhaps a part of a period, would replace what all of its rows made."""
    if source.aggregate is None or source.duplicates == "last":
        return
    totals = aggregate_rows(measured.select(*_KEY, "y"), source.aggregate)
    # The order in which rows are added up may change the last bits.
    differs = (pl.col("y") - pl.col("before")).abs() > 1e-9 * pl.col("before").abs()
    found = totals.join(kept.select(*_KEY, before="y"), on=_KEY).filter(differs).sort(_KEY).collect()
    if found.is_empty():
        return
    name, ds, y, before = found.select(*_KEY, "y", "before").row(0)
    raise SourceError(
        f"newer rows lie in {found.height} periods of {freq} that were aggregated before, such as that of {ds} of"
        f" series '{name}': {before:g} became {y:g}; give the rows after it alone, or all rows of the period with"
        ' source.duplicates = "last", which lets them replace it'
    )


def as_rows(observations: pl.DataFrame, *, with_categories: bool) -> pl.LazyFrame:
    """Return observations that were accepted before as rows in the columns of `scan_source`."""
    categories = ["categories"] if with_categories else []
    rows = observations.lazy().with_columns(source_file=pl.lit(KEPT), source_row=pl.lit(0, pl.Int64))
    return rows.select("source_file", "source_row", "unique_id", "ds", "y", *categories)


def without_kept(rejects: pl.DataFrame) -> pl.DataFrame:
    """Leave out rejects of observations that were accepted before."""
    return rejects.filter(pl.col("source_file") != KEPT)
