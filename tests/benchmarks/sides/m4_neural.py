"""neuralforecast's side of the time to a forecast: it reads a file of observations and writes one of forecasts.

`python -m tests.benchmarks.sides.m4_neural REQUEST`, in JSON, in the peers' environment; it imports nothing from this
package.
"""

import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch


def forecast(
    *,
    path: str,
    out: str,
    horizon: int,
    model: str | None,
    settings: Mapping[str, Any],
    series: Sequence[str] | None = None,
    is_per_series: bool = False,
) -> None:
    """Fit one model to all series, or one to each, and write `unique_id, ds, forecast`; without a model only load."""
    warnings.simplefilter("ignore")  # advice about loaders and loggers, once per Trainer
    torch.set_flush_denormal(True)  # vanishing gradients made an LSTM of 336 steps ten times slower
    from neuralforecast import NeuralForecast, models

    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    observations = pd.read_parquet(path)
    if series is not None:
        observations = observations[observations["unique_id"].isin(series)]
    if model is None:
        return
    parts = [part for _, part in observations.groupby("unique_id")] if is_per_series else [observations]
    forecasts = []
    for part in parts:
        network = getattr(models, model)(
            h=horizon,
            alias="forecast",
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings,
        )
        library = NeuralForecast(models=[network], freq=1)
        library.fit(part)
        forecasts.append(library.predict())
    pd.concat(forecasts)[["unique_id", "ds", "forecast"]].to_parquet(out, index=False)


if __name__ == "__main__":
    forecast(**json.loads(sys.argv[1]))
