"""Series as streams: states between stretches are exact, gradients end with a stretch, and memory does not grow."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forecasting.errors import SpecError
from forecasting.fleet.architectures import Dimensions, Recurrent, make_wiring
from forecasting.fleet.fit import fit_candidates
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import predict
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.stream import count_stretches, forecast_outputs, forecast_streams, read, stretch, stretches
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import WindowSource, window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import Design, MemberConfig

MakePanel = Callable[..., Panel]
L, H, HORIZON = 4, 5, 6


def source_of(panel: Panel, *, num_steps: int) -> WindowSource:
    config = MemberConfig(segment_length=L, context_segments=num_steps)
    scaling = measure_scaling(panel.y_SN, season_length=8)
    windows = window_source(panel, scaling, config=config, season_lengths=(8, 1), is_causal=True)
    names = ("y_SN", "is_observed_SN", "calendar_SNC", "calendar_after_SFC", "error_unit_S")
    return replace(windows, **{name: getattr(windows, name).double() for name in names})


def network_of(num_series: int, *, num_steps: int, **design: Any) -> tuple[Recurrent, Dimensions, dict]:
    wiring = make_wiring("lstm", Design(stream=True, **design))
    dimensions = Dimensions(2 * L + 1 + 2, num_steps, H, HORIZON, 3, segment_length=L, median=1)
    generator = torch.Generator().manual_seed(0)
    shapes = wiring.parameter_shapes(dimensions) | {"mixture_FM": (HORIZON, 2)}
    weights = {
        name: (torch.randn(num_series, *shape, dtype=torch.float64, generator=generator) / 3).requires_grad_()
        for name, shape in shapes.items()
    }
    return wiring, dimensions, weights


def uneven(make_panel: MakePanel) -> Panel:
    """Series of 200, 97 and 30 points, each aligned at the end."""
    panel = make_panel(3)
    length_S = np.array([200, 97, 30])
    values = panel.y_SN.copy()
    for row, length in enumerate(length_S):
        values[row, : 200 - length] = np.nan
    return replace(panel, y_SN=values, length_S=length_S)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_what_is_known_at_the_origin_is_the_same_however_long_stretches_are(
    make_panel: MakePanel, num_layers: int
) -> None:
    panel, forecasts = uneven(make_panel), []
    for num_steps in (50, 7, 1):
        wiring, dimensions, weights = network_of(3, num_steps=num_steps, layers=num_layers)
        windows = source_of(panel, num_steps=num_steps)
        forecasts.append(forecast_streams(wiring, windows, weights, torch.tensor([199, 180, 199]), dimensions))
    # Of one series, whose stream is a whole number of every stretch, and so begins with its own first point.
    whole = panel.select(np.array([0]))
    exact = []
    for num_steps in (50, 10, 5, 1):
        wiring, dimensions, weights = network_of(1, num_steps=num_steps, layers=num_layers)
        windows = source_of(whole, num_steps=num_steps)
        exact.append(forecast_streams(wiring, windows, weights, torch.tensor([199]), dimensions))
    for other in exact[1:]:
        torch.testing.assert_close(other, exact[0], rtol=1e-12, atol=1e-12)
    assert forecasts[0].shape == (3, 1, HORIZON, 3)
    assert all(torch.isfinite(each).all() for each in forecasts)


def test_a_series_reads_its_own_stretches_regardless_of_its_neighbours(make_panel: MakePanel) -> None:
    panel = uneven(make_panel)
    wiring, dimensions, weights = network_of(3, num_steps=7)
    origins = torch.tensor([199, 180, 199])
    together = forecast_streams(wiring, source_of(panel, num_steps=7), weights, origins, dimensions)
    for row in range(3):
        alone = forecast_streams(
            wiring,
            source_of(panel.select(np.array([row])), num_steps=7),
            {name: weight[row : row + 1] for name, weight in weights.items()},
            origins[row : row + 1],
            dimensions,
        )
        torch.testing.assert_close(alone[0], together[row], rtol=1e-12, atol=1e-12)


def gradients(panel: Panel, *, num_steps: int, cuts: bool = True) -> list[torch.Tensor]:
    """Return the gradient of the loss of the last stretch, after the ones before have been read."""
    wiring, dimensions, weights = network_of(1, num_steps=num_steps)
    windows = source_of(panel, num_steps=num_steps)
    states = None
    for part in stretches(windows, torch.tensor([199])):
        batch = windows.gather(part.ends_S1, every_step=True)
        states = states if states is None or not cuts else [tuple(s.detach() for s in layer) for layer in states]
        outputs, states = read(wiring, batch, weights, states, part.begins_S)
    forecasts = forecast_outputs(
        wiring, outputs[:, :, -1:].flatten(1, 2), windows.gather(part.ends_S1), weights, dimensions
    )
    return list(torch.autograd.grad(forecasts.sum(), list(weights.values())))


def test_a_stretch_as_long_as_its_series_gives_the_whole_gradient_and_a_shorter_one_a_part(
    make_panel: MakePanel,
) -> None:
    panel = make_panel(1)
    whole, in_parts, cut = (
        gradients(panel, num_steps=50),
        gradients(panel, num_steps=10, cuts=False),
        gradients(panel, num_steps=10),
    )
    for full, uncut in zip(whole, in_parts, strict=True):
        torch.testing.assert_close(uncut, full, rtol=1e-10, atol=1e-12)
    assert any(not torch.allclose(part, full, rtol=1e-6, atol=1e-9) for part, full in zip(cut, whole, strict=True))


def test_stretches_end_at_the_origin_and_a_stream_starts_over_after_its_last_one(make_panel: MakePanel) -> None:
    windows = source_of(uneven(make_panel), num_steps=7)  # 28 points
    origins = torch.tensor([199, 199, 199])
    assert count_stretches(windows, origins).tolist() == [8, 4, 2]
    parts = [stretch(windows, origins, step % count_stretches(windows, origins)) for step in range(8)]
    assert [part.begins_S.tolist() for part in parts[:4]] == [
        [True, True, True],
        [False, False, False],
        [False, False, True],
        [False, False, False],
    ]
    assert parts[1].ends_S1[2] == parts[3].ends_S1[1] == parts[7].ends_S1[0] == 199
    assert parts[0].ends_S1[2] == 199 - 28


def fit(panel: Panel, *, options: FitOptions = FitOptions(accelerator="cpu"), **fields: Any) -> FittedFleet:
    small = {"hidden_size": 8, "segment_length": 4, "context_segments": 5, "max_steps": 40, "evaluate_every": 10}
    return fit_candidates(
        panel,
        "gru",
        ForecastTask(1, HORIZON, (0.1, 0.5, 0.9), (8,)),
        MemberConfig(**small | {"validation_windows": 8, "design": Design(stream=True)} | fields),
        seed=0,
        dropped_S=np.full(len(panel.unique_ids), 6),
        options=options,
    )


def test_an_interrupted_fit_resumes_from_its_states(make_panel: MakePanel, tmp_path: Path) -> None:
    panel = make_panel(2)
    whole = fit(panel)

    def stop_at_20(num_steps: int) -> None:
        if num_steps == 20:
            raise OSError("killed")

    saving = FitOptions(accelerator="cpu", checkpoint=tmp_path / "fit.ckpt", seconds_between_checkpoints=0.0)
    with pytest.raises(OSError, match="killed"):
        fit(panel, options=replace(saving, on_validation=stop_at_20))
    assert (tmp_path / "fit.ckpt").exists()
    assert fit(panel, options=saving).versions() == whole.versions()


def test_only_a_forecast_of_a_stream_depends_on_points_before_its_last_stretch(make_panel: MakePanel) -> None:
    panel = make_panel(1)
    values = panel.y_SN.copy()
    values[0, 120:124] += 20  # a stretch, and a window, has 20 points: the last ones begin at 180
    altered = replace(panel, y_SN=values)
    for is_stream in (True, False):
        fitted = fit(panel, design=Design(stream=is_stream))
        assert (predict(fitted, panel) != predict(fitted, altered)).any() == is_stream


MILLION = """
import re
from pathlib import Path
import numpy as np
import torch
from forecasting.fleet.fit import fit_candidates
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.options import FitOptions
from forecasting.series.panel import Panel
from forecasting.spec.training import Design, MemberConfig

torch.set_num_threads(1)
n, horizon = 1_000_000, 24
y = 10 + np.sin(2 * np.pi * np.arange(n) / 24) + np.random.default_rng(0).normal(0, 0.1, n)
panel = Panel(("s",), y[None], np.array([n]), np.zeros((1, n + horizon, 0), np.float32),
              np.arange(n + horizon)[None], horizon)
config = MemberConfig(hidden_size=16, segment_length=24, context_segments=50, max_steps=20, evaluate_every=20,
                        design=Design(stream=True))
fitted = fit_candidates(panel, "lstm", ForecastTask(1, horizon, (0.1, 0.5, 0.9), (24,)), config, seed=0,
                        dropped_S=np.zeros(1, dtype=np.int64), options=FitOptions(accelerator="cpu"))
assert fitted.unique_ids == ("s",)
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def test_a_million_points_train_within_a_gibibyte() -> None:
    ended = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert float(ended.stdout.split()[-1]) < 1024


@pytest.mark.parametrize(("model", "design"), [("bidirectional", {}), ("seq2seq", {}), ("lstm", {"head": "next"})])
def test_what_cannot_be_a_stream_is_refused(model: str, design: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="stream"):
        make_wiring(model, Design(stream=True, **design))
