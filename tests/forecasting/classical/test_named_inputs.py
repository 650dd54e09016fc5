"""Inputs of regressions for names."""

import numpy as np

from forecasting.classical.named_inputs import MOST_INPUTS, expand_names
from forecasting.series.covariate_names import code_of


def column(*names: str | None) -> np.ndarray:
    return np.array([np.nan if name is None else code_of(name) for name in names])


def test_frequent_names_of_the_past_have_an_input_each_and_numbers_stay() -> None:
    number = np.arange(6.0)
    found = expand_names(np.stack([column("b", "a", None, "b", "c", "a"), number], axis=1), 4)
    assert np.array_equal(found[:, 0], [1, 0, np.nan, 1, 0, 0], equal_nan=True), "b comes twice"
    assert np.array_equal(found[:, 1], [0, 1, np.nan, 0, 0, 1], equal_nan=True)
    assert np.array_equal(found[:, 2], number)
    assert found.shape[1] == 3, "c is new within the horizon"


def test_rare_names_have_no_input() -> None:
    names = [f"name {number}" for number in range(MOST_INPUTS + 5)]
    found = expand_names(column(*names, *names[5:])[:, None], 2 * len(names) - 5)
    assert found.shape[1] == MOST_INPUTS
    assert not found[:5].any(), "they come once"


def test_series_that_never_had_a_name_has_no_input() -> None:
    assert expand_names(column(None, None, "a")[:, None], 2).shape == (3, 0)
