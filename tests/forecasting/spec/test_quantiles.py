"""Quantiles: their columns, the levels of columns, and what a grid needs."""

from typing import Any

import pytest

from forecasting.spec.quantiles import find_quantile_problem, is_quantile_column, quantile_column, quantile_levels

LEVELS = [number / 1000 for number in range(1, 1000)]


def test_columns_of_different_levels_differ() -> None:
    assert len({quantile_column(level) for level in LEVELS}) == len(LEVELS)


def test_level_of_a_column_is_the_one_that_it_was_named_by() -> None:
    assert list(quantile_levels(map(quantile_column, LEVELS))) == LEVELS


@pytest.mark.parametrize("name", ["quantity", "q5", "q50_", "q050", "Q50", "q50_55"])
def test_other_columns_are_not_quantiles(name: str) -> None:
    assert not is_quantile_column(name)
    assert quantile_levels([name]) == {}


@pytest.mark.parametrize(
    ("quantiles", "problem"),
    [
        ([0.1, 0.5, 0.9], None),
        ("0.5", None),
        ([0.1, "0.5"], None),
        ([0.1, 0.9], "must contain 0.5, because the forecast is the median"),
        ([0.5, 0.1, 1.0], "must lie strictly between 0 and 1; must rise without repeats"),
        ([0.5, 0.5001], "must be whole tenths of a percent, such as 0.025"),
    ],
)
def test_all_problems_of_a_grid_are_reported_together(quantiles: Any, problem: str | None) -> None:
    assert find_quantile_problem(quantiles) == problem
