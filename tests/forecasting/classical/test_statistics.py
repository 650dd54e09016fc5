"""Statistical models: they equal statsforecast, keep series apart, fill gaps, and leave out unsuitable series."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsforecast.models import ADIDA, MSTL, TSB, AutoCES, AutoETS, CrostonSBA, DynamicOptimizedTheta

from forecasting.classical.statistics import (
    FEWEST_POINTS,
    FOR_INTERMITTENT,
    can_forecast,
    demand_quantiles,
    fill_from_past,
    forecast_statistics,
    known_values,
    most_points,
)
from forecasting.evaluate.backtest import backtest
from forecasting.series.panel import Panel
from forecasting.spec.quantiles import DEFAULT_QUANTILES
from forecasting.spec.spec import STATISTICS

NAN = math.nan
FEW = (0.1, 0.5, 0.975)


def seasonal(seed: int, num_points: int = 40) -> list[float]:
    rng = np.random.default_rng(seed)
    points = np.arange(num_points)
    return (50 + 0.3 * points + 5 * np.sin(points * np.pi / 2) + rng.normal(0, 1, num_points)).tolist()


def demand(seed: int, num_points: int = 40) -> list[float]:
    rng = np.random.default_rng(seed)
    return ((rng.random(num_points) < 0.3) * rng.integers(1, 9, num_points)).astype(float).tolist()


def forecast(panel: Panel, model: str, quantiles: tuple[float, ...] = FEW, season: int = 4) -> np.ndarray:
    return forecast_statistics(panel, model=model, season_lengths=[season], quantiles=quantiles)


def series_of(model: str, seed: int = 1) -> list[float]:
    return demand(seed) if model in FOR_INTERMITTENT else seasonal(seed)


@pytest.mark.parametrize(
    ("model", "peer"),
    [("theta", DynamicOptimizedTheta(4)), ("ets", AutoETS(4)), ("mstl", MSTL([4]))],
)
def test_forecast_and_intervals_are_those_of_statsforecast(make_panel, model: str, peer) -> None:
    for seed in (1, 2):
        values = seasonal(seed)
        ours_FQ = forecast(make_panel([values], horizon=6), model)[0]
        theirs = peer.forecast(y=np.array(values), h=6, level=[80, 95])
        np.testing.assert_allclose(ours_FQ.T, [theirs["lo-80"], theirs["mean"], theirs["hi-95"]])


def test_median_of_ces_is_the_forecast_of_statsforecast(make_panel) -> None:
    values = series_of("ces")
    ours_F = forecast(make_panel([values], horizon=6), "ces")[0, :, 1]
    np.testing.assert_allclose(ours_F, AutoCES(4).forecast(y=np.array(values), h=6)["mean"])


EVEN = tuple((np.arange(1000) + 0.5) / 1000)


@pytest.mark.parametrize(("model", "peer"), [("croston_sba", CrostonSBA()), ("tsb", TSB(0.1, 0.1)), ("adida", ADIDA())])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mean_of_a_demand_is_the_forecast_of_statsforecast(make_panel, model: str, peer, seed: int) -> None:
    values = demand(seed)
    ours_FQ = forecast(make_panel([values], horizon=6), model, EVEN)[0]
    np.testing.assert_allclose(ours_FQ.mean(1), peer.forecast(y=np.array(values), h=6)["mean"], rtol=0.02)
    assert set(np.unique(ours_FQ)) <= set(values)


def test_sizes_grow_only_where_a_sure_demand_is_smaller_than_the_mean() -> None:
    sizes = np.array([8.0, 12.0])
    quantiles_FQ = demand_quantiles(np.array([0.0, 5.0, 20.0]), sizes, np.array([0.1, 0.6, 0.9]))
    assert quantiles_FQ.tolist() == [[0, 0, 0], [0, 8, 12], [16, 24, 24]]
    assert demand_quantiles(np.array([0.0]), np.empty(0), np.array([0.5, 0.9])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("model", STATISTICS)
def test_series_alone_has_the_same_bits_as_among_others_and_again(make_panel, model: str) -> None:
    alone = forecast(make_panel([series_of(model)]), model)
    among = [seasonal(7, 61), demand(8, 90), series_of(model), [NAN] * 12, []]
    for _ in range(2):
        np.testing.assert_array_equal(forecast(make_panel(among), model)[2], alone[0])


@pytest.mark.parametrize("model", STATISTICS)
def test_quantiles_rise_about_the_median(make_panel, model: str) -> None:
    quantiles_FQ = forecast(make_panel([series_of(model)], horizon=9), model, DEFAULT_QUANTILES)[0]
    assert (np.diff(quantiles_FQ, axis=1) >= 0).all()
    assert (quantiles_FQ[:, -1] > quantiles_FQ[:, 0]).all()
    if model in FOR_INTERMITTENT:
        assert quantiles_FQ.min() >= 0


@pytest.mark.parametrize("model", ["ces", "theta", "mstl"])
def test_intervals_widen_over_the_horizon_as_those_of_a_random_walk(make_panel, model: str) -> None:
    walk = np.cumsum(np.random.default_rng(3).normal(size=120))
    spread_F = np.ptp(forecast(make_panel([walk], horizon=16), model, season=4 if model == "mstl" else 1)[0], axis=-1)
    assert 2 < spread_F[-1] / spread_F[0] < 6


def test_intervals_of_ces_have_their_nominal_coverage(make_panel) -> None:
    rng = np.random.default_rng(4)
    walks_SN = np.cumsum(rng.normal(size=(150, 66)), axis=1)
    low_SF, high_SF = np.moveaxis(
        forecast(make_panel(walks_SN[:, :60], horizon=6), "ces", (0.1, 0.5, 0.9), season=1)[:, :, [0, 2]], 2, 0
    )
    covered_F = ((walks_SN[:, 60:] >= low_SF) & (walks_SN[:, 60:] <= high_SF)).mean(axis=0)
    assert covered_F[[0, -1]] == pytest.approx([0.8, 0.8], abs=0.1)


def test_gaps_are_filled_from_the_past_alone(make_panel) -> None:
    assert fill_from_past(np.array([1.0, NAN, 3.0, NAN, NAN, 6.0]), season_length=2).tolist() == [1, 1, 3, 1, 3, 6]
    values = np.array([NAN, NAN, *seasonal(5), NAN])
    values[[9, 20, 21]] = NAN
    filled = known_values(values, fill_from=4, longest_season=4)
    assert np.isfinite(filled).all()
    assert len(filled) == 41
    np.testing.assert_array_equal(forecast(make_panel([values]), "ces"), forecast(make_panel([filled]), "ces"))


@given(st.integers(1, 6), st.lists(st.one_of(st.none(), st.floats(-9, 9)), max_size=30), st.integers(0, 9))
def test_filling_keeps_measurements_and_uses_no_later_ones(season: int, rest: list, num_more: int) -> None:
    y = np.array([1.0, *rest], dtype=float)
    filled = fill_from_past(y, season_length=season)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled[np.isfinite(y)], y[np.isfinite(y)])
    longer = fill_from_past(np.append(y, [5.0] * num_more), season_length=season)
    np.testing.assert_array_equal(longer[: len(y)], filled)


def test_long_history_is_cut_to_its_last_seasons(make_panel) -> None:
    long = seasonal(6, most_points(4) + 50)
    cut = forecast(make_panel([long[-most_points(4) :]]), "theta")
    np.testing.assert_array_equal(forecast(make_panel([long]), "theta"), cut)


@pytest.mark.parametrize("model", STATISTICS)
def test_series_that_a_model_cannot_forecast_are_nan_and_do_not_affect_others(make_panel, model: str) -> None:
    fine, other = (series_of(model), demand(2) if model not in FOR_INTERMITTENT else seasonal(2))
    odd = [[7.0] * 40, [0.0] * 40, [1.0, 2.0], [5.0], [NAN] * 40, [], fine[: FEWEST_POINTS - 1], other]
    panel = make_panel([*odd, fine])
    able_S = can_forecast(panel, model=model, season_lengths=[4])
    assert able_S.tolist() == [False] * len(odd) + [True]
    result_SFQ = forecast(panel, model)
    np.testing.assert_array_equal(np.isfinite(result_SFQ).all((1, 2)), able_S)
    assert np.isnan(result_SFQ[~able_S]).all()


@pytest.mark.parametrize("model", ["theta", "ces", "ets"])
def test_fit_that_fails_leaves_the_series_without_forecast(make_panel, model: str) -> None:
    huge = (np.array(seasonal(1)) * 1e306).tolist()
    assert np.isnan(forecast(make_panel([huge, seasonal(2)]), model)[0]).all()


def test_series_with_negative_values_is_not_intermittent(make_panel) -> None:
    values = [-1.0, *demand(3)]
    assert not can_forecast(make_panel([values]), model="tsb", season_lengths=[4]).any()
    assert can_forecast(make_panel([values]), model="theta", season_lengths=[4]).all()


def test_mstl_uses_the_seasons_that_a_series_covers_twice(make_panel) -> None:
    panel = make_panel([seasonal(1)])
    both, one = (
        forecast_statistics(panel, model="mstl", season_lengths=lengths, quantiles=FEW) for lengths in ([4, 24], [4])
    )
    np.testing.assert_array_equal(both, one)
    for lengths in ([1], [24]):
        assert not can_forecast(panel, model="mstl", season_lengths=lengths).any()


def test_panel_without_series_or_points_has_no_forecast(make_panel) -> None:
    assert forecast(make_panel([]), "theta").shape == (0, 4, 3)
    assert np.isnan(forecast(make_panel([[], []]), "tsb")).all()


def test_backtest_of_a_statistical_model_reads_nothing_past_an_origin(make_panel) -> None:
    def scores(values: list[float]) -> list[float]:
        frame = backtest(
            make_panel([values]),
            forecasters={"theta": lambda panel: forecast(panel, "theta")},
            origins_SJ=np.array([[4, 8, 12]]),
            quantiles=FEW,
            season_length=4,
        )
        return frame.sort("origin")["mae"].to_list()

    values = seasonal(1)
    changed = [*values[:-8], *(value + 1e6 for value in values[-8:])]
    assert scores(changed)[0] == scores(values)[0]
    assert scores(changed)[1] > 1e5
