"""Gated recurrent unit (Cho et al. 2014), reset after the matrix product, as in torch.nn.GRU."""

# S series (one network each) · B windows · I inputs · H hidden · G = 3H gates, in torch's order r, z, n

import torch
from torch import Tensor

from forecasting.fleet.cells.cell import Weights


class Gru:
    name = "gru"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        num_gates = 3 * hidden_size
        return {
            "input_IG": (num_inputs, num_gates),
            "bias_input_1G": (1, num_gates),
            "hidden_HG": (hidden_size, num_gates),
            "bias_hidden_1G": (1, num_gates),
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(like_SBH),)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance every series' own GRU by one step: (h_SBH,) to the next."""
        (h_SBH,) = state
        hidden_SBG = torch.baddbmm(weights["bias_hidden_1G"], h_SBH, weights["hidden_HG"])
        in_r, in_z, in_n = input_SBG.chunk(3, dim=-1)
        hid_r, hid_z, hid_n = hidden_SBG.chunk(3, dim=-1)
        reset, keep = torch.sigmoid(in_r + hid_r), torch.sigmoid(in_z + hid_z)
        proposal = torch.tanh(in_n + reset * hid_n)
        return (torch.lerp(proposal, h_SBH, keep),)
