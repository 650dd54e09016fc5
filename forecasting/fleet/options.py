"""Where and how a fit runs; light, so that what only predicts need not import Lightning."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forecasting.spec.training import KernelName


@dataclass(frozen=True)
class FitOptions:
    """Where and how a fit runs; none of it changes what is learned."""

    checkpoint: Path | None = None
    """File that an interrupted fit resumes from; removed at the end."""
    seconds_between_checkpoints: float = 60.0
    show_progress: bool | None = None
    """Lightning's own bar; where unset, when a person is watching stderr and nobody else counts the looks."""
    accelerator: str = "auto"
    kernel: KernelName = "auto"
    """Which recurrence trains and forecasts; named in the registry row of each model it trained."""
    on_validation: Callable[[int], None] | None = None
    """Called after each look at validation with the optimiser steps so far."""
