"""Steps of a prior in the CPU engine equal the same steps in torch operations, on any number of threads."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from forecasting.fleet.assembly import assemble
from forecasting.fleet.categories import learn_vocabulary
from forecasting.fleet.native import CELLS, library
from forecasting.fleet.prior.prior import PriorModule
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.task import ForecastTask
from forecasting.series.categories import Coded
from forecasting.series.panel import Panel
from forecasting.spec.categories import Categories
from forecasting.spec.training import MemberConfig
from tests.forecasting.fleet.steps.moments import moments_of

pytestmark = pytest.mark.skipif(library.find() is None, reason="the CPU engine is not built here")

NUM_SERIES = 5
BOTH = Categories(calendar=("weekday",), static=("store",), size=3)
CASES: dict[str, dict[str, Any]] = {
    "one part": {},
    "parts of different sizes": {"prior_windows": 71},
    "two seasons": {"season_lengths": (8, 24)},
    "segment of one": {"segment_length": 1, "context_segments": 9},
    "odd sizes": {"hidden_size": 17, "prior_windows": 65, "horizon": 11},
    "one unit, one window": {"hidden_size": 1, "prior_windows": 1, "horizon": 1},
    "gaps": {"gaps": True},
    "categories": {"categories": BOTH, "prior_windows": 71},
    "categories by the segment": {"categories": BOTH, "segment_length": 3, "context_segments": 4},
}


class Training:
    """A prior's module outside of Lightning; weights are large enough for every gate to matter."""

    def __init__(
        self,
        kernel: str,
        model: str,
        make_panel: Callable[..., Panel],
        *,
        season_lengths: tuple[int, ...] = (8,),
        horizon: int = 6,
        gaps: bool = False,
        categories: Categories = Categories(),
        **config: float,
    ) -> None:
        panel = make_panel(NUM_SERIES, horizon=horizon)
        if gaps:
            y_SN = panel.y_SN.copy()
            y_SN[np.random.default_rng(0).random(y_SN.shape) < 0.3] = np.nan
            panel = replace(panel, y_SN=y_SN)
        if categories.calendar:
            panel = replace(panel, coded=_code(panel))
        training = MemberConfig(
            **{"hidden_size": 5, "segment_length": 4, "context_segments": 3, "prior_windows": 17, "last_value": False}
            | config,
            start="prior",
        )
        task = ForecastTask(1, horizon, (0.1, 0.5, 0.9), season_lengths, categories)
        ready = assemble(
            panel,
            measure_scaling(panel.y_SN, season_length=season_lengths[0]),
            model=model,
            task=task,
            config=training,
            vocabulary=learn_vocabulary(panel.coded, categories, reads_static=True),
        )
        network = ready.make_network(num_series=1, device=torch.device("cpu"), kernel=kernel)
        key_1 = series_keys(("prior",), seed=3)
        network.initialise(key_1)
        with torch.no_grad():
            for name, weight in network.weights.items():
                weight.add_(0.3 * torch.sin(torch.arange(weight.numel()).view(weight.shape) + len(name)))
        self.module = PriorModule(
            network,
            ready.windows,
            config=training,
            quantiles=task.quantiles,
            key_1=key_1,
            rows_S=torch.tensor([0, 2, 4]),
            first_S=torch.tensor([20, 15, 30, 16, 25]),
            num_windows_S=torch.tensor([150, 179, 9, 1, 174]),
            max_steps=40,
        )

    def advance(self, num_steps: int) -> "Training":
        self.module.advance(num_steps)
        return self


def _code(panel: Panel) -> Coded:
    """Give every grid point a random weekday, and every series a store."""
    days = np.random.default_rng(1).integers(0, 7, panel.ds_SN.shape)
    stores = np.broadcast_to((np.arange(len(panel.ds_SN)) % 3)[:, None], panel.ds_SN.shape)
    return Coded(("weekday", "store"), (tuple("MTWtFSs"), tuple("ABC")), np.stack([days, stores], -1).astype(np.int32))


@pytest.mark.parametrize("model", CELLS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_first_gradient_and_the_next_steps_agree(
    make_panel: Callable[..., Panel], model: str, case: dict[str, Any], lanes: int
) -> None:
    """AdamW's moments after one step are the clipped gradient and its square."""
    expected, found = (Training(kernel, model, make_panel, **case).advance(1) for kernel in ("reference", "cpu"))
    for name in expected.module.network.weights:
        for wanted, got in zip(moments_of(expected.module, name), moments_of(found.module, name), strict=True):
            bound = 2e-5 * float(wanted.abs().max()) + 1e-9
            torch.testing.assert_close(got, wanted, rtol=0, atol=bound, msg=lambda text, n=name: f"{n}: {text}")
    torch.testing.assert_close(found.module.loss, expected.module.loss, rtol=2e-5, atol=0)
    for training in (expected, found):
        training.advance(3)
    for kind in ("weights", "average"):
        wanted, got = (
            dict((each.module.average if kind == "average" else each.module.network.weights).items())
            for each in (expected, found)
        )
        for name in wanted:
            torch.testing.assert_close(got[name].data, wanted[name].data, rtol=0, atol=5e-3)
            assert (got[name].data - wanted[name].data).abs().median() < 1e-5
    torch.testing.assert_close(found.module.loss, expected.module.loss, rtol=1e-4, atol=0)


@pytest.mark.parametrize("model", ["gru", "lstm"])
def test_the_bits_depend_neither_on_threads_nor_on_blocks(make_panel: Callable[..., Panel], model: str) -> None:
    case = {"prior_windows": 130, "categories": BOTH}
    trained = []
    for num_threads, blocks in ((1, [20]), (2, [20]), (3, [7, 13]), (8, [1, 2, 17])):
        torch.set_num_threads(num_threads)
        training = Training("cpu", model, make_panel, **case)
        for num_steps in blocks:
            training.advance(num_steps)
        trained.append([*training.module.network.weights.values(), *training.module.average.values()])
    assert all(
        torch.equal(first, other) for others in trained[1:] for first, other in zip(trained[0], others, strict=True)
    )
