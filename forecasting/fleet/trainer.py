"""Lightning's Trainer for fleets and priors: an epoch is a block of optimiser steps, and a fit can be interrupted."""

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytorch_lightning as lightning
import torch

from forecasting.fleet.checkpoints import SaveSometimes
from forecasting.fleet.options import FitOptions


class OneBlock(torch.utils.data.IterableDataset[int]):
    """One item per epoch, because an epoch is one block of optimiser steps."""

    def __iter__(self) -> Iterator[int]:
        yield 0

    def __len__(self) -> int:
        return 1


def run_trainer(module: lightning.LightningModule, *, max_epochs: int, options: FitOptions) -> None:
    """Train a module, from a checkpoint where there is one.

    Args:
        module: A fleet or a prior.
        max_epochs: Largest number of blocks of optimiser steps.
        options: Device, checkpoint and progress.

    Raises:
        KeyboardInterrupt: The fit was interrupted by Ctrl-C.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    callbacks: list[lightning.Callback] = [_ReportPasses(options.on_validation)] if options.on_validation else []
    if options.checkpoint:
        callbacks.append(SaveSometimes(options.checkpoint, seconds=options.seconds_between_checkpoints))
    device = device_of(options)
    with warnings.catch_warnings():
        # One block an epoch is by design: advice about data loaders and log intervals does not apply.
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = lightning.Trainer(
            accelerator=device.type if options.accelerator == "auto" else options.accelerator,
            # A process that sees several GPUs uses the current one.
            devices=[torch.cuda.current_device()] if device.type == "cuda" else 1,
            max_epochs=max_epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=_is_watched(options) if options.show_progress is None else options.show_progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        resumed = options.checkpoint if options.checkpoint and options.checkpoint.exists() else None
        try:
            trainer.fit(module, ckpt_path=resumed, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and then ignores the signal; callers decide about exits here.
            if not trainer.interrupted:
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
    if options.checkpoint:
        options.checkpoint.unlink(missing_ok=True)


def device_of(options: FitOptions) -> torch.device:
    """Return the device of a fit: a GPU where there is one, unless the options request the CPU's kernel."""
    may_use_gpu = options.accelerator in ("gpu", "cuda") or (options.accelerator == "auto" and options.kernel != "cpu")
    on_gpu = may_use_gpu and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def _is_watched(options: FitOptions) -> bool:
    return sys.stderr.isatty() and options.on_validation is None


class _ReportPasses(lightning.Callback):
    def __init__(self, on_validation: Callable[[int], None]) -> None:
        self.on_validation = on_validation

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.on_validation(int(pl_module.num_steps))  # type: ignore[arg-type]
