"""The data sets of the demo: one function per data set returns the path of its parquet file."""

from pathlib import Path


def nyc_departures() -> Path:
    """Return the flights that left New York's airports, per hour of 2013.

    The file nyc_departures_hourly.md beside it states the source and the licence (CC0).

    Returns:
        A parquet file of 125 series without gaps: unique_id, ds (local wall time, naive) and y (departures).
    """
    return Path(__file__).with_name("nyc_departures_hourly.parquet")


def bike_sharing() -> Path:
    """Return the bikes that were rented in Washington, per hour of 2011 and 2012, with the weather and the calendar.

    The file bike_sharing_hourly.md beside it states the source and the licence (CC BY 4.0).

    Returns:
        A parquet file of one series: unique_id, ds (local wall time, naive), y (rentals), and the covariates temp,
        atemp, hum, windspeed, weathersit, workingday and holiday. 165 hours have no row.
    """
    return Path(__file__).with_name("bike_sharing_hourly.parquet")
