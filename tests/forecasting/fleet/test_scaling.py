import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.fleet.scaling import SHIFT, Scaling, measure_scaling
from forecasting.spec.training import Transform


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


def measure_log(*rows: list[float]) -> tuple[np.ndarray, object]:
    y = np.array(rows)
    return y, measure_scaling(y, season_length=1, transform="log")


@given(arrays(np.float64, (2, 12), elements=st.floats(0, 1e12).map(lambda value: round(value, 6))))
def test_what_is_seen_turns_back_into_y(y: np.ndarray) -> None:
    scaling = measure_scaling(y, season_length=3, transform="log")
    assert np.allclose(scaling.to_y(scaling.to_z(y)), y, rtol=1e-9, atol=1e-12 * max(1.0, y.max()))


def test_a_positive_series_is_seen_as_its_logarithm_and_scaled_in_its_unit() -> None:
    y, scaling = measure_log([1.0, np.e, np.nan, np.e**2, np.e**3])
    assert np.allclose(scaling.to_z(y), [[0, 1, np.nan, 2, 3]], equal_nan=True)
    assert scaling.location_S[0] == pytest.approx(1.5)
    assert scaling.error_S[0] == pytest.approx(1.0)


def test_a_series_with_zeros_is_shifted_by_a_tenth_of_its_mean() -> None:
    y, scaling = measure_log([0.0, *[10.0] * 4, *[5.0] * 5])
    assert scaling.offset_S[0] == pytest.approx(SHIFT * y.mean())
    assert scaling.to_z(y)[0, 0] == pytest.approx(np.log(SHIFT * y.mean()))


@pytest.mark.parametrize(
    "y", [[1.0, -1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 5.0], [0.0] * 4, [np.nan] * 4, [5e-324, 1.0, 2.0, 3.0]]
)
def test_a_series_without_a_useful_logarithm_is_seen_as_it_is(y: list[float]) -> None:
    rows, scaling = measure_log(y, [1.0, 2.0, 4.0, 8.0])
    assert np.array_equal(scaling.to_z(rows)[0], y, equal_nan=True)
    assert np.array_equal(scaling.to_y(rows)[0], y, equal_nan=True)
    assert np.allclose(scaling.to_z(rows)[1], np.log(rows[1]))


def test_a_first_zero_after_the_fit_has_a_logarithm_too() -> None:
    _, scaling = measure_log([2.0, 4.0, 8.0])
    assert scaling.to_z(np.array([[0.0, -1.0, 2.0]]))[0].tolist() == pytest.approx([0.0, 0.0, np.log(2.0)])


def test_what_is_seen_rises_with_y_so_that_quantiles_stay_in_order() -> None:
    _, scaling = measure_log([0.0, 3.0, 4.0, 9.0, 7.0, 8.0])
    z = np.linspace(-3, 3, 13)[None, None]
    assert (np.diff(scaling.to_y(z)) > 0).all()


def test_selected_scales_are_those_of_the_series() -> None:
    y = np.array([[1.0, 2.0, 4.0], [-1.0, 2.0, 5.0], [0.0, 1.0, 2.0]])
    scaling = measure_scaling(y, season_length=1, transform="log")
    chosen = scaling.select(np.array([2, 0]))
    assert np.array_equal(chosen.stack(), scaling.stack()[:, [2, 0]], equal_nan=True)


def test_what_series_share_reads_all_of_them_in_units_of_the_seasonal_error() -> None:
    noise = np.random.default_rng(0).normal(size=(3, 80))
    y = noise * [[1.0], [1e-6], [1e6]] + [[0.0], [5.0], [-3.0]] + np.arange(80) * [[0.0], [1e-3], [0.0]]
    own, shared = (measure_scaling(y, season_length=4, is_shared=is_shared) for is_shared in (False, True))
    assert np.array_equal(shared.spread_S, 4 * own.error_S)
    assert np.array_equal(shared.error_S, own.error_S)
    assert np.array_equal(shared.location_S, own.location_S)
    constant = measure_scaling(np.full((1, 9), 3.0), season_length=4, is_shared=True)
    assert constant.spread_S.tolist() == [0.0]


