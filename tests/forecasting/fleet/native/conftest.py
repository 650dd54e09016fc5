"""Builds of the engine with other flags than the package's."""

import ast
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from forecasting.fleet.native import library

ROOT = Path(__file__).parents[4]
NATIVE = Path(library.__file__).parent


@pytest.fixture(scope="session")
def compiler() -> str:
    """Return the path of gcc, whose warnings and sanitizers the tests use."""
    path = shutil.which("gcc")
    if path is None:
        pytest.skip("gcc is not installed")
    return path


@pytest.fixture
def compile_engine(compiler: str, tmp_path: Path) -> Callable[..., Path]:
    """Compile the engine as setup.py does, with more flags and without optimisation, which would take minutes."""

    def compile_with(*flags: str) -> Path:
        target = tmp_path / "_engine.so"
        command = [compiler, *package_flags(), "-O0", *flags, "-fPIC", "-shared", NATIVE / "fleet.c", "-o", target]
        built = subprocess.run([*command, "-lm"], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        return target

    return compile_with


def package_flags() -> list[str]:
    """Return the flags that setup.py compiles with."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    (flags,) = [
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "extra_compile_args"
    ]
    return flags
