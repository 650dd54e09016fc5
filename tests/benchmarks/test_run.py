"""The runner of benchmarks: one benchmark measured again replaces its own rows of the document and no others."""

from datetime import date

from tests.benchmarks.figures import Figure
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
