"""neuralforecast's side: its own LSTM or GRU, fitted to one series after the other through its public interface.

It runs in the peers' environment, so it imports nothing from this package and reads the file of `differences.py`.
"""

# S series · N points to train on · V validation windows · T steps · F horizon steps

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from tests.benchmarks.schedule import decay


def prepare(
    *,
    path: str,
    cell: str,
    rows: list[int],
    num_steps: int,
    threads: int,
    hidden_size: int,
    batch_windows: int,
    learning_rate: float,
) -> Callable[[], dict[str, Any]]:
    """Read the rows' series; return a function that fits a model to each and returns its loss on the same windows."""
    from neuralforecast import NeuralForecast
    from neuralforecast.losses.pytorch import MAE
    from neuralforecast.models import GRU, LSTM

    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    stored = np.load(path)
    input_size, horizon = stored["validation_x_SVT"].shape[-1], stored["validation_target_SVF"].shape[-1]
    series = [_long_frame(f"s{row}", stored["training_SN"][row]) for row in rows]

    def run() -> dict[str, Any]:
        models = []
        for frame in series:
            model = {"lstm": LSTM, "gru": GRU}[cell](
                h=horizon,
                input_size=input_size,
                encoder_n_layers=1,
                encoder_hidden_size=hidden_size,
                decoder_layers=1,
                loss=MAE(),
                scaler_type="identity",
                batch_size=1,
                windows_batch_size=batch_windows,
                max_steps=num_steps,
                val_check_steps=num_steps,
                learning_rate=learning_rate,
                optimizer=torch.optim.Adam,
                optimizer_kwargs={"fused": True},
                lr_scheduler=torch.optim.lr_scheduler.LambdaLR,
                lr_scheduler_kwargs={"lr_lambda": _Decay(num_steps)},
                accelerator="cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            library = NeuralForecast(models=[model], freq=1)
            library.fit(frame)
            models.append(library.models[0])
        losses = {
            f"s{row}": _loss(model, stored["validation_x_SVT"][row], stored["validation_target_SVF"][row])
            for row, model in zip(rows, models, strict=True)
        }
        return {"losses": losses}

    return run


class _Decay:
    """The schedule as an object, because neuralforecast copies and stores its arguments."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def __call__(self, step: int) -> float:
        return decay(step, self.num_steps)


def _long_frame(name: str, values_N: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"unique_id": name, "ds": np.arange(len(values_N)), "y": values_N})


@torch.no_grad()
def _loss(model: Any, x_VT: np.ndarray, target_VF: np.ndarray) -> float:
    model.eval()
    inputs = {
        "insample_y": torch.from_numpy(x_VT).unsqueeze(-1),
        "futr_exog": None,
        "hist_exog": None,
        "stat_exog": None,
    }
    predicted_VF = model(inputs)[..., 0]
    return float(0.5 * (torch.from_numpy(target_VF) - predicted_VF).abs().mean())
