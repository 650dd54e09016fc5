"""Each series' own network equals torch's: stacked weights copied into nn.LSTM and nn.GRU, one series at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from forecasting.fleet.cells import make_cell
from forecasting.fleet.kernels import reference

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU}


def random_weights(model: str, num_series: int, num_inputs: int, hidden_size: int) -> dict[str, Tensor]:
    shapes = make_cell(model).parameter_shapes(num_inputs=num_inputs, hidden_size=hidden_size)
    return {
        name: torch.randn(num_series, *shape, dtype=torch.float64, requires_grad=True) for name, shape in shapes.items()
    }


def torch_twin(model: str, weights: dict[str, Tensor], series: int) -> nn.RNNBase:
    """Copy one series' weights into torch's own module; LSTM's second bias stays zero."""
    num_inputs, hidden_size = weights["input_IG"].shape[1], weights["hidden_HG"].shape[1]
    twin = TORCH[model](num_inputs, hidden_size, batch_first=True).double()
    with torch.no_grad():
        twin.weight_ih_l0.copy_(weights["input_IG"][series].T)
        twin.weight_hh_l0.copy_(weights["hidden_HG"][series].T)
        twin.bias_ih_l0.copy_(weights["bias_input_1G"][series, 0])
        twin.bias_hh_l0.copy_(weights["bias_hidden_1G"][series, 0] if "bias_hidden_1G" in weights else torch.zeros(1))
    return twin


sizes = st.integers(1, 5)


@pytest.mark.parametrize("model", ["lstm", "gru"])
@settings(max_examples=25, deadline=None)
@given(num_series=sizes, num_windows=sizes, num_steps=sizes, num_inputs=sizes, hidden_size=sizes)
def test_outputs_and_gradients_equal_torch_series_by_series(
    model: str, num_series: int, num_windows: int, num_steps: int, num_inputs: int, hidden_size: int
) -> None:
    torch.manual_seed(0)
    weights = random_weights(model, num_series, num_inputs, hidden_size)
    x_SBTI = torch.randn(num_series, num_windows, num_steps, num_inputs, dtype=torch.float64, requires_grad=True)
    outputs_SBTH = reference.run(make_cell(model), x_SBTI, weights)
    pull_SBTH = torch.randn_like(outputs_SBTH)
    outputs_SBTH.backward(pull_SBTH)
    for series in range(num_series):
        twin = torch_twin(model, weights, series)
        x_BTI = x_SBTI[series].detach().clone().requires_grad_()
        outputs_BTH, _ = twin(x_BTI)
        outputs_BTH.backward(pull_SBTH[series])
        close = {"rtol": 1e-9, "atol": 1e-11}
        torch.testing.assert_close(outputs_SBTH[series], outputs_BTH, **close)
        torch.testing.assert_close(x_SBTI.grad[series], x_BTI.grad, **close)
        torch.testing.assert_close(weights["input_IG"].grad[series], twin.weight_ih_l0.grad.T, **close)
        torch.testing.assert_close(weights["hidden_HG"].grad[series], twin.weight_hh_l0.grad.T, **close)
        torch.testing.assert_close(weights["bias_input_1G"].grad[series, 0], twin.bias_ih_l0.grad, **close)
        if "bias_hidden_1G" in weights:
            torch.testing.assert_close(weights["bias_hidden_1G"].grad[series, 0], twin.bias_hh_l0.grad, **close)


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_gradients_agree_with_finite_differences(model: str) -> None:
    torch.manual_seed(1)
    weights = random_weights(model, 2, 3, 2)
    x_SBTI = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    names = list(weights)

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return reference.run(make_cell(model), x, dict(zip(names, values, strict=True)))

    assert torch.autograd.gradcheck(run, (x_SBTI, *weights.values()))


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_one_series_gradient_never_reaches_another(model: str) -> None:
    weights = random_weights(model, 3, 2, 4)
    x_SBTI = torch.randn(3, 2, 5, 2, dtype=torch.float64, requires_grad=True)
    reference.run(make_cell(model), x_SBTI, weights)[1].sum().backward()
    for tensor in (x_SBTI, *weights.values()):
        assert tensor.grad[1].abs().sum() > 0
        assert tensor.grad[[0, 2]].abs().sum() == 0
