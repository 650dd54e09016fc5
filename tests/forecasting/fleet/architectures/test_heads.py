"""Heads: a state forecasts the whole horizon, the next segment, or the whole horizon at every step."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from forecasting.errors import SpecError
from forecasting.fleet.architectures import Dimensions, make_wiring
from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.kernels import reference
from forecasting.fleet.random import series_keys
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.windows import WindowSource, window_source
from forecasting.series.panel import Panel
from forecasting.spec.spec import make_spec
from forecasting.spec.training import Design, MemberConfig

MakePanel = Callable[..., Panel]
L, T, HORIZON, H = 4, 3, 6, 5
CONFIG = MemberConfig(segment_length=L, context_segments=T, hidden_size=H)
DIMENSIONS = Dimensions(2 * L + 1 + 2, T, H, HORIZON, 3, segment_length=L, median=1)


def source_of(panel: Panel, *, head: str) -> WindowSource:
    wiring = make_wiring("gru", Design(head=head))
    return window_source(
        panel,
        measure_scaling(panel.y_SN, season_length=8),
        config=CONFIG,
        season_lengths=(8, 1),
        reads_future=wiring.reads_future,
        is_causal=wiring.is_dense,
    )


def draw(head: str, num_series: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = make_wiring("gru", Design(head=head)).parameter_shapes(DIMENSIONS)
    return {name: torch.randn(num_series, *shape, generator=generator) / 2 for name, shape in shapes.items()}


def mean_reference(windows) -> Tensor:
    return windows.reference_SBFM.mean(-1)


def test_a_step_of_a_window_has_the_targets_of_a_window_that_ends_there(make_panel: MakePanel) -> None:
    """Each step has the references, targets and gaps of a window of its own."""
    panel = make_panel(2)
    values = panel.y_SN.copy()
    values[:, 101:104] = np.nan
    source = source_of(replace(panel, y_SN=values), head="every_step")
    ends = torch.tensor([[100, 120], [90, 150]])
    dense = source.gather(ends, every_step=True)
    assert dense.x_SBTI.shape[:3] == (2, 2, T)
    each = source.gather((ends.unsqueeze(-1) - L * torch.arange(T - 1, -1, -1)).flatten(1))
    for name in ("reference_SBFM", "target_SBF", "is_observed_SBF"):
        assert torch.equal(getattr(dense, name), getattr(each, name))
    assert (dense.is_observed_SBF == 0).any()


def test_inputs_of_a_dense_window_do_not_depend_on_later_points(make_panel: MakePanel) -> None:
    panel = make_panel(1)
    altered = panel.y_SN.copy()
    altered[:, 117:] += 5  # the last segment of the window that ends at 120
    scaling = measure_scaling(panel.y_SN, season_length=8)
    ends = torch.tensor([[120]])
    for head, depends in (("every_step", False), ("horizon", True)):
        parts = []
        for values in (panel.y_SN, altered):
            source = window_source(
                replace(panel, y_SN=values),
                scaling,
                config=CONFIG,
                season_lengths=(8, 1),
                is_causal=make_wiring("gru", Design(head=head)).is_dense,
            )
            parts.append(source.gather(ends).x_SBTI[:, :, :-1])
        assert torch.equal(*parts) != depends


def test_training_uses_every_state_and_prediction_the_last(make_panel: MakePanel) -> None:
    source, weights = source_of(make_panel(2), head="every_step"), draw("every_step", 2)
    wiring, ends = make_wiring("gru", Design(head="every_step")), torch.tensor([[100, 120], [90, 150]])
    dense, last = source.gather(ends, every_step=True), source.gather(ends)
    noise = Noise(series_keys(("a", "b"), seed=0), 0, num_windows=2)
    trained = wiring.run(dense, mean_reference(dense), weights, DIMENSIONS, kernel=reference, noise=noise)
    assert trained.shape == (2, 2 * T, HORIZON * 3)
    predicted = wiring.run(last, mean_reference(last), weights, DIMENSIONS, kernel=reference, noise=None)
    torch.testing.assert_close(trained[:, T - 1 :: T], predicted)
    states = reference.run(wiring.cell, dense.x_SBTI, weights)
    by_hand = [states[s].flatten(0, 1) @ weights["head_HO"][s] + weights["bias_head_1O"][s] for s in range(2)]
    torch.testing.assert_close(trained, torch.stack(by_hand))


def test_a_rollout_reads_a_forecast_segment_like_an_observed_one(make_panel: MakePanel) -> None:
    """With teacher forcing the second segment equals that of a window whose context includes the first segment."""
    panel = make_panel(2)
    source, weights = source_of(panel, head="next"), draw("next", 2)
    wiring = make_wiring("gru", Design(head="next", decoder="forced"))
    ends = torch.tensor([[100, 120], [90, 150]])
    windows = source.gather(ends)
    noise = Noise(series_keys(("a", "b"), seed=0), 0, num_windows=2)
    outputs = wiring.run(windows, mean_reference(windows), weights, DIMENSIONS, kernel=reference, noise=noise)
    assert outputs.shape == (2, 2, HORIZON * 3)
    # A window with one more step ends a segment later; it keeps the level of the first window.
    longer = replace(source, context_segments=T + 1).gather(ends + L)
    shift_SB11 = (longer.level_SB1 - windows.level_SB1).unsqueeze(-1)
    x_SBTI = torch.cat([longer.x_SBTI[..., :L] + shift_SB11, longer.x_SBTI[..., L:]], dim=-1)
    last = reference.run(wiring.layers.cell, x_SBTI, weights, only_last=True)
    next_segment = torch.baddbmm(weights["bias_head_1O"], last, weights["head_HO"])
    expected = next_segment.view(2, 2, L, 3)[:, :, : HORIZON - L]
    torch.testing.assert_close(outputs.view(2, 2, HORIZON, 3)[:, :, L:], expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_forecasts_the_next_segment_has_fewer_outputs() -> None:
    shapes = {head: make_wiring("lstm", Design(head=head)).parameter_shapes(DIMENSIONS) for head in ("next", "horizon")}
    assert shapes["next"]["head_HO"] == (H, L * 3)
    assert shapes["horizon"]["head_HO"] == (H, HORIZON * 3)


@pytest.mark.parametrize(
    ("model", "head"), [("bidirectional", "every_step"), ("bidirectional", "next"), ("window_mlp", "next")]
)
def test_a_head_that_a_model_does_not_support_is_refused(model: str, head: str) -> None:
    with pytest.raises(SpecError, match=f"head '{head}' is for elman, lstm, gru and indrnn, not for '{model}'"):
        make_wiring(model, Design(head=head))
    fields = {"name": "x", "source": {"uri": "x.csv"}, "freq": "1h", "season_lengths": [24], "horizon": 5}
    with pytest.raises(SpecError, match=f"not for '{model}'"):
        make_spec(fields | {"models": ["lstm", model], "overrides": {"design": {"head": head}}}, subject="x")