@given(
    seed=st.integers(0, 2**32 - 1),
    num_points=st.integers(2, 300),
    num_before=st.integers(1, 700),
    transform=st.sampled_from(["none", "log"]),
)
def test_scales_have_the_same_bits_however_long_the_longest_series_of_the_panel_is(
    seed: int, num_points: int, num_before: int, transform: Transform
) -> None:
    own_1N = np.random.default_rng(seed).lognormal(2.0, 1.0, (1, num_points))
    among_1N = np.pad(own_1N, ((0, 0), (num_before, 0)), constant_values=np.nan)
    alone, among = (measure_scaling(y_1N, season_length=7, transform=transform) for y_1N in (own_1N, among_1N))
    np.testing.assert_array_equal(among.stack(), alone.stack())


def test_zero_is_the_reference_of_an_intermittent_series_that_is_nearer_to_it_than_to_each_season() -> None:
    rng = np.random.default_rng(0)
    demand = (rng.random(200) < 0.2) * rng.integers(6, 15, 200).astype(float)
    weekends = np.where(np.arange(200) % 7 < 2, rng.integers(6, 15, 200), 0.0)
    often = (rng.random(200) < 0.6) * 5.0
    signed = np.where(np.arange(200) == 9, -1.0, demand)
    gaps = np.where(rng.random(200) < 0.3, np.nan, demand)
    y_SN = np.stack([demand, weekends, often, signed, gaps, np.zeros(200)])
    flat_S = measure_scaling(y_SN, season_length=7, references=(7, 1)).flat_S
    np.testing.assert_array_equal(flat_S, [0, np.nan, np.nan, np.nan, 0, np.nan])
    assert np.isnan(measure_scaling(y_SN, season_length=7).flat_S).all()
    assert measure_scaling(y_SN[1:2], season_length=5, references=(5, 1)).flat_S.tolist() == [0.0]


def test_scales_of_an_earlier_version_have_past_values_as_references() -> None:
    scaling = measure_scaling(np.random.default_rng(0).normal(size=(2, 30)), season_length=7)
    assert np.isnan(scaling.flat_S).all()
    older = Scaling.unstack(scaling.stack()[:5])
    assert np.array_equal(older.stack(), scaling.stack(), equal_nan=True)


def test_past_differences_of_a_flat_reference_count_recent_demand_more() -> None:
    early, late = [0.0, 0.0, 9.0] * 40, [0.0, 0.0, 0.0, 3.0] * 30
    y = np.array([early + late, late + early, [1.0, 2.0] * 120])
    scaling = measure_scaling(y, season_length=7, references=[1, 7])
    assert np.isfinite(scaling.flat_S).tolist() == [True, True, False]
    even = scaling.past_differences(y, [0.5, 0.7, 0.9], half_life=10_000)
    assert even[:2, 0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(even[:2, 2], 9.0 / scaling.error_S[:2])
    recent = scaling.past_differences(y, [0.5, 0.7, 0.9], half_life=10)
    np.testing.assert_allclose(recent[:2, 2], [3.0, 9.0] / scaling.error_S[:2])
    assert not recent[2].any()


def test_past_differences_do_not_depend_on_the_columns_around_a_series() -> None:
    y = np.random.default_rng(0).poisson(0.3, (1, 90)).astype(float)
    wide = np.concatenate([np.full((1, 40), np.nan), y, np.full((1, 17), np.nan)], axis=1)
    levels = [0.1, 0.5, 0.9]
    own, padded = (
        measure_scaling(each, season_length=7, references=[1, 7]).past_differences(each, levels, half_life=21)
        for each in (y, wide)
    )
    assert own.any()
    assert own.tolist() == padded.tolist()
