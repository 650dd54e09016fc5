from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from forecasting.spec.airflow import AirflowOptions


def test_spec_without_the_table_is_retried_and_takes_its_time() -> None:
    options = AirflowOptions()
    assert (options.retries, options.timeout, options.connection, options.pool) == (3, None, None, None)


def test_timeout_is_a_duration() -> None:
    assert AirflowOptions(execution_timeout="1d12h").timeout == timedelta(hours=36)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("execution_timeout", "90", "must be a duration such as '90m'"),
        ("execution_timeout", "1mo", "must be a duration such as '90m'"),
        ("execution_timeout", "1b", "must be a duration such as '90m'"),
        ("execution_timeout", "0s", "must be a duration such as '90m'"),
        ("execution_timeout", "9y", "must be a duration such as '90m'"),
        ("execution_timeout", "10ms", "from a second to a year"),
        ("connection", "https://ray:hunter2@host", "must be the name of a connection"),
        ("retries", -1, "greater than or equal to 0"),
        ("priority_weight", 0, "greater than or equal to 1"),
        ("queue", "fast", "Extra inputs"),
    ],
)
def test_refused_option_says_what_it_must_be(field: str, value: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        AirflowOptions.model_validate({field: value})
