"""What other libraries are given: every hour, and marks of the hours that were measured."""

from datetime import datetime, timedelta

import polars as pl

from tests.benchmarks.covariates_beside import fill_gaps

BEGIN = datetime(2024, 1, 1)


def test_missing_hour_has_the_values_of_the_day_before_and_is_not_learned() -> None:
    hours = [hour for hour in range(72) if hour not in (30, 31)]
    rows = pl.DataFrame(
        {
            "unique_id": "a",
            "ds": [BEGIN + timedelta(hours=hour) for hour in hours],
            "y": [None if hour == 50 else float(hour) for hour in hours],
            "is_holiday": [hour >= 24 for hour in hours],
        }
    )
    filled = fill_gaps(rows, ["is_holiday"])
    assert filled.height == 72
    assert filled.null_count().sum_horizontal().item() == 0
    assert filled["y"].gather([30, 31, 50]).to_list() == [6.0, 7.0, 26.0]
    assert filled["is_holiday"].gather([30, 32]).to_list() == [0.0, 1.0]
    assert filled.with_row_index().filter(~pl.col("is_measured"))["index"].to_list() == [30, 31, 50]


def test_hour_before_the_first_day_is_over_has_the_value_before() -> None:
    rows = pl.DataFrame(
        {"unique_id": "a", "ds": [BEGIN, BEGIN + timedelta(hours=2)], "y": [1.0, 3.0], "temp": [None, 5.0]}
    )
    filled = fill_gaps(rows, ["temp"])
    assert filled["y"].to_list() == [1.0, 1.0, 3.0]
    assert filled["temp"].to_list() == [5.0, 5.0, 5.0]
