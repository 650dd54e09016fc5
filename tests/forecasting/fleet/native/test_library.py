"""The engine's door: found once, and where it was not built the reference serves after one word about it."""

import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from forecasting.fleet import kernels
from forecasting.fleet.cells import make_cell
from forecasting.fleet.native import library


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    library.find.cache_clear()
    monkeypatch.setattr(library, "EXTENSION_SUFFIXES", [".never-built"])
    yield
    library.find.cache_clear()


@pytest.mark.usefixtures("not_built")
def test_without_an_engine_the_reference_serves_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        kernel = kernels.choose(make_cell("gru"), torch.device("cpu"), torch.float32, 8)
        assert kernel.NAME == "reference"
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the CPU engine is not built (it needs a C compiler when Fleetcast is installed)"
    ]


def test_structures_have_the_size_that_the_c_source_declares() -> None:
    """Every field is eight bytes but a schedule's four floats; a field added on one side alone would shift the rest."""
    source = (Path(library.__file__).parent / "fleet.h").read_text()
    for structure in (library.Shape, library.Parameters, library.Panel, library.Trained, library.Network):
        assert ctypes.sizeof(structure) % 8 == 0
    body = source[source.index("typedef struct {\n  const int64_t *keys") : source.index("} Schedule;")]
    declared = [name.strip(" *;\n") for line in body.splitlines()[1:] for name in line.split("/*")[0].split(",")]
    declared = [name.split()[-1].strip("*;") for name in declared if name]
    assert declared == [name for name, _ in library.Schedule._fields_]


def test_want_of_memory_is_an_error_and_not_a_crash() -> None:
    with pytest.raises(MemoryError, match="memory that a fleet's windows and gradients need"):
        library.run(lambda begin, end: 1, num_series=9)
