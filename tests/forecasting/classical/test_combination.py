"""The combination: a weighted median of every quantile, over the forecasts that a series has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.classical.combination import NETWORKS_SHARE, combine, weighted_median

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
NETWORKS = {"n0", "n1", "n2"}


def forecasts_of(seed: int, *, num_series: int = 5, horizon: int = 3) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    names = ("n0", "n1", "n2", "theta", "naive")
    return {name: np.sort(rng.normal(size=(num_series, horizon, 5)), axis=-1) for name in names}


def combined(forecasts: dict[str, Array]) -> Array:
    return combine(
        networks=[each for name, each in forecasts.items() if name in NETWORKS],
        others=[each for name, each in forecasts.items() if name not in NETWORKS],
    )


def weights_of(names: list[str]) -> dict[str, float]:
    networks = [name for name in names if name in NETWORKS]
    others = [name for name in names if name not in NETWORKS]
    shares = {name: NETWORKS_SHARE / len(networks) for name in networks}
    shares |= {name: (1 - NETWORKS_SHARE) / len(others) for name in others}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


@given(st.integers(0, 500))
def test_half_of_the_weight_lies_on_either_side(seed: int) -> None:
    forecasts = forecasts_of(seed)
    result = combined(forecasts)
    weights = weights_of(list(forecasts))
    below = sum(weights[name] * (each < result - 1e-12) for name, each in forecasts.items())
    above = sum(weights[name] * (each > result + 1e-12) for name, each in forecasts.items())
    assert np.max(below) <= 0.5 + 1e-9
    assert np.max(above) <= 0.5 + 1e-9
    assert (np.diff(result, axis=-1) >= 0).all()


@given(st.integers(0, 500))
def test_missing_forecasts_have_no_weight(seed: int) -> None:
    forecasts = forecasts_of(seed)
    forecasts["n1"][2] = np.nan
    forecasts["theta"][2, 1, 3] = np.nan
    result = combined(forecasts)
    rest = {name: each[[2]] for name, each in forecasts.items() if name not in ("n1", "theta")}
    assert np.array_equal(result[[2]], combined(rest))
    assert np.isfinite(result).all()


def test_series_without_any_forecast_has_none() -> None:
    forecasts = {
        name: np.where(np.arange(5)[:, None, None] == 4, np.nan, each) for name, each in forecasts_of(1).items()
    }
    result = combined(forecasts)
    assert np.isnan(result[4]).all()
    assert np.isfinite(result[:4]).all()


def test_an_outlying_model_moves_the_median_no_further_than_its_neighbour() -> None:
    forecasts = forecasts_of(3)
    before = combined(forecasts)
    forecasts["theta"] = forecasts["theta"] * 0 + 1e300
    after = combined(forecasts)
    largest = np.max([each for name, each in forecasts.items() if name != "theta"], axis=0)
    assert (after <= largest).all()
    assert (after >= before - 1e-12).mean() > 0.99


def test_other_series_do_not_change_the_combination_of_one() -> None:
    forecasts = forecasts_of(4, num_series=300)
    result = combined(forecasts)
    alone = combined({name: each[[250]] for name, each in forecasts.items()})
    assert np.array_equal(result[[250]], alone)


@pytest.mark.parametrize("num", [1, 2, 3, 6, 7])
def test_equal_weights_give_the_median(num: int) -> None:
    values = np.random.default_rng(num).normal(size=(num, 4, 2, 3))
    assert np.allclose(weighted_median(values, np.full((num, 4), 1 / num)), np.median(values, axis=0))
