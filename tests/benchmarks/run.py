"""Run every benchmark of this folder at a short setting; build/bench.jsonl and one table come out.

A benchmark is a script `bench_<name>.py` that prints its figures as lines of JSON. Each runs in a process of its own,
so that threads and caches of one do not disturb another.
"""

import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent
OUTPUT = FOLDER.parents[1] / "build" / "bench.jsonl"
COLUMNS = ("benchmark", "setting", "figure", "unit", "peer", "peer_figure", "ratio", "target")


def main() -> int:
    """Measure, write and print; return 1 where a benchmark failed."""
    rows, failed = [], []
    for module in sorted(FOLDER.glob("bench_*.py")):
        print(f"{module.stem} …", flush=True)
        done = subprocess.run([sys.executable, str(module)], stdout=subprocess.PIPE, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        print("\n".join(line for line in done.stdout.splitlines() if line not in lines), flush=True)
        rows += [json.loads(line) for line in lines]
        if done.returncode:
            failed.append(module.stem)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = Table(title=str(OUTPUT.relative_to(Path.cwd())) if OUTPUT.is_relative_to(Path.cwd()) else str(OUTPUT))
    for name in COLUMNS:
        table.add_column(name)
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in COLUMNS))
    Console(width=140).print(table)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
