"""Read rarer spellings of times: with the name of a time zone, and midnights as 24:00."""

from zoneinfo import available_timezones

import polars as pl

from forecasting.schemas import TIMESTAMP
from forecasting.series.local_times import as_instants, localise

OFFSET_OF_ZONE = "[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?"
"""An offset that a zone has or had; the largest, of Manila until 1844, was 15:56."""
IMPOSSIBLE_OFFSET = r"[0-9] ?[+-](?:(?:1[6-9]|[2-9][0-9])(?::?[0-9]{2})?|[0-9]{2}:?[6-9][0-9])$"
"""The end of a text with a time of day and an offset that no zone has, such as +25:00 or -05:75."""
_PARTS = (
    r"^(?<date>\d{4}-\d{2}-\d{2})[ T](?<clock>\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)"
    rf" ?(?<offset>{OFFSET_OF_ZONE}|Z|z)? ?\[?(?<zone>UTC|GMT|[A-Z][A-Za-z]+(?:/[A-Za-z_-]+)+)?\]?$"
)
_END_OF_DAY = r"^24:00(?::00(?:\.0+)?)?$"
_CLOCKS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")


def read_written(rows: pl.Series, *, keeps_wall_clock: bool) -> pl.Series:
    """Read texts such as `2023-01-01 05:00 UTC`, `2023-01-01 05:00+01:00[Europe/Paris]` and `2023-01-01 24:00`.

    Args:
        rows: A struct of `text`, null where a time has been read already, and maybe `unique_id`; in the order of the
            file, which decides between the two instants of a repeated hour.
        keeps_wall_clock: Whether times keep their wall clock instead of becoming UTC.

    Returns:
        Naive timestamps; null where there is no text, or it cannot be read.
    """
    table = rows.struct.unnest().with_row_index("row").filter(pl.col("text").is_not_null())
    unread = pl.repeat(None, len(rows), dtype=TIMESTAMP, eager=True)
    if table.is_empty():
        return unread
    parts = table.with_columns(pl.col("text").str.strip_chars().str.extract_groups(_PARTS).alias("part")).unnest("part")
    is_end = pl.col("clock").str.contains(_END_OF_DAY)
    clock = pl.col("date") + " " + pl.when(is_end).then(pl.lit("00:00")).otherwise("clock")
    naive = pl.coalesce(clock.str.to_datetime(form, time_unit="us", strict=False) for form in _CLOCKS)
    parts = parts.with_columns(time=pl.when(is_end).then(naive + pl.duration(days=1)).otherwise(naive))
    if not keeps_wall_clock:
        parts = parts.with_columns(_to_utc(parts))
    return unread.scatter(parts["row"], parts["time"])


def _to_utc(parts: pl.DataFrame) -> pl.Series:
    """Return the instants of `time`: by the offset, or else by the zone's name."""
    digits = pl.col("offset").str.replace_all(r"\D", "").str.pad_end(4, "0").cast(pl.Int64)
    minutes = (digits // 100 * 60 + digits % 100) * pl.when(pl.col("offset").str.starts_with("-")).then(-1).otherwise(1)
    time = parts.select(pl.when(pl.col("offset").is_null()).then("time")).to_series()
    by_offset = parts.select(pl.col("time") - pl.duration(minutes=minutes)).to_series()
    result = parts.select(pl.when(pl.col("zone").is_null()).then("time")).to_series()
    for zone in parts["zone"].drop_nulls().unique():
        if zone not in available_timezones():
            continue
        local = localise(time.set(parts["zone"] != zone, None), zone, ids=parts.to_dict().get("unique_id"))
        result = result.zip_with(parts["zone"].ne_missing(zone), as_instants(local))
    return result.zip_with(parts["offset"].is_null(), by_offset).alias("time")
