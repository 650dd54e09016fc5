"""Gated recurrent unit (Cho et al. 2014).

The reset gate is applied after the product of the state with its weights, as in torch.nn.GRU. A variant applies it
before the product, as in the paper; its candidate can be computed only after the reset gate.
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
    """A GRU. With the reset after the product, it also scales `bias_hidden_1G`, the bias of the state's part."""

    resets_before: bool = False

    num_gates = 3

    @property
    def name(self) -> str:  # type: ignore[override]
        """Identifies the recurrence to kernels."""
        return "gru reset before" if self.resets_before else "gru"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        """Return the shapes of all parameters."""
        num_gates = 3 * hidden_size
        own_bias = {} if self.resets_before else {"bias_hidden_1G": (1, num_gates)}
        return {
            "input_IG": (num_inputs, num_gates),
            "bias_input_1G": (1, num_gates),
            "hidden_HG": (hidden_size, num_gates),
            **own_bias,
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        """Return a hidden state of zeros."""
        return (like_SBH.new_zeros(like_SBH.shape),)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance (h_SBH,) of every series' own network by one step."""
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
