"""Fleetcast's imports and reading alone, in a process of its own.

`python -m tests.benchmarks.sides.m4_fleet REQUEST`, in JSON. A forecast is measured by the command itself.
"""

import importlib
import json
import sys
from pathlib import Path

MODULES = ("forecasting.cli.app", "forecasting.cli.evaluation", "forecasting.flow.one_shot")
"""Modules that `fleetcast forecast` loads before it trains."""


def start(path: Path) -> None:
    """Load the modules, and make features of the file."""
    for name in MODULES:
        importlib.import_module(name)
    from forecasting.series.ingest import ingest
    from tests.benchmarks.m4 import make_m4_spec

    ingest(make_m4_spec(path))


if __name__ == "__main__":
    start(Path(json.loads(sys.argv[1])["path"]))
