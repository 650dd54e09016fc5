"""The CPU engine as functions: tensors and sizes in, work done in place; many threads, none of which shares a series.

The C source beside this file is built with the package and loaded with ctypes, which lets go of Python's lock for as
long as a call takes. Where it could not be built, `find` returns None and the reference kernel serves.
"""

# S series

import ctypes
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

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
"""Parameters of a network in the order of fleet.h, by the names that one cell or another has for them."""

LANES_VARIABLE = "FLEETCAST_ENGINE_LANES"
"""Environment variable that bounds the vector width (16, 8 or 4 floats) below what the processor has."""
SERIES_PER_CALL = 4
"""Series that a thread takes at a time: few, so that threads end together; a call costs microseconds."""

Value = TypeVar("Value")

Pointer = ctypes.c_void_p
Int = ctypes.c_int64
Float = ctypes.c_float


class Shape(ctypes.Structure):
    _fields_ = [(name, Int) for name in ("cell", "B", "T", "I", "H")]


class Parameters(ctypes.Structure):
    _fields_ = [(name, Pointer) for name in ("input", "bias_input", "hidden", "bias_hidden")]


class Panel(ctypes.Structure):
    _fields_ = [(name, Pointer) for name in ("y", "observed", "calendar", "unit", "season_lengths")] + [
        (name, Int) for name in ("N", "C", "F", "L", "M", "padding")
    ]


class Trained(ctypes.Structure):
    _fields_ = [(name, Pointer) for name in ("value", "moment", "square", "average")]


class Network(ctypes.Structure):
    _fields_ = [
        ("shape", Shape),
        ("panel", Panel),
        ("parameters", Trained * len(PARAMETERS)),
        ("quantiles", Pointer),
        ("Q", Int),
    ]


class Schedule(ctypes.Structure):
    _fields_ = [
        *((name, Pointer) for name in ("keys", "first", "num_windows", "is_running", "broken_step")),
        *((name, Pointer) for name in ("step_size", "correction", "averaging")),
        *((name, Int) for name in ("first_step", "num_steps")),
        *((name, Float) for name in ("clip", "beta1", "beta2", "epsilon")),
    ]


@cache
def find() -> ctypes.CDLL | None:
    """Load the engine once per process; where it was not built, say so once and return None."""
    folder = Path(__file__).parent
    built = [path for suffix in EXTENSION_SUFFIXES if (path := folder / f"_engine{suffix}").exists()]
    if not built:
        logging.getLogger(__name__).warning(
            "the CPU engine is not built (it needs a C compiler when Fleetcast is installed):"
            " networks train with the reference kernel, several times slower"
        )
        return None
    library = ctypes.CDLL(str(built[0]))
    library.fleetcast_stash_floats.restype = Int
    library.fleetcast_choose(int(os.environ.get(LANES_VARIABLE, "16")))
    return library


def require() -> ctypes.CDLL:
    """Return the engine; only for callers that have seen `find` return it."""
    library = find()
    assert library is not None, "the kernel was chosen although the engine is not built"
    return library


def shape_of(cell: str, *, num_windows: int, num_steps: int, num_inputs: int, hidden_size: int) -> Shape:
    return Shape(CELLS.index(cell), num_windows, num_steps, num_inputs, hidden_size)


def in_order(named: Mapping[str, Value], count: int = len(PARAMETERS)) -> list[Value | None]:
    """Return what is named after parameters in the order of fleet.h, the first so many; None for what a cell lacks."""
    return [next((named[name] for name in names if name in named), None) for names in PARAMETERS[:count]]


def pointer(tensor: Tensor | None) -> Pointer:
    """Return where a tensor lies; the caller keeps it alive for as long as the engine runs."""
    if tensor is None:
        return Pointer(None)
    assert tensor.device.type == "cpu", "the engine reads the CPU's memory"
    assert tensor.is_contiguous(), "the engine knows no strides"
    assert tensor.dtype in (torch.float32, torch.int64, torch.uint8), "the engine knows no other numbers"
    return Pointer(tensor.data_ptr())


def run(call: Callable[[Int, Int], int], *, num_series: int) -> None:
    """Run `call(begin, end)` over all series on as many threads as torch has; it returns 0, or 1 for want of memory.

    How series fall to threads never shows in a result: no call writes what another reads.
    """
    ranges = [
        (Int(begin), Int(min(begin + SERIES_PER_CALL, num_series))) for begin in range(0, num_series, SERIES_PER_CALL)
    ]
    num_threads = min(torch.get_num_threads(), len(ranges))
    if num_threads <= 1:
        failed = call(Int(0), Int(num_series))
    else:
        failed = max(_threads(num_threads).map(lambda bounds: call(*bounds), ranges))
    if failed:
        raise MemoryError("the CPU engine could not get the memory that a fleet's windows and gradients need")


@cache
def _threads(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="fleet")
