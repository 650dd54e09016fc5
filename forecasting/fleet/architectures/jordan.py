"""Simple recurrent network with feedback from its output (Jordan 1986), over the context and the horizon.

    h_t = f(W x_t + U o_{t-1} + b)        o_t = V h_t + c

An output forecasts the next segment: over the context its seasonal change, over the horizon its difference from the
reference. The median is fed back. Beyond the context an input consists of the calendar only. With `decoder = "forced"`
actual values replace the fed-back median over the context, and in training over the horizon too.
"""

# S series (one network each) · B windows · T steps · I inputs · H hidden · K segments of the horizon
# L points of a segment · C calendar features · Q quantiles · P = L Q · O = F Q

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.architectures.feeding import feed, segment_outputs, segment_starts
from forecasting.fleet.architectures.wiring import Dimensions, SegmentBySegment
from forecasting.fleet.cells import Shapes, Weights
from forecasting.spec.training import Design

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.kernels import Kernel
    from forecasting.fleet.windows import WindowBatch


@dataclass(frozen=True)
class Jordan(SegmentBySegment):
    """A Jordan network."""

    design: Design

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        """Return the shapes of all parameters."""
        hidden, num_outputs = dimensions.hidden_size, dimensions.segment_length * dimensions.num_quantiles
        return {
            "input_IH": (dimensions.num_inputs, hidden),
            "bias_input_1H": (1, hidden),
            "feedback_LH": (dimensions.segment_length, hidden),
            "head_HO": (hidden, num_outputs),
            "bias_head_1O": (1, num_outputs),
        }

    def count_kept(self, dimensions: Dimensions) -> int:
        """Return the number of values per window that the gradient needs."""
        num_outputs = dimensions.segment_length * dimensions.num_quantiles
        num_steps = dimensions.num_steps + dimensions.num_segments
        return num_steps * (3 * dimensions.hidden_size + 2 * num_outputs)

    def count_launched(self, dimensions: Dimensions) -> int:
        """Return the number of consecutive steps."""
        return dimensions.num_steps + dimensions.num_segments

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

        num_steps, length, num_calendar = dimensions.num_steps, dimensions.segment_length, dimensions.num_calendar
        is_forced = self.design.decoder == "forced"
        of_future = weights["input_IH"][:, dimensions.num_inputs - num_calendar :]
        bias_S1H = weights["bias_input_1H"]
        context_SBTH = bias_S1H.baddbmm(windows.x_SBTI.flatten(1, 2), weights["input_IH"])
        context_SBTH = context_SBTH.view(*windows.x_SBTI.shape[:3], -1)
        # The last step of the context forecasts the first segment of the horizon. The last segment is never an input.
        ahead_SBKC = segment_starts(windows, dimensions)[:, :, : dimensions.num_segments - 1]
        ahead_SBKH = bias_S1H.baddbmm(ahead_SBKC.flatten(1, 2), of_future)
        ahead_SBKH = ahead_SBKH.view(*ahead_SBKC.shape[:3], dimensions.hidden_size)
        feeding = feed(self.design.decoder, windows, reference_SBF, dimensions, noise)
        fed_SBL = windows.x_SBTI.new_zeros(*windows.x_SBTI.shape[:2], length)
        outputs = []
        for step, sum_SBH in enumerate([*context_SBTH.unbind(2), *ahead_SBKH.unbind(2)]):
            if is_forced and step < num_steps:
                fed_SBL = windows.x_SBTI[:, :, step, length : 2 * length]
            h_SBH = sum_SBH.baddbmm(fed_SBL, weights["feedback_LH"])
            h_SBH = h_SBH.relu() if self.design.activation == "relu" else h_SBH.tanh()
            outputs_SBLQ = segment_outputs(h_SBH, weights, dimensions)
            if step >= num_steps - 1:
                outputs.append(outputs_SBLQ)
                fed_SBL = feeding.after(step - num_steps + 1, outputs_SBLQ)
            else:
                fed_SBL = outputs_SBLQ[..., dimensions.median]
        return torch.cat(outputs, dim=2)[:, :, : dimensions.horizon].flatten(2)
