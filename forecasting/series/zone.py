"""The time zone of a source: whose wall clock its validated times are on."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.series.clock import keeps_wall_clock
from forecasting.series.columns import OFFSET, as_text, read_times, well_formed
from forecasting.series.declared_zone import INSTANT
from forecasting.series.local_times import zone_at_offset
from forecasting.series.read import concat_files, reading, scan_files
from forecasting.series.time_sniff import NUM_SNIFFED
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
    if source.timezone is not None:
        return declared_clock(source.timezone, freq)
    if source.is_database:
        from forecasting.series.database import time_dtype

        if (dtype := time_dtype(source)) is not None:
            return zone_of([pl.LazyFrame(schema={"ds": dtype, "y": pl.Float64()})], str(source), clock, freq)
    return zone_of(scan_files(source, clock, storage_options=storage_options), str(source), clock, freq)


def clock_of_rows(rows: pl.LazyFrame, source: Source, clock: Clock, freq: str | int) -> tzinfo | None:
    """Return what `clock_zone` does, of rows that have been scanned already.

    Args:
        rows: Rows of `scan_source`.
        source: The source.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.

    Returns:
        The zone; None if the rows do not state one.
    """
    if clock == "timestamp" and source.timezone is not None:
        return declared_clock(source.timezone, freq)
    return zone_of([rows], str(source), clock, freq)


def declared_clock(timezone: str, freq: str | int) -> tzinfo:
    """Return the zone of the wall clock that validated times of a declared zone are on."""
    return ZoneInfo(timezone) if keeps_wall_clock(freq) else UTC


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
        return ZoneInfo(dtype.time_zone) if keeps_wall_clock(freq) else UTC
    if dtype != pl.String:
        return None
    if not has_offsets(files, subject):
        return None
    if not keeps_wall_clock(freq):
        return UTC
    column = pl.concat(_texts(file).select(_offset_minutes()) for file in files).select(pl.col("offset").min())
    with reading(subject):
        smallest: int | None = column.collect(engine="streaming").item()
    return timezone(timedelta(minutes=smallest or 0))  # none where text has names of zones


def own_zone(
    files: Sequence[pl.LazyFrame], subject: str, clock: Clock, freq: str | int, *, timezone: str | None = None
) -> str | None:
    """Return the time zone that the times of a source are written in, in which results are returned.

    Args:
        files: Rows in the columns of `scan_source`, one frame per file.
        subject: What messages name.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.
        timezone: The declared zone, in which texts with several offsets are returned.

    Returns:
        The IANA name of the zone of timestamps; of text, that of a zone with the offset of its newest row, or UTC where
        no zone always has that offset. None where the source does not state a zone, and for days and coarser periods
        whose text has several offsets, because the offsets of later ones are not known.
    """
    if clock == "step":
        return None
    dtype = concat_files(files, clock).collect_schema()["ds"]
    if isinstance(dtype, pl.Datetime):
        return dtype.time_zone
    if dtype != pl.String or not has_offsets(files, subject):
        return None
    zones = zones_of_text(files, subject, clock)
    if timezone is not None and len(set(zones)) > 1:
        return timezone
    return None if not zones or (keeps_wall_clock(freq) and len(set(zones)) > 1) else zones[-1]


def zones_of_text(files: Sequence[pl.LazyFrame], subject: str, clock: Clock) -> list[str]:
    """Return the zones of the offsets and names at the end of texts in `ds`, that of the newest row last."""
    suffix = pl.col("_text").str.strip_chars().str.extract(OFFSET, 2).alias("suffix")
    read = [read_times(_texts(file).with_columns(_text="ds"), "ds", clock=clock) for file in files]
    column = pl.concat(read).select(suffix, "ds").drop_nulls().group_by("suffix").agg(pl.col("ds").max())
    with reading(subject):
        latest = column.collect(engine="streaming").sort("ds", "suffix")
    return [_zone_named(suffix) for suffix in latest["suffix"]]


def describe_offsets(rows: pl.LazyFrame, source: Source, clock: Clock, freq: str | int) -> str | None:
    """Return a sentence about texts with several offsets, whose zone is not known.

    Args:
        rows: Rows of `scan_source`.
        source: The source.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.

    Returns:
        The sentence; None if there is only one offset, a zone is declared, or times keep their wall clock.
    """
    schema, subject = rows.collect_schema(), str(source)
    if clock == "step" or keeps_wall_clock(freq) or INSTANT in schema or schema["ds"] != pl.String:
        return None
    if not has_offsets([rows], subject) or len(set(zones := zones_of_text([rows], subject, clock))) < 2:
        return None
    return (
        f"{subject}: times have {len(set(zones))} offsets from UTC, so their clocks may change; seasons are taken to be"
        f" of the newest one, {zones[-1]}; --timezone (source.timezone) names the zone whose days and hours they follow"
    )


def local_zone(rows: pl.LazyFrame, source: Source, clock: Clock, freq: str | int) -> str | None:
    """Return the zone on whose wall clock seasons and the calendar of a source are, where its times become UTC.

    Args:
        rows: Rows of `scan_source`.
        source: The source.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.

    Returns:
        The IANA name of the declared zone, or else of the times' own; None where times keep their wall clock, or no
        zone is known.
    """
    if clock == "step" or keeps_wall_clock(freq):
        return None
    return source.timezone if INSTANT in rows.collect_schema() else own_zone([rows], str(source), clock, freq)


def has_offsets(files: Sequence[pl.LazyFrame], subject: str) -> bool:
    """Return whether one of the first texts in `ds` of each file has an offset or the name of a zone."""
    with reading(subject):
        heads = pl.concat(_texts(file).head(NUM_SNIFFED) for file in files).collect()
    return bool(heads["ds"].str.strip_chars().str.contains(OFFSET).any())


def _texts(file: pl.LazyFrame) -> pl.LazyFrame:
    return well_formed(file).select(as_text("ds", file.collect_schema()["ds"]))


def _zone_named(suffix: str) -> str:
    """Return the zone of the end of a text: an offset, the name of a zone, or both.

    >>> _zone_named("Z"), _zone_named("+02"), _zone_named("-0330"), _zone_named("+01:00[Europe/Paris]")
    ('UTC', 'Etc/GMT-2', 'UTC', 'Europe/Paris')
    """
    parts = re.fullmatch(r"(Z|z|[+-][0-9:]+)? ?\[?([A-Za-z/_-]*)\]?", suffix)
    assert parts, suffix
    offset, name = parts.groups()
    if name not in ("", "UTC", "GMT"):
        return name
    sign = -1 if (offset or "").startswith("-") else 1
    digits = re.sub(r"\D", "", offset or "").ljust(4, "0")
    return zone_at_offset(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))) or "UTC"


def _offset_minutes() -> pl.Expr:
    """Return the offset at the end of the text in `ds`, in minutes east of UTC; null without an offset."""
    offset = pl.col("ds").str.strip_chars().str.extract(OFFSET, 2)
    offset = offset.str.extract(r"^(Z|z|[+-][0-9:]+)")  # a zone's name may follow it
    digits = offset.str.replace_all(r"\D", "").str.pad_end(4, "0").cast(pl.Int32)
    minutes = digits // 100 * 60 + digits % 100
    return pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes).alias("offset")
