"""Refused values in plain words: the problems of the parts and of the whole together."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, ValidationError, WrapValidator

from forecasting.spec.problems import check_whole_and_parts, describe_problems


def find_total(values: Any) -> str | None:
    return "must not add up to 3" if isinstance(values, list) and sum(map(int, values)) == 3 else None


Numbers = Annotated[
    list[Annotated[int, Field(ge=0)]],
    WrapValidator(lambda value, handler: check_whole_and_parts(value, handler, find_total)),
]


class Form(BaseModel):
    numbers: Numbers = []
    name: str = Field("a", min_length=1, max_length=3)
    words: list[str] = Field(["a"], min_length=2, max_length=3)
    share: float = Field(0.0, gt=0, le=0.5)
    options: dict[str, str] = {}


def problems_of(**fields: Any) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        Form(**fields)
    return list(describe_problems(refused.value))


def test_problems_of_parts_and_of_the_whole_are_reported_together() -> None:
    assert problems_of(numbers=[-1, 4]) == [
        "numbers.0 = -1: must be 0 or more",
        "numbers = [-1, 4]: must not add up to 3",
    ]
    assert problems_of(numbers=["1", 2]) == ["numbers = ['1', 2]: must not add up to 3"]
    assert problems_of(numbers=[5, -5]) == ["numbers.1 = -5: must be 0 or more"]
    assert Form(numbers=["1"]).numbers == [1]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", "", "name = '': must not be empty"),
        ("name", "long", "name = 'long': must have 3 characters or fewer"),
        ("name", 5, "name = 5: must be text"),
        ("words", ["a"], "words = ['a']: must have 2 items or more"),
        ("words", list("abcd"), "words = ['a', 'b', 'c', 'd']: must have 3 items or fewer"),
        ("words", 5, "words = 5: must be a list"),
        ("share", 0, "share = 0: must be more than 0"),
        ("share", 0.75, "share = 0.75: must be 0.5 or less"),
        ("share", "half", "share = 'half': must be a number"),
        ("options", [1], "options = [1]: must be a table of names and values"),
    ],
)
def test_messages_of_pydantic_become_plain_words(field: str, value: Any, expected: str) -> None:
    assert problems_of(**{field: value}) == [expected]


def test_text_that_is_not_json_is_reported_as_such() -> None:
    with pytest.raises(ValidationError) as refused:
        Form.model_validate_json("{")
    (problem,) = describe_problems(refused.value)
    assert problem.startswith("'{': is not JSON: ")
