"""What the GPU kernel requires of a module with the Triton programs of one cell."""

# S series · T steps · B windows · H hidden · G gates · D gradients by gates, at least G · R = T·B rows

from typing import Protocol

import torch
from torch import Tensor


class Programs(Protocol):
    """The Triton programs of one cell and the products around them."""

    def forward(
        self, gates_STBG: Tensor, hidden: Tensor, bias_hidden: Tensor | None, /, *, keeps_gates: bool, keeps_steps: bool
    ) -> tuple[Tensor, Tensor]:
        """Run the recurrence over all steps.

        Args:
            gates_STBG: The input's projection, bias included. With `keeps_gates` the activated gates replace it.
            hidden: Recurrent weights, (S, H, G), or (S, 1, H) if a unit is connected to itself only.
            bias_hidden: Recurrent biases, (S, 1, G), of a cell that has them.
            keeps_gates: Whether to keep what `backward` needs.
            keeps_steps: Whether to return the states of all steps.

        Returns:
            The states after every step, (S, T, B, H), or without `keeps_steps` possibly those after the last alone,
            (S, 1, B, H); and the values, (S, T, B, H), that `backward` needs beside gates and states. The latter are
            empty if there are none.
        """
        ...

    def backward(
        self, gates_STBG: Tensor, states_STBH: Tensor, aside_STBH: Tensor, hidden: Tensor, d_states: Tensor, /
    ) -> Tensor:
        """Run back through all steps.

        Args:
            gates_STBG: The activated gates.
            states_STBH: The states after every step.
            aside_STBH: The second result of `forward`.
            hidden: Recurrent weights, as for `forward`.
            d_states: The gradient of all states, (S, T, B, H), or of the last, (S, B, H).

        Returns:
            The gradient of every step's gates before activation, (S, T, B, D).
        """
        ...

    def input_columns(self, d_gates: Tensor, /) -> Tensor:
        """Return the gradient of the input's projection, (…, G), from that of the gates, (…, D)."""
        ...

    def hidden_gradient(self, before_SRH: Tensor, d_gates_SRG: Tensor, /) -> Tensor:
        """Return the gradient of the recurrent weights.

        Args:
            before_SRH: States before each step.
            d_gates_SRG: Gradients at these steps of the gates that the recurrent weights feed.

        Returns:
            The gradient, in the shape of the weights.
        """
        ...


def unchanged(d_gates: Tensor) -> Tensor:
    """Return the gradient of the gates, which is that of the input's projection where every gate reads the input."""
    return d_gates


def product_gradient(before_SRH: Tensor, d_gates_SRG: Tensor) -> Tensor:
    """Return the gradient of recurrent weights, (S, H, G), whose product with the state is part of every gate."""
    return torch.bmm(before_SRH.mT, d_gates_SRG)
