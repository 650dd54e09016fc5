"""Choose what a decoder reads before each segment of the horizon: its own median of the last one, or actual values.

Both are differences from the reference in the unit of the loss. Only training uses actual values. Teacher forcing
(Williams & Zipser 1989) always feeds them. Scheduled sampling (Bengio, Vinyals, Jaitly & Shazeer 2015) decides per
window and segment at random, with a probability that falls linearly from 1 to 0.
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
    """Inputs of the decoders of one batch; without `truth_SBKL` always their own medians."""

    truth_SBKL: Tensor | None
    is_known_SBKL: Tensor | None
    uses_truth_SBK: Tensor | None
    median: int

    def after(self, segment: int, outputs_SBLQ: Tensor) -> Tensor:
        """Choose what the decoder reads after a segment.

        Args:
            segment: Index of the segment.
            outputs_SBLQ: The decoder's quantiles of the segment.

        Returns:
            The next input, (S, B, L).
        """
        median_SBL = outputs_SBLQ[..., self.median]
        if self.truth_SBKL is None or self.is_known_SBKL is None:
            return median_SBL
        is_true_SBL = self.is_known_SBKL[:, :, segment]
        if self.uses_truth_SBK is not None:
            is_true_SBL = is_true_SBL & self.uses_truth_SBK[:, :, segment, None]
        return median_SBL.where(~is_true_SBL, self.truth_SBKL[:, :, segment])


def feed(
    decoder: Literal["free", "scheduled", "forced"],
    windows: WindowBatch,
    reference_SBF: Tensor,
    dimensions: Dimensions,
    noise: Noise | None,
) -> Feeding:
    """Prepare the inputs of the decoders of a batch.

    Args:
        decoder: "free" feeds medians, "forced" actual values, "scheduled" a mixture of both.
        windows: The batch of windows.
        reference_SBF: The mixed reference, in the unit of the loss.
        dimensions: The sizes of the network.
        noise: Random draws of training; None in validation and prediction, where medians are fed.

    Returns:
        The inputs.
    """
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


def segment_outputs(state_SBD: Tensor, weights: Weights, dimensions: Dimensions) -> Tensor:
    """Return the head's quantiles of a segment, (S, B, L, Q), from a state."""
    outputs_SBP = weights["bias_head_1O"].baddbmm(state_SBD, weights["head_HO"])
    return outputs_SBP.view(*outputs_SBP.shape[:2], dimensions.segment_length, dimensions.num_quantiles)


def segment_starts(windows: WindowBatch, dimensions: Dimensions) -> Tensor:
    """Return the calendar at the first point of each segment of the horizon, (S, B, K, C)."""
    assert windows.future_SBFC is not None, "a decoder reads the calendar of the horizon"
    return windows.future_SBFC[:, :, :: dimensions.segment_length]


def newest_change(windows: WindowBatch, dimensions: Dimensions) -> Tensor:
    """Return the seasonal change of the context's last segment, (S, B, L), which a decoder reads first."""
    length = dimensions.segment_length
    return windows.x_SBTI[:, :, -1, length : 2 * length]
