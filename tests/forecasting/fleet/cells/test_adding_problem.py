"""The adding problem (Hochreiter & Schmidhuber 1997): a network sums two marked numbers of a long sequence.

Over 2,000 steps the gradient of an independently recurrent network does not vanish, and that of an Elman network does.
Over 60 steps the former learns the sum, and the latter predicts the mean of all sums.
"""

# S series · B windows · T steps · H units

import torch
from torch import Tensor

from forecasting.fleet import kernels
from forecasting.fleet.architectures.layers import Layers
from forecasting.fleet.cells import Cell, make_cell
from forecasting.fleet.kernels import reference
from forecasting.fleet.random import draw_uniform, series_keys
from forecasting.spec.training import Design

NUM_STEPS, NUM_UNITS = 2000, 32


def adding_problem(num_series: int, num_windows: int, num_steps: int, generator: torch.Generator) -> Tensor:
    """Return (S, B, T, 2): numbers in [0, 1) and two marks, one in each half."""
    numbers_SBT = torch.rand(num_series, num_windows, num_steps, generator=generator)
    marks_SBT = torch.zeros_like(numbers_SBT)
    half = num_steps // 2
    for first, last in ((0, half), (half, num_steps)):
        places_SB1 = torch.randint(first, last, (num_series, num_windows, 1), generator=generator)
        marks_SBT.scatter_(2, places_SB1, 1.0)
    return torch.stack([numbers_SBT, marks_SBT], dim=-1)


def begin(layers: Layers, *, num_series: int, num_steps: int) -> dict[str, Tensor]:
    keys_S = series_keys([f"adding {series}" for series in range(num_series)], seed=0)
    weights = {}
    for name, shape in layers.parameter_shapes(num_inputs=2, hidden_size=NUM_UNITS).items():
        uniform = draw_uniform(keys_S, purpose=name, num_draws=shape[0] * shape[1])
        weights[name] = ((2 * uniform - 1) / NUM_UNITS**0.5).float().view(num_series, *shape)
    layers.settle(weights, num_steps=num_steps)
    layers.bound(weights, num_steps=num_steps)
    return weights


def pull_of_steps(cell: Cell) -> Tensor:
    """Return the norm of the last state's gradient by the inputs of each step, (T,)."""
    x_SBTI = adding_problem(1, 4, NUM_STEPS, torch.Generator().manual_seed(0)).requires_grad_()
    weights = begin(Layers(cell, Design()), num_series=1, num_steps=NUM_STEPS)
    last = reference.run(cell, x_SBTI, weights, only_last=True)
    (gradient,) = torch.autograd.grad(last.sum(), x_SBTI)
    return gradient.norm(dim=-1).mean((0, 1))


def test_gradients_of_independent_units_neither_vanish_nor_explode_over_two_thousand_steps() -> None:
    independent_T, elman_T = pull_of_steps(make_cell("indrnn")), pull_of_steps(make_cell("elman"))
    assert elman_T[0] < 1e-30, "an Elman network's gradient vanishes"
    assert independent_T[0] > 0.02 * independent_T[-1]
    assert independent_T.max() < 10 * independent_T[-1]


def learn_to_add(cell: str, *, num_updates: int, num_steps: int = 60, num_series: int = 3) -> Tensor:
    """Train networks of two layers; return each one's mean squared error over its last hundred updates, (S,)."""
    layers, generator = Layers(make_cell(cell), Design(layers=2)), torch.Generator().manual_seed(0)
    weights = begin(layers, num_series=num_series, num_steps=num_steps)
    head_SH1, bias_S11 = torch.zeros(num_series, NUM_UNITS, 1), torch.zeros(num_series, 1, 1)
    trained = [tensor.requires_grad_() for tensor in (*weights.values(), head_SH1, bias_S11)]
    optimizer = torch.optim.Adam(trained, lr=4e-3)
    kernel = kernels.choose(layers.cell, torch.device("cpu"), torch.float32, NUM_UNITS)
    errors = []
    for _ in range(num_updates):
        x_SBTI = adding_problem(num_series, 50, num_steps, generator)
        last_SBH = layers.run(x_SBTI, weights, kernel=kernel, noise=None, only_last=True)
        predicted_SB = bias_S11.baddbmm(last_SBH, head_SH1)[..., 0]
        error_S = (predicted_SB - x_SBTI.prod(-1).sum(-1)).square().mean(1)
        optimizer.zero_grad()
        error_S.sum().backward()
        for tensor in trained:  # each network's own parts
            assert tensor.grad is not None
            norm_S = tensor.grad.flatten(1).norm(dim=1)
            tensor.grad.div_(norm_S.clamp(min=0.5).view(-1, *(1,) * (tensor.dim() - 1)) * 2)
        optimizer.step()
        with torch.no_grad():
            layers.bound(weights, num_steps=num_steps)
        errors.append(error_S.detach())
    return torch.stack(errors[-100:]).mean(0)


def test_independent_units_learn_to_add_over_sixty_steps_and_an_elman_network_predicts_the_mean() -> None:
    variance = 2 / 12  # of the sum of two numbers: the error of the best constant
    assert (learn_to_add("elman", num_updates=700) > 0.9 * variance).all()
    assert (learn_to_add("indrnn", num_updates=1500) < 0.5 * variance).all()
