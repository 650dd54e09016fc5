"""Other libraries' side of what covariates gain: it reads a file of rows and writes one of forecasts from past cutoffs.

`python -m tests.benchmarks.sides.covariate_peers REQUEST`, in JSON, in the peers' environment; it imports nothing from
this package. The file has every hour of each series, without nulls: `is_measured` marks the rows that a model learns.
"""

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pandas as pd

SEASON, WEEK = 24, 168
LAGS = [*range(1, SEASON + 1), *range(2 * SEASON, WEEK + 1, SEASON)]
TREES = {"objective": "l1", "n_estimators": 500, "learning_rate": 0.05}
# The libraries' defaults, except for what a series of hours needs, and sizes of the TFT that a CPU can train.
NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "NHITS": {"max_steps": 1000},
    "TFT": {"max_steps": 500, "hidden_size": 64, "windows_batch_size": 64},
}


def forecast(*, path: str, out: str, model: str, covariates: Sequence[str], horizon: int, num_windows: int) -> None:
    """Forecast the last windows of every series, and write `unique_id, cutoff, ds, forecast`.

    Args:
        path: A parquet file of unique_id, ds, y, is_measured and the covariates.
        out: The parquet file to write.
        model: LightGBM, or a name of `NETWORKS`.
        covariates: The columns that are known ahead.
        horizon: Hours of a window.
        num_windows: Windows at the end; one follows the other.
    """
    warnings.simplefilter("ignore")  # advice about loaders, once per Trainer
    rows = pd.read_parquet(path)
    for name in covariates:
        rows[name] = rows[name].astype("float64")
    began = time.monotonic()
    run: Callable[..., pd.DataFrame] = _with_trees if model == "LightGBM" else _with_network
    found = run(rows, list(covariates), model=model, h=horizon, n_windows=num_windows)
    found[["unique_id", "cutoff", "ds", "forecast"]].to_parquet(out, index=False)
    libraries = ("mlforecast", "lightgbm") if model == "LightGBM" else ("neuralforecast", "torch")
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"seconds": seconds, "versions": {name: version(name) for name in libraries}}))


def _with_trees(rows: pd.DataFrame, covariates: list[str], *, model: str, h: int, n_windows: int) -> pd.DataFrame:
    """Forecast recursively with LightGBM over all series; it is fitted again at each cutoff."""
    from lightgbm import LGBMRegressor
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean

    library = MLForecast(
        models={"forecast": LGBMRegressor(**TREES, n_jobs=1, verbosity=-1, random_state=0)},
        freq="h",
        lags=LAGS,
        lag_transforms={1: [RollingMean(SEASON), RollingMean(WEEK)]},
        date_features=["hour", "dayofweek", "month"],
    )
    weighted = rows.rename(columns={"is_measured": "weight"}).astype({"weight": "float64"})
    return library.cross_validation(
        weighted[["unique_id", "ds", "y", "weight", *covariates]],
        n_windows=n_windows,
        h=h,
        step_size=h,
        refit=True,
        static_features=[],
        weight_col="weight",
    )


def _with_network(rows: pd.DataFrame, covariates: list[str], *, model: str, h: int, n_windows: int) -> pd.DataFrame:
    """Forecast with a network over all series; it is trained before the first cutoff."""
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    from neuralforecast import NeuralForecast, models

    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    network = getattr(models, model)(
        h=h,
        input_size=max(WEEK, 2 * h),
        futr_exog_list=covariates,
        scaler_type="robust",
        alias="forecast",
        random_seed=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **NETWORKS[model],
    )
    masked = rows.rename(columns={"is_measured": "available_mask"}).astype({"available_mask": "float64"})
    library = NeuralForecast(models=[network], freq="h")
    found = library.cross_validation(
        masked[["unique_id", "ds", "y", "available_mask", *covariates]], n_windows=n_windows, step_size=h, refit=False
    )
    return found.reset_index() if "unique_id" not in found.columns else found


if __name__ == "__main__":
    forecast(**json.loads(sys.argv[1]))
