"""The prior's side: whole optimiser steps of one network over many series, repeated for a given time."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from forecasting.fleet.assembly import assemble
from forecasting.fleet.prior.prior import PriorModule
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import measure_scaling
from tests.benchmarks.cases import PRIOR, SEASON_LENGTH, SEED, TASK, make_panel


def prepare(*, cell: str, num_series: int, seconds: float) -> Callable[[], dict[str, Any]]:
    """Take some steps; return a function that takes more for `seconds` and returns the rate in GFLOP/s."""
    torch.set_num_threads(1)
    panel, config = make_panel(PRIOR, list(range(num_series))), PRIOR.config_of_prior()
    scaling = measure_scaling(panel.y_SN, season_length=SEASON_LENGTH)
    ready = assemble(panel, scaling, model=cell, task=TASK, config=config, vocabulary={})
    network = ready.make_network(num_series=1, device=torch.device("cpu"), kernel="cpu")
    key_1 = series_keys(("prior",), seed=SEED)
    network.initialise(key_1)
    first = config.context_segments * config.segment_length
    module = PriorModule(
        network,
        ready.windows,
        config=config,
        quantiles=TASK.quantiles,
        key_1=key_1,
        rows_S=torch.arange(num_series),
        first_S=torch.full((num_series,), first),
        num_windows_S=torch.full((num_series,), panel.y_SN.shape[1] - TASK.horizon - first),
        max_steps=1_000_000,
    )
    num_flops = (
        PRIOR.count_flops(cell) + 3 * 2 * PRIOR.batch_windows * PRIOR.hidden_size * network.dimensions.num_outputs
    )

    def run() -> dict[str, Any]:
        began, before = time.perf_counter(), module.num_steps
        while (passed := time.perf_counter() - began) < seconds:
            module.run_block()
        assert np.isfinite(float(module.loss)), "the prior has broken"
        return {"rate": 1e-9 * (module.num_steps - before) * num_flops / passed, "kernel": network.kernel.NAME}

    module.run_block()
    return run
