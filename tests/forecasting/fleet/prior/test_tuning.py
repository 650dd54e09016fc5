"""Networks that begin from a prior: how far they go from it, that they never mix, and which use it directly."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from forecasting.fleet import fit as fleet_fit
from forecasting.fleet.fit import fit_candidates, fit_serving, measure_gains
from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.module import FleetModule
from forecasting.fleet.native import library
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import predict
from forecasting.fleet.prior.prior import fit_prior
from forecasting.fleet.prior.tuning import OWN_SHARE, STRENGTHS, choose_strengths, log_ratios
from forecasting.fleet.task import ForecastTask
from forecasting.series.panel import Panel
from forecasting.spec.training import TrainingConfig, member_seed

MakePanel = Callable[..., Panel]
CPU = FitOptions(accelerator="cpu")
DROPPED = 12
PRIOR_ITSELF, HALF, WHOLE_WAY = ((*(0.0 if s == best else 9.0 for s in STRENGTHS),) for best in (0.0, 0.5, 1.0))
"""Gains that leave no doubt about the best strength."""

NUM_STRENGTHS = len(STRENGTHS)
some_losses = arrays.arrays(np.float64, (5, NUM_STRENGTHS), elements=st.floats(0.01, 100.0))
some_gains = st.tuples(*(NUM_STRENGTHS * [st.floats(-1.0, 1.0)]))


@given(arrays.arrays(np.float64, (5, NUM_STRENGTHS)), some_gains)
def test_a_strength_is_always_one_of_those_tried(loss_SA: np.ndarray, gains_A: tuple[float, ...]) -> None:
    assert set(choose_strengths(loss_SA, gains_A)) <= set(STRENGTHS)
    assert np.isfinite(log_ratios(loss_SA)).all()


@given(st.sampled_from([0.0, 1.0, 7.5, np.nan, np.inf]), some_gains)
def test_uninformative_losses_leave_the_fleets_best(loss: float, gains_A: tuple[float, ...]) -> None:
    strengths_S = choose_strengths(np.full((3, NUM_STRENGTHS), loss), gains_A)
    assert strengths_S.tolist() == 3 * [STRENGTHS[int(np.argmin(gains_A))]]


@given(some_losses, some_gains, arrays.arrays(np.int64, 5, elements=st.integers(-30, 30)))
def test_the_unit_of_a_series_losses_does_not_matter(
    loss_SA: np.ndarray, gains_A: tuple[float, ...], power_S: np.ndarray
) -> None:
    scaled_SA = loss_SA * 2.0 ** power_S[:, None]
    assert np.array_equal(choose_strengths(loss_SA, gains_A), choose_strengths(scaled_SA, gains_A))


@given(some_losses, some_gains)
def test_each_series_strength_is_its_own(loss_SA: np.ndarray, gains_A: tuple[float, ...]) -> None:
    whole_S = choose_strengths(loss_SA, gains_A)
    assert [choose_strengths(loss_A[None], gains_A)[0] for loss_A in loss_SA] == whole_S.tolist()


def test_a_series_own_losses_count_a_fifth() -> None:
    fleet = (0.0, -0.1, -0.2, -0.1, 0.0)
    own = np.exp([0.0, -0.5, -0.5, -0.5, -1.0])
    balance = 4 * 0.2  # by which 1.0 must be better than 0.5 where a series' own losses count a fifth
    for difference, expected in ((balance - 0.01, 0.5), (balance + 0.01, 1.0)):
        losses = own.copy()
        losses[-1] = losses[2] * np.exp(-difference)
        assert choose_strengths(losses[None], fleet).tolist() == [expected]
    assert OWN_SHARE == 0.2


@pytest.fixture
def make_prior(make_panel: MakePanel, prior_config: TrainingConfig) -> Callable[..., Prior]:
    """Train a prior on four waves."""

    def make(model: str, task: ForecastTask, *, gains: tuple[float, ...] = HALF, member: int = 1) -> Prior:
        prior = fit_prior(
            make_panel(4),
            model,
            task,
            prior_config.of_member(member),
            seed=member_seed(7, member),
            dropped_S=np.full(4, DROPPED),
            role="candidate",
            member=member,
            options=CPU,
        )
        assert prior is not None
        return replace(prior, gains=gains)

    return make


def tune(panel: Panel, prior: Prior, config: TrainingConfig, *, dropped: int = DROPPED, **options: Any) -> FittedFleet:
    return fit_candidates(
        panel,
        prior.model,
        prior.task,
        config.of_member(prior.member),
        seed=member_seed(7, prior.member),
        dropped_S=np.full(len(panel.unique_ids), dropped),
        member=prior.member,
        prior=prior,
        options=FitOptions(accelerator="cpu", **options),
    )


def is_prior(fleet: FittedFleet, prior: Prior, unique_id: str) -> bool:
    slot = fleet.unique_ids.index(unique_id)
    return all(torch.equal(weight[slot], prior.weights[name][0]) for name, weight in fleet.weights.items())


def with_rows(panel: Panel, **rows: np.ndarray) -> Panel:
    """Put further series behind a panel's own, aligned at their ends."""
    num_old, num_columns = panel.y_SN.shape
    y_SN = np.full((len(rows), num_columns), np.nan)
    for row, values in enumerate(rows.values()):
        y_SN[row, num_columns - len(values) :] = values
    whole = panel.select(np.array([*range(num_old), *[0] * len(rows)]))
    return replace(
        whole,
        unique_ids=panel.unique_ids + tuple(rows),
        y_SN=np.concatenate([panel.y_SN, y_SN]),
        length_S=np.concatenate([panel.length_S, [len(values) for values in rows.values()]]),
    )


