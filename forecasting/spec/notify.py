"""The spec's `airflow.deadline` and `[[airflow.notify]]`: when a run is late, and who reports late and failed runs."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, JsonValue, field_validator, model_validator

from forecasting.spec.connection import has_password
from forecasting.spec.frequency import fixed_width, parse_frequency
from forecasting.spec.problems import check_whole_and_parts, find_repeat

LONGEST_DURATION = timedelta(days=365)
Event = Literal["failure", "late"]

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_SECRET = re.compile(r"passw(or)?d|secret|token|api_?key|webhook", re.IGNORECASE)


def check_duration(text: str) -> str:
    """Return a duration that no calendar changes.

    Args:
        text: A duration such as `90m`, `6h` or `1d12h`.

    Returns:
        The same text.

    Raises:
        ValueError: It has another form, or is below a second or above a year.

    >>> check_duration("1h30m")
    '1h30m'
    """
    try:
        width = fixed_width(text) if parse_frequency(text) == text and " " not in text else None
    except ValueError:
        width = None
    if width is None or not 1_000_000 <= width <= LONGEST_DURATION // timedelta(microseconds=1):
        raise ValueError("must be a duration such as '90m', '6h' or '1d12h', from a second to a year")
    return text


def duration_of(text: str | None) -> timedelta | None:
    """Return a duration that has been checked; None where there is none."""
    return None if text is None else timedelta(microseconds=fixed_width(text) or 0)


Duration = Annotated[str, AfterValidator(check_duration)]


class Deadline(BaseModel, frozen=True, extra="forbid"):
    """The longest time from the begin of a DAG run to its end, after which it is late."""

    train: Duration | None = Field(None, description="longest time of a training, such as `6h`")
    forecast: Duration | None = Field(None, description="longest time of a forecast")

    @model_validator(mode="before")
    @classmethod
    def _is_of_both(cls, given: Any) -> Any:
        return {"train": given, "forecast": given} if isinstance(given, str) else given


class Notice(BaseModel, frozen=True, extra="forbid"):
    """A notifier of Airflow, and the events that it reports."""

    notifier: str = Field(description="import path of a notifier's class")
    on: tuple[Event, ...] = Field(("failure", "late"), min_length=1, description="events: `failure`, `late`")
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="arguments of the notifier, without secrets; text may have templates"
    )

    @field_validator("notifier")
    @classmethod
    def _is_path(cls, path: str) -> str:
        if not _PATH.fullmatch(path):
            raise ValueError("must be the import path of a class, such as 'package.module.Notifier'")
        return path

    @field_validator("on", mode="before")
    @classmethod
    def _is_list(cls, events: Any) -> Any:
        return [events] if isinstance(events, str) else events

    @field_validator("on", mode="wrap")
    @classmethod
    def _no_repeats(cls, events: Any, handler: Any) -> Any:
        return check_whole_and_parts(events, handler, find_repeat)

    @field_validator("options")
    @classmethod
    def _has_no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        if secret := _find_secret(options):
            raise ValueError(f"'{secret}' must not be here: name a connection of Airflow that has the secret")
        return options


def _find_secret(options: Any) -> str | None:
    """Return the name of an option that is a secret, or has one."""
    parts = options.items() if isinstance(options, Mapping) else enumerate(options) if isinstance(options, list) else ()
    for name, value in parts:
        is_secret = isinstance(name, str) and _SECRET.search(name) and not name.endswith("_conn_id")
        if is_secret or (isinstance(value, str) and has_password(value)):
            return str(name)
        if inner := _find_secret(value):
            return f"{name}.{inner}"
    return None
