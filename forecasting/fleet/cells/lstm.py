"""Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000), as in torch.nn.LSTM.

With peepholes (Gers, Schraudolph & Schmidhuber 2002) each unit's gates read its cell state: i and f the one before the
step, o the one after it.
"""

# S series (one network each) · B windows · I inputs · H hidden · G = 4H gates, in torch's order i, f, g, o

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from forecasting.fleet.cells.cell import Cell, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Lstm(Cell):
    """An LSTM. `bias_input_1G` is the sum of torch's two biases, which occur only as a sum."""

    has_peepholes: bool = False
    forget_bias: float | None = None
    """Initial bias of the forget gates (Jozefowicz, Zaremba & Sutskever 2015 advise 1); drawn if None."""

    num_gates = 4

    @property
    def name(self) -> str:  # type: ignore[override]
        """Identifies the recurrence to kernels."""
        return "lstm with peepholes" if self.has_peepholes else "lstm"

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        """Return the shapes of all parameters."""
        num_gates = 4 * hidden_size
        peepholes = {"peepholes_3H": (3, hidden_size)} if self.has_peepholes else {}
        return {
            "input_IG": (num_inputs, num_gates),
            "bias_input_1G": (1, num_gates),
            "hidden_HG": (hidden_size, num_gates),
            **peepholes,
        }

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        """Return a hidden and a cell state of zeros."""
        return like_SBH.new_zeros(like_SBH.shape), like_SBH.new_zeros(like_SBH.shape)

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance (h_SBH, c_SBH) of every series' own network by one step."""
        h_SBH, c_SBH = state
        i, f, g, o = input_SBG.baddbmm(h_SBH, weights["hidden_HG"]).chunk(4, dim=-1)
        if self.has_peepholes:
            of_i, of_f, of_o = weights["peepholes_3H"].unsqueeze(2).unbind(1)
            i, f = i + of_i * c_SBH, f + of_f * c_SBH
        c_SBH = f.sigmoid() * c_SBH + i.sigmoid() * g.tanh()
        if self.has_peepholes:
            o = o + of_o * c_SBH
        return o.sigmoid() * c_SBH.tanh(), c_SBH

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Set the biases of the forget gates to `forget_bias`, if there is one."""
        if self.forget_bias is not None:
            weights["bias_input_1G"].chunk(4, dim=-1)[1].fill_(self.forget_bias)
