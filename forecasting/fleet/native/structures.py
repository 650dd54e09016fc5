"""The structures of fleet.h in ctypes: what Python passes to the CPU engine.

The library exports the layout that the C compiler chose; `check_layout` compares it with the declarations here.
"""

# S series · B windows · T steps · I inputs · H hidden · F horizon steps · Q quantiles · M season lengths
# L points of a segment · C calendar features · N grid points · K categories · E numbers of a category's vector

import ctypes
from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from forecasting.errors import ServiceError
from forecasting.fleet.native import CELLS

PARAMETERS = (
    ("input_IG",),
    ("bias_input_1G",),
    ("hidden_HG", "recurrent_1H"),
    ("bias_hidden_1G",),
    ("head_HO",),
    ("bias_head_1O",),
    ("mixture_FM",),
)
"""Parameters of a network in the order of fleet.h, each with its names in the various cells."""

Value = TypeVar("Value")

Pointer = ctypes.c_void_p
Int = ctypes.c_int64
Float = ctypes.c_float
_DTYPES = (torch.float32, torch.int64, torch.int32, torch.uint8)


class Shape(ctypes.Structure):
    """A recurrence's cell, as its place in `CELLS`, and its sizes; B is the number of windows per series."""

    _fields_ = [(name, Int) for name in ("cell", "B", "T", "I", "H")]


class Parameters(ctypes.Structure):
    """Recurrent weights of all series; `bias_hidden` is null for every cell but a GRU."""

    _fields_ = [(name, Pointer) for name in ("input", "bias_input", "hidden", "bias_hidden")]


class WindowTensors(ctypes.Structure):
    """The arrays from which the engine gathers windows, and their sizes."""

    _fields_ = [
        *((name, Pointer) for name in ("y", "observed", "calendar", "unit", "began", "flat", "season_lengths", "rows")),
        *((name, Int) for name in ("N", "C", "F", "L", "M", "padding", "K", "E")),
    ]


class Trained(ctypes.Structure):
    """One parameter of all series, with Adam's moments and the averaged weights; null where nothing is trained."""

    _fields_ = [(name, Pointer) for name in ("value", "moment", "square", "average")]


class Table(ctypes.Structure):
    """The vectors of a category's values."""

    _fields_ = [("trained", Trained), ("num_rows", Int)]


class Network(ctypes.Structure):
    """The networks of a fleet, or the one of a prior, and the windows that they read."""

    _fields_ = [
        ("shape", Shape),
        ("windows", WindowTensors),
        ("parameters", Trained * len(PARAMETERS)),
        ("tables", Pointer),
        ("quantiles", Pointer),
        ("Q", Int),
    ]


class Optimiser(ctypes.Structure):
    """What the optimiser needs per step of a call, and in total."""

    _fields_ = [
        *((name, Pointer) for name in ("step_size", "correction", "averaging", "decay")),
        *((name, Int) for name in ("first_step", "num_steps")),
        *((name, Float) for name in ("clip", "beta1", "beta2", "epsilon")),
    ]


class StepTables(ctypes.Structure):
    """What a call to train a fleet needs per series and in total."""

    _fields_ = [
        *((name, Pointer) for name in ("keys", "hiding_keys", "first", "num_windows", "is_running", "broken_step")),
        ("hidden_share", Float),
        ("optimiser", Optimiser),
    ]


class PriorTables(ctypes.Structure):
    """What a call to train a prior needs per series and in total."""

    _fields_ = [
        *((name, Pointer) for name in ("series", "first", "num_windows", "loss")),
        *((name, Int) for name in ("R", "series_key", "window_key", "hiding_key", "num_threads", "part_windows")),
        ("hidden_share", Float),
        ("optimiser", Optimiser),
    ]


class Field(ctypes.Structure):
    """A row of the table of layouts that the library exports; offset and size are in bytes."""

    _fields_ = [("name", ctypes.c_char_p), ("offset", Int), ("size", Int)]


STRUCTURES: tuple[type[ctypes.Structure], ...] = (
    *(Shape, Parameters, WindowTensors, Trained, Table, Network),
    *(Optimiser, StepTables, PriorTables),
)
"""Structures that both sides declare."""


def shape_of(cell: str, *, num_windows: int, num_steps: int, num_inputs: int, hidden_size: int) -> Shape:
    """Describe the recurrence of one series to the engine; `cell` is one of `CELLS`."""
    return Shape(CELLS.index(cell), num_windows, num_steps, num_inputs, hidden_size)


def in_order(named: Mapping[str, Value], num_parameters: int = len(PARAMETERS)) -> list[Value | None]:
    """Sort values by parameter.

    Args:
        named: A value for each parameter of a network, by the parameter's name.
        num_parameters: Number of parameters to return, from the first.

    Returns:
        The values in the order of fleet.h; None for a parameter that the cell does not have.
    """
    return [next((named[name] for name in names if name in named), None) for names in PARAMETERS[:num_parameters]]


def pointer(tensor: Tensor | None) -> Pointer:
    """Return the address of a contiguous tensor in main memory, null for None; the caller keeps the tensor alive."""
    if tensor is None:
        return Pointer(None)
    assert tensor.device.type == "cpu", "the engine reads main memory"
    assert tensor.is_contiguous(), "the engine has no strides"
    assert tensor.dtype in _DTYPES, f"the engine cannot read {tensor.dtype}"
    return Pointer(tensor.data_ptr())


def check_layout(library: ctypes.CDLL, path: Path) -> None:
    """Compare the structures of a library with those of this module.

    Args:
        library: The loaded engine.
        path: Its file, for the message.

    Raises:
        ServiceError: A structure or a field differs in offset or size, or exists on one side only.
    """
    expected, found = declared_layout(), exported_layout(library)
    for name in [*expected, *(name for name in found if name not in expected)]:
        if expected.get(name) != found.get(name):
            raise ServiceError(
                f"the CPU engine {path} does not match this version of Fleetcast: {name} is"
                f" {_place(found.get(name))} in the library and {_place(expected.get(name))} in Python;"
                " build it again: python -m pip install --force-reinstall --no-deps fleetcast, or -e . in a checkout"
            )


def declared_layout() -> dict[str, tuple[int, int]]:
    """Return offset and size in bytes of each structure and field as this module declares them."""
    layout = {}
    for structure in STRUCTURES:
        layout[structure.__name__] = (0, ctypes.sizeof(structure))
        for name, *_ in structure._fields_:
            field = getattr(structure, name)
            layout[f"{structure.__name__}.{name}"] = (field.offset, field.size)
    return layout


def exported_layout(library: ctypes.CDLL) -> dict[str, tuple[int, int]]:
    """Return offset and size in bytes of each structure and field as the C compiler laid them out."""
    try:
        first = Field.in_dll(library, "fleetcast_fields")
    except ValueError:  # a build from before the table
        return {}
    fields = ctypes.cast(ctypes.pointer(first), ctypes.POINTER(Field))
    rows = takewhile(lambda row: row.name is not None, (fields[n] for n in count()))
    return {row.name.decode(): (row.offset, row.size) for row in rows}


def _place(field: tuple[int, int] | None) -> str:
    return "missing" if field is None else f"at byte {field[0]} with {field[1]} bytes"
