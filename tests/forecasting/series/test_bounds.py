"""Measurements that contradict the bounds of forecasts."""

from typing import Any

import polars as pl
import pytest

from forecasting.series.bounds import describe_beyond
from forecasting.spec.spec import make_spec

ROWS = pl.DataFrame({"unique_id": ["a", "a", "b", "b"], "ds": [1, 2, 1, 2], "y": [3.0, -2.5, None, 7.0]})


def said(rows: pl.DataFrame = ROWS, **options: Any) -> list[str]:
    fields = {"name": "x", "freq": 1, "season_lengths": [1], "horizon": 1, "source": {"uri": "x.parquet"}}
    return list(describe_beyond(rows.lazy(), make_spec(fields | options, subject="x")))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"lower_bound": 0},
            "1 of 3 measurements lie below lower_bound = 0 (--lower-bound), and no forecast does, such as -2.5 at 2 of"
            " 'a'; leave the option out if such values are to be forecast",
        ),
        (
            {"upper_bound": 5},
            "1 of 3 measurements lie above upper_bound = 5 (--upper-bound), and no forecast does, such as 7 at 2 of"
            " 'b'; leave the option out if such values are to be forecast",
        ),
        (
            {"integer_valued": True},
            "1 of 3 measurements are not whole numbers, but with integer_valued (--integer-valued) all forecasts are,"
            " such as -2.5 at 2 of 'a'; leave the option out if such values are to be forecast",
        ),
    ],
)
def test_each_contradicted_option_is_named(options: dict[str, Any], sentence: str) -> None:
    assert said(**options) == [sentence]


def test_measurements_within_the_bounds_need_no_sentence() -> None:
    assert said() == said(lower_bound=-2.5, upper_bound=7) == []
    whole = ROWS.with_columns(y=pl.Series([3.0, 1e15, None, 7.0 + 1e-9]))
    assert said(whole, integer_valued=True) == []
    rounded = ROWS.with_columns(y=pl.Series([0.1 + 0.2, -2.8e-17, None, 1.0000000000000002]))
    assert said(rounded, lower_bound=0, upper_bound=1) == []
    assert len(said(rounded.with_columns(pl.col("y") * (1 + 1e-9)), upper_bound=1)) == 1
