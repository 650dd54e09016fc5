"""Run every benchmark of this folder; write build/bench.jsonl, and with `--full` docs/benchmarks.md.

A benchmark is a script `bench_<name>.py` that prints its figures as lines of JSON (`Figure.print`) and takes `--full`.
Each runs in a process of its own, so that threads and caches of one do not disturb another. Its time limit follows the
pace of this machine, which is measured at the start.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import COLUMNS, Figure, describe_machine, read_figures
from tests.benchmarks.pace import measure_pace, scale_limit

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
SHORT_SECONDS, FULL_SECONDS = 300, 3 * 3600
"""Time limit of one benchmark at the reference pace; figures that it printed before the limit count."""


def main(arguments: Sequence[str], *, folder: Path = FOLDER, root: Path = ROOT) -> int:
    """Measure, write and print.

    Args:
        arguments: Arguments of the command.
        folder: Folder of the benchmarks.
        root: Folder with `build/` and `docs/`.

    Returns:
        The exit code: 1 where a benchmark failed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="longer runs; writes docs/benchmarks.md")
    parser.add_argument("--only", metavar="NAME", help="one benchmark, such as fleet; figures of the others stay")
    options = parser.parse_args(arguments)
    is_full, only = options.full, options.only
    scripts = sorted(folder.glob(f"bench_{only or '*'}.py"))
    if not scripts:
        parser.error(f"benchmark '{only}' does not exist")
    began, machine = time.monotonic(), describe_machine()
    print(machine, flush=True)
    pace = measure_pace()
    limit = scale_limit(FULL_SECONDS if is_full else SHORT_SECONDS, pace)
    print(f"pace {pace:.1f}: each benchmark may take {limit:.0f} s", flush=True)
    figures: list[Figure] = []
    failed = []
    for script in scripts:
        print(f"\n{script.stem} …", flush=True)
        started = time.monotonic()
        measured, is_sound = _run(script, is_full=is_full, seconds=limit)
        print(f"{script.stem} took {time.monotonic() - started:.0f} s", flush=True)
        figures += measured
        if not is_sound:
            failed.append(script.stem)
    output = root / "build" / "bench.jsonl"
    output.parent.mkdir(exist_ok=True)
    kept = [] if only is None or not output.exists() else read_figures(output.read_text(encoding="utf-8"))
    lines = sorted([*figures, *(one for one in kept if one.benchmark != only)], key=lambda figure: figure.benchmark)
    output.write_text("".join(figure.line() + "\n" for figure in lines), encoding="utf-8")
    if is_full:
        document = root / "docs" / "benchmarks.md"
        text = document.read_text(encoding="utf-8") if document.exists() else ""
        if only is None:
            text = keep_unmeasured(text, _document(figures, failed, machine, day=date.today()), figures)
        elif not failed:
            text = renew(text, only, figures, machine, day=date.today())
        document.write_text(text, encoding="utf-8")
    Console(width=200).print(_table(figures))
    print(f"{len(figures)} figures in {time.monotonic() - began:.0f} s; {output}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(script: Path, *, is_full: bool, seconds: float) -> tuple[list[Figure], bool]:
    """Run one benchmark, print its output as it comes, and return its figures and whether it succeeded."""
    running = subprocess.Popen(
        [sys.executable, "-P", str(script), *["--full"] * is_full],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        os.killpg(running.pid, signal.SIGKILL)  # its workers too

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        lines = []
        for line in running.stdout:
            if not line.startswith("{"):
                print(line, end="", flush=True)
            elif line.endswith("\n"):  # the limit may cut a line off
                lines.append(line)
        exit_code = running.wait()
    finally:
        timer.cancel()
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        running.stdout.close()
    if is_late.is_set():
        print(f"error: {script.stem} exceeded its limit of {seconds:g} s and was ended", file=sys.stderr)
    return read_figures("".join(lines)), exit_code == 0


def _cells(figure: Figure) -> list[str]:
    """Return a row of the table: the figure's parts, and whether its target is reached."""
    values = [getattr(figure, name) for name in COLUMNS]
    reached = {None: "", True: "yes", False: "no"}[figure.is_reached]
    return ["" if value is None else str(value) for value in values] + [reached]


def _table(figures: Sequence[Figure]) -> Table:
    table = Table()
    for name in (*COLUMNS, "reached"):
        table.add_column(name)
    for figure in figures:
        table.add_row(*_cells(figure))
    return table


def _document(figures: Sequence[Figure], failed: Sequence[str], machine: str, *, day: date) -> str:
    """Return docs/benchmarks.md: machine, date, all figures, and how to repeat them."""
    header = (*COLUMNS, "reached")
    lines = [
        "# Benchmarks",
        "",
        f"Measured on {day.isoformat()} by `make bench-full`: {machine}.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *map(_row, figures),
        "",
        *([f"Failed, so their rows are incomplete: {', '.join(failed)}.", ""] if failed else []),
        "`ratio` is the median over paired runs. For `quality`, where a run takes minutes, it compares single runs",
        "or medians. Each `tests/benchmarks/bench_*.py` explains at its top what both sides do and what the ratio",
        "divides. A figure that was not measured is empty.",
        "",
        "To repeat: `make bench-setup` installs the peers into an environment of their own. `make bench` measures",
        "in minutes, `make bench-full` more thoroughly; both write `build/bench.jsonl`. `ONLY=fleet` measures one",
        "benchmark and replaces its rows. `quality` reads M4 Hourly from the folder that `FLEETCAST_BENCHMARK_DATA`",
        "names. Nothing else should run at the same time.",
    ]
    return "\n".join(lines) + "\n"


def renew(text: str, name: str, figures: Sequence[Figure], machine: str, *, day: date) -> str:
    """Replace the rows of one benchmark, and note their date and machine.

    Args:
        text: docs/benchmarks.md.
        name: The benchmark.
        figures: Its new figures.
        machine: Description of the machine.
        day: Date of the measurement.

    Returns:
        The new document.
    """
    return _with_rows(
        text, name, [*map(_row, figures)], f"{_note_start(name)} measured on {day.isoformat()}: {machine}."
    )


def keep_unmeasured(old: str, new: str, figures: Sequence[Figure]) -> str:
    """Keep the old rows of benchmarks that this machine cannot measure, such as those of a GPU.

    Args:
        old: docs/benchmarks.md as it was.
        new: The document with this run's rows.
        figures: This run's figures.

    Returns:
        The new document with the old rows in place of those without a measurement.
    """
    measured = {one.benchmark for one in figures if one.figure is not None}
    for name in sorted({one.benchmark for one in figures} - measured):
        lines = old.splitlines()
        note = next((line for line in lines if line.startswith(_note_start(name))), None)
        if note is not None:
            new = _with_rows(new, name, [line for line in lines if line.startswith(f"| {name} |")], note)
    return new


def _note_start(name: str) -> str:
    return f"The rows of `{name}` were"


def _with_rows(text: str, name: str, new_rows: Sequence[str], note: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith((f"| {name} |", _note_start(name)))]
    first = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    last = next(number for number, line in enumerate(lines) if number > first and not line.startswith("|"))
    rows = sorted([*lines[first + 1 : last], *new_rows], key=lambda row: row.split(" | ")[0])
    head = [*lines[: first - 2], note]  # without the blank line and the names of the columns
    return "\n".join([*head, *lines[first - 2 : first + 1], *rows, *lines[last:]]) + "\n"


def _row(figure: Figure) -> str:
    return "| " + " | ".join(_cells(figure)) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
