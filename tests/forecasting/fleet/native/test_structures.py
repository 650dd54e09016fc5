"""Python declares the engine's structures as the C compiler lays them out, and refuses a library that differs."""

import ctypes
from pathlib import Path

import pytest

from forecasting.errors import ServiceError
from forecasting.fleet.native import library, structures

pytestmark = pytest.mark.skipif(library.find() is None, reason="the CPU engine is not built here")

PATH = Path("_engine.so")


def replace_structure(monkeypatch: pytest.MonkeyPatch, original: type[ctypes.Structure], fields: list[object]) -> None:
    """Declare one structure with other fields."""
    changed = type(original.__name__, (ctypes.Structure,), {"_fields_": fields})
    declared = tuple(changed if each is original else each for each in structures.STRUCTURES)
    monkeypatch.setattr(structures, "STRUCTURES", declared)


def test_every_field_has_the_same_place_on_both_sides() -> None:
    exported = structures.exported_layout(library.require())
    assert exported == structures.declared_layout()
    assert exported["Optimiser.num_steps"] == (5 * 8, 8)


def test_a_swapped_field_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *rest = structures.StepTables._fields_
    replace_structure(monkeypatch, structures.StepTables, [second, first, *rest])
    message = (
        "CPU engine _engine.so does not match this version of Fleetcast: StepTables.hiding_keys is at byte 8 with"
        " 8 bytes in the library and at byte 0 with 8 bytes in Python"
    )
    with pytest.raises(ServiceError, match=message):
        structures.check_layout(library.require(), PATH)


def test_a_field_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    *rest, (name, _) = structures.Optimiser._fields_
    replace_structure(monkeypatch, structures.Optimiser, [*rest, (name, ctypes.c_double)])
    with pytest.raises(ServiceError, match=r"Optimiser is at byte 0 with 64 bytes .* at byte 0 with 72 bytes"):
        structures.check_layout(library.require(), PATH)


def test_a_field_that_one_side_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_structure(monkeypatch, structures.Trained, list(structures.Trained._fields_)[:-1])
    with pytest.raises(ServiceError, match="Trained is at byte 0 with 32 bytes in the library"):
        structures.check_layout(library.require(), PATH)


def test_a_library_without_a_table_of_fields_is_refused() -> None:
    with pytest.raises(ServiceError, match="Shape is missing in the library"):
        structures.check_layout(ctypes.CDLL(None), PATH)


def test_a_library_of_another_version_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_structure(monkeypatch, structures.Trained, list(structures.Trained._fields_)[:-1])
    library.find.cache_clear()
    try:
        with pytest.raises(ServiceError, match="build it again"):
            library.find()
    finally:
        library.find.cache_clear()
