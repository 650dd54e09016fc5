"""Steps on a GPU, captured as a CUDA graph, learn what the same steps learn on a CPU."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forecasting.fleet import fit as fleet_fit
from forecasting.fleet.fit import fit_candidates, fit_serving, measure_gains
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.module import FleetModule
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import predict
from forecasting.fleet.prior.prior import fit_prior
from forecasting.fleet.steps.graphs import GraphedSteps
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig, TrainingConfig, member_seed

pytestmark = pytest.mark.gpu

MakePanel = Callable[..., Panel]
ON_CPU = FitOptions(accelerator="cpu", kernel="reference")
DROPPED = 12


def fit(panel: Panel, model: str, task: ForecastTask, config: MemberConfig, options: FitOptions) -> FittedFleet:
    dropped_S = np.full(len(panel.unique_ids), DROPPED)
    return fit_candidates(panel, model, task, config, seed=7, dropped_S=dropped_S, options=options)


def teach(panel: Panel, model: str, task: ForecastTask, config: TrainingConfig, options: FitOptions) -> Prior:
    dropped_S = np.full(len(panel.unique_ids), DROPPED)
    prior = fit_prior(
        panel,
        model,
        task,
        config.of_member(1),
        seed=member_seed(7, 1),
        dropped_S=dropped_S,
        role="candidate",
        member=1,
        options=options,
    )
    assert prior is not None
    return prior


def assert_learned_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Compare weights; a few may differ more, because Adam amplifies rounding errors of gradients near zero."""
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert found[name].device.type == "cpu"
        difference = (found[name] - weight).abs()
        assert difference.median() < 2e-5, name
        assert difference.max() < 2e-2, name


@pytest.fixture
def graphed(monkeypatch: pytest.MonkeyPatch) -> list[GraphedSteps]:
    """Collect the captured steps in order."""
    made: list[GraphedSteps] = []
    run = GraphedSteps.run

    def watched(steps: GraphedSteps, one_step: Callable[[], None], num_steps: int) -> None:
        run(steps, one_step, num_steps)
        if steps not in made:
            made.append(steps)

    monkeypatch.setattr(GraphedSteps, "run", watched)
    return made


@pytest.mark.parametrize("kernel", ["gpu", "reference"])
@pytest.mark.parametrize("weight_average", [0.0, 0.9])
def test_a_whole_fit_on_a_gpu_learns_what_it_learns_on_a_cpu(
    make_panel: MakePanel,
    model: str,
    task: ForecastTask,
    config: MemberConfig,
    on_gpu: FitOptions,
    graphed: list[GraphedSteps],
    kernel: str,
    weight_average: float,
) -> None:
    config = config.model_copy(update={"weight_average": weight_average, "patience": 100})
    panel = make_panel(5)
    found = fit(panel, model, task, config, replace(on_gpu, kernel=kernel))
    assert [steps.is_captured for steps in graphed] == [True]
    expected = fit(panel, model, task, config, ON_CPU)
    assert found.kernel == kernel
    np.testing.assert_allclose(found.validation_loss_S, expected.validation_loss_S, rtol=1e-3)
    scale = np.abs(np.diff(panel.y_SN[:1])).mean()
    np.testing.assert_allclose(predict(found, panel)[:1], predict(expected, panel)[:1], rtol=0, atol=1e-2 * scale)
    if found.num_steps_S.tolist() == expected.num_steps_S.tolist():
        assert_learned_alike(found.weights, expected.weights)
    serving = fit_serving(panel, found, options=replace(on_gpu, kernel=kernel))
    assert serving.unique_ids == panel.unique_ids
    assert serving.num_steps_S.tolist() == found.num_steps_S.tolist()


