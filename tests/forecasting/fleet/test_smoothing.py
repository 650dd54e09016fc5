"""Level and seasons of a series as weights of its network: the recursion, its effect on windows, and whole fits."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from forecasting.fleet.cost.pace import BLOCK
from forecasting.fleet.fit import fit_candidates, fit_serving
from forecasting.fleet.fitted import FittedFleet
from forecasting.fleet.native import library
from forecasting.fleet.options import FitOptions
from forecasting.fleet.predict import predict
from forecasting.fleet.scaling import Scaling
from forecasting.fleet.smoothing import (
    COEFFICIENTS,
    FIRST_COEFFICIENT,
    LARGEST_BLOCK,
    SEASONS,
    Smoothing,
    block_width,
    grid_index,
    smooth,
    squash,
)
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import WindowSource, window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import MemberConfig

MakePanel = Callable[..., Panel]


@pytest.fixture
def smoothed(config: MemberConfig) -> MemberConfig:
    return config.model_copy(update={"smoothing": "level_season"})


def fit(panel: Panel, model: str, task: ForecastTask, config: MemberConfig, *, kernel: str = "auto") -> FittedFleet:
    options = FitOptions(accelerator="cpu", kernel=kernel)
    dropped_S = np.full(len(panel.unique_ids), 12)
    return fit_candidates(panel, model, task, config, seed=7, dropped_S=dropped_S, options=options)


def one_by_one(
    z_SN: Tensor, is_observed_SN: Tensor, coefficient_SC: Tensor, level_S1: Tensor, initial: list[Tensor]
) -> tuple[Tensor, ...]:
    """Smooth as Smyl (2020) writes it, point by point: l = α (z - s) + (1 - α) l, s = γ (z - l) + (1 - γ) s."""
    rows = []
    for series, z_N in enumerate(z_SN):
        alpha, *gammas = coefficient_SC[series]
        level, indices = level_S1[series, 0], [list(season[series]) for season in initial]
        levels, seasons, later = [], [], [[] for _ in initial]
        for point, z in enumerate(z_N):
            own = [index[point] for index in indices]
            if is_observed_SN[series, point]:
                level = alpha * (z - sum(own)) + (1 - alpha) * level
            for number, gamma in enumerate(gammas):
                others = sum(own) - own[number]
                new = gamma * (z - level - others) + (1 - gamma) * own[number]
                later[number].append(new if is_observed_SN[series, point] else own[number])
                indices[number].append(later[number][-1])
            levels.append(level)
            seasons.append(sum(own, torch.zeros((), dtype=z_SN.dtype)))
        rows.append([torch.stack(each) for each in (levels, seasons, *later)])
    return tuple(torch.stack(each) for each in zip(*rows, strict=True))


def numbers(lengths: tuple[int, ...], num_points: int) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
    random = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    trained = [draw(2, 1 + len(lengths)), draw(2, 1), *(draw(2, length) for length in lengths)]
    coefficient_SC, level_S1, *initial = (each.requires_grad_() for each in trained)
    return 3 * draw(2, num_points), (draw(2, num_points) > 0.2).double(), coefficient_SC, level_S1, initial


@pytest.mark.parametrize(("lengths", "num_points"), [((4,), 20), ((4, 7), 24), ((3, 5, 9), 21), ((), LARGEST_BLOCK)])
def test_recursion_and_its_gradients_are_those_of_a_loop(lengths: tuple[int, ...], num_points: int) -> None:
    given = numbers(lengths, num_points)
    for fast, slow in zip(smooth(*given), one_by_one(*given), strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-14)
    z_SN, is_observed_SN, coefficient_SC, level_S1, initial = given

    def run(coefficient_SC: Tensor, level_S1: Tensor, *initial: Tensor) -> tuple[Tensor, ...]:
        return smooth(z_SN, is_observed_SN, coefficient_SC, level_S1, initial)

    assert torch.autograd.gradcheck(run, (coefficient_SC, level_S1, *initial))


def test_coefficients_lie_between_0_and_1_and_begin_where_they_should() -> None:
    raw = torch.tensor([-1e30, -0.15, 0.0, 0.3, 1e30])
    assert squash(raw).tolist() == pytest.approx([0, FIRST_COEFFICIENT, 0.5, 0.875, 1])


def test_blocks_are_as_long_as_the_cost_model_has_them() -> None:
    assert block_width(()) == block_width((400,)) == BLOCK
    assert block_width((24, 168)) == 24


@pytest.mark.parametrize("freq", ["1h", "15m", "1d", "1w", "1mo", "3mo", "1y"])
def test_neighbours_on_a_grid_have_neighbouring_numbers(freq: str) -> None:
    begin = pl.datetime(1968, 12, 31)
    ds = pl.select(ds=pl.datetime_ranges(begin, begin.dt.offset_by("9y"), freq).explode()).to_series()
    index = grid_index(ds.cast(pl.Datetime("us")).to_numpy(), freq)
    assert len(index) > 5
    assert set(np.diff(index)) == {1}
    assert set(np.diff(grid_index(np.arange(-21, 20, 7), 7))) == {1}


def windows_of(panel: Panel, config: MemberConfig, seasons: tuple[int, ...]) -> tuple[WindowSource, dict[str, Tensor]]:
    scaling = Scaling(
        *np.array([[30.0], [10.0], [2.0], [np.nan], [np.nan], [np.nan]]).repeat(len(panel.unique_ids), axis=1)
    )
    source = window_source(
        panel,
        scaling,
        config=config,
        season_lengths=config.references(seasons or (1,)),
        smoothed=config.smoothed(seasons),
        freq=1,
    )
    num_series = len(panel.unique_ids)
    weights = {COEFFICIENTS: torch.zeros(num_series, 1 + len(seasons)), SEASONS: torch.zeros(num_series, sum(seasons))}
    source.smoothing.initialise(weights, source.y_SN)
    return source, weights


def test_nothing_after_the_origin_enters_a_window(make_panel: MakePanel, smoothed: MemberConfig) -> None:
    panel = make_panel(2)
    source, weights = windows_of(panel, smoothed, (8, 12))
    altered = replace(source, y_SN=source.y_SN.clone())
    altered.y_SN[:, source.padding + 151 :] += 5
    at_150 = torch.full((2, 1), 150)
    before, after = (each.gather(at_150, weights=weights) for each in (source, altered))
    assert torch.equal(before.x_SBTI, after.x_SBTI)
    assert torch.equal(before.reference_SBFM, after.reference_SBFM)
    assert not torch.equal(before.target_SBF, after.target_SBF)
    at_151 = [each.gather(at_150 + 1, weights=weights).reference_SBFM for each in (source, altered)]
    assert not torch.equal(*at_151)


def test_every_reference_of_a_series_of_level_and_season_is_exact(smoothed: MemberConfig) -> None:
    """Steady seasons around a steady level: nothing is left for the network, and its input is nothing."""
    points = np.arange(120)
    y_N = 50 + np.array([3.0, -1.0, -4.0, 2.0])[points % 4] + np.array([1.0, 0.0, 2.0, -1.0, -2.0, 0.0])[points % 6]
    calendar_SNC, ds_SN = np.zeros((1, 126, 0), np.float32), np.arange(126)[None]
    panel = Panel(("s",), y_N[None], np.array([120]), calendar_SNC, ds_SN, 6)
    source, weights = windows_of(panel, smoothed, (4, 6))
    batch = source.gather(torch.tensor([[113]]), weights=weights)
    season_of_x = batch.x_SBTI[..., : smoothed.segment_length]
    assert season_of_x.abs().max() < 2e-3  # seasons are of size 1
    target_SBF1 = batch.target_SBF[..., None].expand_as(batch.reference_SBFM)
    torch.testing.assert_close(batch.reference_SBFM, target_SBF1, rtol=0, atol=1e-2)


def test_gaps_move_neither_level_nor_season_and_before_a_series_there_is_its_level(
    make_panel: MakePanel, smoothed: MemberConfig
) -> None:
    panel = make_panel(1)
    panel.y_SN[:, :40] = np.nan
    panel.y_SN[:, 100:116] = np.nan
    panel = replace(panel, length_S=panel.length_S - 40)
    source, weights = windows_of(panel, smoothed, (8,))
    ran = source.smoothing.run(source.y_SN, weights)
    gap = slice(source.padding + 99, source.padding + 116)
    assert len(set(ran.level_SN[0, gap].tolist())) == 1
    index_N = ran.next_seasons[0][0]
    assert torch.equal(index_N[gap.start + 1 : gap.stop], index_N[gap.start - 7 : gap.stop - 8])
    begin = source.padding + 40
    assert torch.equal(ran.without_season_SN[0, :begin], ran.level_SN[0, :1].expand(begin))


@pytest.mark.parametrize("seasons", [(8,), (4, 12), (1,)])
def test_bits_are_the_same_alone_among_many_and_on_any_number_of_threads(
    make_panel: MakePanel, smoothed: MemberConfig, seasons: tuple[int, ...]
) -> None:
    if not library.find():
        pytest.skip("the CPU engine is not built here")
    model, task = "gru", ForecastTask(1, 6, (0.1, 0.5, 0.9), seasons)
    config = smoothed.model_copy(update={"weight_average": 0.9, "max_steps": 30})
    many = make_panel(8)
    many.y_SN[6, 80:90] = np.nan
    versions, forecasts = [], []
    for rows, num_threads in (([*range(8)], 1), ([*range(8)], 3), ([4, 5, 6], 2), ([6], 1)):
        torch.set_num_threads(num_threads)
        panel = many.select(np.array(rows))
        fitted = fit(panel, model, task, config, kernel="cpu")
        versions.append(fitted.versions()[rows.index(6)])
        forecasts.append(predict(fitted, panel)[rows.index(6)].tobytes())
    assert len(set(versions)) == len(set(forecasts)) == 1


@pytest.mark.parametrize("seasons", [(8,), (5, 12), ()])
def test_bits_do_not_depend_on_how_long_other_series_are(
    make_panel: MakePanel, smoothed: MemberConfig, seasons: tuple[int, ...]
) -> None:
    """A longer series beside it gives a panel more columns before a series begins."""
    long = make_panel(1, num_points=217)
    long.y_SN[0, :39] = np.nan
    cut = {name: getattr(long, name)[:, 39:] for name in ("y_SN", "calendar_SNC", "ds_SN")}
    parts = []
    for panel in (replace(long, length_S=long.length_S - 39), replace(long, length_S=long.length_S - 39, **cut)):
        source, weights = windows_of(panel, smoothed, seasons)
        for weight in weights.values():
            weight.requires_grad_()
        origins_SB = torch.tensor([[150, 170, 171, 199]]) + panel.y_SN.shape[1] - 200
        batch = source.gather(origins_SB, weights=weights)
        (batch.x_SBTI.square().sum() + batch.reference_SBFM.square().sum()).backward()
        gradients = [weight.grad for weight in weights.values() if weight.numel()]
        parts.append([batch.x_SBTI, batch.reference_SBFM, *gradients])
    assert all(torch.equal(*pair) for pair in zip(*parts, strict=True))


@pytest.mark.usefixtures("every_kernel")
def test_candidates_never_read_hidden_points_and_serving_does(
    make_panel: MakePanel, model: str, task: ForecastTask, smoothed: MemberConfig
) -> None:
    panel = make_panel(2)
    altered = panel.y_SN.copy()
    altered[:, -12:] = 1e6
    first, second = (fit(each, model, task, smoothed) for each in (panel, replace(panel, y_SN=altered)))
    assert first.versions() == second.versions()
    serving = fit_serving(panel, first, options=FitOptions(accelerator="cpu"))
    assert serving.num_steps_S.tolist() == first.num_steps_S.tolist()
    assert not set(serving.versions()) & set(first.versions())


@pytest.mark.usefixtures("every_kernel")
@pytest.mark.parametrize("name", [COEFFICIENTS, SEASONS])
def test_a_series_that_blows_up_is_set_aside_and_its_neighbours_do_not_change(
    make_panel: MakePanel,
    model: str,
    task: ForecastTask,
    smoothed: MemberConfig,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    panel = make_panel(3)
    sound = fit(panel, model, task, smoothed)
    initialise = Smoothing.initialise

    def poisoned(smoothing: Smoothing, weights: dict[str, Tensor], z_SN: Tensor) -> None:
        initialise(smoothing, weights, z_SN)
        with torch.no_grad():
            weights[name][1, 0] = torch.nan

    monkeypatch.setattr(Smoothing, "initialise", poisoned)
    broken = fit(panel, model, task, smoothed)
    assert broken.unique_ids == ("s0", "s2")
    assert [(refusal.unique_id, refusal.status) for refusal in broken.refused] == [("s1", "broken")]
    for each, weight in broken.weights.items():
        assert torch.equal(weight, sound.weights[each][[0, 2]])


def test_coefficients_and_seasons_are_weights_that_learn_and_travel(
    make_panel: MakePanel, model: str, task: ForecastTask, smoothed: MemberConfig
) -> None:
    panel = make_panel(3)
    fitted = fit(panel, model, task, smoothed)
    coefficient_SC = squash(fitted.weights[COEFFICIENTS])
    assert fitted.weights[SEASONS].shape == (3, 8)
    assert ((coefficient_SC - FIRST_COEFFICIENT).abs() > 1e-3).all()
    read = FittedFleet.from_bytes(fitted.to_bytes())
    assert read.versions() == fitted.versions()
    assert read.config.smoothing == "level_season"
    assert np.array_equal(predict(read, panel), predict(fitted, panel))
    some = fitted.select(["s2", "s0"])
    np.testing.assert_allclose(predict(some, panel)[[0, 2]], predict(fitted, panel)[[0, 2]], rtol=1e-6)


def test_a_backtest_smooths_up_to_its_origin_without_a_refit(
    make_panel: MakePanel, model: str, task: ForecastTask, smoothed: MemberConfig
) -> None:
    """After a step of the level since the fit, forecasts follow it."""
    panel = make_panel(2)
    fitted = fit(panel, model, task, smoothed)
    moved = panel.y_SN.copy()
    moved[:, -40:] += 2 * panel.y_SN[:, :8].mean(1, keepdims=True)
    before, after = (predict(fitted, each)[:, :, 1] for each in (panel, replace(panel, y_SN=moved)))
    steps_S = (moved - panel.y_SN)[:, -1]
    np.testing.assert_allclose((after - before).mean(1), steps_S, rtol=0.2)


def test_a_series_that_loses_its_beginning_keeps_its_season_whenever_it_ends(
    make_panel: MakePanel, model: str, task: ForecastTask, smoothed: MemberConfig
) -> None:
    """Five seasons are left, too few to forget where they began."""
    panel = make_panel(2)
    fitted = fit(panel, model, task, smoothed)
    scale_S = np.abs(np.diff(panel.y_SN)).mean(1)
    for num_dropped in range(5):
        known = panel.until(num_dropped)
        cut = {name: getattr(known, name)[:, 150:] for name in ("y_SN", "calendar_SNC", "ds_SN")}
        later = replace(known, length_S=known.length_S - 150, **cut)
        apart_S = np.abs(predict(fitted, later) - predict(fitted, known)).max((1, 2))
        assert (apart_S < 0.3 * scale_S).all()


def test_what_was_long_before_the_newest_window_still_counts(
    make_panel: MakePanel, model: str, task: ForecastTask, smoothed: MemberConfig
) -> None:
    panel = make_panel(2)
    fitted = fit(panel, model, task, smoothed)
    altered = panel.y_SN.copy()
    altered[:, 150] *= 1.5
    assert (predict(fitted, replace(panel, y_SN=altered)) != predict(fitted, panel)).any((1, 2)).all()


def test_a_moving_level_under_a_season_of_its_own_size_is_learned_better_with_smoothing(
    config: MemberConfig,
) -> None:
    """Levels that jump, seasons in proportion to them: the logarithm makes both sums."""
    random = np.random.default_rng(4)
    num_series, num_points, horizon = 6, 260, 6
    jumps_SN = random.normal(0, 0.5, (num_series, num_points)) * (random.random((num_series, num_points)) < 0.04)
    season_SN = np.tile(random.normal(0, 0.4, (num_series, 8)), (1, num_points // 8 + 1))[:, :num_points]
    noise_SN = random.normal(0, 0.05, (num_series, num_points))
    y_SN = 100 * np.exp(np.cumsum(jumps_SN, axis=1) + season_SN + noise_SN)
    ds_SN = np.repeat(np.arange(num_points + horizon)[None], num_series, axis=0)
    calendar_SNC = np.zeros((*ds_SN.shape, 0), np.float32)
    panel = Panel(tuple("abcdef"), y_SN, np.full(num_series, num_points), calendar_SNC, ds_SN, horizon)
    losses = []
    for smoothing in ("level_season", "none"):
        logged = {"transform": "log", "smoothing": smoothing}
        longer = config.model_copy(update=logged | {"max_steps": 150, "patience": 8})
        fitted = fit(panel, "gru", ForecastTask(1, horizon, (0.1, 0.5, 0.9), (8,)), longer)
        losses.append(fitted.validation_loss_S.mean())
    assert losses[0] < 0.85 * losses[1]


@pytest.mark.parametrize("num_points", [20, 24, 30])
def test_a_series_shorter_than_its_season_begins_without_one(smoothed: MemberConfig, num_points: int) -> None:
    model, task = "gru", ForecastTask(1, 3, (0.5,), (24, 168))
    config = smoothed.model_copy(update={"segment_length": 2})
    random = np.random.default_rng(0)
    ds_SN = np.arange(num_points + 3)[None]
    calendar_SNC = np.zeros((1, num_points + 3, 0), np.float32)
    panel = Panel(("s",), random.normal(size=(1, num_points)), np.array([num_points]), calendar_SNC, ds_SN, 3)
    fitted = fit_candidates(panel, model, task, config, seed=0, dropped_S=np.zeros(1, dtype=np.int64))
    assert np.isfinite(predict(fitted, panel)).all()
    _, weights = windows_of(panel, config, (24, 168))
    assert not weights[SEASONS].any()


def test_network_without_smoothing_has_no_such_weights(make_panel: MakePanel, config: MemberConfig) -> None:
    fitted = fit(make_panel(1), "gru", ForecastTask(1, 6, (0.5,), (8,)), config)
    assert not {COEFFICIENTS, SEASONS} & set(fitted.weights)