@pytest.mark.usefixtures("every_kernel")
def test_a_network_lies_between_the_prior_and_what_was_tuned_to_the_last_bit_at_both_ends(
    make_panel: MakePanel,
    make_prior: Callable[..., Prior],
    model: str,
    task: ForecastTask,
    prior_config: TrainingConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tuned: list[dict[str, torch.Tensor]] = []
    run_trainer = fleet_fit.run_trainer

    def watched(module: FleetModule, **options: Any) -> None:
        run_trainer(module, **options)
        tuned.append({name: weight.detach().clone() for name, weight in module.network.weights.items()})

    monkeypatch.setattr(fleet_fit, "run_trainer", watched)
    panel, prior = make_panel(3), make_prior(model, task)
    still, half, whole = (
        tune(panel, replace(prior, gains=gains), prior_config) for gains in (PRIOR_ITSELF, HALF, WHOLE_WAY)
    )
    assert [fleet.strength_S.tolist() for fleet in (still, half, whole)] == [[0.0] * 3, [0.5] * 3, [1.0] * 3]
    for name, begun in prior.weights.items():
        assert torch.equal(still.weights[name], begun.expand_as(still.weights[name]))
        assert torch.equal(whole.weights[name], tuned[-1][name])
        assert not torch.equal(whole.weights[name], still.weights[name])
        torch.testing.assert_close(half.weights[name], (begun + whole.weights[name]) / 2, rtol=1e-5, atol=1e-7)
    assert half.prior_version == replace(prior, gains=HALF).version
    assert half.num_steps_S.tolist() == [prior_config.tuning_steps] * 3


def test_tuning_takes_the_steps_that_the_configuration_says_or_none(
    make_panel: MakePanel, make_prior: Callable[..., Prior], task: ForecastTask, prior_config: TrainingConfig
) -> None:
    panel, prior = make_panel(2), make_prior("gru", task, gains=WHOLE_WAY)
    few, many = (tune(panel, prior, prior_config.model_copy(update={"tuning_steps": steps})) for steps in (5, 20))
    assert not torch.equal(few.weights["head_HO"], many.weights["head_HO"])
    usual = {"tuning_steps": 20, "max_steps": 400, "learning_rate": 0.1, "weight_average": 0.9}
    for name, weight in tune(panel, prior, prior_config.model_copy(update=usual)).weights.items():
        assert torch.equal(weight, many.weights[name]), "settings of random starts must not matter"
    larger = tune(panel, prior, prior_config.model_copy(update={"tuning_steps": 5, "tuning_rate": 0.1}))
    moved = [(fleet.weights["head_HO"] - prior.weights["head_HO"]).abs().max() for fleet in (few, larger)]
    assert moved[1] > 10 * moved[0]
    none = tune(panel, prior, prior_config.model_copy(update={"tuning_steps": 0}))
    assert is_prior(none, prior, "s0")
    assert is_prior(none, prior, "s1")


@pytest.mark.parametrize("member", [1, 2])
def test_tuned_candidates_never_read_hidden_points(
    make_panel: MakePanel,
    make_prior: Callable[..., Prior],
    task: ForecastTask,
    prior_config: TrainingConfig,
    member: int,
) -> None:
    panel, prior = make_panel(2), make_prior("gru", task, gains=WHOLE_WAY, member=member)
    altered = panel.y_SN.copy()
    altered[:, -DROPPED:] = 1e6
    first, second = (tune(each, prior, prior_config) for each in (panel, replace(panel, y_SN=altered)))
    assert first.versions() == second.versions()
    altered[:, -DROPPED - 1] = 1e6
    assert not set(tune(replace(panel, y_SN=altered), prior, prior_config).versions()) & set(first.versions())


@pytest.mark.parametrize("member", [1, 2])
def test_given_the_prior_a_series_alone_has_the_bits_that_it_has_among_many(
    make_panel: MakePanel,
    make_prior: Callable[..., Prior],
    model: str,
    task: ForecastTask,
    prior_config: TrainingConfig,
    member: int,
) -> None:
    if not library.find():
        pytest.skip("the CPU engine is not built here")
    prior = make_prior(model, task, gains=(0.0, -0.01, -0.02, -0.02, -0.01), member=member)
    many = make_panel(9)
    among, alone = (tune(panel, prior, prior_config) for panel in (many, many.select(np.array([6]))))
    assert among.versions()[6] == alone.versions()[0]
    assert among.strength_S[6] == alone.strength_S[0]
    assert among.validation_loss_S[6] == alone.validation_loss_S[0]
    serving = [fit_serving(many, fleet, prior=replace(prior, role="serving"), options=CPU) for fleet in (among, alone)]
    assert serving[0].versions()[6] == serving[1].versions()[0]


@pytest.mark.usefixtures("every_kernel")
@pytest.mark.parametrize("how", ["its weights", "its windows", "the last step"])
def test_a_series_that_breaks_keeps_the_prior_and_its_neighbours_do_not_change(
    make_panel: MakePanel,
    make_prior: Callable[..., Prior],
    model: str,
    task: ForecastTask,
    prior_config: TrainingConfig,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    panel, prior = make_panel(3), make_prior(model, task, gains=WHOLE_WAY)
    sound = tune(panel, prior, prior_config)
    run_block = FleetModule.run_block

    def break_one(module: FleetModule) -> None:
        is_late = module.num_steps == 10
        if how == "its windows" and is_late:
            module.windows.y_SN[1] = torch.nan
        if how == "its weights" and is_late:
            module.network.weights["input_IG"].data[1] = torch.nan
        run_block(module)
        if how == "the last step" and is_late:
            module.network.weights["input_IG"].data[1] = torch.inf

    monkeypatch.setattr(FleetModule, "run_block", break_one)
    broken = tune(panel, prior, prior_config)
    assert (broken.unique_ids, broken.refused) == (panel.unique_ids, ())
    assert is_prior(broken, prior, "s1")
    assert broken.strength_S.tolist() == [1.0, 0.0, 1.0]
    assert np.isnan(broken.validation_loss_S).tolist() == [False, True, False]
    assert [broken.versions()[row] for row in (0, 2)] == [sound.versions()[row] for row in (0, 2)]
    assert np.isfinite(predict(broken, panel)).all()


def test_a_series_too_short_to_be_tuned_has_the_prior_and_one_without_a_scale_a_reason(
    make_panel: MakePanel, make_prior: Callable[..., Prior], task: ForecastTask, prior_config: TrainingConfig
) -> None:
    panel = with_rows(
        make_panel(2),
        short=10 + np.sin(np.arange(20.0)),  # a segment, eight windows and two horizons make 23
        constant=np.full(100, 3.0),
        single=np.array([1.0]),
        empty=np.full(30, np.nan),
        huge=np.resize([1.7e308, -1.7e308], 120),
    )
    prior = make_prior("gru", task, gains=WHOLE_WAY)
    candidates = tune(panel, prior, prior_config, dropped=0)
    assert (candidates.num_steps_S[2], candidates.num_windows_S[2]) == (0, 0)
    assert np.isnan(candidates.validation_loss_S).tolist() == [False, False, True]
    serving = fit_serving(panel, candidates, prior=replace(prior, role="serving"), options=CPU)
    for fleet in (candidates, serving):
        assert fleet.unique_ids == ("s0", "s1", "short")
        assert {refusal.unique_id: refusal.status for refusal in fleet.refused} == {
            "constant": "constant",
            "single": "too_short",
            "empty": "empty",
            "huge": "broken",
        }
        assert all(f"'{refusal.unique_id}'" in refusal.reason for refusal in fleet.refused)
        assert is_prior(fleet, prior, "short")
        assert not is_prior(fleet, prior, "s1")
        assert fleet.strength_S.tolist() == [1.0, 1.0, 0.0]
        forecast_SFQ = predict(fleet, panel)
        assert np.isfinite(forecast_SFQ[:3]).all()
        assert (np.abs(forecast_SFQ[2] - 10) < 4).all()
        assert np.isnan(forecast_SFQ[3:]).all()


def test_serving_goes_as_far_from_its_prior_as_the_candidate_went(
    make_panel: MakePanel, make_prior: Callable[..., Prior], task: ForecastTask, prior_config: TrainingConfig
) -> None:
    short = 10 + np.sin(np.arange(14.0))  # too short to be tuned at all
    later = 10 + np.sin(np.arange(30.0))  # too short without its last 12 points
    panel, prior = with_rows(make_panel(3), short=short, later=later), make_prior("gru", task)
    panel = panel.select(np.array([3, 0, 1, 4, 2]))
    moved = {name: weight + 0.01 for name, weight in prior.weights.items()}
    serving_prior = replace(prior, role="serving", weights=moved)
    candidates = tune(panel, prior, prior_config)
    assert candidates.strength_S.tolist() == [0.0, 0.5, 0.5, 0.0, 0.5]
    candidates = replace(candidates, strength_S=np.array([0.0, 0.25, 0.0, 0.0, 1.0]))
    turned = panel.select(np.array([3, 2, 1, 4, 0]))
    serving = fit_serving(turned, candidates, prior=serving_prior, options=CPU)
    assert serving.role == "serving"
    assert serving.unique_ids == ("short", "s0", "s1", "later", "s2")
    assert serving.strength_S.tolist() == [0.0, 0.25, 0.0, 0.0, 1.0]
    assert serving.prior_version == serving_prior.version != candidates.prior_version
    assert [is_prior(serving, serving_prior, name) for name in serving.unique_ids] == [True, False, True, True, False]
    assert (serving.num_windows_S[1:] > candidates.num_windows_S[1:]).all()
    assert np.isnan(serving.validation_loss_S).all()


def test_gains_never_read_hidden_points_and_are_zero_at_the_prior_itself(
    make_panel: MakePanel, make_prior: Callable[..., Prior], task: ForecastTask
) -> None:
    panel, prior = make_panel(4), make_prior("gru", task)
    altered = panel.y_SN.copy()
    altered[:, -DROPPED:] = 1e6
    gains = measure_gains(panel, prior, dropped_S=np.full(4, DROPPED), options=CPU)
    assert gains == measure_gains(replace(panel, y_SN=altered), prior, dropped_S=np.full(4, DROPPED), options=CPU)
    altered[:, -DROPPED - 1] = 1e6
    assert gains != measure_gains(replace(panel, y_SN=altered), prior, dropped_S=np.full(4, DROPPED), options=CPU)
    assert (len(gains), gains[0]) == (NUM_STRENGTHS, 0.0)
    assert all(gains[1:])


def test_gains_are_those_of_the_losses_that_candidates_have(
    make_panel: MakePanel, make_prior: Callable[..., Prior], task: ForecastTask, prior_config: TrainingConfig
) -> None:
    panel, prior = make_panel(4), make_prior("gru", task)
    still, whole = (tune(panel, replace(prior, gains=gains), prior_config) for gains in (PRIOR_ITSELF, WHOLE_WAY))
    gains = measure_gains(panel, prior, dropped_S=np.full(4, DROPPED), options=CPU)
    assert gains[-1] == pytest.approx(np.log(whole.validation_loss_S / still.validation_loss_S).mean(), rel=1e-4)


def test_gains_of_a_sample_leave_the_other_series_out(
    make_panel: MakePanel, make_prior: Callable[..., Prior], task: ForecastTask
) -> None:
    panel, prior = make_panel(5), make_prior("gru", task)
    each = [
        measure_gains(panel.select(np.array([row])), prior, dropped_S=np.array([DROPPED]), options=CPU)
        for row in range(5)
    ]
    sampled = measure_gains(panel, prior, dropped_S=np.full(5, DROPPED), num_series=2, options=CPU)
    turned = panel.select(np.array([4, 2, 3, 1, 0]))
    assert sampled == pytest.approx(
        measure_gains(turned, prior, dropped_S=np.full(5, DROPPED), num_series=2, options=CPU)
    )
    pairs = [np.mean([each[a], each[b]], axis=0) for a in range(5) for b in range(a)]
    assert sum(np.allclose(sampled, pair, rtol=1e-4) for pair in pairs) == 1
    short = make_panel(2, num_points=20)
    assert measure_gains(short, prior, dropped_S=np.zeros(2, dtype=np.int64), options=CPU) == NUM_STRENGTHS * (0.0,)


def test_bytes_and_files_keep_strengths_and_the_version_of_the_prior(
    make_panel: MakePanel,
    make_prior: Callable[..., Prior],
    task: ForecastTask,
    prior_config: TrainingConfig,
    tmp_path: Any,
) -> None:
    fleet = replace(tune(make_panel(3), make_prior("gru", task), prior_config), strength_S=np.array([0.25, 0.0, 1.0]))
    path = tmp_path / "fleet.safetensors"
    path.write_bytes(fleet.to_bytes())
    for read in (FittedFleet.from_bytes(fleet.to_bytes()), FittedFleet.from_file(path)):
        assert read.strength_S.tolist() == [0.25, 0.0, 1.0]
        assert (read.prior_version, read.versions()) == (fleet.prior_version, fleet.versions())
        assert read.select(["s2", "s0"]).strength_S.tolist() == [1.0, 0.25]
