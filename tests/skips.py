"""Skips that a run may have: any other fails it, where FLEETCAST_EXPECTED_SKIPS names the file of those expected."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

VARIABLE = "FLEETCAST_EXPECTED_SKIPS"


def unexpected(reasons: Iterable[str], expected: str) -> list[str]:
    """Return the reasons that no line of the expected ones matches as a whole; lines are regular expressions.

    >>> unexpected(["no CUDA device", "no C compiler"], "# with a GPU\\nno CUDA device")
    ['no C compiler']
    """
    patterns = [line for line in expected.splitlines() if line and not line.startswith("#")]
    return sorted({each for each in reasons if not any(re.fullmatch(pattern, each) for pattern in patterns)})


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    path = os.environ.get(VARIABLE)
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not path or reporter is None or hasattr(session.config, "workerinput"):
        return
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", [])]
    if found := unexpected(reasons, Path(path).read_text(encoding="utf-8")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"\nskips that {path} does not expect: " + "; ".join(found), red=True)
