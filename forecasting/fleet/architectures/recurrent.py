"""Recurrent layers under a linear head: many-to-one over the context, one-to-many over the horizon.

The head forecasts the whole horizon from the top layer's last state (direct multi-horizon forecast), so that errors of
early steps do not propagate to later ones. A bidirectional network (Schuster & Paliwal 1997) uses the last state of
each direction; it reads nothing after the origin.

With `head = "every_step"` training is many-to-many: each state of a window forecasts the horizon after it (dense
supervision). Validation and prediction use the last state only.
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
    """Recurrent layers and a linear head."""

    layers: Layers

    @property
    def cell(self) -> Cell | None:
        """The cell that a kernel runs; None for a stream, because kernels do not return states."""
        return None if self.is_stream else self.layers.cell

    @property
    def is_plain(self) -> bool:
        """Whether the network is one layer without options whose last state forecasts the horizon."""
        return self.layers.is_plain and not self.is_dense

    @property
    def is_dense(self) -> bool:
        """Whether the loss covers every step of a window."""
        return self.is_stream or self.layers.design.head == "every_step"

    @property
    def is_stream(self) -> bool:
        """Whether the network reads a series as one stream."""
        return self.layers.design.stream

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        """Return the shapes of all parameters."""
        layers = self.layers.parameter_shapes(num_inputs=dimensions.num_inputs, hidden_size=dimensions.hidden_size)
        width = self.layers.num_directions * dimensions.hidden_size
        return layers | {
            "head_HO": (width, dimensions.num_outputs),
            "bias_head_1O": (1, dimensions.num_outputs),
        }

    def count_kept(self, dimensions: Dimensions) -> int:
        """Return the number of values per window that the gradient needs."""
        return self.layers.count_kept(
            num_inputs=dimensions.num_inputs,
            num_steps=dimensions.num_steps,
            hidden_size=dimensions.hidden_size,
        )

    def count_launched(self, dimensions: Dimensions) -> int:
        """Return the number of consecutive steps."""
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
        """Return the difference of all quantiles from the reference, (S, B, O), in the unit of the loss."""
        num_forecasts = reference_SBF.shape[1]
        only_last = num_forecasts == windows.x_SBTI.shape[1] and not (self.is_dense and noise is not None)
        states = self.layers.run(windows.x_SBTI, weights, kernel=kernel, noise=noise, only_last=only_last)
        return self.apply_head(states if only_last else states.flatten(1, 2), weights)

    def apply_head(self, states_SBD: Tensor, weights: Weights) -> Tensor:
        """Return the outputs of the head for given states, (S, B, O)."""
        return weights["bias_head_1O"].baddbmm(states_SBD, weights["head_HO"])

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Overwrite the drawn initial values of some parameters, in place."""
        self.layers.settle(weights, num_steps=num_steps)

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Clip bounded parameters, in place; windows have `num_steps` steps."""
        self.layers.bound(weights, num_steps=num_steps)
