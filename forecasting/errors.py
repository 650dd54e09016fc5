"""The error tree: what can go wrong, whether a retry can help, and the exit code of the command.

FleetcastError
├── UserError                the request is wrong; exit code 2; never retried
│   ├── SpecError            refused fields of a spec, options or run arguments, all of them together
│   ├── SourceError          an input cannot be read as the spec describes it
│   ├── CheckFailed          measurements or forecasts fail a check of the spec
│   ├── QueryError           a query is not a single SELECT, or the engine refuses it
│   └── NothingStored        the store has no such table, series, model or run, or cannot read its weights
└── ServiceError             the system failed; exit code 1; a retry may succeed
    ├── StoreError           a table or file could not be read or written
    ├── SinkError            forecasts could not be copied to where a spec publishes them
    ├── ClusterError         Ray cannot be reached, started or used
    ├── JobFailed            a Ray job ended without success
    └── JobLost              a Ray job disappeared with its cluster; it may or may not have run

A DataWarning is not an error: it says what a run did not use of its data, guessed or filled.
Every error can be pickled, because errors cross processes.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class FleetcastError(Exception):
    """Any error that Fleetcast itself raises; `exit_code` is the exit code of the command."""

    exit_code = 1


class UserError(FleetcastError):
    """The request is wrong, and a retry does not help."""

    exit_code = 2


class DataWarning(UserWarning):
    """What a run did not use of its data, guessed or filled; given before it trains."""


class SpecError(UserError):
    """A spec, options or run arguments have refused fields.

    Args:
        subject: What has the fields, such as `spec sales.toml`.
        problems: One sentence per refused field, with its name, its value and what it needs.
    """

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        super().__init__(subject, tuple(problems))
        self.subject = subject
        self.problems = tuple(problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.subject}: {self.problems[0]}"
        return f"{self.subject} has {len(self.problems)} problems:\n" + "\n".join(f"  - {p}" for p in self.problems)


class SourceError(UserError):
    """An input cannot be read as the spec describes it."""


class CheckFailed(UserError):
    """Measurements or forecasts fail a check of the spec, whose `on_failure` is "fail".

    Args:
        message: Which checks fail, and why.
        verdicts: A frame with the verdict of every check; see `Result.checks`.
    """

    def __init__(self, message: str, verdicts: Any = None) -> None:
        super().__init__(message, verdicts)
        self.message = message
        self.verdicts = verdicts

    def __str__(self) -> str:
        return self.message


class QueryError(UserError):
    """A query is not a single SELECT, or the engine refuses it."""


class NothingStored(UserError):
    """The store has no such table, series, model or run, or a model's weights have another format."""


class ServiceError(FleetcastError):
    """The system failed; a retry of the same request may succeed."""


class StoreError(ServiceError):
    """A table or file of the store could not be read or written."""


class SinkError(ServiceError):
    """Forecasts could not be copied to where a spec publishes them."""


class ClusterError(ServiceError):
    """Ray cannot be reached, started or used."""


class JobFailed(ServiceError):
    """A Ray job ended without success."""


class JobLost(ServiceError):
    """A Ray job is unknown to its cluster, because the head that ran it is gone."""


@contextmanager
def naming_extras(kind: type[FleetcastError] = UserError) -> Iterator[None]:
    """Name the extra of this package that installs a missing module.

    Args:
        kind: The error to raise.

    Yields:
        Control to the block that imports.

    Raises:
        FleetcastError: An import found no module, and an extra of this package installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _extra_with((error.name or "").partition(".")[0])
        if extra is None:
            raise
        raise kind(f"{error.name} is needed, which is not installed: pip install 'fleetcast[{extra}]'") from error


def _extra_with(module: str) -> str | None:
    """Return the first extra of this package whose requirements have the name of a module."""
    from importlib.metadata import requires

    for requirement in requires("fleetcast") or ():
        found = re.match(r"""([\w.-]+).*\bextra == ["']([\w-]+)["']""", requirement)
        if found and found[1].replace("-", "_").lower() == module:
            return found[2]
    return None


_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|.)?")
"""ANSI control sequences (ECMA-48), which a terminal would execute."""


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message, without ANSI escapes.

    Native libraries add stack traces and colours to their messages.

    Args:
        error: Any exception.

    Returns:
        The first line that is not blank.

    >>> first_line(OSError("\x1b[31mno such bucket\x1b[0m\n  0: backtrace"))
    'no such bucket'
    """
    lines = (line.strip() for line in _ESCAPE.sub("", str(error)).splitlines())
    return next((line for line in lines if line), "no message")
