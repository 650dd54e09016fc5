"""Checkpoints of a running fit: a callback that saves the trainer's state at intervals, completely or not at all."""

import os
import time
from pathlib import Path

import pytorch_lightning as lightning


class SaveSometimes(lightning.Callback):
    """Saves at the end of an epoch when `seconds` have passed since the last save.

    The file is written beside its final place and renamed, so that an interrupted save leaves the previous one.
    """

    def __init__(self, path: Path, *, seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self._last = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save if it is time."""
        if time.monotonic() - self._last < self.seconds:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".unfinished")
        trainer.save_checkpoint(unfinished)
        os.replace(unfinished, self.path)
        self._last = time.monotonic()
