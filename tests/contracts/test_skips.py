"""A skip that is not expected fails the run; the others pass."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import VARIABLE, unexpected

ROOT = Path(__file__).parents[2]
EXPECTED = ROOT / "tests" / "expected_skips.txt"


@pytest.mark.parametrize(("reason", "is_expected"), [("no CUDA device", True), ("no C compiler", False)])
def test_a_skip_that_is_not_expected_fails_the_run(tmp_path, reason, is_expected):
    """One of a whole module, of one process of two."""
    (tmp_path / "test_skipped.py").write_text(f"import pytest\npytest.skip({reason!r}, allow_module_level=True)\n")
    (tmp_path / "test_other.py").write_text("def test_one(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "--rootdir", tmp_path, "-n", "1", tmp_path]
    environment = os.environ | {VARIABLE: str(EXPECTED), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ended.returncode == 0) == is_expected, ended.stdout
    assert ("does not expect: no C compiler" in ended.stdout) != is_expected


def test_every_expected_reason_is_one_that_a_test_gives():
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    given = ["no CUDA device", "this processor has no vectors of 16 floats"]
    given.append("FLEETCAST_BENCHMARK_DATA does not name a folder with benchmark data")
    given.append("this machine refuses {what} of their own to images: {refused.stderr.strip()}")
    assert unexpected(given, EXPECTED.read_text()) == []
    patterns = [line for line in EXPECTED.read_text().splitlines() if line[0] != "#"]
    assert [pattern for pattern in patterns if unexpected(given, pattern) == sorted(given)] == []
    assert all(reason.split(" 16 ")[0] in tests for reason in given)
