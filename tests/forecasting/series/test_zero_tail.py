"""Newest periods in which all series are 0."""

from collections.abc import Sequence

import polars as pl
import pytest

from forecasting.series import zero_tail


def describe_zero_tail(rows: pl.DataFrame) -> str | None:
    """Describe the newest periods of series that are in blocks of their own."""
    counts = [zero_tail.count_zeros(block) for block in rows.partition_by("unique_id") or [rows]]
    return zero_tail.describe_zero_tail(counts, rows.lazy())


def rows_of(**series: Sequence[float | None]) -> pl.DataFrame:
    rows = [(name, day, y) for name, ys in series.items() for day, y in enumerate(ys)]
    return pl.DataFrame(rows, schema={"unique_id": pl.String, "ds": pl.Int64, "y": pl.Float64}, orient="row")


def test_zeros_of_all_series_at_the_end_are_named_with_the_cutoff_before_them() -> None:
    rows = rows_of(a=[*range(1, 101), 0, 0, 0], b=[*range(1, 100), 0, 0, None, 0])
    assert describe_zero_tail(rows) == (
        "all 2 series are 0 in the newest 3 periods, from 100 on, but were so in 0 of 100 before; if these measurements"
        " are not there yet, a --cutoff (cutoff) before 100 leaves them out"
    )


WEEK = [1.0] * 6 + [0.0]


@pytest.mark.parametrize(
    "series",
    [
        {"a": [*range(1, 101), 0, 0, 0], "b": range(1, 104)},  # one series that has stopped
        {"a": WEEK * 20, "b": WEEK * 20},  # closed on the last day of each week
        {"a": [0.0, 0.0, 3.0, 0.0] * 20 + [0.0] * 3},  # rare demand
        {"a": [*range(1, 50), 0]},  # once
        {"a": ([0.0] * 6 + [5.0] * 12 + [0.0] * 6) * 20 + [0.0] * 6},  # nights
        {"a": ([4.0] * 30 + [0.0] * 22) * 3},  # the end of a season
        {"a": [0.0] * 50},
        {"a": [None, None]},
        {},
    ],
)
def test_other_zeros_are_not_suspected(series: dict[str, Sequence[float | None]]) -> None:
    assert describe_zero_tail(rows_of(**series)) is None


def test_zeros_that_are_far_more_than_in_any_night_are_named() -> None:
    day = [0.0] * 6 + [5.0] * 12 + [0.0] * 6
    assert "the newest 30 periods, from 474 on" in str(describe_zero_tail(rows_of(a=day * 20 + [0.0] * 24)))


def test_few_series_that_are_ahead_of_the_others_do_not_hide_the_zeros() -> None:
    rows = rows_of(**{f"s{number}": [1.0] * 100 + [0.0] * 4 for number in range(9)}, ahead=[1.0] * 110)
    assert describe_zero_tail(rows) is None  # the series that is ahead has measurements in these periods
    alone = rows.filter((pl.col("unique_id") != "ahead") | (pl.col("ds") >= 104))
    assert "from 100 on" in str(describe_zero_tail(alone))
