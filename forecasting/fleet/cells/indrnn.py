"""Independently recurrent network (Li, Li, Cook, Zhu & Gao 2018): each unit is connected to itself only.

    h_t = ReLU(W x_t + u ⊙ h_{t-1} + b),  |u| ≤ 2^(1/T)

Only the layer above combines units, so a network needs at least two layers. While |u| is within its bound, a gradient
at most doubles over T steps.
"""

# S series (one network each) · B windows · I inputs · H hidden · G = H

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.cells.cell import Cell, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

MOST_GROWTH = 2.0
"""Largest growth of a gradient over all steps; γ in the paper, which uses 2 for every length."""


@dataclass(frozen=True)
class IndRnn(Cell):
    """An IndRNN cell."""

    num_gates = 1
    name = "indrnn"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        """Return the shapes of all parameters."""
        return {
            "input_IG": (num_inputs, hidden_size),
            "bias_input_1G": (1, hidden_size),
            "recurrent_1H": (1, hidden_size),
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        """Return a hidden state of zeros."""
        return (like_SBH.new_zeros(like_SBH.shape),)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance (h_SBH,) of every series' own network by one step."""
        (h_SBH,) = state
        return ((input_SBG + weights["recurrent_1H"] * h_SBH).relu(),)

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Give the units of a series memories of all lengths.

        A unit's state decays to 1/e after 1 to T steps. The lengths are evenly spaced on a logarithmic scale and are
        assigned to units in the order of their drawn weights.

        Args:
            weights: Parameters by name.
            num_steps: Steps of a sequence, T.
        """
        u_S1H = weights["recurrent_1H"]
        share_S1H = (u_S1H.argsort(dim=-1).argsort(dim=-1) + 1) / u_S1H.shape[-1]
        u_S1H.copy_((-(num_steps**-share_S1H)).exp())

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Clip the recurrent weights to ±2^(1/T) for sequences of T steps."""
        most = MOST_GROWTH ** (1 / num_steps)
        weights["recurrent_1H"].clamp_(-most, most)
