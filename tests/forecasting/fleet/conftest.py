"""Small panels, configurations and kernels that the tests of the fleet share."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from forecasting.fleet import kernels
from forecasting.fleet.native import library
from forecasting.fleet.options import FitOptions
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.training import Member, MemberConfig, TrainingConfig

QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 6


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _only_tests_of_gpus_see_one(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the GPU from all other tests."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def on_gpu() -> FitOptions:
    """A fit on a GPU, for tests with that marker."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return FitOptions(accelerator="cuda", show_progress=False)


@pytest.fixture(params=["reference", "cpu"])
def every_kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with each CPU kernel, wherever it names none."""
    if request.param == "cpu" and not library.find():
        pytest.skip("the CPU engine is not built here")
    choose = kernels.choose

    def choose_this(*cell: object, wanted: str = "auto") -> kernels.Kernel:
        return choose(*cell, wanted=request.param if wanted == "auto" else wanted)

    monkeypatch.setattr(kernels, "choose", choose_this)
    return request.param


@pytest.fixture(params=[16, 8, 4], ids=lambda lanes: f"{lanes} lanes")
def lanes(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run the test with each vector width of the CPU engine."""
    engine = library.require()
    try:
        if engine.fleetcast_choose(request.param) != request.param:
            pytest.skip(f"this processor has no vectors of {request.param} floats")
        yield request.param
    finally:
        engine.fleetcast_choose(16)


@pytest.fixture
def make_panel() -> Callable[..., Panel]:
    """Noisy daily waves of different sizes and phases; series i does not depend on the others."""

    def make(num_series: int = 3, *, num_points: int = 200, horizon: int = HORIZON, first: int = 0) -> Panel:
        points = np.arange(num_points)
        rows = []
        for series in range(first, first + num_series):
            noise = np.random.default_rng(series).normal(0, 0.3, num_points)
            rows.append((series + 1) * (10 + 3 * np.sin(2 * np.pi * (points + series) / 8) + noise))
        phase = 2 * np.pi * np.arange(num_points + horizon) / 8
        calendar = np.stack([np.sin(phase), np.cos(phase)], -1).astype(np.float32)
        return Panel(
            unique_ids=tuple(f"s{series}" for series in range(first, first + num_series)),
            y_SN=np.array(rows),
            length_S=np.full(num_series, num_points),
            calendar_SNC=np.repeat(calendar[None], num_series, axis=0),
            ds_SN=np.repeat(np.arange(num_points + horizon)[None], num_series, axis=0),
            horizon=horizon,
        )

    return make


SMALL = {
    "hidden_size": 5,
    "segment_length": 4,
    "context_segments": 3,
    "batch_windows": 7,
    "max_steps": 40,
    "evaluate_every": 10,
    "patience": 3,
    "validation_windows": 9,
    "learning_rate": 1e-2,
}


@pytest.fixture
def config() -> MemberConfig:
    return MemberConfig(**SMALL)


@pytest.fixture
def prior_config() -> TrainingConfig:
    """Three members: one from random weights, one from a prior, one from a prior of logarithms."""
    members = (Member(), Member(start="prior"), Member(start="prior", transform="log", context_segments=2))
    of_priors = {"prior_hidden_size": 5, "prior_steps": 120, "prior_windows": 16, "tuning_steps": 20}
    return TrainingConfig(**SMALL, **of_priors, members=members)


@pytest.fixture(params=["lstm", "gru"])
def model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def task() -> ForecastTask:
    return ForecastTask(1, HORIZON, QUANTILES, (8,))
