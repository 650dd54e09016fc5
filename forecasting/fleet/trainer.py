"""Trains fleets and priors in blocks of optimiser steps: in a plain loop, or by Lightning's Trainer.

Lightning drives devices, checkpoints and the progress bar. A fit on the CPU that needs none of these runs in a plain
loop of the same calls, because the import of Lightning takes seconds.
"""

import sys

import torch

from forecasting.fleet.blocks import Training
from forecasting.fleet.options import FitOptions


def run_trainer(training: Training, *, max_blocks: int, options: FitOptions) -> None:
    """Train, from a checkpoint where there is one.

    Args:
        training: A fleet or a prior.
        max_blocks: Largest number of blocks of optimiser steps.
        options: Device, checkpoint and progress.

    Raises:
        KeyboardInterrupt: The fit was interrupted by Ctrl-C.
    """
    device = device_of(options)
    shows_bar = _is_watched(options) if options.show_progress is None else options.show_progress
    if device.type != "cpu" or options.checkpoint or shows_bar:
        from forecasting.fleet.lightning import run_lightning

        run_lightning(training, max_blocks=max_blocks, device=device, shows_bar=shows_bar, options=options)
        return
    training.to(device)
    training.start()
    for _ in range(max_blocks):
        training.run_block()
        if not training.has_validation:
            continue
        with torch.no_grad():
            training.validate()
        if options.on_validation is not None:
            options.on_validation(training.num_steps)
        if training.is_done:
            return


def device_of(options: FitOptions) -> torch.device:
    """Return the device of a fit: a GPU where there is one, unless the options request the CPU's kernel."""
    may_use_gpu = options.accelerator in ("gpu", "cuda") or (options.accelerator == "auto" and options.kernel != "cpu")
    on_gpu = may_use_gpu and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def _is_watched(options: FitOptions) -> bool:
    return sys.stderr.isatty() and options.on_validation is None
