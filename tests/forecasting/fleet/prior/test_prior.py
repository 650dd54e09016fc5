"""Priors: they are reproducible, never read hidden points, and are not affected by a bad series."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from forecasting.errors import NothingStored
from forecasting.fleet.fitted import Prior
from forecasting.fleet.native import CELLS, library
from forecasting.fleet.options import FitOptions
from forecasting.fleet.prior.prior import PASSES, STEPS_OF_A_BLOCK, PriorModule, fit_prior
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import WindowBatch, WindowSource
from forecasting.series.panel import Panel
from forecasting.spec.training import Member, TrainingConfig, member_seed

MakePanel = Callable[..., Panel]
DROPPED = (12, 6, 20)
CPU = FitOptions(accelerator="cpu")


def train(
    panel: Panel,
    model: str,
    task: ForecastTask,
    config: TrainingConfig,
    *,
    seed: int = 7,
    member: int = 1,
    dropped: tuple[int, ...] | None = None,
    start: Prior | None = None,
    share: float = 1.0,
    options: FitOptions = CPU,
) -> Prior | None:
    dropped = dropped or (*DROPPED, *(len(panel.unique_ids) - 3) * (0,))
    return fit_prior(
        panel,
        model,
        task,
        config.of_member(member),
        seed=member_seed(seed, member),
        dropped_S=np.array(dropped),
        role="candidate",
        member=member,
        start=start,
        share=share,
        options=options,
    )


def is_same(prior: Prior | None, other: Prior | None) -> bool:
    assert prior is not None
    assert other is not None
    return all(torch.equal(weight, other.weights[name]) for name, weight in prior.weights.items())


def with_rows(panel: Panel, *rows: np.ndarray) -> Panel:
    """Put further series of a panel's length behind its own; their names begin with x."""
    names = tuple(f"x{number}" for number in range(len(rows)))
    picked = [*range(len(panel.unique_ids)), *[0] * len(rows)]
    whole = panel.select(np.array(picked))
    return replace(whole, unique_ids=panel.unique_ids + names, y_SN=np.concatenate([panel.y_SN, np.stack(rows)]))


@pytest.fixture
def quick(prior_config: TrainingConfig) -> TrainingConfig:
    return prior_config.model_copy(update={"prior_steps": 60})


@pytest.mark.usefixtures("every_kernel")
def test_nothing_from_its_first_origin_on_reaches_a_candidate(
    make_panel: MakePanel, model: str, task: ForecastTask, quick: TrainingConfig
) -> None:
    panel = make_panel(3)
    altered = panel.y_SN.copy()
    for row, dropped in enumerate(DROPPED):
        altered[row, -dropped:] = [1e6, -5.0, np.nan][row]
    blind, other = train(panel, model, task, quick), train(replace(panel, y_SN=altered), model, task, quick)
    assert is_same(blind, other)
    assert blind is not None
    assert other is not None
    assert (blind.version, blind.loss) == (other.version, other.loss)
    altered[2, -DROPPED[2] - 1] = 1e6
    assert not is_same(blind, train(replace(panel, y_SN=altered), model, task, quick))


@pytest.mark.parametrize("member", [1, 2])
def test_the_same_data_and_seed_give_the_same_bits_and_another_seed_others(
    make_panel: MakePanel, model: str, task: ForecastTask, quick: TrainingConfig, member: int
) -> None:
    panel = make_panel(3)
    first, again, other = (train(panel, model, task, quick, seed=seed, member=member) for seed in (7, 7, 8))
    assert is_same(first, again)
    assert not is_same(first, other)
    assert first is not None
    assert (first.member, first.config, first.seed) == (member, quick.of_member(member), member_seed(7, member))
    assert {len(weight) for weight in first.weights.values()} == {1}
    assert (first.num_series, first.num_steps) == (3, 60)


@pytest.mark.skipif(library.find() is None, reason="the CPU engine is not built here")
@pytest.mark.parametrize("cell", CELLS)
def test_a_whole_fit_in_the_engine_is_that_of_the_reference(
    make_panel: MakePanel, task: ForecastTask, prior_config: TrainingConfig, cell: str
) -> None:
    """After 120 steps they are within 2e-6 of each other; a fit with another seed differs by 1."""
    panel = make_panel(5)
    by_kernel = {
        kernel: train(panel, cell, task, prior_config, options=FitOptions(accelerator="cpu", kernel=kernel))
        for kernel in ("reference", "cpu")
    }
    other_seed = train(panel, cell, task, prior_config, seed=8)
    reference, engine = by_kernel["reference"], by_kernel["cpu"]
    assert reference is not None
    assert engine is not None
    assert other_seed is not None
    assert (engine.kernel, engine.num_steps, reference.num_steps) == ("cpu", 120, 120)
    assert engine.loss == pytest.approx(reference.loss, rel=1e-4)
    near, far = (
        max(float((each.weights[name] - weight).abs().max()) for name, weight in reference.weights.items())
        for each in (engine, other_seed)
    )
    assert near < 1e-4 * far


