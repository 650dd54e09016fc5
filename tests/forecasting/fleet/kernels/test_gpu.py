"""The Triton programs equal the reference: in Triton's interpreter here, compiled where there is a GPU."""

import importlib
import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from forecasting.fleet.cells import make_cell
from forecasting.fleet.kernels import gpu, reference
from forecasting.fleet.kernels.triton_programs import blocks
from forecasting.fleet.native import CELLS

triton = pytest.importorskip("triton", reason="no Triton on this platform")

PROGRAMS = "forecasting.fleet.kernels.triton_programs"
SIZES = {  # series, windows, steps, inputs, hidden
    "ones": (1, 1, 1, 1, 1),
    "odd": (3, 5, 4, 2, 7),
    "whole blocks": (2, 8, 3, 4, 16),
    "more windows than a block": (2, 35, 3, 1, 17),
    "many steps": (1, 3, 19, 2, 32),
    "widest that stays in shared memory": (2, 3, 3, 5, 64),
    "narrowest that streams": (2, 2, 3, 2, 65),
    "widest": (1, 34, 2, 3, 128),
    "day": (2, 32, 24, 4, 32),
}
FULL_SIZES = {"small": (300, 8, 24, 1, 16), "day": (150, 32, 48, 4, 32), "wide": (40, 40, 48, 60, 64)}
MARKS = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))

models = pytest.mark.parametrize("model", CELLS)
steps = pytest.mark.parametrize("only_last", [False, True], ids=["all steps", "last step"])
needs_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=MARKS)], indirect=True, ids=["compiled"])


@pytest.fixture(scope="module")
def interpreted() -> dict[str, ModuleType]:
    """Import the programs a second time, decorated while Triton's interpreter is switched on.

    Triton itself is there already, so that its own library stays compiled for everyone else.
    """
    everyone = set_aside_programs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for model in CELLS:
            importlib.import_module(f"{PROGRAMS}.{model}")
    copies = set_aside_programs()
    sys.modules.update(everyone)
    return copies


def set_aside_programs() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith(PROGRAMS)}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=MARKS)], ids=["interpreted", "compiled"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the programs run: on the CPU in Triton's interpreter, on a GPU compiled."""
    if request.param == "cpu":
        for name, copy in request.getfixturevalue("interpreted").items():
            monkeypatch.setitem(sys.modules, name, copy)
    return request.param


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@models
@steps
def test_outputs_and_all_gradients_equal_the_reference(
    device: str, model: str, sizes: tuple[int, ...], only_last: bool
) -> None:
    check_parity(model, sizes, only_last=only_last, device=device)


@pytest.mark.parametrize("sizes", FULL_SIZES.values(), ids=FULL_SIZES)
@needs_gpu
@models
def test_a_fleet_of_full_size_equals_the_reference(device: str, model: str, sizes: tuple[int, ...]) -> None:
    check_parity(model, sizes, only_last=True, device=device)


few = st.integers(1, 4)


@pytest.mark.parametrize("device", ["cpu"], indirect=True)  # a GPU would compile again for every hidden size
@models
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.tuples(few, few, few, few, st.integers(1, 20)), only_last=st.booleans())
def test_any_small_sizes_equal_the_reference(device: str, model: str, sizes: tuple[int, ...], only_last: bool) -> None:
    check_parity(model, sizes, only_last=only_last, device=device)


@models
def test_only_tensors_that_require_a_gradient_get_one(device: str, model: str) -> None:
    weights, x_SBTI = draw(model, (2, 3, 4, 2, 5), device=device)
    tensors = {"x": x_SBTI, **weights}
    for required in tensors:
        for name, tensor in tensors.items():
            tensor.requires_grad_(name == required)
        outputs, given = gpu.run(make_cell(model), x_SBTI, weights), []
        outputs.grad_fn.register_hook(lambda found, _, given=given: given.extend(found))
        outputs.sum().backward()
        assert [name for name, gradient in zip(tensors, given, strict=True) if gradient is not None] == [required]


