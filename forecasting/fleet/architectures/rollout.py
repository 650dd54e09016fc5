"""Recurrent layers that forecast one segment and are applied recursively over the horizon (recursive forecast).

The network reads the median of a segment like an observed segment and forecasts the next one. It needs few outputs, but
errors of early segments propagate. In training it may read actual values instead (`feeding`).
"""

# S series (one network each) · B windows · H hidden · K segments of the horizon · L points of a segment
# C calendar features · Q quantiles · O = F Q

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.architectures.feeding import feed, segment_outputs
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
    """Recurrent layers with a head for one segment."""

    layers: Layers

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        """Return the shapes of all parameters."""
        num_outputs = dimensions.segment_length * dimensions.num_quantiles
        layers = self.layers.parameter_shapes(num_inputs=dimensions.num_inputs, hidden_size=dimensions.hidden_size)
        return layers | {"head_HO": (dimensions.hidden_size, num_outputs), "bias_head_1O": (1, num_outputs)}

    def count_kept(self, dimensions: Dimensions) -> int:
        """Return the number of values per window that the gradient needs."""
        num_steps = dimensions.num_steps + dimensions.num_segments
        return self.layers.count_kept(
            num_inputs=dimensions.num_inputs, num_steps=num_steps, hidden_size=dimensions.hidden_size
        )

    def count_launched(self, dimensions: Dimensions) -> int:
        """Return the number of consecutive steps."""
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
        """Return the difference of all quantiles from the reference, (S, B, O), in the unit of the loss."""
        import torch

        feeding = feed(self.layers.design.decoder, windows, reference_SBF, dimensions, noise)
        states_SBTH, states = self.layers.advance(windows.x_SBTI, weights, None, noise=noise)
        outputs = []
        for segment in range(dimensions.num_segments):
            last_SBH = states_SBTH[:, :, -1]
            outputs_SBLQ = segment_outputs(last_SBH, weights, dimensions)
            outputs.append(outputs_SBLQ)
            if segment + 1 < dimensions.num_segments:
                fed_SBL = feeding.after(segment, outputs_SBLQ)
                input_SB1I = self._as_input(segment, fed_SBL, windows, reference_SBF, dimensions)
                states_SBTH, states = self.layers.advance(input_SB1I, weights, states, noise=noise)
        return torch.cat(outputs, dim=2)[:, :, : dimensions.horizon].flatten(2)

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Overwrite the drawn initial values of some parameters, in place."""
        self.layers.settle(weights, num_steps=num_steps)

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Clip bounded parameters, in place; windows have `num_steps` steps."""
        self.layers.bound(weights, num_steps=num_steps)

    def _as_input(
        self, segment: int, fed_SBL: Tensor, windows: WindowBatch, reference_SBF: Tensor, dimensions: Dimensions
    ) -> Tensor:
        """Return a segment of the horizon in the form of the context's inputs, (S, B, 1, I)."""
        import torch

        assert windows.future_SBFC is not None, "a rollout reads the calendar of the horizon"
        assert windows.level_SB1 is not None, "a rollout reads the level of its windows"
        assert windows.unit_S11 is not None, "a rollout reads the unit of its series"
        length = dimensions.segment_length
        here = slice(segment * length, (segment + 1) * length)
        y_SBL = reference_SBF[:, :, here] + fed_SBL
        change_SBL = y_SBL - windows.reference_SBFM[:, :, here, 0]
        if windows.is_known_SBFM is not None:
            change_SBL = change_SBL.where(windows.is_known_SBFM[:, :, here, 0], change_SBL.new_zeros(()))
        relative_SBL = y_SBL / windows.unit_S11 - windows.level_SB1
        calendar_SBC = windows.future_SBFC[:, :, (segment + 1) * length - 1]
        is_seen_SB1 = torch.ones_like(relative_SBL[..., :1])
        return torch.cat([relative_SBL, change_SBL, is_seen_SB1, calendar_SBC], dim=-1).unsqueeze(2)
