"""The combination: a weighted median of every quantile, of what there is, that nothing far off can carry away."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.classical.combination import NETWORKS_SHARE, combine, weighted_median

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
NETWORKS = {"n0", "n1", "n2"}


def told(seed: int, *, num_series: int = 5, horizon: int = 3) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    names = ("n0", "n1", "n2", "theta", "naive")
    return {name: np.sort(rng.normal(size=(num_series, horizon, 5)), axis=-1) for name in names}


def weights_of(names: list[str]) -> dict[str, float]:
    networks = [name for name in names if name in NETWORKS]
    others = [name for name in names if name not in NETWORKS]
    shares = {name: NETWORKS_SHARE / len(networks) for name in networks}
    shares |= {name: (1 - NETWORKS_SHARE) / len(others) for name in others}
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


@given(st.integers(0, 500))
def test_half_of_the_weight_lies_on_either_side(seed: int) -> None:
    forecasts = told(seed)
    combined = combine(forecasts, networks=NETWORKS)
    weights = weights_of(list(forecasts))
    below = sum(weights[name] * (each < combined - 1e-12) for name, each in forecasts.items())
    above = sum(weights[name] * (each > combined + 1e-12) for name, each in forecasts.items())
    assert np.max(below) <= 0.5 + 1e-9
    assert np.max(above) <= 0.5 + 1e-9
    assert (np.diff(combined, axis=-1) >= 0).all()


@given(st.integers(0, 500))
def test_what_is_missing_has_no_say(seed: int) -> None:
    forecasts = told(seed)
    forecasts["n1"][2] = np.nan
    forecasts["theta"][2, 1, 3] = np.nan
    combined = combine(forecasts, networks=NETWORKS)
    rest = {name: each[[2]] for name, each in forecasts.items() if name not in ("n1", "theta")}
    assert np.array_equal(combined[[2]], combine(rest, networks=NETWORKS))
    assert np.isfinite(combined).all()


def test_series_without_any_forecast_has_none() -> None:
    forecasts = {name: np.where(np.arange(5)[:, None, None] == 4, np.nan, each) for name, each in told(1).items()}
    combined = combine(forecasts, networks=NETWORKS)
    assert np.isnan(combined[4]).all()
    assert np.isfinite(combined[:4]).all()


def test_a_model_that_is_far_off_moves_it_no_further_than_its_neighbour() -> None:
    forecasts = told(3)
    before = combine(forecasts, networks=NETWORKS)
    forecasts["theta"] = forecasts["theta"] * 0 + 1e300
    after = combine(forecasts, networks=NETWORKS)
    largest = np.max([each for name, each in forecasts.items() if name != "theta"], axis=0)
    assert (after <= largest).all()
    assert (after >= before - 1e-12).mean() > 0.99


def test_a_series_alone_is_combined_as_among_many() -> None:
    forecasts = told(4, num_series=300)
    combined = combine(forecasts, networks=NETWORKS)
    alone = combine({name: each[[250]] for name, each in forecasts.items()}, networks=NETWORKS)
    assert np.array_equal(combined[[250]], alone)


@pytest.mark.parametrize("num", [1, 2, 3, 6, 7])
def test_equal_weights_give_the_median(num: int) -> None:
    values = np.random.default_rng(num).normal(size=(num, 4, 2, 3))
    assert np.allclose(weighted_median(values, np.full((num, 4), 1 / num)), np.median(values, axis=0))