@pytest.mark.parametrize(
    "y",
    [
        np.full(200, np.nan),
        np.full(200, np.inf),
        np.resize([1e300, np.nan, np.inf], 200),  # constant where it is a number
        np.resize([1.7e308, -1.7e308], 200),
        np.resize([1.7e308, -1.7e308, np.nan, np.inf, -1.7e308], 200),
        np.concatenate([np.resize(np.repeat([5e307, -5e307], 8), 192), np.zeros(8)]),
        np.where(np.arange(200) == 90, 1e300, np.sin(np.arange(200.0)) + 20),
        np.full(200, 5.0),
        np.concatenate([np.full(192, np.nan), np.arange(8.0)]),  # a segment and a horizon make ten
    ],
    ids=[
        "gaps",
        "infinite",
        "huge constant",
        "huge",
        "huge with gaps",
        "huge errors",
        "one 1e300",
        "constant",
        "short",
    ],
)
def test_a_series_that_cannot_be_trained_on_changes_nothing(
    make_panel: MakePanel, quick: TrainingConfig, y: np.ndarray
) -> None:
    model, task, panel = "gru", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,)), make_panel(3)
    polluted = with_rows(panel, y)
    if np.isnan(y[:192]).all():
        polluted = replace(polluted, length_S=np.array([200, 200, 200, 8]))
    among = train(polluted, model, task, quick)
    assert is_same(train(panel, model, task, quick), among)
    assert among is not None
    assert among.num_series == 3
    assert train(polluted.select(np.array([3])), model, task, quick, dropped=(0,)) is None


def test_values_of_any_size_are_read_in_their_own_unit(
    make_panel: MakePanel, model: str, task: ForecastTask, quick: TrainingConfig
) -> None:
    panel = make_panel(3)
    prior = train(panel, model, task, quick)
    for factor in (2.0**-900, 2.0**900):
        scaled = panel.y_SN.copy()
        scaled[1] *= factor
        assert is_same(prior, train(replace(panel, y_SN=scaled), model, task, quick))
    spiked = panel.y_SN.copy()
    spiked[1, 50], spiked[2, 60] = 1e300, -np.inf
    polluted = train(replace(panel, y_SN=spiked), model, task, quick)
    assert polluted is not None
    assert all(torch.isfinite(weight).all() for weight in polluted.weights.values())


def test_windows_are_drawn_over_all_series_alike_and_none_reaches_into_what_is_hidden(
    make_panel: MakePanel, quick: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Tensor, Tensor]] = []
    gather = WindowSource.gather

    def watched(
        source: WindowSource, origins_SB: Tensor, rows_S: Tensor | None = None, *, every_step: bool = False
    ) -> WindowBatch:
        assert rows_S is not None
        drawn.append((rows_S, origins_SB[:, 0]))
        return gather(source, origins_SB, rows_S, every_step=every_step)

    monkeypatch.setattr(WindowSource, "gather", watched)
    panel = with_rows(make_panel(3), np.resize([1.7e308, -1.7e308], 200), make_panel(1).y_SN[0])
    reference = FitOptions(accelerator="cpu", kernel="reference")  # the engine gathers the same windows out of sight
    train(panel, "gru", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,)), quick, options=reference)
    rows, origins = (torch.cat(parts).numpy() for parts in zip(*drawn, strict=True))
    assert len(rows) == 60 * 16
    names, counts = np.unique(rows, return_counts=True)
    assert names.tolist() == [0, 1, 2, 4]
    assert counts.min() > 0.8 * len(rows) / 4
    last = 200 - 6 - 1 - np.array([*DROPPED, 0, 0])
    assert (origins <= last[rows]).all()
    for row in names:
        assert origins[rows == row].min() <= 15
        assert origins[rows == row].max() >= last[row] - 5


