"""Recurrent layers that tell the next segment alone and are rolled on over the horizon: many-to-one, again and again.

What was said of a segment, its median, is read as if it had been seen, and so the next one follows: errors of early
segments travel on, and a network needs few outputs. While it trains it may be fed what was (`feeding`).
"""

# S series (one network each) · B windows · H hidden · K segments of the horizon · L points of a segment
# C calendar features · Q quantiles · O = F Q

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.architectures.feeding import feed, tell_segment
from forecasting.fleet.architectures.layers import Layers
from forecasting.fleet.architectures.wiring import Dimensions, SegmentBySegment
from forecasting.fleet.cells import Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.kernels import Kernel
    from forecasting.fleet.windows import WindowBatch


@dataclass(frozen=True)
class Rollout(SegmentBySegment):
    layers: Layers

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        num_said = dimensions.segment_length * dimensions.num_quantiles
        layers = self.layers.parameter_shapes(num_inputs=dimensions.num_inputs, hidden_size=dimensions.hidden_size)
        return layers | {"head_HO": (dimensions.hidden_size, num_said), "bias_head_1O": (1, num_said)}

    def count_kept(self, dimensions: Dimensions) -> int:
        num_steps = dimensions.num_steps + dimensions.num_segments
        return self.layers.count_kept(
            num_inputs=dimensions.num_inputs, num_steps=num_steps, hidden_size=dimensions.hidden_size
        )

    def count_launched(self, dimensions: Dimensions) -> int:
        return self.layers.num_sequences * (dimensions.num_steps + dimensions.num_segments)

    def run(
        self,
        windows: WindowBatch,
        reference_SBF: Tensor,
        weights: Weights,
        dimensions: Dimensions,
        *,
        kernel: Kernel,
        noise: Noise | None,
    ) -> Tensor:
        import torch

        feeding = feed(self.layers.design.decoder, windows, reference_SBF, dimensions, noise)
        states_SBTH, states = self.layers.advance(windows.x_SBTI, weights, None, noise=noise)
        said = []
        for segment in range(dimensions.num_segments):
            last_SBH = states_SBTH[:, :, -1]
            said_SBLQ = tell_segment(last_SBH, weights, dimensions)
            said.append(said_SBLQ)
            if segment + 1 < dimensions.num_segments:
                fed_SBL = feeding.after(segment, said_SBLQ)
                input_SB1I = self._as_seen(segment, fed_SBL, windows, reference_SBF, dimensions)
                states_SBTH, states = self.layers.advance(input_SB1I, weights, states, noise=noise)
        return torch.cat(said, dim=2)[:, :, : dimensions.horizon].flatten(2)

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        self.layers.settle(weights, num_steps=num_steps)

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        self.layers.bound(weights, num_steps=num_steps)

    def _as_seen(
        self, segment: int, fed_SBL: Tensor, windows: WindowBatch, reference_SBF: Tensor, dimensions: Dimensions
    ) -> Tensor:
        """Return a segment of the horizon as an input like those of the context, (S, B, 1, I)."""
        import torch

        assert windows.future_SBFC is not None, "the calendar of the horizon is read"
        assert windows.level_SB1 is not None, "points are relative to a level"
        assert windows.unit_S11 is not None, "points have a unit of their own"
        length = dimensions.segment_length
        here = slice(segment * length, (segment + 1) * length)
        y_SBL = reference_SBF[:, :, here] + fed_SBL
        change_SBL = y_SBL - windows.reference_SBFM[:, :, here, 0]
        relative_SBL = y_SBL / windows.unit_S11 - windows.level_SB1
        calendar_SBC = windows.future_SBFC[:, :, (segment + 1) * length - 1]
        is_seen_SB1 = torch.ones_like(relative_SBL[..., :1])
        return torch.cat([relative_SBL, change_SBL, is_seen_SB1, calendar_SBC], dim=-1).unsqueeze(2)