@models
def test_prediction_keeps_neither_gates_nor_steps(device: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, x_SBTI = draw(model, (2, 3, 4, 2, 5), device=device)
    programs, kept = importlib.import_module(f"{PROGRAMS}.{model}"), []
    forward = programs.forward
    monkeypatch.setattr(programs, "forward", lambda *args, **kwargs: kept.append(forward(*args, **kwargs)) or kept[-1])
    expected_SBTH = reference.run(make_cell(model), x_SBTI, weights)
    with torch.no_grad():
        last_SBH = gpu.run(make_cell(model), x_SBTI, weights, only_last=True)
        outputs_SBTH = gpu.run(make_cell(model), x_SBTI, weights)
    assert_near({"last": last_SBH, "all": outputs_SBTH}, {"last": expected_SBTH[:, :, -1], "all": expected_SBTH})
    assert [(tuple(states.shape), aside.numel()) for states, aside in kept] == [((2, 1, 3, 5), 0), ((2, 4, 3, 5), 0)]


@models
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's warning about NaN
def test_a_nan_stays_in_its_series(device: str, model: str) -> None:
    weights, x_SBTI = draw(model, (3, 9, 4, 2, 16), device=device)
    sound = gradients(gpu, model, weights, x_SBTI)
    with torch.no_grad():
        x_SBTI[0, 0, -1] = torch.nan
        recurrent_of(weights)[0, -1, -1] = torch.nan
    broken = gradients(gpu, model, weights, x_SBTI)
    for name in sound:
        assert torch.equal(broken[name][1:], sound[name][1:]), name
        assert broken[name][0].isnan().any(), name


@models
def test_programs_give_a_series_the_same_bits_alone_and_among_others(device: str, model: str) -> None:
    weights, _ = draw(model, (3, 9, 4, 2, 16), device=device)
    hidden_SHG, bias_S1G = recurrent_of(weights).detach(), weights.get("bias_hidden_1G")
    gates_STBG = linear(hidden_SHG.new_empty(3, 4, 9, hidden_SHG.shape[-1]))
    programs = importlib.import_module(f"{PROGRAMS}.{model}")

    def both_ways(which: slice) -> list[Tensor]:
        gates, hidden = gates_STBG[which].clone(), hidden_SHG[which]
        bias = None if bias_S1G is None else bias_S1G.detach()[which]
        states, aside = programs.forward(gates, hidden, bias, keeps_gates=True, keeps_steps=True)
        return [states, programs.backward(gates, states, aside, hidden, states)]

    among = both_ways(slice(None))
    for series in range(3):
        for alone, all_series in zip(both_ways(slice(series, series + 1)), among, strict=True):
            assert torch.equal(alone[0], all_series[series])


@models
def test_one_series_gradient_never_reaches_another(device: str, model: str) -> None:
    weights, x_SBTI = draw(model, (3, 2, 5, 2, 4), device=device)
    gpu.run(make_cell(model), x_SBTI, weights)[0].sum().backward()
    for tensor in (x_SBTI, *weights.values()):
        assert tensor.grad[0].abs().sum() > 0
        assert tensor.grad[1:].abs().sum() == 0


@needs_gpu
@models
def test_two_runs_give_the_same_bits(device: str, model: str) -> None:
    weights, x_SBTI = draw(model, FULL_SIZES["day"], device=device)
    first, second = (gradients(gpu, model, weights, x_SBTI) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@needs_gpu
@models
def test_a_captured_graph_repeats_the_pass_on_new_inputs(device: str, model: str) -> None:
    weights, x_SBTI = draw(model, (20, 8, 6, 3, 16), device=device)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            gradients(gpu, model, weights, x_SBTI)
    with torch.cuda.graph(graph, stream=stream):
        captured = gradients(gpu, model, weights, x_SBTI)
    with torch.no_grad():
        x_SBTI.copy_(torch.randn_like(x_SBTI))
    graph.replay()
    torch.cuda.synchronize()
    assert_near(captured, gradients(gpu, model, weights, x_SBTI))


@pytest.mark.parametrize(("hidden_size", "room"), [(5, 99), (32, 99), (64, 99), (64, 163), (64, 227), (128, 99)])
@models
def test_programs_compile_for_an_h100_and_fit_the_shared_memory_that_they_are_cut_for(
    model: str, hidden_size: int, room: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The room, in KiB, is that of every GPU from Ampere on, of an A100, or of an H100."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    programs = importlib.import_module(f"{PROGRAMS}.{model}")
    if model == "indrnn":  # which has no product
        constants = programs._cut(hidden_size) | {"num_stages": 3}
    else:
        constants = blocks.cut(32, hidden_size, make_cell(model).num_gates, room=room << 10)
        is_large = model != "elman" and (hidden_size, room) == (64, 99)
        assert constants["PRECISION"] == ("ieee" if is_large else "tf32x3")
    keeps_gates = {"KEEPS_GATES": True} if model in ("lstm", "gru") else {}
    for program, options in ((programs._forward, keeps_gates), (programs._backward, {"ONLY_LAST": False})):
        compiled = compile_for_h100(program, constants | options)
        assert compiled.asm["cubin"]
        assert compiled.metadata.shared <= room << 10


@pytest.fixture
def h100(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A device that torch reports as present."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    return torch.device("cuda")


def test_it_supports_float32_and_up_to_128_units_from_ampere_on(
    h100: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    lstm = make_cell("lstm")
    assert gpu.supports(lstm, h100, torch.float32, 128)
    assert gpu.supports(make_cell("gru"), h100, torch.float32, 1)
    assert not gpu.supports(lstm, torch.device("cpu"), torch.float32, 16)
    assert not gpu.supports(lstm, torch.device("cuda", 1), torch.float32, 16)
    assert not gpu.supports(lstm, h100, torch.float64, 16)
    assert not gpu.supports(lstm, h100, torch.float32, 129)
    assert not gpu.supports(SimpleNamespace(name="elman with ReLU"), h100, torch.float32, 16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not gpu.supports(lstm, h100, torch.float32, 16)


def test_without_triton_the_module_imports_and_supports_nothing(
    h100: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(PROGRAMS)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)
    spec = importlib.util.spec_from_file_location("gpu_without_triton", gpu.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert not module.supports(make_cell("lstm"), h100, torch.float32, 16)


def draw(model: str, sizes: tuple[int, ...], *, device: str) -> tuple[dict[str, Tensor], Tensor]:
    """Draw weights and windows that all require gradients; sizes are (S, B, T, I, H)."""
    num_series, num_windows, num_steps, num_inputs, hidden_size = sizes
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=generator) * scale).to(device).requires_grad_()

    shapes = make_cell(model).parameter_shapes(num_inputs=num_inputs, hidden_size=hidden_size)
    # Shallow enough that gradients of early steps do not vanish among the errors of later ones.
    weights = {name: normal(num_series, *shape, scale=1 / math.sqrt(shape[0])) for name, shape in shapes.items()}
    return weights, normal(num_series, num_windows, num_steps, num_inputs)


def gradients(
    kernel: ModuleType, model: str, weights: dict[str, Tensor], x_SBTI: Tensor, *, only_last: bool = False
) -> dict[str, Tensor]:
    """Return the outputs and the gradients of a fixed weighted sum of them, by name; none where none is required."""
    outputs = kernel.run(make_cell(model), x_SBTI, weights, only_last=only_last)
    required = {name: tensor for name, tensor in {"x": x_SBTI, **weights}.items() if tensor.requires_grad}
    return dict(
        zip(required, torch.autograd.grad((outputs * linear(outputs)).sum(), list(required.values())), strict=True)
    )


def linear(like: Tensor) -> Tensor:
    """Return numbers from -1 to 1, the same for both kernels regardless of strides."""
    return torch.linspace(-1, 1, like.numel(), dtype=like.dtype, device=like.device).view(like.shape)


def recurrent_of(weights: dict[str, Tensor]) -> Tensor:
    return weights["hidden_HG"] if "hidden_HG" in weights else weights["recurrent_1H"]


def check_parity(model: str, sizes: tuple[int, ...], *, only_last: bool, device: str) -> None:
    weights, x_SBTI = draw(model, sizes, device=device)
    precise = {name: weight.detach().double().requires_grad_() for name, weight in weights.items()}
    x_precise = x_SBTI.detach().double().requires_grad_()
    found = {"outputs": gpu.run(make_cell(model), x_SBTI, weights, only_last=only_last)}
    expected = {"outputs": reference.run(make_cell(model), x_precise, precise, only_last=only_last)}
    assert found["outputs"].shape == expected["outputs"].shape
    found |= gradients(gpu, model, weights, x_SBTI, only_last=only_last)
    expected |= gradients(reference, model, precise, x_precise, only_last=only_last)
    assert_near(found, expected)


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Compare by a tensor's largest entry: a sum's error follows its largest terms."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = (found[name].double() - tensor.double()).abs().max()
        assert error <= 5e-6 * tensor.abs().max().clamp(min=1), name


def compile_for_h100(program: Any, constants: dict[str, Any]) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {name: constants.pop(name) for name in ("num_warps", "num_stages")}
    signature = dict.fromkeys(program.arg_names, "i32") | dict.fromkeys(constants, "constexpr")
    pointers = [name for name in program.arg_names if name.endswith("_ptr")]
    signature |= dict.fromkeys(pointers, "*fp32")
    aligned = {(program.arg_names.index(name),): [["tt.divisibility", 16]] for name in pointers}
    source = ASTSource(program, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
