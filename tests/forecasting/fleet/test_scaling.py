import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.fleet.scaling import measure_scaling


def test_scales_come_from_observed_values_alone() -> None:
    y = np.array([[np.nan, 1.0, 3.0, np.nan, 5.0, 7.0]])
    scaling = measure_scaling(y, season_length=1)
    assert scaling.location_S[0] == 4.0
    assert scaling.spread_S[0] == pytest.approx(np.std([1, 3, 5, 7]))
    assert scaling.error_S[0] == 2.0


@given(st.floats(1e-150, 1e150), st.floats(-1e3, 1e3))
def test_scales_follow_the_unit(factor: float, shift: float) -> None:
    y = np.random.default_rng(0).normal(size=(1, 50))
    plain, changed = (measure_scaling(values, season_length=4) for values in (y, (y + shift) * factor))
    assert changed.spread_S[0] == pytest.approx(plain.spread_S[0] * factor, rel=1e-6)
    assert changed.error_S[0] == pytest.approx(plain.error_S[0] * factor, rel=1e-6)


def test_constant_has_no_spread_and_empty_has_none_at_all() -> None:
    scaling = measure_scaling(np.array([[0.1] * 9, [np.nan] * 9]), season_length=3)
    assert scaling.spread_S[0] == 0
    assert np.isnan(scaling.spread_S[1])


def test_perfect_season_keeps_a_floor_under_its_error() -> None:
    scaling = measure_scaling(np.tile([1.0, 2.0, 3.0], (1, 5)), season_length=3)
    assert scaling.error_S[0] == pytest.approx(0.01 * scaling.spread_S[0])
    assert scaling.error_S[0] > 0