def test_an_interrupted_prior_resumes_to_the_same_weights(
    make_panel: MakePanel, prior_config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, task = "lstm", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,))
    panel, checkpoint = make_panel(3), tmp_path / "prior.ckpt"
    whole = train(panel, model, task, prior_config)
    blocks: list[int] = []
    run_block = PriorModule.run_block

    def watched(module: PriorModule) -> None:
        if blocks == [0, 1]:
            blocks.append(-1)
            raise OSError("killed")
        blocks.append(module.num_steps // STEPS_OF_A_BLOCK)
        run_block(module)

    monkeypatch.setattr(PriorModule, "run_block", watched)
    options = FitOptions(accelerator="cpu", checkpoint=checkpoint, seconds_between_checkpoints=0.0)
    with pytest.raises(OSError, match="killed"):
        train(panel, model, task, prior_config, options=options)
    assert checkpoint.exists()
    resumed = train(panel, model, task, prior_config, options=options)
    assert blocks == [0, 1, -1, 2], "what was done must not be done again"
    assert is_same(whole, resumed)
    assert resumed is not None
    assert whole is not None
    assert (resumed.loss, resumed.num_steps) == (whole.loss, 120)
    assert not checkpoint.exists()


def test_an_earlier_prior_is_trained_further_for_a_share_of_the_steps(
    make_panel: MakePanel, model: str, task: ForecastTask, prior_config: TrainingConfig
) -> None:
    panel = make_panel(3)
    start = train(panel, model, task, prior_config)
    assert start is not None
    still = prior_config.model_copy(update={"prior_rate": 1e-12, "prior_steps": 10})
    further = train(panel, model, task, still, start=start, share=0.25)
    assert further is not None
    assert further.num_steps == 3
    assert (start.started_from, further.started_from) == (None, start.version)
    for name, weight in further.weights.items():
        torch.testing.assert_close(weight, start.weights[name], rtol=0, atol=1e-6)
    assert further.loss < 0.9 * train(panel, model, task, still).loss, "it must not begin from scratch"


def test_few_windows_are_not_overfitted(make_panel: MakePanel, prior_config: TrainingConfig) -> None:
    model, task = "gru", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,))
    prior = train(make_panel(1, num_points=20), model, task, prior_config, dropped=(0,))
    assert prior is not None
    assert prior.num_steps == -(-PASSES * (20 - 6 - 4 + 1) // 16)


@pytest.mark.parametrize(("num_points", "is_enough"), [(9, False), (10, True)])
def test_a_series_of_a_single_window_takes_part(
    make_panel: MakePanel, quick: TrainingConfig, num_points: int, is_enough: bool
) -> None:
    panel = make_panel(1, num_points=num_points)
    prior = train(panel, "gru", ForecastTask(1, 6, (0.1, 0.5, 0.9), (8,)), quick, dropped=(0,))
    assert (prior is not None) == is_enough


def test_a_prior_learns_what_its_series_share(make_panel: MakePanel, model: str, task: ForecastTask) -> None:
    config = TrainingConfig(
        segment_length=4,
        context_segments=4,
        members=(Member(start="prior"),),
        prior_hidden_size=8,
        prior_steps=400,
        prior_windows=32,
    ).of_member(0)
    panel = make_panel(6)
    losses = [
        fit_prior(
            panel,
            model,
            task,
            config.model_copy(update={"prior_steps": num_steps}),
            seed=0,
            dropped_S=np.zeros(6, dtype=np.int64),
            role="serving",
        ).loss
        for num_steps in (1, 400)
    ]
    assert losses[1] < 0.85 * losses[0]


@pytest.fixture
def prior(make_panel: MakePanel, model: str, task: ForecastTask, quick: TrainingConfig) -> Prior:
    trained = train(make_panel(3), model, task, quick.model_copy(update={"prior_steps": 2}))
    assert trained is not None
    return replace(trained, gains=(0.0, -0.25, -0.5, 0.125, 1.0))


def test_bytes_give_back_the_same_prior_bit_for_bit(prior: Prior) -> None:
    read = Prior.from_bytes(prior.to_bytes())
    assert is_same(prior, read)
    assert read.version == prior.version
    assert replace(read, weights={}) == replace(prior, weights={})


def test_bytes_of_another_format_are_refused_by_name(prior: Prior) -> None:
    content = prior.to_bytes().replace(rb"\"task\"", rb"\"duty\"")
    with pytest.raises(NothingStored, match=r"^weights/p is damaged, or .* \(KeyError: 'task'\); train again$"):
        Prior.from_bytes(content, name="weights/p")


def test_version_changes_with_weights_network_configuration_task_and_gains(prior: Prior) -> None:
    weights = {name: weight.clone() for name, weight in prior.weights.items()}
    weights["head_HO"][0, 0, 0] += 1e-6
    changed = [
        prior,
        replace(prior, weights=weights),
        replace(prior, model="indrnn"),
        replace(prior, config=prior.config.model_copy(update={"prior_rate": 0.5})),
        replace(prior, task=replace(prior.task, season_lengths=(9,))),
        replace(prior, gains=(0.0, -0.25, -0.5, 0.125, 1.5)),
    ]
    assert len({each.version for each in changed}) == len(changed)
    assert replace(prior).version == prior.version
