"""The demo's last part: what covariates that are known ahead gain on the hourly rentals of bikes.

The same windows are forecast with and without the covariates. The forecasts are kept in a file, so that a second run of
the same code finds them.
"""

import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

import forecasting as fc
from forecasting.classical.baselines import seasonal_naive_name
from forecasting.datasets import bike_sharing
from forecasting.evaluate.metrics import score_forecasts
from forecasting.version import code_version

COVARIATES = ("temp", "atemp", "hum", "windspeed", "weathersit", "workingday", "holiday")
SEASON_LENGTHS = (24, 168)
HORIZON = 48
NUM_WINDOWS = 8
FORECASTS = "bike_sharing.parquet"
COVARIATES_IN_WORDS = "Weather, working days and holidays"
WITH, WITHOUT = "with covariates", "without covariates"
_CODE = "code_version"


def read_forecasts(folder: Path) -> pl.DataFrame | None:
    """Return the forecasts that this code has made before; None where there are none."""
    path = folder / FORECASTS
    try:
        is_known = path.exists() and pl.read_parquet_metadata(path).get(_CODE) == code_version()
        return pl.read_parquet(path) if is_known else None
    except pl.exceptions.ComputeError:  # a file that another program has cut off
        return None


def keep_forecasts(forecasts: pl.DataFrame, folder: Path) -> None:
    """Write forecasts to a file that `read_forecasts` finds."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{FORECASTS}.new"
    forecasts.write_parquet(unfinished, metadata={_CODE: code_version()})
    unfinished.replace(folder / FORECASTS)


def forecast_bikes() -> pl.DataFrame:
    """Forecast the last windows with and without covariates, at once, each in a process of its own.

    Networks, shares and calibrations are those of the first window; the other models are fitted in each.

    Returns:
        Rows of `fc.backtest`, whose column `covariates` says which of both forecasts a row is of.
    """
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        found = pool.map(backtest_bikes, ((), COVARIATES))
        parts = [rows.with_columns(covariates=pl.lit(name)) for name, rows in zip((WITHOUT, WITH), found, strict=True)]
    return pl.concat(parts)


def backtest_bikes(covariates: Sequence[str]) -> pl.DataFrame:
    """Forecast the last windows of the rentals with some columns known ahead; see `fc.backtest`."""
    rentals = pl.read_parquet(bike_sharing())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fc.DataWarning)  # gaps of this data, and what `describe_gain` says
        found: pl.DataFrame = fc.backtest(
            rentals.select("unique_id", "ds", "y", *covariates),
            cutoffs=NUM_WINDOWS,
            refit=False,
            freq="1h",
            season_lengths=SEASON_LENGTHS,
            horizon=HORIZON,
            lower_bound=0,
            known_ahead=covariates or None,
            future_missing="hold" if covariates else None,
            source={"missing_rows": "gap"},
            processes=1,
            progress=False,
        )
    return found


def score_gains(forecasts: pl.DataFrame) -> pl.DataFrame:
    """Score both forecasts, and the seasonal naives beside them, as means over the windows.

    Args:
        forecasts: Rows of `forecast_bikes`.

    Returns:
        A row per forecast, the least MASE first: `forecast`, `mase` and `coverage_80`.
    """
    naives = [seasonal_naive_name(length) for length in SEASON_LENGTHS]
    served = forecasts.filter("is_champion").with_columns(model="covariates")
    beside = forecasts.filter(pl.col("model").is_in(naives), pl.col("covariates") == WITHOUT)
    scores = score_forecasts(
        pl.concat([served, beside]),
        quantiles=[0.1, 0.5, 0.9],
        scale=_scales(forecasts["cutoff"].unique().to_list()),
        by=["cutoff"],
    )
    return scores.group_by(forecast="model").agg(pl.col("mase", "coverage_80").mean()).sort("mase")


def describe_gain(scores: pl.DataFrame) -> str:
    """Return what the covariates gained, and what the comparison assumes.

    Args:
        scores: Rows of `score_gains`.

    Returns:
        Sentences.
    """
    mase_of = dict(scores.select("forecast", "mase").iter_rows())
    change = mase_of[WITH] / mase_of[WITHOUT] - 1
    return (
        f"{COVARIATES_IN_WORDS} that are known ahead {'lower' if change < 0 else 'raise'} MASE by {abs(change):.0%}. "
        "Measured weather stands for its forecast, as if that had been perfect: with real weather forecasts they gain "
        "less. MASE is scaled by the daily seasonal naive. Networks are trained before the first window."
    )


def _scales(cutoffs: Sequence[Any]) -> pl.DataFrame:
    """Return the denominators of MASE at each cutoff: unique_id, cutoff, scale."""
    rentals = pl.read_parquet(bike_sharing()).select("unique_id", "ds", "y")
    season = timedelta(hours=SEASON_LENGTHS[0])
    changes = rentals.join(rentals.with_columns(pl.col("ds") + season), on=["unique_id", "ds"], suffix="_before")
    return pl.concat(
        changes.filter(pl.col("ds") <= cutoff)
        .group_by("unique_id")
        .agg(scale=(pl.col("y") - pl.col("y_before")).abs().mean(), cutoff=pl.lit(cutoff, rentals.schema["ds"]))
        for cutoff in cutoffs
    )
