"""The plain loop's side: one network of torch.nn after the other, fused Adam, no framework."""

# B windows of a step · T steps · I inputs · F horizon steps

from collections.abc import Callable
from typing import Any

import torch

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


def prepare(
    *, case: str, cell: str, rows: list[int], num_steps: int, threads: int, device: str = "cpu"
) -> Callable[[], dict[str, Any]]:
    """Gather every step's windows; return a function that trains each series and returns its loss."""
    torch.set_num_threads(threads)
    config = CASES[case].config(num_steps)
    gathered = gather_windows(CASES[case], cell, rows, num_steps=num_steps)
    gathered = gathered.to(device)
    networks = [SeriesNetwork(cell, gathered, row).to(device) for row in range(len(rows))]
    batches = [split_batches(gathered.training, row, batch_windows=config.batch_windows) for row in range(len(rows))]

    def run() -> dict[str, Any]:
        for network, own_batches in zip(networks, batches, strict=True):
            _train(network, own_batches, learning_rate=config.learning_rate)
        return {"losses": validation_losses(networks, gathered)}

    return run


def _train(network: SeriesNetwork, batches: list[Batch], *, learning_rate: float) -> None:
    optimizer = make_optimizer(network, learning_rate)
    for step, (x_TBI, reference_BF, target_BF) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = learning_rate * decay(step, len(batches))
        optimizer.zero_grad(set_to_none=True)
        half_absolute_error(network(x_TBI, reference_BF), target_BF).backward()
        optimizer.step()
