"""The adding problem (Hochreiter & Schmidhuber 1997): two marked numbers of a long sequence are to be summed.

What an early number has to say reaches an independently recurrent network over 2,000 steps; an Elman network's gradient
has vanished by then.
"""

# S series · B windows · T steps

import torch
from torch import Tensor

from forecasting.fleet.cells import Cell, make_cell
from forecasting.fleet.kernels import reference
from forecasting.fleet.random import draw_uniform, series_keys

NUM_STEPS, NUM_UNITS = 2000, 32


def adding_problem(num_windows: int, num_steps: int) -> Tensor:
    """Return (1, B, T, 2): numbers in [0, 1) and two marks, one in each half."""
    generator = torch.Generator().manual_seed(0)
    numbers_BT = torch.rand(num_windows, num_steps, generator=generator)
    marks_BT = torch.zeros(num_windows, num_steps)
    half = num_steps // 2
    for first, last in ((0, half), (half, num_steps)):
        places_B1 = torch.randint(first, last, (num_windows, 1), generator=generator)
        marks_BT.scatter_(1, places_B1, 1.0)
    return torch.stack([numbers_BT, marks_BT], dim=-1)[None]


def begin(cell: Cell, *, num_inputs: int, num_steps: int) -> dict[str, Tensor]:
    keys_1 = series_keys(("adding",), seed=0)
    weights = {}
    for name, shape in cell.parameter_shapes(num_inputs=num_inputs, hidden_size=NUM_UNITS).items():
        uniform = draw_uniform(keys_1, purpose=name, num_draws=shape[0] * shape[1])
        weights[name] = ((2 * uniform - 1) / NUM_UNITS**0.5).float().view(1, *shape)
    cell.settle(weights, num_steps=num_steps)
    cell.bound(weights, num_steps=num_steps)
    return weights


def pull_of_steps(cell: Cell) -> Tensor:
    """Return how strongly the last state depends on each step's inputs, (T,)."""
    x_SBTI = adding_problem(4, NUM_STEPS).requires_grad_()
    last = reference.run(cell, x_SBTI, begin(cell, num_inputs=2, num_steps=NUM_STEPS), only_last=True)
    (gradient,) = torch.autograd.grad(last.sum(), x_SBTI)
    return gradient.norm(dim=-1).mean((0, 1))


def test_gradients_of_independent_units_neither_vanish_nor_explode_over_two_thousand_steps() -> None:
    independent_T, elman_T = pull_of_steps(make_cell("indrnn")), pull_of_steps(make_cell("elman"))
    assert elman_T[0] < 1e-30, "an Elman network's gradient vanishes"
    assert independent_T[0] > 0.02 * independent_T[-1]
    assert independent_T.max() < 10 * independent_T[-1]
