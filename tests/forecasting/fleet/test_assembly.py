"""Windows, wiring and network that are put together: their sizes match, and windows never change in place."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from forecasting.fleet.assembly import Assembly, assemble
from forecasting.fleet.cost.sizes import FleetSizes
from forecasting.fleet.module import FleetModule, StepBudget
from forecasting.fleet.scaling import scaling_for
from forecasting.fleet.steps.engine import EngineSteps
from forecasting.fleet.task import ForecastTask
from forecasting.series.categories import Coded
from forecasting.series.panel import Panel
from forecasting.spec.categories import Categories
from forecasting.spec.spec import NETWORKS
from forecasting.spec.training import Design, MemberConfig

DAYS = ("a", "b", "c")
CLASSED = Categories(calendar=("weekday",), size=3)
EXTRAS = {
    "plain": {},
    "smoothed": {"smoothing": "level_season"},
    "two layers": {"design": Design(layers=2)},
}


def assembly_of(panel: Panel, task: ForecastTask, config: MemberConfig, *, model: str, has_days: bool) -> Assembly:
    vocabulary = {}
    if has_days:
        code_SNK = np.arange(panel.ds_SN.size, dtype=np.int32).reshape(*panel.ds_SN.shape, 1) % 3
        panel = replace(panel, coded=Coded(("weekday",), (DAYS,), code_SNK))
        task, vocabulary = replace(task, categories=CLASSED), {"weekday": DAYS}
    scaling = scaling_for(config, panel, task.season_lengths)
    return assemble(panel, scaling, model=model, task=task, config=config, vocabulary=vocabulary)


@pytest.mark.parametrize("has_days", [False, True])
@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS)
@pytest.mark.parametrize("model", NETWORKS)
def test_the_cost_model_knows_which_fleets_the_engine_runs(
    make_panel: Callable[..., Panel],
    task: ForecastTask,
    config: MemberConfig,
    model: str,
    extra: dict[str, object],
    has_days: bool,
) -> None:
    panel, config = make_panel(2), config.model_copy(update=extra)
    ready = assembly_of(panel, task, config, model=model, has_days=has_days)
    network = ready.make_network(num_series=2, device=torch.device("cpu"), kernel="auto")
    module = FleetModule(
        network,
        ready.windows,
        config=config,
        quantiles=task.quantiles,
        keys_S=torch.zeros(2, dtype=torch.int64),
        first_S=torch.tensor([20, 20]),
        num_windows_S=torch.tensor([9, 9]),
        validation_SV=torch.zeros(2, 0, dtype=torch.int64),
        budget=StepBudget(1),
    )
    sizes = FleetSizes(
        model,
        config,
        task.horizon,
        len(task.quantiles),
        panel.calendar_SNC.shape[-1],
        task.season_lengths,
        kernel=network.kernel.NAME,
        categories=CLASSED if has_days else Categories(),
    )
    assert isinstance(module.steps, EngineSteps) == sizes.in_engine
    assert sizes.parameters == {name: weight[0].numel() for name, weight in network.weights.items()}
    assert sizes.num_inputs == ready.windows.num_inputs


def test_hiding_what_was_not_seen_leaves_the_windows_as_they_were(
    make_panel: Callable[..., Panel], task: ForecastTask, config: MemberConfig
) -> None:
    ready = assembly_of(make_panel(2), task, config, model="gru", has_days=True)
    before = ready.windows.row_SNK.clone()
    seen = torch.ones(2, 8, dtype=torch.bool)
    seen[1, 2] = False
    hidden = ready.hide_unseen([seen])
    assert torch.equal(ready.windows.row_SNK, before)
    assert torch.equal(hidden.windows.row_SNK[0], before[0])
    assert torch.equal(hidden.windows.row_SNK[1], before[1].where(before[1] != 2, 0))
    with pytest.raises(FrozenInstanceError):
        hidden.windows.row_SNK = before
