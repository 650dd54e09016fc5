"""Times of a source whose zone is declared (`source.timezone`): as instants, and on that zone's wall clock."""

import polars as pl

from forecasting.schemas import TIMESTAMP
from forecasting.series.columns import OFFSET, read_times
from forecasting.series.local_times import localise

INSTANT, LOCAL = "instant", "local"
"""Columns of a scanned source with a declared zone: its times in that zone, and naive ones on its wall clock."""


def add_declared(rows: pl.LazyFrame, zone: str) -> pl.LazyFrame:
    """Add `INSTANT` and `LOCAL` to the rows of one file.

    Times without a zone or an offset are those of the declared zone's wall clock. Others are instants. In the hour that
    autumn repeats, the first row of a series is the earlier instant, and further ones are the later. A time that spring
    skips has a wall clock but not an instant.

    Args:
        rows: Rows with unique_id and ds, in the order of the file.
        zone: The IANA name of the zone.

    Returns:
        The rows with both columns; null where a time cannot be read.
    """
    dtype = rows.collect_schema()["ds"]
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        local = pl.col("ds").dt.convert_time_zone(zone).dt.replace_time_zone(None).cast(TIMESTAMP)
        instant = pl.col("ds").dt.convert_time_zone(zone).dt.cast_time_unit("us")
        return rows.with_columns(instant.alias(INSTANT), local.alias(LOCAL))
    is_text = dtype == pl.String
    given = rows.with_columns(_given=pl.col("ds"))
    given = read_times(given, "_given", clock="timestamp", keeps_wall_clock=True)
    if is_text:
        given = read_times(given.with_columns(_instant=pl.col("ds")), "_instant", clock="timestamp")
    parts = [pl.col("unique_id"), pl.col("_given").alias(LOCAL)]
    if is_text:
        parts += [pl.col("ds").str.strip_chars().str.contains(OFFSET).alias("has_zone"), pl.col("_instant")]
    both = pl.struct(parts).map_batches(
        lambda times: _both(times.struct.unnest(), zone),
        return_dtype=pl.Struct({INSTANT: pl.Datetime("us", zone), LOCAL: TIMESTAMP}),
    )
    return given.with_columns(_both=both).drop("_given", "_instant", strict=False).unnest("_both")


def _both(times: pl.DataFrame, zone: str) -> pl.Series:
    local = times[LOCAL]
    instant = localise(local, zone, ids=times["unique_id"])
    if "has_zone" in times.columns and times["has_zone"].any():
        has_zone = times["has_zone"].fill_null(False)
        stated = times["_instant"].dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        instant = stated.zip_with(has_zone, instant)
        local = stated.dt.replace_time_zone(None).zip_with(has_zone, local)
    return pl.DataFrame({INSTANT: instant, LOCAL: local}).to_struct()
