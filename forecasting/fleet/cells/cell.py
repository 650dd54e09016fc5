"""What a cell is: the shapes of its parameters and one step of the recurrence, for a whole fleet at once.

A driver counts parameters without torch, which takes seconds to load; so cells work by the methods of tensors alone.
"""

# S series (one network each) · B windows · I inputs · H hidden · G gates

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Weights = Mapping[str, "Tensor"]
"""Parameters by name, each with the series as its first axis."""

Shapes = dict[str, tuple[int, ...]]
"""Each parameter's shape by its name, without the series axis."""


class Cell(Protocol):
    """A recurrent cell whose series never mix: every product is a batched one over S."""

    name: str
    """Tells kernels which recurrence this is; a variant that they do not know has a name of its own."""
    num_gates: int
    """Numbers that a unit takes from the projection of an input."""

    @abstractmethod
    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        """Return each parameter's shape; `input_IG` and `bias_input_1G` are always there."""

    @abstractmethod
    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        """Return the state before the first step; its first part is the output."""

    @abstractmethod
    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance by one step; `input_SBG` is the input's projection, bias included."""

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Set in place what does not begin as drawn; sequences have so many steps."""
        return

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Put weights that left their bounds back to them, in place; sequences have so many steps."""
        return

    @property
    def has_bounds(self) -> bool:
        """Whether `bound` does anything."""
        return type(self).bound is not Cell.bound
