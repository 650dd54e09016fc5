"""The time zone of a source: whose wall clock its validated times are on."""

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.series.clock import is_day_or_coarser
from forecasting.series.columns import OFFSET, as_text, well_formed
from forecasting.series.read import NUM_SNIFFED, concat_files, reading, scan_files
from forecasting.spec.frequency import Clock
from forecasting.spec.source import Source


def clock_zone(
    source: Source, clock: Clock, freq: str | int, *, storage_options: Mapping[str, str] | None = None
) -> tzinfo | None:
    """Return the time zone of the wall clock that validated times are on.

    Times with a zone and text with offsets are validated as UTC if the frequency is finer than a day, and otherwise on
    their own wall clock. If text has several offsets, the smallest one counts: at any moment its clock shows the
    earliest time, so what is known by then is never overestimated. Schemas are read; first rows of text; and for a
    frequency of days or coarser, the whole column of offsets.

    Args:
        source: The source.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.
        storage_options: Options of the object store, as Polars takes them.

    Returns:
        The zone; None if the source does not state one.

    Raises:
        SourceError: The source cannot be read; see `scan_source`.
        ServiceError: A remote file cannot be reached.
    """
    if clock == "step":
        return None
    return zone_of(scan_files(source, clock, storage_options=storage_options), str(source), clock, freq)


def zone_of(files: Sequence[pl.LazyFrame], subject: str, clock: Clock, freq: str | int) -> tzinfo | None:
    """Return the zone of scanned rows as `clock_zone` does.

    Args:
        files: Rows in the columns of `scan_source`, one frame per file.
        subject: What messages name.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.

    Returns:
        The zone whose wall clock the validated times are on; None where the rows do not state one.
    """
    if clock == "step":
        return None
    dtype = concat_files(files, clock).collect_schema()["ds"]
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return ZoneInfo(dtype.time_zone) if is_day_or_coarser(freq) else UTC
    if dtype != pl.String:
        return None
    texts = [
        well_formed(file).select(as_text("ds", file.collect_schema()["ds"])).select(_offset_minutes()) for file in files
    ]
    with reading(subject):
        heads = pl.concat(text.head(NUM_SNIFFED) for text in texts).collect()
    if heads["offset"].null_count() == heads.height:
        return None
    if not is_day_or_coarser(freq):
        return UTC
    column = pl.concat(texts).select(pl.col("offset").min())
    with reading(subject):
        smallest: int = column.collect(engine="streaming").item()
    return timezone(timedelta(minutes=smallest))


def _offset_minutes() -> pl.Expr:
    """Return the offset at the end of the text in `ds`, in minutes east of UTC; null without an offset."""
    offset = pl.col("ds").str.strip_chars().str.extract(OFFSET, 2)
    digits = offset.str.replace_all(r"\D", "").str.pad_end(4, "0").cast(pl.Int32)
    minutes = digits // 100 * 60 + digits % 100
    return pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes).alias("offset")
