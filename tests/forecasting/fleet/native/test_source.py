"""The engine's C source compiles without a warning."""

from collections.abc import Callable
from pathlib import Path


def test_the_source_has_no_warnings(compile_engine: Callable[..., Path]) -> None:
    assert compile_engine("-Wall", "-Wextra", "-Werror").stat().st_size > 0
