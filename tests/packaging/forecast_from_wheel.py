"""Install a wheel into an empty environment without a compiler, and forecast a frame there with the CPU engine.

Usage: python tests/packaging/forecast_from_wheel.py WHEEL [CONSTRAINTS]

Needs the standard library only. Prints the seconds of each step; exits with 1 where one fails.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

COMPILERS = ("cc", "c99", "gcc", "g++", "c++", "clang", "tcc", "ld")
LEFT_OUT = ("CC", "CFLAGS", "LDFLAGS", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
"""Environment variables that would lead back to a compiler or to the checkout."""

PROGRAM = """
import importlib.util, sys
from datetime import datetime, timedelta
from math import sin
from pathlib import Path

for name in ("ray", "deltalake", "duckdb", "airflow"):
    assert importlib.util.find_spec(name) is None, f"{name} is installed"

import forecasting as fc
import polars as pl
from forecasting.fleet.native import library

assert Path(fc.__file__).is_relative_to(sys.prefix), fc.__file__
assert (Path(fc.__file__).parent / "py.typed").exists()

run, num_calls = library.run, 0

def count(*arguments, **options):
    global num_calls
    num_calls += 1
    return run(*arguments, **options)

library.run = count
hours = [datetime(2026, 1, 1) + timedelta(hours=hour) for hour in range(24 * 14)]
frame = pl.concat(
    pl.DataFrame({"unique_id": name, "ds": hours, "y": [level + sin(hour.hour / 4) for hour in hours]})
    for name, level in (("a", 10.0), ("b", 20.0), ("c", 30.0))
)
result = fc.forecast(
    frame, freq="1h", season_lengths=24, horizon=6, models="gru", recipe="fast", overrides={"max_steps": 20},
    kernel="cpu", progress=False,
)
assert result.forecasts.height == 3 * 6, result.forecasts
assert result.forecasts["forecast"].is_finite().all(), result.forecasts
assert num_calls > 0, "the engine did not run"
print(f"{result.forecasts.height} forecasts; the engine ran {num_calls} times")
"""


def main(wheel: Path, constraints: Path | None) -> None:
    """Install the wheel with its extra `local` into an environment of its own, and forecast in it.

    Args:
        wheel: The wheel.
        constraints: Versions of dependencies, as pip reads them; any where None.

    Raises:
        subprocess.CalledProcessError: The installation or the forecast failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        venv.create(folder, with_pip=True)
        programs = Path(folder) / "bin"
        environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        environment["PATH"] = str(programs)
        found = [name for name in COMPILERS if shutil.which(name, path=environment["PATH"])]
        assert not found, f"there are compilers: {', '.join(found)}"
        python = str(programs / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary", ":all:"]
        pinned = ["--constraint", str(constraints)] if constraints else []
        subprocess.run([*pip, *pinned, f"fleetcast[local] @ {wheel.as_uri()}"], env=environment, cwd=folder, check=True)
        print(f"installed in {time.monotonic() - begin:.0f} s", flush=True)
        begin = time.monotonic()
        subprocess.run([python, "-I", "-c", PROGRAM], env=environment, cwd=folder, check=True)
        print(f"forecast in {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main(*(Path(name).resolve() for name in sys.argv[1:]), *[None] * (3 - len(sys.argv)))
