"""What lies before a young series is unknown to its networks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from forecasting.fleet.fit import fit_candidates
from forecasting.fleet.network import reference_of
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import predict
from forecasting.fleet.scaling import measure_scaling
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import WindowBatch, WindowSource, window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig

CONFIG = MemberConfig(segment_length=4, context_segments=5)
SEASON, LEVEL, START = 20, 3.0, 170


def young_panel(make_panel: Callable[..., Panel], y: np.ndarray) -> Panel:
    """Series 0 begins at column `START` with the values of `y` (30); series 1 is long."""
    panel = make_panel(2)
    panel.y_SN[0] = np.nan
    panel.y_SN[0, -len(y) :], panel.length_S[0] = y, len(y)
    return panel


def source_of(panel: Panel, season_lengths: tuple[int, ...] = (SEASON, 1)) -> WindowSource:
    scaling = measure_scaling(panel.y_SN, season_length=SEASON)
    return window_source(panel, scaling, config=CONFIG, season_lengths=season_lengths)


def mixed(batch: WindowBatch, *raw: float) -> torch.Tensor:
    mixture_FM = torch.tensor(raw).expand(2, batch.target_SBF.shape[2], len(raw))
    return reference_of(batch, {"mixture_FM": mixture_FM})


def test_a_season_that_no_point_could_test_leaves_its_weight_to_the_last_value(
    make_panel: Callable[..., Panel],
) -> None:
    panel = young_panel(make_panel, np.linspace(10.0, 40.0, 30))
    batch = source_of(panel).gather(torch.tensor([[START + 15], [190]]))
    assert batch.is_known_SBFM is not None
    assert not batch.is_known_SBFM[0, :, :, 0].any()
    assert batch.is_known_SBFM[1].all()
    reference_SBF = mixed(batch, 0.3, -0.3)
    torch.testing.assert_close(reference_SBF[0, 0], batch.reference_SBFM[0, 0, :, 1])
    share = torch.softmax(torch.tensor([3.0, -3.0]), 0)
    torch.testing.assert_close(reference_SBF[1], (batch.reference_SBFM[1] * share).sum(-1))


def test_a_first_season_is_used_once_it_was_better_than_the_last_value(make_panel: Callable[..., Panel]) -> None:
    wave = 10 + 5 * np.sin(2 * np.pi * np.arange(30) / SEASON)
    launched = 10 * (1 - np.exp(-np.arange(1, 31) / 3))
    for y, is_used in ((wave, True), (launched, False), (np.linspace(1, 30, 30), False)):
        batch = source_of(young_panel(make_panel, y)).gather(torch.tensor([[199], [199]]))
        assert batch.is_known_SBFM is not None
        assert bool(batch.is_known_SBFM[0, ..., 0].all()) is is_used
        assert batch.is_known_SBFM[0, ..., 1].all()


def test_inputs_before_a_series_and_changes_since_then_are_masked(make_panel: Callable[..., Panel]) -> None:
    panel = young_panel(make_panel, np.linspace(10.0, 40.0, 30))
    x_TI = source_of(panel).gather(torch.tensor([[START + 9], [190]])).x_SBTI[0, 0]
    values_TL, change_TL, seen_T = x_TI[:, :4], x_TI[:, 4:8], x_TI[:, 8]
    assert seen_T.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert not values_TL[:2].any()
    assert not values_TL[2, :2].any()
    assert values_TL[2, 2:].all()
    assert not change_TL.any()


def test_a_long_series_beside_a_young_one_has_the_windows_that_it_has_alone(make_panel: Callable[..., Panel]) -> None:
    panel = young_panel(make_panel, np.linspace(10.0, 40.0, 30))
    alone = panel.select(np.array([1]))
    assert not source_of(alone).has_young
    origins = torch.tensor([[25, 60, 199]])
    together, single = source_of(panel).gather(origins, torch.tensor([1])), source_of(alone).gather(origins)
    for name in ("x_SBTI", "reference_SBFM", "target_SBF", "is_observed_SBF"):
        assert torch.equal(getattr(together, name), getattr(single, name)), name


def test_a_step_without_any_reference_is_no_target_and_has_no_forecast(
    make_panel: Callable[..., Panel], task: ForecastTask, config: MemberConfig
) -> None:
    panel = young_panel(make_panel, np.linspace(10.0, 40.0, 30))
    batch = source_of(panel, (SEASON,)).gather(torch.tensor([[START + 9], [190]]))
    assert not batch.is_observed_SBF[0].any()
    assert batch.is_observed_SBF[1].all()
    torch.testing.assert_close(mixed(batch, 0.0)[0, 0], batch.reference_SBFM[0, 0, :, 0])
    wanted = replace(task, season_lengths=(48,))
    without = config.model_copy(update={"last_value": False})
    fitted = fit_candidates(panel, "lstm", wanted, without, seed=0, dropped_S=np.zeros(2, dtype=np.int64))
    quantiles_SFQ = predict(fitted, panel)
    assert np.isnan(quantiles_SFQ[0]).all()
    assert np.isfinite(quantiles_SFQ[1]).all()


def test_the_scale_of_a_young_series_is_its_step_not_its_rise() -> None:
    y_SN = np.array([np.arange(30.0), np.tile([0.0, 5.0, 1.0], 10)])
    assert measure_scaling(y_SN, season_length=20).error_S[0] == 1.0
    assert measure_scaling(y_SN, season_length=3).error_S[0] == 3.0


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_a_forecast_of_a_young_series_does_not_read_its_fill(
    make_panel: Callable[..., Panel], task: ForecastTask, config: MemberConfig, kernel: str
) -> None:
    """A panel that begins with the series pads it with its first value, one that begins earlier with a gap."""
    panel = young_panel(make_panel, np.linspace(10.0, 40.0, 30))
    wanted = replace(task, season_lengths=(48,))
    dropped_S, options = np.zeros(2, dtype=np.int64), FitOptions(kernel=kernel)  # type: ignore[arg-type]
    fitted = fit_candidates(panel, "gru", wanted, config, seed=0, dropped_S=dropped_S, options=options)
    row = np.array([0])
    np.testing.assert_allclose(predict(fitted, panel)[0], predict(fitted, panel.select(row))[0], rtol=1e-5)
