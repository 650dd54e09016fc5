"""Lightning's Trainer for fleets and priors: an epoch is a block of optimiser steps, and a fit can be interrupted.

One `training_step` runs all steps of a block (manual optimisation), because Lightning's overhead per call would
otherwise cost a small fleet half its time.
"""

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader

from forecasting.fleet.blocks import Training
from forecasting.fleet.options import FitOptions


class Blocks(lightning.LightningModule):
    """A training as Lightning sees it.

    Args:
        steps: The training; a module of torch.
    """

    def __init__(self, steps: Training) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.steps = steps

    def train_dataloader(self) -> DataLoader[int]:
        """Return one block per epoch."""
        return DataLoader(_OneBlock(), batch_size=None)

    def val_dataloader(self) -> Any:
        """Return one validation pass per epoch, if there is any."""
        return DataLoader(_OneBlock(), batch_size=None) if self.steps.has_validation else []

    def configure_optimizers(self) -> torch.optim.Optimizer | None:
        """Return the training's own optimiser, whose state checkpoints save."""
        return self.steps.optimizer

    def on_fit_start(self) -> None:
        """Let the training follow its weights to their device."""
        self.steps.start()

    def training_step(self, block: int, block_index: int) -> None:
        """Run one block."""
        self.steps.run_block()

    def validation_step(self, block: int, block_index: int) -> None:
        """Run a validation pass, and stop if nothing is left to train."""
        self.steps.validate()
        self.trainer.should_stop = self.trainer.should_stop or self.steps.is_done

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the training's progress."""
        checkpoint["progress"] = self.steps.progress()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training's progress."""
        self.steps.resume(checkpoint["progress"])


def run_lightning(
    training: Training, *, max_blocks: int, device: torch.device, shows_bar: bool, options: FitOptions
) -> None:
    """Train with Lightning's Trainer.

    Args:
        training: A fleet or a prior.
        max_blocks: Largest number of blocks of optimiser steps.
        device: Device of the fit.
        shows_bar: Whether Lightning shows its progress bar.
        options: Checkpoint and progress.

    Raises:
        KeyboardInterrupt: The fit was interrupted by Ctrl-C.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    callbacks: list[lightning.Callback] = [_ReportPasses(options.on_validation)] if options.on_validation else []
    if options.checkpoint:
        callbacks.append(SaveSometimes(options.checkpoint, seconds=options.seconds_between_checkpoints))
    with warnings.catch_warnings():
        # One block an epoch is by design: advice about data loaders and log intervals does not apply.
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = lightning.Trainer(
            accelerator=device.type if options.accelerator == "auto" else options.accelerator,
            # A process that sees several GPUs uses the current one.
            devices=[torch.cuda.current_device()] if device.type == "cuda" else 1,
            max_epochs=max_blocks,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=shows_bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        resumed = options.checkpoint if options.checkpoint and options.checkpoint.exists() else None
        try:
            trainer.fit(Blocks(training), ckpt_path=resumed, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and then ignores the signal; callers decide about exits here.
            if not trainer.interrupted:
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
    if options.checkpoint:
        options.checkpoint.unlink(missing_ok=True)


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


class _OneBlock(torch.utils.data.IterableDataset[int]):
    """One item per epoch, because an epoch is one block of optimiser steps."""

    def __iter__(self) -> Iterator[int]:
        yield 0

    def __len__(self) -> int:
        return 1


class _ReportPasses(lightning.Callback):
    def __init__(self, on_validation: Callable[[int], None]) -> None:
        self.on_validation = on_validation

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.on_validation(int(pl_module.steps.num_steps))  # type: ignore[union-attr,arg-type]
