"""Recurrent layers under a linear head: many-to-one over the context, one-to-many over the horizon.

The top layer's last state gives all of the horizon at once (direct multi-horizon forecast), so that no error of an
early step is fed into a later one. In both directions (Schuster & Paliwal 1997) it is the last state of each; nothing
after the origin is read.

With `head = "every_step"` training is many-to-many: each state of a window tells the horizon that follows it (dense
supervision), and the last one alone is asked where networks are judged or serve.
"""

# S series (one network each) · B windows · D top layer's outputs · O outputs

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.architectures.layers import Layers
from forecasting.fleet.architectures.wiring import Dimensions, Wiring
from forecasting.fleet.cells import Cell, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.kernels import Kernel
    from forecasting.fleet.windows import WindowBatch


@dataclass(frozen=True)
class Recurrent(Wiring):
    layers: Layers

    @property
    def cell(self) -> Cell | None:
        """Return the cell that a kernel runs; none of a stream, whose states kernels do not give away."""
        return None if self.is_stream else self.layers.cell

    @property
    def is_plain(self) -> bool:
        return self.layers.is_plain and not self.is_dense

    @property
    def is_dense(self) -> bool:
        return self.is_stream or self.layers.design.head == "every_step"

    @property
    def is_stream(self) -> bool:
        return self.layers.design.stream

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        layers = self.layers.parameter_shapes(num_inputs=dimensions.num_inputs, hidden_size=dimensions.hidden_size)
        width = self.layers.num_directions * dimensions.hidden_size
        return layers | {
            "head_HO": (width, dimensions.num_outputs),
            "bias_head_1O": (1, dimensions.num_outputs),
        }

    def count_kept(self, dimensions: Dimensions) -> int:
        return self.layers.count_kept(
            num_inputs=dimensions.num_inputs,
            num_steps=dimensions.num_steps,
            hidden_size=dimensions.hidden_size,
        )

    def count_launched(self, dimensions: Dimensions) -> int:
        return self.layers.num_sequences * dimensions.num_steps

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
        num_asked = reference_SBF.shape[1]
        only_last = num_asked == windows.x_SBTI.shape[1] and not (self.is_dense and noise is not None)
        states = self.layers.run(windows.x_SBTI, weights, kernel=kernel, noise=noise, only_last=only_last)
        return self.tell(states if only_last else states.flatten(1, 2), weights)

    def tell(self, states_SBD: Tensor, weights: Weights) -> Tensor:
        """Return what states say of the horizon, (S, B, O)."""
        return weights["bias_head_1O"].baddbmm(states_SBD, weights["head_HO"])

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        self.layers.settle(weights, num_steps=num_steps)

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        self.layers.bound(weights, num_steps=num_steps)
