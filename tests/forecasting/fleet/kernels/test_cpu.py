"""The fused recurrence agrees with the reference in double precision, on every processor that it is built for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forecasting.errors import SpecError
from forecasting.fleet import kernels
from forecasting.fleet.cells import make_cell
from forecasting.fleet.kernels import cpu, reference
from forecasting.fleet.native import CELLS, library

pytestmark = pytest.mark.skipif(library.find() is None, reason="the CPU engine is not built here")

CPU = torch.device("cpu")
models = pytest.mark.parametrize("model", CELLS)
FAR = (-80.0, 80.0, -math.inf, math.inf, math.nan)
AWKWARD = [(1, 1, 1, 1, 1), (2, 3, 5, 4, 7), (3, 8, 6, 3, 16), (1, 33, 70, 5, 17), (2, 13, 4, 1, 65), (1, 70, 3, 40, 9)]


def random_fleet(model: str, sizes: tuple[int, int, int, int, int]) -> tuple[Tensor, dict[str, Tensor]]:
    num_series, num_windows, num_steps, num_inputs, hidden_size = sizes
    generator = torch.Generator().manual_seed(sum(sizes))
    shapes = make_cell(model).parameter_shapes(num_inputs=num_inputs, hidden_size=hidden_size)
    weights = {
        name: (torch.randn(num_series, *shape, generator=generator) / hidden_size**0.5).requires_grad_()
        for name, shape in shapes.items()
    }
    x_SBTI = torch.randn(num_series, num_windows, num_steps, num_inputs, generator=generator)
    return x_SBTI.requires_grad_(), weights


def check_against_reference(model: str, sizes: tuple[int, int, int, int, int], *, only_last: bool) -> None:
    x_SBTI, weights = random_fleet(model, sizes)
    outputs = cpu.run(make_cell(model), x_SBTI, weights, only_last=only_last)
    double = {name: weight.detach().double().requires_grad_() for name, weight in weights.items()}
    x_double = x_SBTI.detach().double().requires_grad_()
    expected = reference.run(make_cell(model), x_double, double, only_last=only_last)
    pull = torch.linspace(-1, 1, outputs.numel()).view(outputs.shape)
    outputs.backward(pull)
    expected.backward(pull.double())
    torch.testing.assert_close(outputs.double(), expected, rtol=0, atol=2e-6)
    for name, found, true in [("x", x_SBTI, x_double), *((name, weights[name], double[name]) for name in weights)]:
        size = float(true.grad.abs().max())
        error = float((found.grad.double() - true.grad).abs().max())
        assert error < 3e-6 * size + 3e-6, f"gradient of {name}"


@models
@pytest.mark.parametrize("sizes", AWKWARD, ids=str)
@pytest.mark.parametrize("only_last", [False, True])
def test_outputs_and_gradients_agree_on_every_processor(
    model: str, sizes: tuple[int, int, int, int, int], only_last: bool, lanes: int
) -> None:
    check_against_reference(model, sizes, only_last=only_last)


@pytest.mark.parametrize("model", ["lstm", "gru", "elman"])  # rounding may decide where an IndRNN's ReLU bends
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 12), st.integers(1, 20), st.integers(1, 40)),
    only_last=st.booleans(),
)
def test_outputs_and_gradients_agree_for_all_shapes(
    model: str, sizes: tuple[int, int, int, int, int], only_last: bool
) -> None:
    check_against_reference(model, sizes, only_last=only_last)


def test_an_elman_activation_is_as_exact_as_single_precision_allows(lanes: int) -> None:
    x_SBTI = torch.cat([torch.linspace(-12, 12, 100_003), torch.tensor([0.0, 1e-30, *FAR])]).view(1, -1, 1, 1)
    one, none = torch.ones(1, 1, 1), torch.zeros(1, 1, 1)
    outputs = cpu.run(make_cell("elman"), x_SBTI, {"input_IG": one, "bias_input_1G": none, "hidden_HG": none})
    expected = torch.tanh(x_SBTI.double())
    torch.testing.assert_close(outputs.double(), expected, rtol=1.5e-7, atol=1e-30, equal_nan=True)
    assert (outputs.double() - expected).abs().nan_to_num().max() < 1e-7


@models
def test_prediction_without_gradients_has_the_same_bits(model: str) -> None:
    x_SBTI, weights = random_fleet(model, (3, 5, 6, 4, 20))
    with torch.no_grad():
        alone = cpu.run(make_cell(model), x_SBTI, weights)
    assert torch.equal(alone, cpu.run(make_cell(model), x_SBTI, weights).detach())


@models
def test_neighbours_and_threads_do_not_change_a_bit(model: str) -> None:
    def run(rows: slice, num_threads: int) -> list[Tensor]:
        x_SBTI, weights = random_fleet(model, (11, 7, 9, 3, 19))
        mine = {name: weight.detach()[rows].clone().requires_grad_() for name, weight in weights.items()}
        torch.set_num_threads(num_threads)
        outputs = cpu.run(make_cell(model), x_SBTI.detach()[rows], mine, only_last=True)
        outputs.sum().backward()
        return [outputs.detach(), *(weight.grad for weight in mine.values())]

    among, threaded, lone = run(slice(0, 11), 1), run(slice(0, 11), 3), run(slice(9, 10), 1)
    for one, other, alone in zip(among, threaded, lone, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one[9:10], alone)


@models
def test_a_nan_stays_in_its_series(model: str) -> None:
    x_SBTI, weights = random_fleet(model, (3, 4, 5, 2, 8))
    sound = cpu.run(make_cell(model), x_SBTI, weights).detach()
    with torch.no_grad():
        x_SBTI[1, 0, 0, 0] = torch.nan
    outputs = cpu.run(make_cell(model), x_SBTI, weights)
    outputs.sum().backward()
    assert outputs[1, 0].isnan().all()
    assert torch.equal(outputs[[0, 2]], sound[[0, 2]])
    for name, weight in weights.items():
        # What comes through a ReLU does not depend on the size of its sum.
        assert weight.grad[1].isnan().any() or (model, name) == ("indrnn", "bias_input_1G")
        assert weight.grad[[0, 2]].isfinite().all()


def test_activations_stay_within_their_error_bound(lanes: int) -> None:
    """A GRU whose keep gate is shut shows tanh of its input; one whose candidate is 1 shows a sigmoid."""
    x_SBTI = torch.cat([torch.linspace(-30, 30, 200_001), torch.linspace(-1, 1, 100_001)]).view(1, -1, 1, 1)
    closed = {"hidden_HG": torch.zeros(1, 1, 3), "bias_hidden_1G": torch.zeros(1, 1, 3)}
    shows_tanh = {"input_IG": torch.tensor([[[0.0, 0, 1]]]), "bias_input_1G": torch.tensor([[[0.0, -100, 0]]])}
    shows_sigmoid = {"input_IG": torch.tensor([[[0.0, -1, 0]]]), "bias_input_1G": torch.tensor([[[0.0, 0, 100]]])}
    exact = x_SBTI.double().view(-1)
    with torch.no_grad():
        tanh = cpu.run(make_cell("gru"), x_SBTI, closed | shows_tanh, only_last=True).view(-1)
        sigmoid = cpu.run(make_cell("gru"), x_SBTI, closed | shows_sigmoid, only_last=True).view(-1)
    assert (tanh - torch.tanh(exact)).abs().max() < 5e-7
    assert (sigmoid - torch.sigmoid(exact)).abs().max() < 5e-7


def test_long_contexts_and_large_states_agree() -> None:
    check_against_reference("lstm", (1, 2, 700, 2, 130), only_last=True)


def test_the_fastest_kernel_is_chosen_and_another_can_be_named() -> None:
    cell = make_cell("lstm")
    assert kernels.choose(cell, CPU, torch.float32, 16).NAME == "cpu"
    assert kernels.choose(cell, CPU, torch.float64, 16).NAME == "reference"
    assert kernels.choose(cell, CPU, torch.float32, 16, wanted="reference").NAME == "reference"
    with pytest.raises(SpecError, match="kernel 'gpu' cannot run lstm with 16 units in float32 on cpu"):
        kernels.choose(cell, CPU, torch.float32, 16, wanted="gpu")
