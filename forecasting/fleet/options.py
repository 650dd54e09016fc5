"""Options of a fit that decide where and how it runs; they do not import Lightning."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forecasting.spec.training import KernelName


@dataclass(frozen=True)
class FitOptions:
    """Where and how a fit runs; no option changes what is learned."""

    checkpoint: Path | None = None
    """File from which an interrupted fit resumes; removed at the end."""
    seconds_between_checkpoints: float = 60.0
    show_progress: bool | None = None
    """Whether Lightning shows its bar; if unset, only on a terminal and without `on_validation`."""
    accelerator: str = "auto"
    kernel: KernelName = "auto"
    """Kernel that trains and forecasts; registry rows name the one that trained a model."""
    on_validation: Callable[[int], None] | None = None
    """Called after each validation pass with the optimiser steps so far."""
