"""Rows are put on their grids by position as `regularise` puts them there."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from forecasting.schemas import CATEGORIES
from forecasting.series.lay_out import lay_out
from forecasting.series.regularise import regularise

BEGIN = datetime(2024, 1, 1, 9)
STEPS = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "1w": timedelta(days=7)}


@given(
    series=st.dictionaries(
        st.sampled_from("abcd"), st.dictionaries(st.integers(0, 12), st.one_of(st.none(), st.floats(-9, 9)), min_size=1)
    ),
    freq=st.sampled_from(["1h", "1d", "1w", "1mo", 4, "1d Mon-Fri"]),
    until=st.one_of(st.none(), st.integers(12, 20)),
    reach=st.integers(0, 9),
    has_categories=st.booleans(),
)
def test_grids_are_those_of_regularise(
    series: dict[str, dict[int, float | None]], freq: Any, until: int | None, reach: int, has_categories: bool
) -> None:
    def time(number: int) -> Any:
        if freq == "1mo":
            return datetime(2024 + number // 12, number % 12 + 1, 9)
        if freq == "1d Mon-Fri":
            return BEGIN + timedelta(days=number // 5 * 7 + number % 5)
        return 4 * number if freq == 4 else BEGIN + number * STEPS[freq]

    rows = [(name, time(number), y) for name, ys in series.items() for number, y in ys.items()]
    dtype = pl.Int64 if freq == 4 else pl.Datetime("us")
    frame = pl.DataFrame(rows, {"unique_id": pl.String, "ds": dtype, "y": pl.Float64}, orient="row")
    frame = frame.sort("unique_id", "ds")
    if has_categories:
        each = pl.concat_list(pl.struct(name=pl.lit("x"), value=pl.col("y").cast(pl.String))).cast(CATEGORIES)
        frame = frame.with_columns(categories=each)
    end = None if until is None else time(until)
    expected = regularise(frame.lazy(), freq=freq, until=end, reach=reach).collect()
    found = lay_out(frame, freq=freq, until=end, reach=reach)
    assert found.schema == expected.schema
    assert found.equals(expected)
