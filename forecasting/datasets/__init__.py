"""The real data that the demo ships: names of data sets go in as functions, paths of parquet files come out."""

from pathlib import Path


def nyc_departures() -> Path:
    """Flights that left New York's airports per hour of 2013: unique_id, ds (local wall time), y; 125 series.

    Source and licence (CC0) stand beside the file, in nyc_departures_hourly.md.
    """
    return Path(__file__).with_name("nyc_departures_hourly.parquet")
