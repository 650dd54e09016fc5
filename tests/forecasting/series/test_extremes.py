"""Measurements of an impossible magnitude."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.series.extremes import describe_extremes, find_extremes, has_extreme

USUAL = [3.0, 0.0, -5.0, 4.0, None, 2.0, 3.0, 4.0, 5.0, 3.0, 2.0, 4.0]


def _rows(**series: list[float | None]) -> pl.DataFrame:
    rows = [(name, day, y) for name, ys in series.items() for day, y in enumerate(ys)]
    return pl.DataFrame(rows, schema={"unique_id": pl.String, "ds": pl.Int64, "y": pl.Float64}, orient="row")


def test_series_with_an_extreme_measurement_is_named_with_its_largest_one() -> None:
    rows = _rows(a=USUAL, b=[*USUAL, -1e300, 1.0], c=[*USUAL, 4e6, 5e6, 1.7e308, 1.7e308])
    assert describe_extremes(find_extremes(rows)) == (
        "2 series have measurements that are more than a million times as large as is usual for them: 'b' has -1e+300"
        " at 12, but a median magnitude of 3.5; 'c' has 1.7e+308 at 14, but a median magnitude of 4; they are used as"
        " they are; source.ignore (--ignore) leaves a period out"
    )


@pytest.mark.parametrize(
    "ys",
    [
        USUAL,
        [1e300, 2e300, 1e-300],
        [0.0] * 20 + [1e9],
        [],
        [None, None],
        [1.5**step for step in range(60)],
        [5e-324] * 20,
    ],
)
def test_growth_demand_and_short_series_have_no_extreme(ys: list[float | None]) -> None:
    assert describe_extremes(find_extremes(_rows(a=ys))) is None


@given(st.lists(st.one_of(st.none(), st.sampled_from([0.0, -1e-9, 1.0, -2.0, 3.0, 1e7, 1e300])), max_size=14))
def test_marks_are_those_of_the_sentence(ys: list[float | None]) -> None:
    y_SN = np.array([ys], dtype=np.float64).reshape(1, -1)
    assert has_extreme(y_SN)[0] == (describe_extremes(find_extremes(_rows(a=ys))) is not None)
