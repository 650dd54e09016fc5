"""The statistical models of a series: those that the spec names, or those that cost no more than its networks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.classical.statistics import FOR_INTERMITTENT
from forecasting.fleet.cost.cost import ForecastCost, TrainingCost
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.fleet.plan import required_length
from forecasting.flow.statistics_choice import (
    CostWithStatistics,
    chosen_statistics,
    statistics_forecasters,
    statistics_seconds,
)
from forecasting.spec.recipes import configure
from forecasting.spec.spec import STATISTICS, Spec, make_spec

LAVISH = {"max_steps": 100_000}
"""Networks so costly that every statistical model fits beside them."""


def spec_of(**fields: Any) -> Spec:
    defaults = {"name": "a", "source": {"uri": "/a.csv"}, "freq": "1mo", "season_lengths": [12], "horizon": 6}
    return make_spec(defaults | fields, subject="the test's spec")


def test_models_that_a_spec_names_are_those_of_every_series() -> None:
    spec = spec_of(statistics=["mstl", "tsb"])
    assert chosen_statistics(spec, 1) == chosen_statistics(spec, 10_000) == ("mstl", "tsb")
    assert chosen_statistics(spec_of(statistics=[]), 100) == ()


@given(
    st.sampled_from(["15m", "1h", "1d", "1w", "1mo", "1q", 1]),
    st.lists(st.sampled_from([1, 4, 7, 12, 24, 52, 168]), min_size=1, max_size=2, unique=True),
    st.integers(1, 48),
    st.sampled_from(["fast", "standard"]),
    st.integers(0, 20_000),
    st.sampled_from([{}, {"max_steps": 2000}, LAVISH]),
)
def test_statistics_never_cost_more_than_the_networks_of_the_series(
    freq: str | int, seasons: list[int], horizon: int, recipe: str, num_points: int, overrides: dict[str, int]
) -> None:
    spec = spec_of(freq=freq, season_lengths=seasons, horizon=horizon, recipe=recipe, overrides=overrides)
    networks = TrainingCost(
        sizes_of(spec, spec.models, kernel="cpu"), required_length(configure(spec), horizon=spec.horizon)
    )
    num_fits = spec.backtest.origins + 1
    assert num_fits * statistics_seconds(spec, num_points) <= networks.series_seconds(num_points)


def test_costlier_networks_leave_time_for_more_statistical_models() -> None:
    chosen = [chosen_statistics(spec_of(overrides={"max_steps": steps}), 120) for steps in (1, 1000, 100_000)]
    assert set(chosen[0]) <= set(chosen[1]) <= set(chosen[2])
    assert chosen[0] != chosen[2]
    assert set(chosen[2]) == set(STATISTICS)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"freq": "1h", "season_lengths": [24]}, set(FOR_INTERMITTENT)),
        ({"freq": "1w", "season_lengths": [52]}, {"ets"}),
        ({"freq": "1d", "season_lengths": [1]}, {"mstl"}),
        ({"freq": 1}, set()),
    ],
)
def test_models_that_cannot_fit_the_series_are_not_chosen(fields: dict[str, Any], missing: set[str]) -> None:
    chosen = chosen_statistics(spec_of(overrides=LAVISH, **fields), 300)
    assert set(STATISTICS) - set(chosen) == missing


def test_series_without_networks_has_no_statistical_models_unless_the_spec_names_them() -> None:
    spec = spec_of(overrides=LAVISH)
    needed = required_length(configure(spec), horizon=spec.horizon)
    assert chosen_statistics(spec, needed - 1) == ()
    assert chosen_statistics(spec, needed) != ()


def test_forecaster_forecasts_the_series_that_have_its_model_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "forecasting.flow.statistics_choice.forecast_statistics",
        lambda panel, **_: np.ones((len(panel.unique_ids), panel.horizon, 13)),
    )
    spec = spec_of(overrides=LAVISH)
    forecasters = statistics_forecasters(spec, [100, 3, 100], also={"tsb": np.array([False, True, False])})
    assert tuple(forecasters) == STATISTICS

    class Panel:
        horizon = 6

        def __init__(self, names: list[str]) -> None:
            self.unique_ids = names

        def select(self, rows: np.ndarray) -> "Panel":
            return Panel([self.unique_ids[row] for row in rows])

    served = {
        model: np.isfinite(forecaster(Panel(["a", "b", "c"]))).all((1, 2)) for model, forecaster in forecasters.items()
    }  # type: ignore[arg-type]
    assert served["theta"].tolist() == [True, False, True]
    assert served["tsb"].tolist() == [True, True, True]
    assert statistics_forecasters(spec_of(statistics=[]), [100]) == {}


def test_cost_counts_every_fit_and_the_memory_of_the_library() -> None:
    spec = spec_of(statistics=["theta", "ets"])
    plain = ForecastCost(sizes_of(spec, spec.models, kernel="cpu"), 3)
    cost = CostWithStatistics(plain, spec, 3)
    assert cost.fixed_seconds == plain.fixed_seconds
    fits = 3 * statistics_seconds(spec, 120)
    assert cost.series_seconds(120) == pytest.approx(plain.series_seconds(120) + fits)
    assert 0.1 < fits < 1
    assert cost.worker_bytes(5, 120, 600) > plain.worker_bytes(5, 120, 600) + (100 << 20)
    assert cost.worker_bytes(0, 0, 0) == plain.worker_bytes(0, 0, 0)
