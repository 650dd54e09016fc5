"""Optimiser steps of a fleet, two ways: `operations` in torch on any device, `engine` whole steps in the CPU engine."""

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from forecasting.fleet.module import FleetModule


class Steps(Protocol):
    """How a fleet's module advances; both ways learn the same from the same windows."""

    def advance(self, module: "FleetModule", num_steps: int) -> None:
        """Run so many optimiser steps on every series' weights, from `module.num_steps` on.

        A series whose loss or gradient is not finite gets its step noted in `module.broken_step_S`, and learns no more.
        """
        ...

    def validation_loss(self, module: "FleetModule", weights: dict[str, Tensor]) -> Tensor:
        """Return each series' loss on its validation windows with the given weights, (S,)."""
        ...
