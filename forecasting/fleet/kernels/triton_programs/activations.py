"""Sigmoid and tanh for Triton programs, built from Triton's builtins only.

`tl.sigmoid` is a compiled program. Interpreted programs cannot call it if Triton was imported without its interpreter.
These functions are interpreted or compiled together with the programs that import them.
"""

import triton
import triton.language as tl


@triton.jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    """Return 1 / (1 + e⁻ˣ)."""
    return 1 / (1 + tl.exp(-x))


@triton.jit
def tanh(x: tl.tensor) -> tl.tensor:
    """Return tanh within 2e-7: the subtraction rounds relative to 1 and not to x."""
    return 2 / (1 + tl.exp(-2 * x)) - 1
