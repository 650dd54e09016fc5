"""Cells and variants without a torch module equal loops over single series and units."""

import math

import pytest
import torch
from torch import Tensor, nn

from forecasting.fleet.cells import IndRnn, make_cell
from forecasting.fleet.kernels import reference
from forecasting.spec.training import Design

S, B, T, I, H = 3, 2, 5, 4, 3  # noqa: E741 - inputs
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def draw(cell, *, num_steps: int = T) -> tuple[dict[str, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = cell.parameter_shapes(num_inputs=I, hidden_size=H)
    weights = {
        name: torch.randn(S, *shape, dtype=torch.float64, generator=generator).requires_grad_()
        for name, shape in shapes.items()
    }
    x_SBTI = torch.randn(S, B, num_steps, I, dtype=torch.float64, generator=generator).requires_grad_()
    return weights, x_SBTI


def hold_against(cell, by_hand) -> None:
    """Compare outputs and all gradients with those of `by_hand(weights of a series, x_TI) -> (T, H)`."""
    weights, x_SBTI = draw(cell)
    tensors = [x_SBTI, *weights.values()]
    outputs = reference.run(cell, x_SBTI, weights)
    expected = torch.stack(
        [
            torch.stack([by_hand({name: w[series] for name, w in weights.items()}, x_TI) for x_TI in x_SBTI[series]])
            for series in range(S)
        ]
    )
    torch.testing.assert_close(outputs, expected, **CLOSE)
    pull = torch.randn(outputs.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for ours, theirs in zip(
        torch.autograd.grad(outputs, tensors, pull), torch.autograd.grad(expected, tensors, pull), strict=True
    ):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_an_lstm_with_peepholes_equals_a_loop() -> None:
    def by_hand(w: dict[str, Tensor], x_TI: Tensor) -> Tensor:
        h = c = torch.zeros(H, dtype=torch.float64)
        outputs = []
        for x in x_TI:
            i, f, g, o = (x @ w["input_IG"] + w["bias_input_1G"][0] + h @ w["hidden_HG"]).split(H)
            of_i, of_f, of_o = w["peepholes_3H"]
            c = torch.sigmoid(f + of_f * c) * c + torch.sigmoid(i + of_i * c) * torch.tanh(g)
            h = torch.sigmoid(o + of_o * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs)

    hold_against(make_cell("lstm", Design(peepholes=True)), by_hand)


def test_a_gru_that_resets_before_the_product_equals_a_loop() -> None:
    def by_hand(w: dict[str, Tensor], x_TI: Tensor) -> Tensor:
        h = torch.zeros(H, dtype=torch.float64)
        of_r, of_z, of_n = w["hidden_HG"].split(H, dim=1)
        outputs = []
        for x in x_TI:
            in_r, in_z, in_n = (x @ w["input_IG"] + w["bias_input_1G"][0]).split(H)
            r, z = torch.sigmoid(in_r + h @ of_r), torch.sigmoid(in_z + h @ of_z)
            h = z * h + (1 - z) * torch.tanh(in_n + (r * h) @ of_n)
            outputs.append(h)
        return torch.stack(outputs)

    hold_against(make_cell("gru", Design(candidate="before")), by_hand)


def test_an_independently_recurrent_network_equals_a_loop_over_its_units() -> None:
    def by_hand(w: dict[str, Tensor], x_TI: Tensor) -> Tensor:
        units = []
        for unit in range(H):
            h, outputs = torch.zeros((), dtype=torch.float64), []
            for x in x_TI:
                h = torch.relu(
                    x @ w["input_IG"][:, unit] + w["recurrent_1H"][0, unit] * h + w["bias_input_1G"][0, unit]
                )
                outputs.append(h)
            units.append(torch.stack(outputs))
        return torch.stack(units, dim=1)

    hold_against(IndRnn(), by_hand)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_an_elman_network_equals_torchs(activation: str) -> None:
    cell = make_cell("elman", Design(activation=activation))

    def by_torch(w: dict[str, Tensor], x_TI: Tensor) -> Tensor:
        twin = nn.RNN(I, H, nonlinearity=activation, batch_first=True).double()
        values = {
            "weight_ih_l0": w["input_IG"].T,
            "weight_hh_l0": w["hidden_HG"].T,
            "bias_ih_l0": w["bias_input_1G"][0],
            "bias_hh_l0": torch.zeros(H, dtype=torch.float64),
        }
        outputs, _ = torch.func.functional_call(twin, values, x_TI[None])
        return outputs[0]

    hold_against(cell, by_torch)


def test_forget_gates_start_at_the_configured_bias_and_nothing_else_changes() -> None:
    cell = make_cell("lstm", Design(forget_bias=1.5))
    weights = {name: weight.detach() for name, weight in draw(cell)[0].items()}
    before = {name: weight.clone() for name, weight in weights.items()}
    cell.settle(weights, num_steps=9)
    assert (weights["bias_input_1G"][..., H : 2 * H] == 1.5).all()
    others = torch.cat([weights["bias_input_1G"][..., :H], weights["bias_input_1G"][..., 2 * H :]], dim=-1)
    assert torch.equal(
        others, torch.cat([before["bias_input_1G"][..., :H], before["bias_input_1G"][..., 2 * H :]], dim=-1)
    )
    for name in ("input_IG", "hidden_HG"):
        assert torch.equal(weights[name], before[name])


def test_recurrent_weights_are_clipped_so_that_a_gradient_at_most_doubles_over_the_sequence() -> None:
    weights = {"recurrent_1H": torch.tensor([[[-3.0, 0.5, 1.2]]])}
    IndRnn().bound(weights, num_steps=10)
    most = 2 ** (1 / 10)
    torch.testing.assert_close(weights["recurrent_1H"], torch.tensor([[[-most, 0.5, most]]]))
    assert math.isclose(float(weights["recurrent_1H"].max()) ** 10, 2, rel_tol=1e-5)


def test_independent_units_start_with_memories_of_all_lengths_in_an_order_per_series() -> None:
    weights = {"recurrent_1H": torch.rand(5, 1, 8, generator=torch.Generator().manual_seed(0))}
    IndRnn().settle(weights, num_steps=256)
    spread = (-1 / torch.tensor([2.0, 4, 8, 16, 32, 64, 128, 256])).exp()
    for series in weights["recurrent_1H"]:
        torch.testing.assert_close(series[0].sort().values, spread)
    assert not torch.equal(weights["recurrent_1H"][0], weights["recurrent_1H"][1])
