"""The interface of a recurrent cell: the shapes of its parameters and one step of the recurrence, for a whole fleet.

A driver counts parameters without torch, which takes seconds to load. Cells therefore use methods of tensors only.
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
"""Shapes of parameters by name, without the series axis."""


class Cell(Protocol):
    """A recurrent cell. Series never mix, because every product is batched over S."""

    name: str
    """Identifies the recurrence to kernels; a variant that only the reference runs has another name."""
    num_gates: int
    """Values per unit of an input's projection."""

    @abstractmethod
    def parameter_shapes(self, *, num_inputs: int, hidden_size: int) -> Shapes:
        """Return the shapes of all parameters, of which every cell has `input_IG` and `bias_input_1G`."""

    @abstractmethod
    def initial_state(self, like_SBH: Tensor) -> tuple[Tensor, ...]:
        """Return the state before the first step, in tensors like the given one; the first tensor is the output."""

    @abstractmethod
    def step(self, input_SBG: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """Advance the state by one step.

        Args:
            input_SBG: The input's projection, bias included.
            state: The state before the step.
            weights: Parameters by name.

        Returns:
            The state after the step; its first tensor is the output.
        """

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Overwrite the drawn initial values of some parameters, in place.

        Args:
            weights: Parameters by name.
            num_steps: Steps of a sequence.
        """
        return

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Clip bounded parameters, in place.

        Args:
            weights: Parameters by name.
            num_steps: Steps of a sequence.
        """
        return

    @property
    def has_bounds(self) -> bool:
        """Whether a parameter is bounded."""
        return type(self).bound is not Cell.bound
