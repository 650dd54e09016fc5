"""Simple recurrent network (Elman 1990) with tanh or ReLU, as in torch.nn.RNN."""

# S series (one network each) · B windows · I inputs · H hidden · G = H

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.cells.cell import Cell, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Elman(Cell):
    """An Elman cell. `bias_input_1G` is the sum of torch's two biases, which occur only as a sum."""

    rectifies: bool = False

    num_gates = 1

    @property
    def name(self) -> str:  # type: ignore[override]
        """Identifies the recurrence to kernels."""
        return "elman with ReLU" if self.rectifies else "elman"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        """Return the shapes of all parameters."""
        return {
            "input_IG": (num_inputs, hidden_size),
            "bias_input_1G": (1, hidden_size),
            "hidden_HG": (hidden_size, hidden_size),
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        """Return a hidden state of zeros."""
        return (like_SBH.new_zeros(like_SBH.shape),)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance (h_SBH,) of every series' own network by one step."""
        (h_SBH,) = state
        sum_SBH = input_SBG.baddbmm(h_SBH, weights["hidden_HG"])
        return (sum_SBH.relu() if self.rectifies else sum_SBH.tanh(),)
