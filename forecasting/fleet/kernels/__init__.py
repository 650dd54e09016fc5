"""Kernels run a recurrence over time: `reference`, `cpu` and `gpu` implement one interface.

`reference` runs every cell in torch operations, on any device and in any precision. The others are faster and must
agree with it. Device, dtype and cell decide which one runs, unless a setting names one.
"""

# S series · B windows · T steps · I inputs · H hidden

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

    def supports(self, cell: Cell, device: torch.device, dtype: torch.dtype, hidden_size: int) -> bool:
        """Return whether this kernel can run a cell of a hidden size on a device of this machine."""
        ...

    def run(self, cell: Cell, x_SBTI: Tensor, weights: Weights, *, only_last: bool = False) -> Tensor:
        """Run each series' own network over its windows, from a state of zeros.

        Args:
            cell: The recurrent cell.
            x_SBTI: Inputs of all steps.
            weights: The cell's parameters by name, each with a leading axis of series.
            only_last: Whether to return the output of the last step alone.

        Returns:
            The outputs of all steps, (S, B, T, H), or of the last, (S, B, H).
        """
        ...


def choose(
    cell: Cell | None, device: torch.device, dtype: torch.dtype, hidden_size: int, *, wanted: KernelName = "auto"
) -> Kernel:
    """Choose the kernel that runs a cell.

    Args:
        cell: The cell, or None for a network without a recurrence, which the reference kernel runs in any case.
        device: The device of the tensors.
        dtype: Their precision.
        hidden_size: Hidden units of the cell.
        wanted: A kernel's name, or "auto" for the fastest one that supports the cell.

    Returns:
        The kernel.

    Raises:
        SpecError: The named kernel does not support the cell here.
    """
    if cell is None:
        return reference
    for name in (wanted,) if wanted != "auto" else ("gpu", "cpu", "reference"):
        if name == "gpu" and (wanted == "gpu" or device.type == "cuda"):
            from forecasting.fleet.kernels import gpu  # which may import Triton, and only a GPU needs that

            kernel: Kernel = gpu
        elif name == "cpu":
            kernel = cpu
        elif name == "reference":
            kernel = reference
        else:
            continue
        if kernel.supports(cell, device, dtype, hidden_size):
            return kernel
    precision = str(dtype).removeprefix("torch.")
    raise SpecError(
        "settings [fleet]",
        [f"kernel {wanted!r} cannot run {cell.name} with {hidden_size} units in {precision} on {device.type} here;"
         " 'auto' takes one that can"],
    )  # fmt: skip
