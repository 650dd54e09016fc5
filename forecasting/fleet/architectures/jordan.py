"""Simple recurrent network whose output is fed back (Jordan 1986), over the context and on over the horizon.

    h_t = f(W x_t + U o_{t-1} + b)        o_t = V h_t + c

An output tells the next segment: over the context as its change since a season ago, over the horizon as its difference
from the reference; what is fed back of it is its median. Beyond the context an input knows the calendar alone. With
`decoder = "forced"` the context feeds back what was instead of what was said, and so does the horizon while training.
"""

# S series (one network each) · B windows · T steps · I inputs · H hidden · K segments of the horizon
# L points of a segment · C calendar features · Q quantiles · P = L Q · O = F Q

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.architectures.feeding import feed, segment_starts, tell_segment
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
    design: Design

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        hidden, num_said = dimensions.hidden_size, dimensions.segment_length * dimensions.num_quantiles
        return {
            "input_IH": (dimensions.num_inputs, hidden),
            "bias_input_1H": (1, hidden),
            "feedback_LH": (dimensions.segment_length, hidden),
            "head_HO": (hidden, num_said),
            "bias_head_1O": (1, num_said),
        }

    def count_kept(self, dimensions: Dimensions) -> int:
        num_said = dimensions.segment_length * dimensions.num_quantiles
        num_steps = dimensions.num_steps + dimensions.num_segments
        return num_steps * (3 * dimensions.hidden_size + 2 * num_said)

    def count_launched(self, dimensions: Dimensions) -> int:
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
        import torch

        num_steps, length, num_calendar = dimensions.num_steps, dimensions.segment_length, dimensions.num_calendar
        is_forced = self.design.decoder == "forced"
        of_future = weights["input_IH"][:, dimensions.num_inputs - num_calendar :]
        bias_S1H = weights["bias_input_1H"]
        context_SBTH = bias_S1H.baddbmm(windows.x_SBTI.flatten(1, 2), weights["input_IH"])
        context_SBTH = context_SBTH.view(*windows.x_SBTI.shape[:3], -1)
        # The last step of the context tells the horizon's first segment, so that the last of that is never an input.
        ahead_SBKC = segment_starts(windows, dimensions)[:, :, : dimensions.num_segments - 1]
        ahead_SBKH = bias_S1H.baddbmm(ahead_SBKC.flatten(1, 2), of_future)
        ahead_SBKH = ahead_SBKH.view(*ahead_SBKC.shape[:3], dimensions.hidden_size)
        feeding = feed(self.design.decoder, windows, reference_SBF, dimensions, noise)
        fed_SBL = windows.x_SBTI.new_zeros(*windows.x_SBTI.shape[:2], length)
        said = []
        for step, sum_SBH in enumerate([*context_SBTH.unbind(2), *ahead_SBKH.unbind(2)]):
            if is_forced and step < num_steps:
                fed_SBL = windows.x_SBTI[:, :, step, length : 2 * length]
            h_SBH = sum_SBH.baddbmm(fed_SBL, weights["feedback_LH"])
            h_SBH = h_SBH.relu() if self.design.activation == "relu" else h_SBH.tanh()
            said_SBLQ = tell_segment(h_SBH, weights, dimensions)
            if step >= num_steps - 1:
                said.append(said_SBLQ)
                fed_SBL = feeding.after(step - num_steps + 1, said_SBLQ)
            else:
                fed_SBL = said_SBLQ[..., dimensions.median]
        return torch.cat(said, dim=2)[:, :, : dimensions.horizon].flatten(2)
