"""Rows on their way into a table."""

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from forecasting.store import rows

NAMES = st.sampled_from(["", "a", "b", "ä", None])


@given(st.lists(st.tuples(NAMES, st.sampled_from([1, 2, 3, None]), st.booleans()), max_size=8), st.booleans())
def test_rows_are_in_order_where_sorting_changes_nothing_and_no_key_repeats(keys: list[Any], is_sorted: bool) -> None:
    frame = pl.DataFrame(keys, {"unique_id": pl.String, "ds": pl.Int64, "is_champion": pl.Boolean}, orient="row")
    frame = frame.sort(frame.columns) if is_sorted else frame
    are_strictly_sorted = frame.equals(frame.sort(frame.columns)) and not frame.is_duplicated().any()
    are_in_order = rows._are_in_order(frame)
    if not any(column.has_nulls() for column in frame):
        assert are_in_order == are_strictly_sorted
    else:  # rows with a null in their key are sorted again
        assert are_strictly_sorted or not are_in_order