def test_a_replayed_graph_takes_the_same_steps_as_one_by_one(
    make_panel: MakePanel,
    model: str,
    task: ForecastTask,
    config: MemberConfig,
    on_gpu: FitOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config.model_copy(update={"weight_average": 0.9})
    replayed = fit(make_panel(5), model, task, config, on_gpu)
    monkeypatch.setattr(GraphedSteps, "_capture", lambda steps, one_step: None)
    one_by_one = fit(make_panel(5), model, task, config, on_gpu)
    assert replayed.num_steps_S.tolist() == one_by_one.num_steps_S.tolist()
    assert_learned_alike(replayed.weights, one_by_one.weights)


def test_a_second_fit_on_a_gpu_has_the_same_bits(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig, on_gpu: FitOptions
) -> None:
    first, second = (fit(make_panel(5), model, task, config, on_gpu) for _ in range(2))
    assert first.versions() == second.versions()


def test_a_series_alone_on_a_gpu_nearly_equals_itself_among_many(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig, on_gpu: FitOptions
) -> None:
    config = config.model_copy(update={"max_steps": 100, "patience": 1_000})
    many = make_panel(70)
    alone = many.select(np.array([33]))
    among = predict(fit(many, model, task, config, on_gpu), many)[33]
    lone = predict(fit(alone, model, task, config, on_gpu), alone)[0]
    scale = np.abs(np.diff(alone.y_SN[0])).mean()
    np.testing.assert_allclose(among, lone, rtol=0, atol=1e-3 * scale)


def test_a_series_that_breaks_on_a_gpu_is_set_aside_and_its_neighbours_do_not_change(
    make_panel: MakePanel,
    model: str,
    task: ForecastTask,
    config: MemberConfig,
    on_gpu: FitOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = fit(make_panel(3), model, task, config, on_gpu)
    run_block = FleetModule.run_block

    def break_one(module: FleetModule) -> None:
        if module.num_steps == 20:
            with torch.no_grad():
                module.network.weights["input_IG"][1] = torch.nan
        run_block(module)

    monkeypatch.setattr(FleetModule, "run_block", break_one)
    broken = fit(make_panel(3), model, task, config, on_gpu)
    assert [refusal.reason.split()[-1] for refusal in broken.refused] == ["21"]
    assert broken.unique_ids == ("s0", "s2")
    for name, weight in broken.weights.items():
        assert torch.equal(weight, sound.weights[name][[0, 2]])


def test_an_interrupted_fit_on_a_gpu_resumes_to_nearly_the_same_weights(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig, on_gpu: FitOptions, tmp_path: Path
) -> None:
    config = config.model_copy(update={"weight_average": 0.9, "patience": 100})
    whole = fit(make_panel(3), model, task, config, on_gpu)

    def stop_at_30(num_steps: int) -> None:
        if num_steps == 30:
            raise OSError("killed")

    saving = replace(on_gpu, checkpoint=tmp_path / "fit.ckpt", seconds_between_checkpoints=0.0)
    with pytest.raises(OSError, match="killed"):
        fit(make_panel(3), model, task, config, replace(saving, on_validation=stop_at_30))
    resumed = fit(make_panel(3), model, task, config, saving)
    assert_learned_alike(resumed.weights, whole.weights)


def test_steps_that_cannot_be_captured_run_one_by_one_with_a_warning(
    on_gpu: FitOptions, caplog: pytest.LogCaptureFixture
) -> None:
    total, taken = torch.zeros((), device="cuda"), []

    def waits_for_the_device() -> None:
        taken.append(float(total))
        total.add_(1)

    with caplog.at_level(logging.WARNING):
        steps = GraphedSteps(total.device)
        steps.run(waits_for_the_device, 6)
    assert not steps.is_captured
    assert "cannot be captured" in caplog.text
    assert float(total) == 6


def test_a_prior_on_a_gpu_learns_what_it_learns_on_a_cpu(
    make_panel: MakePanel,
    model: str,
    task: ForecastTask,
    prior_config: TrainingConfig,
    on_gpu: FitOptions,
    graphed: list[GraphedSteps],
) -> None:
    found = teach(make_panel(4), model, task, prior_config, on_gpu)
    assert found.kernel == "gpu"
    assert [steps.is_captured for steps in graphed] == [True]
    expected = teach(make_panel(4), model, task, prior_config, ON_CPU)
    assert_learned_alike(found.weights, expected.weights)
    assert found.loss == pytest.approx(expected.loss, rel=1e-3)


def test_networks_are_tuned_from_their_prior_on_a_gpu(
    make_panel: MakePanel, model: str, task: ForecastTask, prior_config: TrainingConfig, on_gpu: FitOptions
) -> None:
    panel, dropped_S = make_panel(4), np.full(4, DROPPED)
    prior = teach(panel, model, task, prior_config, ON_CPU)
    tuned = []
    for options in (on_gpu, ON_CPU):
        gains = measure_gains(panel, prior, dropped_S=dropped_S, options=options)
        candidates = fit_candidates(
            panel, model, task, prior_config.of_member(1), seed=member_seed(7, 1), dropped_S=dropped_S, member=1,
            prior=replace(prior, gains=gains), options=options,
        )  # fmt: skip
        tuned.append((gains, candidates))
        serving = fit_serving(panel, candidates, prior=replace(prior, role="serving"), options=options)
        assert serving.unique_ids == panel.unique_ids
    (found_gains, found), (expected_gains, expected) = tuned
    np.testing.assert_allclose(found_gains, expected_gains, atol=1e-4)
    assert found.strength_S.tolist() == expected.strength_S.tolist()
    assert_learned_alike(found.weights, expected.weights)


def test_forecasts_on_a_gpu_equal_those_on_a_cpu(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig, on_gpu: FitOptions
) -> None:
    panel = make_panel(4)
    fitted = fit(panel, model, task, config, on_gpu)
    np.testing.assert_allclose(
        predict(fitted, panel, kernel="gpu"), predict(fitted, panel, kernel="reference"), rtol=1e-5
    )


def test_networks_too_wide_for_the_programs_train_on_a_gpu_with_the_reference(
    make_panel: MakePanel, config: MemberConfig, on_gpu: FitOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task = "lstm", ForecastTask(1, 6, (0.5,), (8,))
    config = config.model_copy(update={"hidden_size": 130, "max_steps": 10})
    devices = []
    run_trainer = fleet_fit.run_trainer

    def watched(module: FleetModule, **options: object) -> None:
        run_trainer(module, **options)  # type: ignore[arg-type]
        devices.append(module.windows.y_SN.device.type)

    monkeypatch.setattr(fleet_fit, "run_trainer", watched)
    assert fit(make_panel(2), model, task, config, on_gpu).kernel == "reference"
    assert devices == ["cuda"]
