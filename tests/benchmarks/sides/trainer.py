"""Lightning's side: a Trainer per series around the network of the plain loop, with automatic optimisation."""

# B windows of a step · T steps · I inputs · F horizon steps

import logging
from collections.abc import Callable
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.benchmarks.cases import CASES, gather_windows
from tests.benchmarks.schedule import decay
from tests.benchmarks.sides.network import (
    Batch,
    SeriesNetwork,
    half_absolute_error,
    make_optimizer,
    split_batches,
    validation_losses,
)


def prepare(*, case: str, cell: str, rows: list[int], num_steps: int, threads: int) -> Callable[[], dict[str, Any]]:
    """Gather every step's windows; return a function that fits a Trainer per series and returns the losses."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    config = CASES[case].config(num_steps)
    gathered = gather_windows(CASES[case], cell, rows, num_steps=num_steps)
    networks = [SeriesNetwork(cell, gathered, row) for row in range(len(rows))]
    batches = [split_batches(gathered.training, row, batch_windows=config.batch_windows) for row in range(len(rows))]

    def run() -> dict[str, Any]:
        for network, own_batches in zip(networks, batches, strict=True):
            trainer = lightning.Trainer(
                accelerator="cpu",
                devices=1,
                max_steps=num_steps,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            module = _Module(network, config.learning_rate, num_steps)
            trainer.fit(module, DataLoader(_Batches(own_batches), batch_size=None))
        return {"losses": validation_losses(networks, gathered)}

    return run


class _Module(lightning.LightningModule):
    def __init__(self, network: SeriesNetwork, learning_rate: float, num_steps: int) -> None:
        super().__init__()
        self.network, self.learning_rate, self.num_steps = network, learning_rate, num_steps

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        x_TBI, reference_BF, target_BF = batch
        return half_absolute_error(self.network(x_TBI, reference_BF), target_BF)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = make_optimizer(self.network, self.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: decay(step, self.num_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Batches(Dataset[Batch]):
    """One series' batches in memory; the loader collates nothing and keeps their order."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Batch:
        return self.batches[step]
