"""What a decoder is fed at each segment of the horizon: what it said of the one before, or while training what was.

Both are medians, or actual values, as differences from the reference in the loss's units. Teacher forcing (Williams &
Zipser 1989) feeds what was; scheduled sampling (Bengio, Vinyals, Jaitly & Shazeer 2015) decides by a coin of each
window and segment, and what was comes less and less often, along a line from always to never.
"""

# S series · B windows · F horizon steps · K segments of the horizon · L points of a segment · Q quantiles

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from forecasting.fleet.cells import Weights

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.architectures.wiring import Dimensions
    from forecasting.fleet.windows import WindowBatch


@dataclass(frozen=True)
class Feeding:
    """What decoders of one batch are fed; without `noise`, when nothing is trained, always what they said."""

    truth_SBKL: Tensor | None
    is_known_SBKL: Tensor | None
    uses_truth_SBK: Tensor | None
    median: int

    def after(self, segment: int, said_SBLQ: Tensor) -> Tensor:
        """Return what follows a segment of which a decoder said so much, (S, B, L)."""
        said_SBL = said_SBLQ[..., self.median]
        if self.truth_SBKL is None or self.is_known_SBKL is None:
            return said_SBL
        is_true_SBL = self.is_known_SBKL[:, :, segment]
        if self.uses_truth_SBK is not None:
            is_true_SBL = is_true_SBL & self.uses_truth_SBK[:, :, segment, None]
        return said_SBL.where(~is_true_SBL, self.truth_SBKL[:, :, segment])


def feed(
    decoder: Literal["free", "scheduled", "forced"],
    windows: WindowBatch,
    reference_SBF: Tensor,
    dimensions: Dimensions,
    noise: Noise | None,
) -> Feeding:
    """Return what the decoders of a batch are fed."""
    if decoder == "free" or noise is None:
        return Feeding(None, None, None, dimensions.median)
    from torch.nn.functional import pad

    num_segments, length = dimensions.num_segments, dimensions.segment_length
    missing = num_segments * length - dimensions.horizon
    shape = (*reference_SBF.shape[:2], num_segments, length)
    truth_SBKL = pad(windows.target_SBF - reference_SBF, (0, missing)).view(shape)
    is_known_SBKL = pad(windows.is_observed_SBF, (0, missing)).view(shape) > 0
    uses_truth_SBK = (
        None if decoder == "forced" else noise.coins(reference_SBF.shape[1], num_segments, share=1 - noise.progress)
    )
    return Feeding(truth_SBKL, is_known_SBKL, uses_truth_SBK, dimensions.median)


def tell_segment(state_SBD: Tensor, weights: Weights, dimensions: Dimensions) -> Tensor:
    """Return what a state says of a segment, (S, B, L, Q)."""
    said_SBP = weights["bias_head_1O"].baddbmm(state_SBD, weights["head_HO"])
    return said_SBP.view(*said_SBP.shape[:2], dimensions.segment_length, dimensions.num_quantiles)


def segment_starts(windows: WindowBatch, dimensions: Dimensions) -> Tensor:
    """Return the calendar at the first point of each of the horizon's segments, (S, B, K, C)."""
    assert windows.future_SBFC is not None, "a decoder reads the calendar of the horizon"
    return windows.future_SBFC[:, :, :: dimensions.segment_length]


def newest_change(windows: WindowBatch, dimensions: Dimensions) -> Tensor:
    """Return the change of the context's last segment since a season ago, what a decoder is fed first, (S, B, L)."""
    length = dimensions.segment_length
    return windows.x_SBTI[:, :, -1, length : 2 * length]
