"""Window-based feed-forward network, which reads a whole window at once: the baseline for recurrent networks.

    a_1 = ReLU(W_1 x + b_1),  a_k = ReLU(W_k a_{k-1} + b_k),  out = V a_K + c

A multilayer perceptron over a sliding window of fixed length (Lapedes & Farber 1987; Zhang, Patuwo & Hu 1998).
"""

# S series (one network each) · B windows · T steps · I inputs · J = T I · H hidden · O outputs

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.architectures.norm import norm_shapes, normalise, settle_norm
from forecasting.fleet.architectures.wiring import Dimensions, Wiring
from forecasting.fleet.cells import Shapes, Weights
from forecasting.spec.training import Design

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.kernels import Kernel
    from forecasting.fleet.windows import WindowBatch


@dataclass(frozen=True)
class WindowMlp(Wiring):
    """A multilayer perceptron over a window."""

    design: Design

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        """Return the shapes of all parameters."""
        hidden, num_inputs = dimensions.hidden_size, dimensions.num_steps * dimensions.num_inputs
        shapes: Shapes = {"input_JH": (num_inputs, hidden), "bias_input_1H": (1, hidden)}
        for layer in range(1, self.design.layers):
            shapes |= {f"layer{layer}_HH": (hidden, hidden), f"layer{layer}_bias_1H": (1, hidden)}
        if self.design.layer_norm:
            for layer in range(self.design.layers):
                shapes |= norm_shapes(f"layer{layer}_", hidden)
        return shapes | {
            "head_HO": (hidden, dimensions.num_outputs),
            "bias_head_1O": (1, dimensions.num_outputs),
        }

    def count_kept(self, dimensions: Dimensions) -> int:
        """Return the number of values per window that the gradient needs."""
        return dimensions.num_steps * dimensions.num_inputs + 3 * self.design.layers * dimensions.hidden_size

    def count_launched(self, dimensions: Dimensions) -> int:
        """Return the number of consecutive steps."""
        return self.design.layers

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
        sum_SBH = weights["bias_input_1H"].baddbmm(windows.x_SBTI.flatten(2), weights["input_JH"])
        a_SBH = self._activate(0, sum_SBH, weights)
        for layer in range(1, self.design.layers):
            if noise is not None and self.design.dropout:
                dropped = noise.drop(a_SBH.unsqueeze(2), share=self.design.dropout, purpose=f"layer {layer}")
                a_SBH = dropped.squeeze(2)
            sum_SBH = weights[f"layer{layer}_bias_1H"].baddbmm(a_SBH, weights[f"layer{layer}_HH"])
            above_SBH = self._activate(layer, sum_SBH, weights)
            a_SBH = a_SBH + above_SBH if self.design.residual else above_SBH
        return weights["bias_head_1O"].baddbmm(a_SBH, weights["head_HO"])

    def _activate(self, layer: int, sum_SBH: Tensor, weights: Weights) -> Tensor:
        a_SBH = sum_SBH.relu()
        return normalise(a_SBH, weights, f"layer{layer}_") if self.design.layer_norm else a_SBH

    def draw_bound(self, name: str, shape: tuple[int, ...], *, hidden_size: int) -> float:
        """Return 1/√fan-in as in torch.nn.Linear, and 1/√H for a bias, whose shape does not show its fan-in."""
        return 1 / math.sqrt(shape[0] if shape[0] > 1 else hidden_size)

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Overwrite the drawn initial values of some parameters, in place."""
        if self.design.layer_norm:
            for layer in range(self.design.layers):
                settle_norm(weights, f"layer{layer}_")
