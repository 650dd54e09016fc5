"""Values of modifications: which types have an order, and from which value on rows are read again."""

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.modified import add_modified, lower
from forecasting.spec.source import Source

NOON = datetime(2024, 1, 1, 12)


def source_of(**fields: Any) -> Source:
    return Source(uri="postgresql://db/x", table="sales", modified="changed", **fields)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pl.Series([NOON]).dt.replace_time_zone("Asia/Tokyo"), datetime(2024, 1, 1, 3)),
        (pl.Series([date(2024, 1, 1)]), datetime(2024, 1, 1)),
        (pl.Series([7], dtype=pl.Int16), 7),
        (pl.Series([float("nan")]), None),
        (pl.Series([-(2**62)], dtype=pl.Int64).cast(pl.Datetime("us")), datetime(1, 1, 1)),  # -infinity of PostgreSQL
    ],
)
def test_modifications_are_times_in_utc_or_numbers(given: pl.Series, expected: Any) -> None:
    rows = pl.LazyFrame({"changed": given})
    added = add_modified(rows, source_of(), column="changed", name="value", place="sales").collect()
    assert added["value"].to_list() == [expected]


@pytest.mark.parametrize(
    ("value", "what"), [(True, "has Boolean, which has no order"), ("2024-01-01", "is text, whose order")]
)
def test_columns_without_an_order_in_time_are_refused(value: Any, what: str) -> None:
    with pytest.raises(SourceError, match=f"column 'changed', .* {what}"):
        add_modified(pl.LazyFrame({"changed": [value]}), source_of(), column="changed", name="value", place="sales")


def test_overlap_is_two_hours_unless_given() -> None:
    assert lower(NOON, source_of()) == datetime(2024, 1, 1, 10)
    assert lower(NOON, source_of(modified_overlap="1d")) == datetime(2023, 12, 31, 12)
    assert lower(NOON, source_of(modified_overlap=0)) == NOON
    assert lower(100, source_of(modified_overlap=30)) == 70
    assert lower(datetime(1, 1, 1), source_of()) is None


@pytest.mark.parametrize(("watermark", "overlap"), [(NOON, 30), (7, "2h"), (7, None)])
def test_overlap_of_another_kind_than_the_column_is_refused(watermark: Any, overlap: Any) -> None:
    with pytest.raises(SourceError, match=r"source\.modified_overlap"):
        lower(watermark, source_of(modified_overlap=overlap))
