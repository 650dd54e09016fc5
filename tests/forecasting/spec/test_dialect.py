"""The dialect of CSV files."""

from typing import Any

import pytest
from pydantic import ValidationError

from forecasting.spec.dialect import CsvDialect


def test_characters_may_be_named() -> None:
    dialect = CsvDialect(separator="Tab", thousands="space", quote="none", null="NA")
    assert (dialect.separator, dialect.thousands, dialect.quote, dialect.null) == ("\t", " ", "", ("NA",))
    assert CsvDialect(separator="\\t").separator == "\t"
    assert CsvDialect.model_validate_json(dialect.model_dump_json()) == dialect


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"separator": ";;"}, "one ASCII character, 'tab' or 'space'"),
        ({"separator": ""}, "one ASCII character"),
        ({"separator": "\n"}, "one ASCII character"),
        ({"quote": "«"}, "one ASCII character, or 'none'"),
        ({"decimal": ";"}, "Input should be '.' or ','"),
        ({"thousands": "x"}, "Input should be"),
        ({"encoding": "klingon"}, "an encoding of text such as"),
        ({"encoding": "hex"}, "an encoding of text such as"),
        ({"encoding": ""}, "an encoding of text such as"),
        ({"null": [""]}, "at least 1 character"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands must be two signs, not both ','"),
        ({"separator": "'", "quote": "'"}, "separator and quote must be two characters"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CsvDialect(**fields)


@pytest.mark.parametrize(("encoding", "is_utf_8"), [("UTF8", True), ("ascii", True), ("latin-1", False)])
def test_encodings_that_polars_reads_are_known(encoding: str, is_utf_8: bool) -> None:
    assert CsvDialect(encoding=encoding).is_utf_8 == is_utf_8
