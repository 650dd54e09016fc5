"""Sigmoid and tanh inside Triton programs, out of builtins alone.

Triton's own `tl.sigmoid` is itself a compiled program and cannot be called from interpreted ones once triton has been
imported without its interpreter; these are defined anew wherever their module is.
"""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """Stay within 2e-7 of tanh: the subtraction rounds at the size of 1, not of x."""
    return 2 / (1 + tl.exp(-2 * x)) - 1
