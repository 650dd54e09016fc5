"""Convert wall-clock times of a time zone to instants, and UTC offsets to the names of zones that have them."""

from datetime import timedelta

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import TIMESTAMP

_ZONES_AT_PARTS = {-570: "Pacific/Marquesas", 270: "Asia/Kabul", 330: "Asia/Kolkata", 345: "Asia/Kathmandu"} | {
    390: "Asia/Yangon",
    570: "Australia/Darwin",
}
"""Zones without clock changes since 1986, by their minutes east of UTC where these are not whole hours."""
_MOST_AHEAD, _MOST_BEHIND = 14, -12


def zone_at_offset(offset: timedelta) -> str | None:
    """Return the IANA name of a zone that always has an offset from UTC; None where there is none.

    Polars and parquet files name zones, and have no offsets of their own.

    Args:
        offset: The time that the zone is ahead of UTC.

    Returns:
        The name, such as `Etc/GMT-2`, or None.

    >>> zone_at_offset(timedelta(hours=2)), zone_at_offset(timedelta(0)), zone_at_offset(timedelta(hours=5, minutes=30))
    ('Etc/GMT-2', 'UTC', 'Asia/Kolkata')
    """
    minutes = round(offset / timedelta(minutes=1))
    hours, rest = divmod(minutes, 60)
    if minutes == 0:
        return "UTC"
    if rest or not _MOST_BEHIND <= hours <= _MOST_AHEAD:
        return _ZONES_AT_PARTS.get(minutes)
    return f"Etc/GMT{-hours:+d}"  # the sign of these names is that of POSIX


def localise(times: pl.Series, zone: str, *, ids: pl.Series | None = None) -> pl.Series:
    """Return the instants of wall-clock times of a zone.

    Args:
        times: Naive times, in the order of their file.
        zone: The IANA name of the zone.
        ids: The series of each time. Of two equal times of a series in a repeated hour, the first one is the earlier
            instant, and the others are the later one.

    Returns:
        Times with the zone; null for those that a clock change skips.

    Raises:
        SourceError: No zone has this name.
    """
    try:
        first = times.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    except pl.exceptions.ComputeError as error:
        raise SourceError(f"'{zone}' is not an IANA time zone such as 'Europe/Paris'") from error
    last = times.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    is_ambiguous = (first != last).fill_null(False)
    if ids is None or not is_ambiguous.any():
        return first
    twice = pl.DataFrame({"id": ids, "time": times}).with_row_index("row").filter(is_ambiguous)
    repeats = twice.filter(pl.int_range(pl.len()).over("id", "time") > 0)["row"]
    return first.scatter(repeats, last.gather(repeats)) if len(repeats) else first


def as_instants(times: pl.Series) -> pl.Series:
    """Return times with a zone as naive times in UTC."""
    return times.cast(TIMESTAMP)
