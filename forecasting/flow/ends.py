"""How many series a run forecasts, and why not the others: one line for its summary."""

from collections.abc import Collection

import polars as pl

from forecasting.flow.one_shot import OneShot
from forecasting.series.ends import find_lagging


def describe_series(outcome: OneShot) -> str:
    """Return the numbers of series that are forecast, lag behind the cutoff, have ended and are set aside."""
    served = outcome.forecasts.filter("is_champion", pl.col("forecast").is_not_null())["unique_id"].unique()
    lagging = set(find_lagging(outcome.features)) & set(served)
    return count_series(len(served), lagging, outcome.ended, outcome.set_aside)


def count_series(
    num_forecast: int, lagging: Collection[str], ended: Collection[str], set_aside: Collection[str]
) -> str:
    """Write numbers of series.

    Args:
        num_forecast: Series with a forecast.
        lagging: Those of them without a measurement at the cutoff.
        ended: Series that have ended.
        set_aside: Series that are set aside.

    Returns:
        The numbers, each with its word.

    >>> count_series(98, ["a"], ["b"], [])
    '98 forecast (1 lagging) · 1 ended · 0 set aside'
    """
    return f"{num_forecast:,} forecast ({len(lagging):,} lagging) · {len(ended):,} ended · {len(set_aside):,} set aside"
