"""Layer normalisation (Ba, Kiros & Hinton 2016) as in torch.nn.LayerNorm, with a gain and a bias per series."""

# S series · D units of a layer

from __future__ import annotations

from typing import TYPE_CHECKING

from forecasting.fleet.cells import Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

EPSILON = 1e-5
"""Added to the variance, as in torch; it prevents division by zero if all outputs are equal."""


def norm_shapes(prefix: str, width: int) -> Shapes:
    """Return the shapes of gain and bias for a layer of some width."""
    return {f"{prefix}norm_gain_1D": (1, width), f"{prefix}norm_bias_1D": (1, width)}


def normalise(x: Tensor, weights: Weights, prefix: str) -> Tensor:
    """Normalise the last axis of (S, B, T, D) or (S, B, D)."""
    per_series = (len(x), *(1,) * (x.dim() - 2), -1)
    gain, bias = (weights[f"{prefix}norm_{name}_1D"].view(per_series) for name in ("gain", "bias"))
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + EPSILON).sqrt()
    return centred / spread * gain + bias


def settle_norm(weights: Weights, prefix: str) -> None:
    """Set the gain of a layer to 1 and its bias to 0, in place."""
    weights[f"{prefix}norm_gain_1D"].fill_(1.0)
    weights[f"{prefix}norm_bias_1D"].zero_()
