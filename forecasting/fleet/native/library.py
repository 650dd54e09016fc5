"""Find the built CPU engine, load it, and call it on several threads.

The C source beside this file is built with the package. ctypes loads the library and releases Python's global lock
during a call. Each thread works on its own range of series.
"""

import ctypes
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

from forecasting.fleet.native.structures import Int, check_layout

LANES_VARIABLE = "FLEETCAST_ENGINE_LANES"
"""Environment variable that limits the vector width: 16, 8 or 4 floats."""
LIBRARY_VARIABLE = "FLEETCAST_ENGINE_LIBRARY"
"""Environment variable that names another build of the engine, such as one with sanitizers."""
SUFFIXES = (".so", *EXTENSION_SUFFIXES)
"""Suffixes that a built engine may have, in the order of search: a wheel's has no tag of a Python version."""
SERIES_PER_CALL = 4
"""Series per call of a thread. Few, so that all threads finish at about the same time; a call costs microseconds."""


@cache
def find() -> ctypes.CDLL | None:
    """Load the engine once per process.

    Returns:
        The library, or None if it is not built; the log then has one warning.

    Raises:
        ServiceError: The library is built from another version of the C source.
    """
    path = built_library()
    if path is None:
        logging.getLogger(__name__).warning(
            "the CPU engine is not built (it needs a C compiler when Fleetcast is installed):"
            " networks train with the reference kernel, several times slower"
        )
        return None
    library = ctypes.CDLL(str(path))
    check_layout(library, path)
    library.fleetcast_stash_floats.restype = Int
    library.fleetcast_choose(int(os.environ.get(LANES_VARIABLE, "16")))
    return library


def built_library() -> Path | None:
    """Return the file of the built engine, or None if there is none."""
    if named := os.environ.get(LIBRARY_VARIABLE):
        return Path(named)
    paths = (Path(__file__).with_name(f"_engine{suffix}") for suffix in SUFFIXES)
    return next((path for path in paths if path.exists()), None)


def require() -> ctypes.CDLL:
    """Return the engine, for callers that know from `find` that it is built."""
    library = find()
    assert library is not None, "the kernel was chosen although the engine is not built"
    return library


def run(call: Callable[[Int, Int], int], *, num_series: int) -> None:
    """Call the engine for all series, on at most as many threads as torch has.

    The result does not depend on the threads, because no call writes what another call reads.

    Args:
        call: Takes the first series and the one after the last; returns 0, or 1 if memory runs out.
        num_series: Number of series.

    Raises:
        MemoryError: A call returned 1.
    """
    ranges = [
        (Int(begin), Int(min(begin + SERIES_PER_CALL, num_series))) for begin in range(0, num_series, SERIES_PER_CALL)
    ]
    num_threads = min(torch.get_num_threads(), len(ranges))
    if num_threads <= 1:
        failed = call(Int(0), Int(num_series))
    else:
        failed = max(_threads(num_threads).map(lambda bounds: call(*bounds), ranges))
    refuse_failure(failed)


def refuse_failure(failed: int) -> None:
    """Raise MemoryError where a call of the engine returned 1."""
    if failed:
        raise MemoryError("the CPU engine could not allocate the memory that a fleet's windows and gradients need")


@cache
def _threads(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="fleet")
