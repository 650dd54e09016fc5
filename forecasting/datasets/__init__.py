"""The data sets of the demo: one function per data set returns the path of its parquet file."""

from pathlib import Path


def nyc_departures() -> Path:
    """Return the flights that left New York's airports, per hour of 2013.

    The file nyc_departures_hourly.md beside it states the source and the licence (CC0).

    Returns:
        A parquet file of 125 series without gaps: unique_id, ds (local wall time, naive) and y (departures).
    """
    return Path(__file__).with_name("nyc_departures_hourly.parquet")
