"""Recurrences over time, three implementations of one interface: `reference`, `cpu` and `gpu`.

`reference` runs every cell in plain torch, on any device and in any precision; the others are faster and must agree
with it. Which one serves follows from device, dtype and cell, unless a setting names one.
"""

from typing import Protocol

import torch
from torch import Tensor

from forecasting.errors import SpecError
from forecasting.fleet.cells.cell import Cell, Weights
from forecasting.fleet.kernels import cpu, reference
from forecasting.spec.training import KernelName


class Kernel(Protocol):
    """A module that runs recurrences."""

    NAME: str

    def serves(self, cell: Cell, device: torch.device, dtype: torch.dtype, hidden_size: int) -> bool:
        """Return whether this kernel can run such a cell here."""
        ...

    def run(self, cell: Cell, x_SBTI: Tensor, weights: Weights, *, only_last: bool = False) -> Tensor:
        """Return the outputs of all steps, (S, B, T, H), or the last step's, (S, B, H)."""
        ...


def choose(
    cell: Cell | None, device: torch.device, dtype: torch.dtype, hidden_size: int, *, wanted: KernelName = "auto"
) -> Kernel:
    """Return the fastest kernel that serves a cell on a device, or the one that is wanted.

    Networks without a cell are torch operations whatever is wanted. Raises SpecError where what is wanted cannot serve.
    """
    if cell is None:
        return reference
    for name in (wanted,) if wanted != "auto" else ("gpu", "cpu", "reference"):
        if name == "gpu" and (wanted == "gpu" or device.type == "cuda"):
            from forecasting.fleet.kernels import gpu  # brings Triton, which only a GPU needs

            kernel: Kernel = gpu
        elif name == "cpu":
            kernel = cpu
        elif name == "reference":
            kernel = reference
        else:
            continue
        if kernel.serves(cell, device, dtype, hidden_size):
            return kernel
    precision = str(dtype).removeprefix("torch.")
    raise SpecError(
        "settings [fleet]",
        [f"kernel {wanted!r} cannot run {cell.name} with {hidden_size} units in {precision} on {device.type} here;"
         " 'auto' takes one that can"],
    )  # fmt: skip
