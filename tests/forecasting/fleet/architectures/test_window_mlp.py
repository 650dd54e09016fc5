"""The feed-forward network equals torch's Sequential, series by series."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forecasting.fleet.architectures import Dimensions, WindowMlp
from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.kernels import reference
from forecasting.fleet.random import series_keys
from forecasting.spec.training import Design

S, B, DIMENSIONS = 3, 4, Dimensions(num_inputs=5, num_steps=2, hidden_size=6, horizon=3, num_quantiles=2)


def draw(net: WindowMlp) -> tuple[dict[str, Tensor], Any]:
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(S, *shape, dtype=torch.float64, generator=generator).requires_grad_()
        for name, shape in net.parameter_shapes(DIMENSIONS).items()
    }
    x_SBTI = torch.randn(S, B, 2, 5, dtype=torch.float64, generator=generator).requires_grad_()
    return weights, SimpleNamespace(x_SBTI=x_SBTI)


def run(net: WindowMlp, windows: Any, weights: dict[str, Tensor], *, noise: Noise | None = None) -> Tensor:
    return net.run(windows, torch.zeros(S, B, 3), weights, DIMENSIONS, kernel=reference, noise=noise)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_outputs_and_gradients_equal_torchs(num_layers: int) -> None:
    net = WindowMlp(Design(layers=num_layers))
    weights, windows = draw(net)
    outputs = run(net, windows, weights)
    sizes = [10, *[6] * num_layers]
    hidden = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())]
    twin = nn.Sequential(*hidden, nn.Linear(6, 6)).double()
    names = ["input_JH", *(f"layer{k}_HH" for k in range(1, num_layers)), "head_HO"]
    biases = ["bias_input_1H", *(f"layer{k}_bias_1H" for k in range(1, num_layers)), "bias_head_1O"]
    expected = []
    for series in range(S):
        values = {}
        for place, (name, bias) in enumerate(zip(names, biases, strict=True)):
            values |= {f"{2 * place}.weight": weights[name][series].T, f"{2 * place}.bias": weights[bias][series, 0]}
        expected.append(torch.func.functional_call(twin, values, windows.x_SBTI[series].flatten(1)))
    torch.testing.assert_close(outputs, torch.stack(expected), rtol=1e-10, atol=1e-12)
    tensors, pull = [windows.x_SBTI, *weights.values()], torch.ones_like(outputs).cumsum(1)
    theirs = torch.autograd.grad(torch.stack(expected), tensors, pull)
    for ours, other in zip(torch.autograd.grad(outputs, tensors, pull), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-10, atol=1e-12)


def test_a_series_gradient_never_reaches_another() -> None:
    net = WindowMlp(Design(layers=2, layer_norm=True, residual=True))
    weights, windows = draw(net)
    run(net, windows, weights)[1].sum().backward()
    for tensor in (windows.x_SBTI, *weights.values()):
        assert tensor.grad[1].abs().sum() > 0
        assert tensor.grad[[0, 2]].abs().sum() == 0


def test_dropout_acts_between_layers_in_training_only() -> None:
    net, plain = WindowMlp(Design(layers=2, dropout=0.5)), WindowMlp(Design(layers=2))
    weights, windows = draw(net)
    noise = Noise(series_keys(("a", "b", "c"), seed=0), 0, num_windows=B)
    expected = run(plain, windows, weights)
    assert torch.equal(run(net, windows, weights), expected)
    assert not torch.equal(run(net, windows, weights, noise=noise), expected)
    assert torch.equal(run(plain, windows, weights, noise=noise), expected)


def test_initial_weights_are_within_the_bounds_of_torchs_linear_layers() -> None:
    net = WindowMlp(Design(layers=2))
    shapes = net.parameter_shapes(DIMENSIONS)
    bounds = {name: net.draw_bound(name, shape, hidden_size=6) for name, shape in shapes.items()}
    assert bounds["input_JH"] == pytest.approx(10**-0.5)
    assert bounds["layer1_HH"] == pytest.approx(6**-0.5)
