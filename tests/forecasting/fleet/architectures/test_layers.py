"""Layers equal torch's stacked and bidirectional modules; each series has its own dropout."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from forecasting.fleet.architectures import Layers
from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.cells import make_cell
from forecasting.fleet.kernels import reference
from forecasting.fleet.random import series_keys
from forecasting.spec.training import Design

TORCH = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def make_layers(name: Any = "gru", *, is_bidirectional: bool = False, **design: Any) -> Layers:
    chosen = Design(**design)
    return Layers(make_cell(name, chosen), chosen, is_bidirectional=is_bidirectional)


def draw(layers: Layers, sizes: tuple[int, ...]) -> tuple[dict[str, Tensor], Tensor]:
    num_series, num_windows, num_steps, num_inputs, hidden_size = sizes
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(num_series, *shape, dtype=torch.float64, generator=generator).requires_grad_()
        for name, shape in layers.parameter_shapes(num_inputs=num_inputs, hidden_size=hidden_size).items()
    }
    shape = (num_series, num_windows, num_steps, num_inputs)
    return weights, torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


def run(
    layers: Layers, x_SBTI: Tensor, weights: dict[str, Tensor], *, noise: Noise | None = None, only_last: bool = False
) -> Tensor:
    return layers.run(x_SBTI, weights, kernel=reference, noise=noise, only_last=only_last)


def torch_values(weights: dict[str, Tensor], series: int, *, num_layers: int, directions: tuple[str, ...]) -> Any:
    """Return one series' weights under the names of torch's module."""
    values = {}
    for layer in range(num_layers):
        for direction, suffix in zip(directions, ("", "_reverse"), strict=False):
            prefix = (f"layer{layer}_" if layer else "") + direction
            bias = weights[f"{prefix}bias_input_1G"][series, 0]
            other = weights.get(f"{prefix}bias_hidden_1G")
            values |= {
                f"weight_ih_l{layer}{suffix}": weights[f"{prefix}input_IG"][series].T,
                f"weight_hh_l{layer}{suffix}": weights[f"{prefix}hidden_HG"][series].T,
                f"bias_ih_l{layer}{suffix}": bias,
                f"bias_hh_l{layer}{suffix}": torch.zeros_like(bias) if other is None else other[series, 0],
            }
    return values


few = st.integers(1, 4)


@pytest.mark.parametrize("is_bidirectional", [False, True])
@pytest.mark.parametrize("name", TORCH)
@settings(max_examples=10)
@given(sizes=st.tuples(few, few, few, few, few), num_layers=st.integers(1, 3))
def test_outputs_and_gradients_equal_torchs(
    name: str, is_bidirectional: bool, sizes: tuple[int, ...], num_layers: int
) -> None:
    layers = make_layers(name, is_bidirectional=is_bidirectional, layers=num_layers)
    weights, x_SBTI = draw(layers, sizes)
    outputs = run(layers, x_SBTI, weights)
    twin = TORCH[name](
        sizes[3], sizes[4], num_layers=num_layers, bidirectional=is_bidirectional, batch_first=True
    ).double()
    directions = ("", "back_") if is_bidirectional else ("",)
    expected = torch.stack(
        [
            torch.func.functional_call(
                twin,
                torch_values(weights, series, num_layers=num_layers, directions=directions),
                x_SBTI[series],
            )[0]
            for series in range(sizes[0])
        ]
    )
    torch.testing.assert_close(outputs, expected, **CLOSE)
    tensors, pull = [x_SBTI, *weights.values()], torch.ones_like(outputs).cumsum(-1)
    theirs = torch.autograd.grad(expected, tensors, pull, retain_graph=True)
    for ours, other in zip(torch.autograd.grad(outputs, tensors, pull), theirs, strict=True):
        torch.testing.assert_close(ours, other, **CLOSE)
    last = run(layers, x_SBTI, weights, only_last=True)
    ahead = outputs[:, :, -1, : sizes[4]]
    back = outputs[:, :, 0, sizes[4] :]
    torch.testing.assert_close(last, torch.cat([ahead, back], dim=-1) if is_bidirectional else ahead, **CLOSE)


@pytest.mark.parametrize("is_bidirectional", [False, True])
def test_residual_connections_and_normalisation_equal_torchs(is_bidirectional: bool) -> None:
    layers = make_layers(layers=2, residual=True, layer_norm=True, is_bidirectional=is_bidirectional)
    weights, x_SBTI = draw(layers, (2, 3, 4, 2, 5))
    below, above = (
        make_layers(is_bidirectional=is_bidirectional),
        {
            name.removeprefix("layer1_"): weight
            for name, weight in weights.items()
            if name.startswith("layer1_") and "norm" not in name
        },
    )
    width = 10 if is_bidirectional else 5

    def normed(x: Tensor, prefix: str) -> Tensor:
        gain, bias = weights[f"{prefix}norm_gain_1D"], weights[f"{prefix}norm_bias_1D"]
        return torch.stack(
            [nn.functional.layer_norm(x[s], (width,), gain[s, 0], bias[s, 0], eps=1e-5) for s in range(2)]
        )

    first = normed(run(below, x_SBTI, weights), "")
    expected = normed(run(below, first, above), "layer1_") + first
    torch.testing.assert_close(run(layers, x_SBTI, weights), expected, **CLOSE)
    last = run(layers, x_SBTI, weights, only_last=True)
    ends = [expected[:, :, -1, :5], expected[:, :, 0, 5:]] if is_bidirectional else [expected[:, :, -1]]
    torch.testing.assert_close(last, torch.cat(ends, dim=-1), **CLOSE)


def test_normalisation_starts_with_a_gain_of_one_and_no_bias() -> None:
    layers = make_layers(layers=2, layer_norm=True)
    weights = {name: weight.detach() for name, weight in draw(layers, (2, 1, 3, 2, 4))[0].items()}
    layers.settle(weights, num_steps=9)
    assert (weights["norm_gain_1D"] == 1).all()
    assert (weights["layer1_norm_gain_1D"] == 1).all()
    assert (weights["norm_bias_1D"] == 0).all()


def dropped(names: tuple[str, ...], *, step: int = 3, seed: int = 0, share: float = 0.5) -> Tensor:
    noise = Noise(series_keys(names, seed=seed), step, num_windows=6)
    return noise.drop(torch.ones(len(names), 6, 4, 50), share=share, purpose="layer 1")


def test_dropout_differs_by_series_window_and_step_and_repeats_with_the_seed() -> None:
    a, b = dropped(("a", "b"))
    assert torch.equal(dropped(("c", "a"))[1], a), "alone or among others"
    assert not torch.equal(a, b)
    assert not torch.equal(a[0], a[1])
    assert not torch.equal(a, dropped(("a",), step=4)[0])
    assert not torch.equal(a, dropped(("a",), seed=1)[0])
    assert torch.equal(a[:, :1].expand_as(a), a), "the same at every time step"
    kept = dropped(tuple(map(str, range(40))), share=0.3) > 0
    assert kept.float().mean() == pytest.approx(0.7, abs=0.02)
    assert dropped(("a",), share=0.3).max() == pytest.approx(1 / 0.7)


def test_dropout_is_the_same_if_several_processes_share_the_windows() -> None:
    keys = series_keys(("prior",), seed=0)
    x = torch.ones(1, 6, 1, 9)
    whole = Noise(keys, 2, 6).drop(x, share=0.5, purpose="p")
    parts = [Noise(keys, 2, 6, first).drop(x[:, first : first + 3], share=0.5, purpose="p") for first in (0, 3)]
    assert torch.equal(torch.cat(parts, dim=1), whole)


def test_dropout_acts_between_layers_in_training_only() -> None:
    layers = make_layers(layers=2, dropout=0.5)
    weights, x_SBTI = draw(layers, (2, 3, 4, 2, 5))
    noise = Noise(series_keys(("a", "b"), seed=0), 0, num_windows=3)
    plain = run(make_layers(layers=2), x_SBTI, weights)
    assert torch.equal(run(layers, x_SBTI, weights), plain)
    assert not torch.equal(run(layers, x_SBTI, weights, noise=noise), plain)
    single = make_layers(dropout=0.5)
    assert torch.equal(run(single, x_SBTI, weights, noise=noise), run(single, x_SBTI, weights))
