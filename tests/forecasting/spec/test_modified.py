"""Fields of incremental reading: what is refused, and how an overlap is written."""

from typing import Any

import pytest
from pydantic import ValidationError

from forecasting.spec.source import Source

SOURCE = {"uri": "sqlite:////sales.db", "table": "sales", "modified": "changed"}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"modified": None, "key": "id"}, "key needs modified"),
        ({"uri": "s3://lake/*.parquet", "table": None}, "needs a database or one Delta table, and 's3://lake/"),
        ({"uri": ("a/", "b/"), "table": None}, "a list of several places is read as a whole"),
        ({"uri": "s3://lake/sales/", "table": None, "version": 3}, "so that version must be left out"),
        ({"modified": "ds"}, "must be another column than id, time and target, not 'ds'"),
        ({"duplicates": "keep", "aggregate": "sum"}, 'duplicates = "keep" .* needs key'),
        ({"duplicates": "last", "newer": "changed"}, 'duplicates = "last" .* needs key'),
        ({"key": ["id", "id"]}, "must not name anything twice"),
        ({"modified_overlap": "1mo"}, "must be a duration of fixed length"),
        ({"modified_overlap": -1}, "must be a duration of fixed length"),
    ],
)
def test_source_whose_changed_rows_would_be_lost_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Source(**SOURCE | fields)


def test_overlap_of_an_option_is_that_of_a_spec() -> None:
    def overlaps(*given: Any) -> list[Any]:
        return [Source(**SOURCE, modified_overlap=each).modified_overlap for each in given]

    assert overlaps("1h30m", "0", "1000", "0.5", 7) == ["1h30m", 0, 1000, 0.5, 7]


def test_key_is_that_of_series_and_times_where_not_given() -> None:
    assert Source(**SOURCE, id=["shop", "item"]).keys == ("shop", "item", "ds")
    assert Source(**SOURCE, key="order").keys == ("order",)


def test_another_source_is_read_as_a_whole() -> None:
    source = Source(**SOURCE, key="order", modified_overlap="1h")
    assert not {"modified", "modified_overlap", "key"} & set(source.reading)
