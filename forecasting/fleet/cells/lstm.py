"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000), as in torch.nn.LSTM."""

# S series (one network each) · B windows · I inputs · H hidden · G = 4H gates, in torch's order i, f, g, o

import torch
from torch import Tensor

from forecasting.fleet.cells.cell import Weights


class Lstm:
    """`bias_input_1G` is the sum of torch's two biases, which only ever occur added."""

    name = "lstm"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        num_gates = 4 * hidden_size
        return {
            "input_IG": (num_inputs, num_gates),
            "bias_input_1G": (1, num_gates),
            "hidden_HG": (hidden_size, num_gates),
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(like_SBH), torch.zeros_like(like_SBH)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance every series' own LSTM by one step: (h_SBH, c_SBH) to the next."""
        h_SBH, c_SBH = state
        i, f, g, o = torch.baddbmm(input_SBG, h_SBH, weights["hidden_HG"]).chunk(4, dim=-1)
        c_SBH = torch.sigmoid(f) * c_SBH + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c_SBH), c_SBH
