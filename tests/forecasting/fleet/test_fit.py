"""The fleet's contract: series never mix, a fit is reproducible, and hidden points are never read."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forecasting.fleet.fit import FitOptions, fit_candidates, fit_serving
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.module import FleetModule
from forecasting.fleet.native import library
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.predict import predict
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.training import Member, MemberConfig, TrainingConfig, member_seed

MakePanel = Callable[..., Panel]


def fit(panel: Panel, model: str, task: ForecastTask, config: MemberConfig, **options: object) -> FittedFleet:
    dropped_S = np.full(len(panel.unique_ids), 12)
    return fit_candidates(
        panel, model, task, config, seed=7, dropped_S=dropped_S, options=FitOptions(accelerator="cpu", **options)
    )


@pytest.mark.usefixtures("every_kernel")
@pytest.mark.parametrize("num_series", [1, 7, 70])
def test_a_series_alone_equals_itself_among_many_after_a_hundred_steps(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig, num_series: int
) -> None:
    config = config.model_copy(update={"max_steps": 100, "patience": 1_000})
    many = make_panel(num_series + 3, first=0)
    alone = many.select(np.array([num_series]))
    among = predict(fit(many, model, task, config), many)[num_series]
    lone = predict(fit(alone, model, task, config), alone)[0]
    scale = np.abs(np.diff(alone.y_SN[0])).mean()
    np.testing.assert_allclose(among, lone, rtol=0, atol=1e-5 * scale)


def test_the_engine_gives_the_same_bits_alone_among_many_and_on_any_number_of_threads(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig
) -> None:
    if not library.find():
        pytest.skip("the CPU engine is not built here")
    config = config.model_copy(update={"max_steps": 100, "patience": 1_000, "weight_average": 0.9})
    many = make_panel(13)
    versions, forecasts = [], []
    for rows, num_threads in ((range(13), 1), (range(13), 3), (range(5, 12), 2), ([6], 1)):
        torch.set_num_threads(num_threads)
        panel = many.select(np.array(rows))
        fitted = fit(panel, model, task, config, kernel="cpu")
        versions.append(fitted.versions()[list(rows).index(6)])
        forecasts.append(predict(fitted, panel)[list(rows).index(6)].tobytes())
    assert len(set(versions)) == len(set(forecasts)) == 1


@pytest.mark.usefixtures("every_kernel")
def test_early_stopping_and_best_weights_are_each_series_own(make_panel: MakePanel, config: MemberConfig) -> None:
    model, task = "gru", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,))
    config = config.model_copy(update={"max_steps": 200, "patience": 2, "learning_rate": 0.05})
    many = make_panel(6)
    together = fit(many, model, task, config)
    assert len(set(together.num_steps_S.tolist())) > 1
    for row in range(6):
        alone = fit(many.select(np.array([row])), model, task, config)
        assert alone.num_steps_S[0] == together.num_steps_S[row]
        assert alone.validation_loss_S[0] == pytest.approx(together.validation_loss_S[row], rel=1e-4)


@pytest.mark.usefixtures("every_kernel")
@pytest.mark.parametrize(("poison", "how"), [(torch.nan, "not finite at step 1"), (torch.inf, "no validation pass")])
def test_a_series_that_blows_up_is_set_aside_and_its_neighbours_do_not_change(
    make_panel: MakePanel,
    model: str,
    task: ForecastTask,
    config: MemberConfig,
    monkeypatch: pytest.MonkeyPatch,
    poison: float,
    how: str,
) -> None:
    panel = make_panel(3)
    sound = fit(panel, model, task, config)
    initialise = FleetNetwork.initialise

    def poisoned(network: FleetNetwork, keys_S: torch.Tensor) -> None:
        initialise(network, keys_S)
        with torch.no_grad():
            network.weights["input_IG"][1, 0, 0] = poison

    monkeypatch.setattr(FleetNetwork, "initialise", poisoned)
    broken = fit(panel, model, task, config)
    assert broken.unique_ids == ("s0", "s2")
    assert [(refusal.unique_id, refusal.status) for refusal in broken.refused] == [("s1", "broken")]
    if model == "lstm" or poison is not torch.inf:
        assert how in broken.refused[0].reason
    for name, weight in broken.weights.items():
        assert torch.equal(weight, sound.weights[name][[0, 2]])


def test_networks_of_intermittent_demand_begin_at_its_past_quantiles(
    make_panel: MakePanel, task: ForecastTask, config: MemberConfig
) -> None:
    panel = make_panel(2)
    rng = np.random.default_rng(1)
    panel.y_SN[0] = (rng.random(200) < 0.2) * rng.integers(6, 15, 200)
    one_step = config.model_copy(update={"max_steps": 1, "evaluate_every": 1})
    bias_SFQ = fit(panel, "gru", task, one_step).weights["bias_head_1O"].view(2, task.horizon, len(task.quantiles))
    highest = len(task.quantiles) - 1
    assert task.quantiles[highest] > 0.8
    unit = np.abs(np.diff(panel.y_SN[0, :-12])).mean()  # of the errors, about that of a difference at any lag
    assert bias_SFQ[0, :, highest].min() > 0.5 * 6 / unit
    assert bias_SFQ[0, :, 0].abs().max() < 0.1
    assert bias_SFQ[1].abs().max() < 0.1


@pytest.mark.usefixtures("every_kernel")
@pytest.mark.parametrize(("row", "is_kept"), [(0, True), (1, False)])
def test_what_happens_to_a_series_after_its_last_step_does_not_matter(
    make_panel: MakePanel, config: MemberConfig, monkeypatch: pytest.MonkeyPatch, row: int, is_kept: bool
) -> None:
    panel = make_panel(2)
    candidates = fit(panel, "gru", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,)), config)
    candidates = replace(candidates, num_steps_S=np.array([10, 40]))
    run_block = FleetModule.run_block

    def break_at_30(module: FleetModule) -> None:
        if module.num_steps == 30:
            with torch.no_grad():
                module.network.weights["input_IG"][row] = torch.nan
        run_block(module)

    monkeypatch.setattr(FleetModule, "run_block", break_at_30)
    serving = fit_serving(panel, candidates, options=FitOptions(accelerator="cpu"))
    assert (f"s{row}" in serving.unique_ids) == is_kept
    assert f"s{1 - row}" in serving.unique_ids


def test_huge_and_tiny_units_train_like_any_other(make_panel: MakePanel, config: MemberConfig) -> None:
    model, task = "lstm", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,))
    panel = make_panel(1)
    plain = predict(fit(panel, model, task, config), panel)
    for factor in (1e-30, 1e30):
        scaled = replace(panel, y_SN=panel.y_SN * factor)
        np.testing.assert_allclose(predict(fit(scaled, model, task, config), scaled) / factor, plain, rtol=1e-3)


@pytest.mark.usefixtures("every_kernel")
def test_candidates_never_read_hidden_points(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig
) -> None:
    panel = make_panel(2)
    altered = panel.y_SN.copy()
    altered[:, -12:] = 1e6
    first, second = fit(panel, model, task, config), fit(replace(panel, y_SN=altered), model, task, config)
    assert first.versions() == second.versions()
    altered[:, -13] = 1e6
    assert fit(replace(panel, y_SN=altered), model, task, config).versions() != first.versions()


@pytest.mark.usefixtures("every_kernel")
def test_serving_is_fitted_to_the_end_for_the_candidates_best_steps(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig
) -> None:
    config = config.model_copy(update={"patience": 1, "learning_rate": 0.1})
    panel = make_panel(5)
    candidates = fit(panel, model, task, config)
    serving = fit_serving(panel, candidates, options=FitOptions(accelerator="cpu"))
    assert serving.role == "serving"
    assert serving.num_steps_S.tolist() == candidates.num_steps_S.tolist()
    assert (serving.num_windows_S > candidates.num_windows_S).all()
    altered = panel.y_SN.copy()
    altered[:, -1] += 1
    other = fit_serving(replace(panel, y_SN=altered), candidates, options=FitOptions(accelerator="cpu"))
    assert not set(other.versions()) & set(serving.versions())


@pytest.mark.usefixtures("every_kernel")
def test_a_second_fit_has_the_same_weights_and_another_seed_has_not(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig
) -> None:
    panel, dropped_S = make_panel(2), np.zeros(2, dtype=np.int64)
    versions = [
        fit_candidates(panel, model, task, config, seed=seed, dropped_S=dropped_S).versions() for seed in (1, 1, 2)
    ]
    assert versions[0] == versions[1]
    assert not set(versions[0]) & set(versions[2])


@pytest.mark.usefixtures("every_kernel")
def test_an_interrupted_fit_resumes_to_the_same_weights(
    make_panel: MakePanel, config: MemberConfig, tmp_path: Path
) -> None:
    model, task = "lstm", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,))
    config = config.model_copy(update={"weight_average": 0.9})
    panel, checkpoint = make_panel(3), tmp_path / "fit.ckpt"
    whole = fit(panel, model, task, config)
    steps_seen: list[int] = []

    def stop_at_20(num_steps: int) -> None:
        steps_seen.append(num_steps)
        if num_steps == 20:
            # A killed process leaves the checkpoint of the validation pass before.
            raise OSError("killed")

    saving = {"checkpoint": checkpoint, "seconds_between_checkpoints": 0.0}
    with pytest.raises(OSError, match="killed"):
        fit(panel, model, task, config, on_validation=stop_at_20, **saving)
    assert checkpoint.exists()
    resumed = fit(panel, model, task, config, on_validation=steps_seen.append, **saving)
    assert steps_seen == [10, 20, 20, 30, 40]
    assert resumed.versions() == whole.versions()
    assert not checkpoint.exists()


def test_networks_learn_what_a_seasonal_naive_cannot(make_panel: MakePanel, model: str, task: ForecastTask) -> None:
    """Around a steady wave the mean of many waves errs 1 / √2 as much as repeating the last one: the bound."""
    config = MemberConfig(segment_length=8, context_segments=4, max_steps=300, learning_rate=1e-2)
    panel = make_panel(8, num_points=600)
    fitted = fit_candidates(panel.until(200), model, task, config, seed=0, dropped_S=np.zeros(8, dtype=np.int64))
    errors, naive_errors = [], []
    for num_later in range(6, 200, 7):
        known, actual = panel.until(num_later), panel.y_SN[:, 600 - num_later :][:, :6]
        errors.append(np.abs(predict(fitted, known)[:, :, 1] - actual).mean(1))
        naive_errors.append(np.abs(known.y_SN[:, -8:-2] - actual).mean(1))
    ratio_S = np.mean(errors, axis=0) / np.mean(naive_errors, axis=0)
    assert 0.7 < ratio_S.mean() < 0.95


def test_a_shard_without_a_trainable_series_is_all_refusals(
    make_panel: MakePanel, model: str, task: ForecastTask
) -> None:
    panel = make_panel(2, num_points=14)
    config = MemberConfig(segment_length=8, context_segments=4, max_steps=5)
    candidates = fit_candidates(panel, model, task, config, seed=0, dropped_S=np.zeros(2, dtype=np.int64))
    serving = fit_serving(panel, candidates)
    for fitted in (candidates, serving):
        assert fitted.unique_ids == ()
        assert {refusal.status for refusal in fitted.refused} == {"too_short"}
        assert FittedFleet.from_bytes(fitted.to_bytes()).refused == fitted.refused
        assert np.isnan(predict(fitted, panel)).all()


def test_the_kernel_is_named(make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig) -> None:
    assert fit(make_panel(1), model, task, config, kernel="reference").kernel == "reference"
    fastest = "cpu" if library.find() else "reference"
    assert fit(make_panel(1), model, task, config).kernel == fastest


@pytest.fixture
def two_members(prior_config: TrainingConfig) -> TrainingConfig:
    return prior_config.model_copy(update={"members": (Member(), Member(transform="log", context_segments=3))})


def test_members_are_trained_as_their_configuration_says_each_from_a_seed_of_its_own(
    make_panel: MakePanel, model: str, task: ForecastTask, two_members: TrainingConfig
) -> None:
    panel, dropped_S = make_panel(2), np.full(2, 12)
    fleets = [
        fit_candidates(panel, model, task, member, seed=member_seed(7, number), dropped_S=dropped_S, member=number)
        for number, member in enumerate(two_members.member_configs)
    ]
    assert [fleet.member for fleet in fleets] == [0, 1]
    assert [fleet.config for fleet in fleets] == list(two_members.member_configs)
    assert fleets[0].versions() == fit(panel, model, task, two_members.of_member(0)).versions()
    assert not torch.equal(fleets[0].weights["hidden_HG"], fleets[1].weights["hidden_HG"])
    serving = fit_serving(panel, fleets[1])
    assert (serving.member, serving.config) == (1, fleets[1].config)
    assert FittedFleet.from_bytes(serving.to_bytes()).member == 1


def test_a_member_that_sees_logarithms_forecasts_in_the_unit_of_y(
    make_panel: MakePanel, model: str, task: ForecastTask, two_members: TrainingConfig
) -> None:
    panel = make_panel(3)
    panel = replace(panel, y_SN=np.concatenate([panel.y_SN[:1], 1000 * panel.y_SN[:1], -panel.y_SN[2:]]))
    panel = replace(panel, unique_ids=("same", "other", "negative"))
    logged = two_members.of_member(1)
    fitted = fit_candidates(panel, model, task, logged, seed=7, dropped_S=np.zeros(3, dtype=np.int64))
    quantiles_SFQ = predict(fitted, panel)
    assert np.isfinite(quantiles_SFQ).all()
    assert (np.diff(quantiles_SFQ) >= 0).all()
    for row in range(3):
        assert panel.y_SN[row].min() * 0.5 <= np.abs(quantiles_SFQ[row]).min()
        assert np.abs(quantiles_SFQ[row]).max() <= 2 * np.abs(panel.y_SN[row]).max()
    assert np.isfinite(fitted.scaling.offset_S).tolist() == [True, True, False]


def test_a_member_with_logarithms_has_the_same_bits_alone_and_among_many(
    make_panel: MakePanel, model: str, task: ForecastTask, two_members: TrainingConfig
) -> None:
    if not library.find():
        pytest.skip("the CPU engine is not built here")
    many = make_panel(5)
    alone = many.select(np.array([3]))
    fleets = [fit(panel, model, task, two_members.of_member(1)) for panel in (many, alone)]
    assert fleets[0].versions()[3] == fleets[1].versions()[0]


def test_a_level_that_moves_is_followed_by_the_last_value_among_the_references(
    model: str, task: ForecastTask, config: MemberConfig
) -> None:
    steps = np.random.default_rng(5).normal(size=(4, 240))
    y_SN = 100 + np.cumsum(steps, axis=1)
    ds_SN = np.repeat(np.arange(240 + task.horizon)[None], 4, axis=0)
    calendar_SNC = np.zeros((4, 240 + task.horizon, 0), np.float32)
    panel = Panel(tuple("abcd"), y_SN, np.full(4, 240), calendar_SNC, ds_SN, task.horizon)
    losses = []
    for last_value in (True, False):
        fitted = fit(panel, model, task, config.model_copy(update={"last_value": last_value, "max_steps": 100}))
        losses.append(fitted.validation_loss_S.mean())
        assert fitted.weights["mixture_FM"].shape[-1] == 1 + last_value
        assert np.isfinite(predict(fitted, panel)).all()
    assert losses[0] < 0.8 * losses[1]


def start_from(
    panel: Panel, start: list[FittedFleet], config: MemberConfig, *, dropped: int = 12, **options: object
) -> FittedFleet:
    return fit_candidates(
        panel,
        start[0].model,
        start[0].task,
        config,
        seed=7,
        dropped_S=np.full(len(panel.unique_ids), dropped),
        start=start,
        options=FitOptions(accelerator="cpu", **options),
    )


@pytest.mark.usefixtures("every_kernel")
def test_networks_start_from_their_own_earlier_weights_for_a_share_of_the_steps(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig
) -> None:
    panel = make_panel(5)
    earlier = fit(panel, model, task, config)
    backwards = ["s4", "s2", "s0"]
    start = [earlier.select(backwards), earlier.select(["s1", "s3", "s2"]).select(["s3", "s1"])]
    still = start_from(panel, start, config.model_copy(update={"learning_rate": 1e-12}))
    for name, weight in still.weights.items():
        torch.testing.assert_close(weight, earlier.weights[name], rtol=0, atol=1e-6)
    assert still.started_from == earlier.versions()
    assert earlier.started_from is None
    warm = start_from(panel, start, config)
    assert warm.config == config, "later runs compare the configuration of a whole training"
    assert 0 < warm.num_steps_S.max() <= 10 < earlier.num_steps_S.max() <= 40
    serving = fit_serving(panel, warm, start=start, options=FitOptions(accelerator="cpu"))
    assert serving.num_steps_S.tolist() == warm.num_steps_S.tolist()
    assert serving.started_from == earlier.versions()


def test_a_warm_start_gives_the_same_bits_alone_as_among_many(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig
) -> None:
    if not library.find():
        pytest.skip("the CPU engine is not built here")
    panel = make_panel(4)
    earlier = fit(panel, model, task, config, kernel="cpu")
    whole = start_from(panel, [earlier], config, kernel="cpu")
    alone = start_from(panel.select(np.array([2])), [earlier], config, kernel="cpu")
    assert alone.versions() == whole.versions()[2:3]
    assert alone.started_from == earlier.versions()[2:3]
    assert whole.versions() != fit(panel, model, task, config, kernel="cpu").versions()


def test_a_fit_reports_the_last_point_that_it_read_of_each_series(
    make_panel: MakePanel, model: str, task: ForecastTask, config: MemberConfig
) -> None:
    panel = make_panel(3)
    dropped_S = np.array([0, 12, 40])
    candidates = fit_candidates(
        panel, model, task, config, seed=7, dropped_S=dropped_S, options=FitOptions(accelerator="cpu")
    )
    assert candidates.trained_until_S is not None
    assert candidates.trained_until_S.tolist() == [199, 187, 159]
    serving = fit_serving(panel, candidates, options=FitOptions(accelerator="cpu"))
    assert serving.trained_until_S is not None
    assert serving.trained_until_S.tolist() == [199, 199, 199]
