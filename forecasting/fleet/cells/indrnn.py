"""Independently recurrent network (Li, Li, Cook, Zhu & Gao 2018): a unit's only memory is itself, through ReLU.

    h_t = ReLU(W x_t + u ⊙ h_{t-1} + b),  |u| ≤ 2^(1/T)

Units meet in the layer above, so that it wants more than one. Over T steps a recurrent weight within its bound lets a
gradient grow to no more than twice.
"""

# S series (one network each) · B windows · I inputs · H hidden · G = H

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.cells.cell import Cell, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

MOST_GROWTH = 2.0
"""How much a gradient may grow over all steps; γ in the paper, which takes 2 for sequences of any length."""


@dataclass(frozen=True)
class IndRnn(Cell):
    num_gates = 1
    name = "indrnn"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        return {
            "input_IG": (num_inputs, hidden_size),
            "bias_input_1G": (1, hidden_size),
            "recurrent_1H": (1, hidden_size),
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        return (like_SBH.new_zeros(like_SBH.shape),)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance every series' own network by one step: (h_SBH,) to the next."""
        (h_SBH,) = state
        return ((input_SBG + weights["recurrent_1H"] * h_SBH).relu(),)

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Give a series' units memories of all lengths: 1/e of what a unit held is left after 1 to T steps.

        Lengths are spread evenly over their logarithms, and dealt to units in the order of what was drawn.
        """
        u_S1H = weights["recurrent_1H"]
        share_S1H = (u_S1H.argsort(dim=-1).argsort(dim=-1) + 1) / u_S1H.shape[-1]
        u_S1H.copy_((-(num_steps**-share_S1H)).exp())

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        most = MOST_GROWTH ** (1 / num_steps)
        weights["recurrent_1H"].clamp_(-most, most)
