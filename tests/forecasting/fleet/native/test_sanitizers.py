"""The engine has no memory error and no undefined behaviour in training, forecasts and recurrences.

The parity tests run in a process of their own, with an engine that reports such an error and aborts.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forecasting.fleet.native import library

ROOT = Path(__file__).parents[4]
SANITIZERS = ("-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PARITY = (
    "kernels/test_cpu.py::test_outputs_and_gradients_agree_on_every_processor",
    "steps/test_engine.py::test_the_first_gradient_and_the_next_steps_agree",
    "steps/test_engine.py::test_validation_losses_agree",
    "steps/test_engine.py::test_forecasts_agree_with_the_reference",
    "steps/test_prior.py::test_the_bits_depend_neither_on_threads_nor_on_blocks",
)
"""Tests that run each cell with each vector width."""
REPORT = re.compile(r"AddressSanitizer|runtime error:")


@pytest.mark.timeout(900)
def test_parity_tests_pass_under_address_and_undefined_behaviour_sanitizers(
    compiler: str, compile_engine: Callable[..., Path]
) -> None:
    environment = os.environ | {
        library.LIBRARY_VARIABLE: str(compile_engine(*SANITIZERS)),
        # Both must be loaded before the interpreter: the sanitizer intercepts what the C++ library throws.
        "LD_PRELOAD": f"{runtime_of(compiler)}:libstdc++.so.6",
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter does not free all memory at its end
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTEST_ADDOPTS", None)
    tests = [f"tests/forecasting/fleet/{name}" for name in PARITY]
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--capture=no"]  # a report survives an abort
    command = [sys.executable, "-m", "pytest", *options, *tests]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    output = run.stdout + run.stderr
    report = REPORT.search(output)
    assert report is None, report and output[report.start() :][:6000]
    assert run.returncode == 0, output[-6000:]
    assert re.search(r"\d+ passed", output), output[-6000:]


def runtime_of(compiler: str) -> str:
    """Return the path of AddressSanitizer's runtime library."""
    command = [compiler, "-print-file-name=libasan.so"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(path).is_absolute():
        pytest.skip("gcc is installed without AddressSanitizer")
    return path
