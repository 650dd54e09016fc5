"""Forecasts of a fitted fleet: the part of a long panel that they read, and gaps filled from long before."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from forecasting.fleet import kernels
from forecasting.fleet.fit import fit_candidates
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.predict import predict
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig

module = import_module("forecasting.fleet.predict")
assembly = import_module("forecasting.fleet.assembly")


@pytest.fixture
def panel(make_panel: Callable[..., Panel]) -> Panel:
    """Series 0 is whole, 1 is short, 2 has gaps in its last season that older seasons fill, 3 ends in one."""
    panel = make_panel(4)
    panel.y_SN[1, :150], panel.length_S[1] = np.nan, 50
    panel.y_SN[2, -90::3] = np.nan
    panel.y_SN[3, -40:] = np.nan
    return panel


@pytest.fixture(params=[(8,), (7, 30)])
def fitted(
    request: pytest.FixtureRequest, panel: Panel, model: str, task: ForecastTask, config: MemberConfig
) -> FittedFleet:
    wanted = replace(task, season_lengths=request.param)
    return fit_candidates(panel, model, wanted, config, seed=0, dropped_S=np.zeros(4, dtype=np.int64))


def test_forecast_reads_the_last_windows_alone_and_says_the_same(
    fitted: FittedFleet, panel: Panel, monkeypatch: pytest.MonkeyPatch, every_kernel: str
) -> None:
    widths = []
    source = assembly.window_source

    def watched(known: Panel, *arguments: Any, **options: Any) -> Any:
        widths.append(known.y_SN.shape[1])
        return source(known, *arguments, **options)

    monkeypatch.setattr(assembly, "window_source", watched)
    short = predict(fitted, panel)
    assert np.isfinite(short).all()
    assert min(widths) <= 60
    widths.clear()
    monkeypatch.setattr(module, "_newest", lambda panel, fitted: panel)
    np.testing.assert_array_equal(short, predict(fitted, panel))
    assert widths == [200, 200]


def test_a_neighbour_with_gaps_changes_no_bit(fitted: FittedFleet, panel: Panel) -> None:
    together = predict(fitted, panel)
    for row in range(4):
        np.testing.assert_array_equal(predict(fitted, panel.select(np.array([row])))[0], together[row])


def test_crossing_quantiles_are_sorted(fitted: FittedFleet, panel: Panel) -> None:
    with torch.no_grad():
        fitted.weights["bias_head_1O"][:, 0, 0] += 100.0
    assert (np.diff(predict(fitted, panel), axis=-1) >= 0).all()


def test_a_requested_gpu_kernel_runs_on_the_gpu(
    fitted: FittedFleet, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(cell: Any, device: torch.device, *_: Any, wanted: str) -> Any:
        asked.append((device.type, wanted))
        raise LookupError

    monkeypatch.setattr(kernels, "choose", refuse)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for wanted in ("gpu", "auto"):
        with pytest.raises(LookupError):
            predict(fitted, panel, kernel=wanted)  # type: ignore[arg-type]
    assert asked == [("cuda", "gpu"), ("cpu", "auto")]
