"""Gated recurrent unit (Cho et al. 2014): the state is reset after the product with its weights, as in torch.nn.GRU.

Or before it, as the paper has it; there the candidate's product waits for the reset gate.
"""

# S series (one network each) · B windows · I inputs · H hidden · G = 3H gates, in torch's order r, z, n

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.cells.cell import Cell, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Gru(Cell):
    """Reset after the product, the state's part of the candidate has a bias of its own, which the reset scales."""

    resets_before: bool = False

    num_gates = 3

    @property
    def name(self) -> str:  # type: ignore[override]
        return "gru reset before" if self.resets_before else "gru"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        num_gates = 3 * hidden_size
        own_bias = {} if self.resets_before else {"bias_hidden_1G": (1, num_gates)}
        return {
            "input_IG": (num_inputs, num_gates),
            "bias_input_1G": (1, num_gates),
            "hidden_HG": (hidden_size, num_gates),
            **own_bias,
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        return (like_SBH.new_zeros(like_SBH.shape),)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance every series' own GRU by one step: (h_SBH,) to the next."""
        (h_SBH,) = state
        hidden_size = h_SBH.shape[-1]
        in_r, in_z, in_n = input_SBG.chunk(3, dim=-1)
        if self.resets_before:
            of_gates, of_n = weights["hidden_HG"].split((2 * hidden_size, hidden_size), dim=-1)
            hid_r, hid_z = (h_SBH @ of_gates).chunk(2, dim=-1)
            reset, keep = (in_r + hid_r).sigmoid(), (in_z + hid_z).sigmoid()
            proposal = in_n.baddbmm(reset * h_SBH, of_n).tanh()
        else:
            hid_r, hid_z, hid_n = weights["bias_hidden_1G"].baddbmm(h_SBH, weights["hidden_HG"]).chunk(3, dim=-1)
            reset, keep = (in_r + hid_r).sigmoid(), (in_z + hid_z).sigmoid()
            proposal = (in_n + reset * hid_n).tanh()
        return (proposal.lerp(h_SBH, keep),)
