"""The engine is loaded once; if it is not built, the reference kernel runs instead and one warning says so."""

import logging
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch

from forecasting.fleet import kernels
from forecasting.fleet.cells import make_cell
from forecasting.fleet.native import library


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    library.find.cache_clear()
    monkeypatch.setattr(library, "SUFFIXES", [".never-built"])
    yield
    library.find.cache_clear()


@pytest.mark.usefixtures("not_built")
def test_without_an_engine_the_reference_runs_and_one_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        kernel = kernels.choose(make_cell("gru"), torch.device("cpu"), torch.float32, 8)
        assert kernel.NAME == "reference"
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the CPU engine is not built (it needs a C compiler when Fleetcast is installed)"
    ]


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (["_engine.so", f"_engine{EXTENSION_SUFFIXES[0]}"], "_engine.so"),
        ([f"_engine{EXTENSION_SUFFIXES[0]}"], f"_engine{EXTENSION_SUFFIXES[0]}"),
        (["_engine.c"], None),
    ],
    ids=["both", "tagged", "none"],
)
def test_a_library_without_a_python_tag_is_found_first(
    built: list[str], expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    for name in built:
        (tmp_path / name).touch()
    found = library.built_library()
    assert (found and found.name) == expected


def test_an_environment_variable_names_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(tmp_path / "_engine.so"))
    assert library.built_library() == tmp_path / "_engine.so"


def test_lack_of_memory_raises_an_error() -> None:
    with pytest.raises(MemoryError, match="memory that a fleet's windows and gradients need"):
        library.run(lambda begin, end: 1, num_series=9)
