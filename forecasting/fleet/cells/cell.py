"""What a cell is: the shapes of its parameters and one step of the recurrence, for a whole fleet at once."""

# S series (one network each) · B windows · I inputs · H hidden · G gates

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

Weights = Mapping[str, Tensor]
"""Parameters by name, each with the series as its first axis."""


class Cell(Protocol):
    """A recurrent cell whose series never mix: every product is a batched one over S."""

    name: str

    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return each parameter's shape without the series axis; `input_IG` and `bias_input_1G` are always there."""
        ...

    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        """Return the state before the first step; its first part is the output."""
        ...

    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance by one step; `input_SBG` is the input's projection, bias included."""
        ...
