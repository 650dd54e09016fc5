"""The error tree: what can go wrong, whose mistake it is, and with which exit code it ends a command.

FleetcastError
├── UserError                what was asked for is wrong; exit code 2; never retried
│   ├── SpecError            fields of a spec, options or run arguments that were refused, all of them at once
│   ├── SourceError          an input that cannot be read as the spec describes it
│   ├── QueryError           a query that is not one readable SELECT
│   └── NothingStored        a table, series or model that the store does not hold
└── ServiceError             the system failed; exit code 1; worth a retry
    ├── StoreError           a table could not be read or committed
    ├── ClusterError         Ray cannot be reached, started or used
    ├── JobFailed            a Ray job ended without success
    └── JobLost              a Ray job vanished with its cluster; it may or may not have run

Every error pickles: it crosses processes.
"""

import re
from collections.abc import Sequence


class FleetcastError(Exception):
    """Anything that Fleetcast itself reports; `exit_code` is what a command ends with."""

    exit_code = 1


class UserError(FleetcastError):
    """What was asked for is wrong and stays wrong on a retry."""

    exit_code = 2


class SpecError(UserError):
    """A spec, a set of options or run arguments with refused fields.

    `problems` holds one sentence per refused field: its name, its value and what would be right.
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
    """An input that cannot be read as the spec describes it."""


class QueryError(UserError):
    """A query that is refused or that the engine cannot answer."""


class NothingStored(UserError):
    """A table, series, model or run that the store does not hold."""


class ServiceError(FleetcastError):
    """The system failed; the same request may succeed later."""


class StoreError(ServiceError):
    """A table could not be read or committed."""


class ClusterError(ServiceError):
    """A Ray cluster cannot be reached, started or used."""


class JobFailed(ServiceError):
    """A Ray job ended without success."""


class JobLost(ServiceError):
    """A Ray job is unknown to its cluster: the head that ran it is gone."""


_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|.)?")
"""ANSI's control sequences (ECMA-48), which a terminal would obey."""


def first_line(error: BaseException) -> str:
    """Return what an error says in one line, without ANSI escapes: native libraries add stack traces and colours.

    >>> first_line(OSError("\x1b[31mno such bucket\x1b[0m\\n  0: backtrace"))
    'no such bucket'
    """
    lines = (line.strip() for line in _ESCAPE.sub("", str(error)).splitlines())
    return next((line for line in lines if line), "no message")
