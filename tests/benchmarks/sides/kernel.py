"""The kernel's side: forward and backward passes of one fleet's recurrence, repeated for a given time."""

# S series · B windows · T steps · I inputs · H hidden · G gates

import time
from collections.abc import Callable
from typing import Any

import torch

from forecasting.fleet import kernels
from forecasting.fleet.cells import make_cell
from forecasting.spec.training import CellName
from tests.benchmarks.cases import CASES


def prepare(*, case: str, cell: CellName, num_series: int, seconds: float) -> Callable[[], dict[str, Any]]:
    """Run once; return a function that repeats this for `seconds` and returns the rate in GFLOP/s and the kernel."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes, recurrence = CASES[case], make_cell(cell)
    shapes = recurrence.parameter_shapes(num_inputs=sizes.num_inputs, hidden_size=sizes.hidden_size)
    weights = {name: (0.2 * torch.randn(num_series, *shape)).requires_grad_() for name, shape in shapes.items()}
    x_SBTI = torch.randn(num_series, sizes.batch_windows, sizes.num_recurrent_steps, sizes.num_inputs)
    gradient_SBH = torch.randn(num_series, sizes.batch_windows, sizes.hidden_size)
    kernel = kernels.choose(recurrence, x_SBTI.device, x_SBTI.dtype, sizes.hidden_size, wanted="auto")
    num_flops = sizes.count_flops(cell) * num_series

    def once() -> None:
        last_SBH = kernel.run(recurrence, x_SBTI, weights, only_last=True)
        torch.autograd.grad(last_SBH, list(weights.values()), gradient_SBH)

    def run() -> dict[str, Any]:
        began, num_runs = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            once()
            num_runs += 1
        return {"rate": 1e-9 * num_runs * num_flops / passed, "kernel": kernel.NAME}

    once()
    return run
