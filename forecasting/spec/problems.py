"""Refused fields in plain words: one sentence for each, all of them together, in place of pydantic's messages."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import InitErrorDetails

from forecasting.spec.connection import mask_passwords

_WORDS = {
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_pattern_mismatch": "must match {pattern}",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a table of names and values",
    "model_type": "must be a table of fields",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "json_invalid": "is not JSON: {error}",
    "union_tag_invalid": "{discriminator} must be {expected_tags}",
    "union_tag_not_found": "needs {discriminator}",
    "model_attributes_type": "must be a table of fields",
}
_SECRET = re.compile(r"password|passwd|pwd|secret|token|credential|access_key|(^|_)key$|^connection$", re.IGNORECASE)
"""Names of fields that people may write a secret into; a spec has only `connection`, for a name."""
_LENGTHS = {
    "too_short": ("min_length", "must have {} or more", "item"),
    "too_long": ("max_length", "must have {} or fewer", "item"),
    "string_too_short": ("min_length", "must have {} or more", "character"),
    "string_too_long": ("max_length", "must have {} or fewer", "character"),
}


def check_whole_and_parts(
    value: Any, handler: ValidatorFunctionWrapHandler, find_problem: Callable[[Any], str | None]
) -> Any:
    """Validate a value's parts and the value as a whole, in a wrap validator, and report the problems of both.

    Pydantic by itself checks the whole only after all parts are accepted.

    Args:
        value: The value as it was given.
        handler: Pydantic's validator of the parts.
        find_problem: Returns what is wrong with the whole, or None. It gets the validated value, or the given one if
            parts are refused.

    Returns:
        The validated value.

    Raises:
        ValidationError: Parts or the whole are refused.
    """
    checked, refused = value, list[InitErrorDetails]()
    try:
        checked = handler(value)
    except ValidationError as error:
        refused = [_as_input(problem) for problem in error.errors(include_url=False)]
    problem = find_problem(checked)
    if problem is not None:
        refused.append(InitErrorDetails(type="value_error", loc=(), input=value, ctx={"error": ValueError(problem)}))
    if refused:
        raise ValidationError.from_exception_data("the whole", refused)
    return checked


def describe_problems(error: ValidationError, *, secrets: Collection[str] = ()) -> Sequence[str]:
    """Return one sentence per refused field, with its name, its value and what it needs.

    Passwords in URIs are masked in any value. The values of unknown fields are left out where they may be secrets.

    Args:
        error: What pydantic raised.
        secrets: Fields whose values are not repeated.

    Returns:
        The sentences, in the order of the fields.
    """
    problems = error.errors(include_url=False)
    places = [problem["loc"] for problem in problems]
    # Pydantic does not count refused items, so it reports the whole as too short as well.
    echoes = [
        problem["type"] == "too_short" and any(len(place) > len(at) and place[: len(at)] == at for place in places)
        for problem, at in zip(problems, places, strict=True)
    ]
    return [_describe(problem, secrets) for problem, is_echo in zip(problems, echoes, strict=True) if not is_echo]


def relabel(problem: str, labels: Mapping[str, str]) -> str:
    """Name the argument or option that sets a refused field in place of the field.

    Args:
        problem: A sentence of `describe_problems`.
        labels: Arguments or options by field; the longest field that matches counts.

    Returns:
        The sentence with the label in place of the field and of its parts.

    >>> relabel("categories.static.0 = 3: must be text", {"categories": "calendar", "categories.static": "static"})
    'static = 3: must be text'
    """
    match = re.match(r"[a-z_]+(?:\.[a-z0-9_]+)*", problem)
    field = match.group() if match else ""
    for name in sorted(labels, key=len, reverse=True):
        if field == name or field.startswith(name + "."):
            return labels[name] + problem[len(field) :]
    return problem


def find_repeat(values: Any) -> str | None:
    """Return the problem of a list that names something twice; None for other lists, and for other values."""
    is_list = isinstance(values, (list, tuple))
    return "must not name anything twice" if is_list and has_repeat(values) else None


def has_repeat(values: Sequence[Any]) -> bool:
    """Return whether a value occurs twice; the values need no hash, because TOML holds lists and tables too."""
    return any(value in values[:place] for place, value in enumerate(values))


def _as_input(problem: Any) -> InitErrorDetails:
    return InitErrorDetails(
        type=problem["type"], loc=problem["loc"], input=problem["input"], ctx=problem.get("ctx", {})
    )


def _describe(problem: Any, secrets: Collection[str]) -> str:
    name = ".".join(str(part) for part in problem["loc"] if part not in ("str", "int"))
    kind, value = problem["type"], problem["input"]
    shown = mask_passwords(repr(value))
    if not name:
        is_table = isinstance(value, (Mapping, BaseModel))
        return _expectation(problem) if is_table else f"{shown}: {_expectation(problem)}"
    if kind == "missing":
        return f"{name} is missing"
    is_secret = problem["loc"][0] in secrets or bool(_SECRET.search(str(problem["loc"][-1])))
    if kind == "extra_forbidden":
        is_shown = not is_secret and not isinstance(value, (Mapping, list, tuple))
        return f"{name} = {shown} is not a known field" if is_shown else f"{name} is not a known field"
    is_table = isinstance(value, (Mapping, BaseModel)) or (
        isinstance(value, (list, tuple)) and any(isinstance(one, Mapping) for one in value)
    )
    if is_secret or isinstance(value, Mapping) or (kind == "value_error" and is_table):
        return f"{name}: {_expectation(problem)}"
    return f"{name} = {shown}: {_expectation(problem)}"


def _expectation(problem: Any) -> str:
    kind = problem["type"]
    context = {
        name: f"{value:g}" if isinstance(value, float) else value for name, value in problem.get("ctx", {}).items()
    }
    if kind == "value_error":
        return str(context["error"])
    if kind in _LENGTHS:
        bound, words, unit = _LENGTHS[kind]
        number = context[bound]
        if kind.endswith("too_short") and number == 1:
            return "must not be empty"
        return words.format(f"{number} {unit}{'s' * (number != 1)}")
    if kind in _WORDS:
        return _WORDS[kind].format(**context)
    return str(problem["msg"][:1].lower() + problem["msg"][1:])
