"""The limit's side: products of two large single-precision matrices by one BLAS, repeated for a given time.

The thread counts of OpenBLAS and MKL come from the environment in which the worker started.
"""

import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZE = 2048
ROW_MAJOR, AS_IT_IS = 101, 111


def prepare(*, library: str, path: str | None, seconds: float) -> Callable[[], dict[str, Any]]:
    """Multiply once; return a function that repeats this for `seconds` and returns the rate in GFLOP/s."""
    multiply = {"openblas": _with_numpy, "torch": _with_torch, "mkl": _with_mkl}[library](path)
    multiply()

    def run() -> dict[str, Any]:
        began, num_products = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            multiply()
            num_products += 1
        return {"rate": 2e-9 * num_products * SIZE**3 / passed}

    return run


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    first, second = (random.random((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    return first, second, np.zeros_like(first)


def _with_numpy(path: str | None) -> Callable[[], Any]:
    first, second, result = _matrices()
    return lambda: np.matmul(first, second, out=result)


def _with_torch(path: str | None) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(1)
    first, second, result = map(torch.from_numpy, _matrices())
    return lambda: torch.mm(first, second, out=result)


def _with_mkl(path: str | None) -> Callable[[], Any]:
    assert path is not None
    library, (first, second, result) = ctypes.CDLL(path), _matrices()
    one, zero, size = ctypes.c_float(1), ctypes.c_float(0), ctypes.c_int(SIZE)
    a, b, c = (matrix.ctypes.data_as(ctypes.c_void_p) for matrix in (first, second, result))

    def multiply() -> None:
        library.cblas_sgemm(ROW_MAJOR, AS_IT_IS, AS_IT_IS, size, size, size, one, a, size, b, size, zero, c, size)

    multiply()
    assert np.allclose(result[:2], first[:2] @ second, rtol=1e-4)
    return multiply
