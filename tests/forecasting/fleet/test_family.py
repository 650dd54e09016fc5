"""The fleet's contract for every design: each model and variant in turn."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from forecasting.fleet.fit import fit_candidates, fit_serving
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import predict
from forecasting.fleet.prior.prior import fit_prior
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.spec import NETWORKS
from forecasting.spec.training import Design, MemberConfig

MakePanel = Callable[..., Panel]
QUANTILES = (0.1, 0.5, 0.9)
SEASON = 8

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {model: (model, {}) for model in NETWORKS} | {
    "elman with ReLU": ("elman", {"activation": "relu"}),
    "lstm with peepholes and a forget bias": ("lstm", {"peepholes": True, "forget_bias": 1.0}),
    "gru that resets before": ("gru", {"candidate": "before"}),
    "gru, three layers, dropout, residual, norm": (
        "gru",
        {"layers": 3, "dropout": 0.2, "residual": True, "layer_norm": True},
    ),
    "indrnn, two layers": ("indrnn", {"layers": 2}),
    "bidirectional gru, two layers": ("bidirectional", {"cell": "gru", "layers": 2}),
    "seq2seq of gru, scheduled sampling": ("seq2seq", {"cell": "gru", "decoder": "scheduled"}),
    "seq2seq of indrnn, two layers, forced": ("seq2seq", {"cell": "indrnn", "layers": 2, "decoder": "forced"}),
    "attention by products": ("attention", {"attention": "dot"}),
    "lstm that is rolled on": ("lstm", {"head": "next"}),
    "gru, two layers, rolled on, forced": ("gru", {"head": "next", "layers": 2, "decoder": "forced"}),
    "gru, head every_step": ("gru", {"head": "every_step"}),
    "lstm, series read as streams": ("lstm", {"stream": True}),
    "gru, two layers, streams": ("gru", {"stream": True, "layers": 2}),
    "jordan, forced": ("jordan", {"decoder": "forced"}),
    "window_mlp, two layers, dropout, norm": ("window_mlp", {"layers": 2, "dropout": 0.2, "layer_norm": True}),
}
every_variant = pytest.mark.parametrize(("model", "design"), VARIANTS.values(), ids=VARIANTS)
every_model = pytest.mark.parametrize("model", NETWORKS)


def task_of(*, horizon: int = 6, season: int = SEASON) -> ForecastTask:
    return ForecastTask(1, horizon, QUANTILES, (season,))


def config_of(design: dict[str, Any], **fields: Any) -> MemberConfig:
    small = {
        "hidden_size": 5,
        "segment_length": 4,
        "context_segments": 3,
        "batch_windows": 7,
        "max_steps": 20,
        "evaluate_every": 10,
        "patience": 3,
        "validation_windows": 9,
        "learning_rate": 1e-2,
    }
    return MemberConfig(**small | fields, design=Design(**design))


def fit(
    panel: Panel, model: str, config: MemberConfig, *, season: int = SEASON, num_hidden: int = 12, **more: Any
) -> FittedFleet:
    return fit_candidates(
        panel,
        model,
        task_of(horizon=panel.horizon, season=season),
        config,
        seed=7,
        dropped_S=np.full(len(panel.unique_ids), num_hidden),
        options=FitOptions(accelerator="cpu"),
        **more,
    )


@every_variant
def test_a_series_alone_equals_itself_among_many(make_panel: MakePanel, model: str, design: dict[str, Any]) -> None:
    many, config = make_panel(7), config_of(design, max_steps=100, patience=1000)
    alone = many.select(np.array([4]))
    among, lone = predict(fit(many, model, config), many)[4], predict(fit(alone, model, config), alone)[0]
    scale = np.abs(np.diff(alone.y_SN[0])).mean()
    np.testing.assert_allclose(among, lone, rtol=0, atol=1e-5 * scale)


@every_model
def test_seven_hundred_series_train_together_as_one_does(make_panel: MakePanel, model: str) -> None:
    many, config = make_panel(700, num_points=80), config_of({}, max_steps=5, evaluate_every=5)
    alone = many.select(np.array([600]))
    forecasts = predict(fit(many, model, config), many)
    assert np.isfinite(forecasts).all()
    scale = np.abs(np.diff(alone.y_SN[0])).mean()
    np.testing.assert_allclose(forecasts[600], predict(fit(alone, model, config), alone)[0], rtol=0, atol=1e-5 * scale)


@every_variant
def test_a_series_that_blows_up_is_set_aside_and_its_neighbours_do_not_change(
    make_panel: MakePanel, monkeypatch: pytest.MonkeyPatch, model: str, design: dict[str, Any]
) -> None:
    panel, config = make_panel(3), config_of(design)
    sound = fit(panel, model, config)
    initialise = FleetNetwork.initialise

    def poisoned(network: FleetNetwork, keys_S: torch.Tensor) -> None:
        initialise(network, keys_S)
        with torch.no_grad():
            network.weights["head_HO"][1, 0, 0] = torch.nan

    monkeypatch.setattr(FleetNetwork, "initialise", poisoned)
    broken = fit(panel, model, config)
    assert broken.unique_ids == ("s0", "s2")
    assert [refusal.unique_id for refusal in broken.refused] == ["s1"]
    for name, weight in broken.weights.items():
        assert torch.equal(weight, sound.weights[name][[0, 2]])


@every_variant
def test_hidden_points_are_never_read(make_panel: MakePanel, model: str, design: dict[str, Any]) -> None:
    panel, config = make_panel(2), config_of(design)
    altered = panel.y_SN.copy()
    altered[:, -12:] *= -50
    assert fit(panel, model, config).versions() == fit(replace(panel, y_SN=altered), model, config).versions()


@every_variant
def test_a_saved_fleet_forecasts_the_same_bits_and_a_second_fit_repeats_them(
    make_panel: MakePanel, model: str, design: dict[str, Any]
) -> None:
    panel, config = make_panel(3), config_of(design)
    fitted = fit(panel, model, config)
    forecasts = predict(fitted, panel)
    assert np.isfinite(forecasts).all()
    read = FittedFleet.from_bytes(fitted.to_bytes())
    assert read.config.design == Design(**design)
    assert predict(read, panel).tobytes() == forecasts.tobytes()
    assert fit(panel, model, config).versions() == fitted.versions()
    assert (np.diff(forecasts, axis=-1) >= 0).all(), "quantiles rise"


@every_variant
def test_a_serving_network_and_a_warm_start_begin_from_candidates(
    make_panel: MakePanel, model: str, design: dict[str, Any]
) -> None:
    panel, config = make_panel(2), config_of(design, max_steps=40)
    candidates = fit(panel, model, config, num_hidden=24)
    serving = fit_serving(panel, candidates, options=FitOptions(accelerator="cpu"))
    assert serving.num_steps_S.tolist() == candidates.num_steps_S.tolist()
    assert np.isfinite(predict(serving, panel)).all()
    warm = fit(panel, model, config, start=(candidates,))
    assert warm.started_from == candidates.versions()
    assert warm.num_steps_S.max() <= 10


@every_variant
def test_a_prior_is_learned_from_all_and_tuned_for_each(
    make_panel: MakePanel, model: str, design: dict[str, Any]
) -> None:
    panel = make_panel(4)
    small = {"prior_hidden_size": 5, "prior_steps": 30, "prior_windows": 16, "tuning_steps": 10}
    config = config_of(design, start="prior", **small)
    prior = fit_prior(
        panel,
        model,
        task_of(),
        config,
        seed=7,
        dropped_S=np.full(4, 12),
        role="candidate",
        options=FitOptions(accelerator="cpu"),
    )
    assert prior is not None
    read = Prior.from_bytes(prior.to_bytes())
    assert read.version == prior.version
    fitted = fit(panel, model, config, prior=read)
    assert np.isfinite(predict(fitted, panel)).all()
    assert fitted.prior_version == prior.version


@every_model
@pytest.mark.parametrize("horizon", [1, 168])
def test_a_horizon_may_be_a_step_or_a_week_of_hours(make_panel: MakePanel, model: str, horizon: int) -> None:
    panel = make_panel(2, num_points=700, horizon=horizon)
    forecasts = predict(fit(panel, model, config_of({}), num_hidden=0), panel)
    assert forecasts.shape == (2, horizon, 3)
    assert np.isfinite(forecasts).all()


def signal(kind: str, num_points: int) -> np.ndarray:
    """Return what is to be learned: a sine of a season, a ramp, or a pattern that is none of both."""
    points = np.arange(num_points)
    if kind == "sine":
        return 10 + 3 * np.sin(2 * np.pi * points / SEASON)
    if kind == "ramp":
        return 5 + 0.2 * points
    return 10 + np.array([0.0, 4, 1, 0, 0, 7, 2, 0])[points % SEASON] * (1 + 0.002 * points)


@every_model
@pytest.mark.parametrize("kind", ["sine", "ramp", "pattern"])
def test_a_sine_a_ramp_and_a_pattern_are_learned_to_a_twentieth_of_their_spread(
    make_panel: MakePanel, model: str, kind: str
) -> None:
    """A ramp moves 1.2 over the horizon, of which the last value would miss 0.7 on average."""
    panel = make_panel(1, num_points=240)
    values = signal(kind, 246)
    noise = np.random.default_rng(0).normal(0, 0.02, 240)
    panel = replace(panel, y_SN=(values[:240] + noise)[None])
    config = config_of({}, hidden_size=12, max_steps=300, evaluate_every=25, patience=6, batch_windows=16)
    forecasts = predict(fit(panel, model, config, num_hidden=0), panel)[0, :, 1]
    spread = values.std() if kind != "ramp" else 0.2 * SEASON
    assert np.abs(forecasts - values[240:]).mean() < 0.05 * spread + 0.03
