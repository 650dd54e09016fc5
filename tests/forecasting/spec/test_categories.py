"""The categories of a spec: which fields need each other."""

from typing import Any

import pytest
from pydantic import ValidationError

from forecasting.spec.categories import Categories


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"static": ["store"], "calendar": ["hour", "month"]},
        {"calendar": ["holiday"], "country": "US", "subdivision": "CA"},
    ],
)
def test_consistent_fields_are_accepted(fields: dict[str, Any]) -> None:
    assert Categories(**fields).model_dump(exclude_unset=True) == {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"calendar": ["holiday"]}, "country and 'holiday' in calendar must be set together"),
        ({"country": "US"}, "country and 'holiday' in calendar must be set together"),
        ({"subdivision": "CA"}, "subdivision needs the country"),
        ({"static": ["hour"]}, "must not have the names of calendar categories: hour"),
        ({"static": ["a", "a"]}, "must not name anything twice"),
    ],
)
def test_fields_that_need_or_exclude_others_are_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Categories(**fields)
