"""The fleet's side: one fit of all rows of a share, with everything that a fit includes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from forecasting.fleet.fit import fit_candidates
from forecasting.fleet.options import FitOptions
from tests.benchmarks.cases import CASES, SEED, TASK, make_panel


def prepare(
    *, case: str, cell: str, rows: list[int], num_steps: int, threads: int, accelerator: str = "cpu"
) -> Callable[[], dict[str, Any]]:
    """Make the panel; return a function that fits it and returns the loss of every series."""
    torch.set_num_threads(threads)
    panel, config = make_panel(CASES[case], rows), CASES[case].config(num_steps)
    options = FitOptions(show_progress=False, accelerator=accelerator)
    dropped_S = np.zeros(len(rows), dtype=np.int64)

    def run() -> dict[str, Any]:
        fitted = fit_candidates(panel, cell, TASK, config, seed=SEED, dropped_S=dropped_S, options=options)
        losses = dict(zip(fitted.unique_ids, fitted.validation_loss_S.tolist(), strict=True))
        return {"losses": losses, "kernel": fitted.kernel}

    return run
