"""statsforecast's side of the time to a forecast: it reads a file of observations and writes one of forecasts.

`python -m tests.benchmarks.sides.m4_statistics REQUEST`, in JSON. Fleetcast itself depends on this library, so it
needs no environment of its own.
"""

import json
import sys
import warnings

import pandas as pd


def forecast(
    *, path: str, out: str, horizon: int, model: str | None, season_length: object, num_processes: int
) -> None:
    """Fit a model to every series and write `unique_id, ds, forecast`; without a model only load."""
    warnings.simplefilter("ignore")
    from statsforecast import StatsForecast, models

    observations = pd.read_parquet(path)
    if model is None:
        return
    chosen = getattr(models, model)(season_length=season_length, alias="forecast")
    library = StatsForecast(models=[chosen], freq=1, n_jobs=num_processes)
    forecasts = library.forecast(df=observations, h=horizon)
    forecasts[["unique_id", "ds", "forecast"]].to_parquet(out, index=False)


if __name__ == "__main__":
    forecast(**json.loads(sys.argv[1]))
