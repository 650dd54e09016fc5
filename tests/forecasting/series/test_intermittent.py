"""Intermittent series: which they are, and what a network leaves of their zeros."""

import numpy as np

from forecasting.series.intermittent import find_intermittent, least_demands, without_residues

NAN = np.nan
Y = np.array([[0.0, 0, 6, 0, 14], [0, 5, NAN, 4, 3], [0, 0, 0, -1, 9], [0, 0, 0, 0, NAN], [0, NAN, 2, NAN, NAN]])


def test_a_series_is_intermittent_that_is_zero_in_more_than_half_of_its_measurements_and_never_negative() -> None:
    assert find_intermittent(Y).tolist() == [True, False, False, True, False]
    assert find_intermittent(np.empty((0, 4))).tolist() == []


def test_only_an_intermittent_series_has_a_least_demand() -> None:
    np.testing.assert_array_equal(least_demands(Y), [6, NAN, NAN, NAN, NAN])


def test_values_nearer_to_zero_than_to_any_demand_are_zero_in_intermittent_series_alone() -> None:
    quantiles_SFQ = np.tile([-0.4, 2.9, 3.1, 7.0], (5, 2, 1))
    quantiles_SFQ[3] = NAN
    cleaned_SFQ = without_residues(quantiles_SFQ, Y)
    assert cleaned_SFQ[0].tolist() == [[0.0, 0.0, 3.1, 7.0]] * 2
    np.testing.assert_array_equal(cleaned_SFQ[1:], quantiles_SFQ[1:])
