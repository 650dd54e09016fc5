"""The runner of benchmarks: rows of the document that a new measurement replaces, and time limits."""

from datetime import date
from pathlib import Path

import pytest

from tests.benchmarks import run
from tests.benchmarks.figures import Figure
from tests.benchmarks.pace import measure_pace
from tests.benchmarks.run import keep_unmeasured, renew

DOCUMENT = """# Benchmarks

Measured on 2026-01-01 by `make bench-full`: a machine.

| benchmark | setting |
|---|---|
| fleet | x |
| memory | old |
| predict | y |

To repeat: …
"""


def figure(benchmark: str) -> Figure:
    return Figure(benchmark, "new", 1.0, "s", None, None, None, None)


def renewed(text: str, benchmark: str, *, day: int = 2) -> list[str]:
    return renew(text, benchmark, [figure(benchmark)], "another", day=date(2026, 1, day)).splitlines()


def test_only_the_rows_of_one_benchmark_are_replaced() -> None:
    lines = renewed(DOCUMENT, "memory")
    assert "| memory | old |" not in lines
    assert [line.split(" | ")[0] for line in lines if line.startswith("|")][2:] == ["| fleet", "| memory", "| predict"]
    assert lines[-1] == "To repeat: …"


def test_rows_of_a_benchmark_that_was_not_there_come_in_the_order_of_names() -> None:
    lines = renewed(DOCUMENT, "limit")
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")][1:] == [
        "| fleet",
        "| limit",
        "| memory",
        "| predict",
    ]


def test_document_says_once_when_the_rows_were_measured() -> None:
    first = "\n".join(renewed(DOCUMENT, "memory")) + "\n"
    notes = [line for line in renewed(first, "memory", day=3) if line.startswith("The rows of")]
    assert notes == ["The rows of `memory` were measured on 2026-01-03: another."]
    assert renewed(first, "memory")[2:5] == [*first.splitlines()[2:4], ""]


def test_what_a_machine_cannot_measure_keeps_the_rows_of_the_one_that_could() -> None:
    old = "\n".join(renewed(DOCUMENT, "gpu")) + "\n"
    empty = Figure("gpu", "none here", None, "s", None, None, None, None)
    new = DOCUMENT.replace("| memory | old |", "| gpu | none here |\n| memory | newer |")
    lines = keep_unmeasured(old, new, [empty, figure("memory")]).splitlines()
    assert [line for line in lines if line.startswith("| gpu")] == [
        line for line in old.splitlines() if line.startswith("| gpu")
    ]
    assert "| memory | newer |" in lines
    assert "The rows of `gpu` were measured on 2026-01-02: another." in lines
    assert keep_unmeasured(DOCUMENT, new, [empty]) == new


@pytest.mark.parametrize(("pace", "exit_code"), [(1.0, 1), (60.0, 0)])
def test_a_slow_machine_gives_a_benchmark_more_time(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, pace: float, exit_code: int
) -> None:
    (tmp_path / "bench_slow.py").write_text(
        f"import time\nprint({figure('slow').line()!r}, flush=True)\ntime.sleep(2)\n"
    )
    monkeypatch.setattr(run, "SHORT_SECONDS", 1)
    monkeypatch.setattr(run, "measure_pace", lambda: pace)
    assert run.main([], folder=tmp_path, root=tmp_path) == exit_code
    assert ("exceeded its limit of 1 s" in capfd.readouterr().err) == bool(exit_code)


def test_pace_is_the_time_of_the_reference_work_as_a_multiple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.benchmarks.pace.REFERENCE_SECONDS", 0.01)
    monkeypatch.setattr("tests.benchmarks.pace.WORK", "import time; time.sleep(0.2)")
    assert 20 <= measure_pace() < 2000
