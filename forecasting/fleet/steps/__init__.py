"""Optimiser steps of a fleet: `operations` runs them in torch on any device, `engine` whole steps in the CPU engine."""

# S series · V validation windows · Q quantiles

from typing import Protocol

import torch
from torch import Tensor, nn

from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.steps.adam import Adam, Moments
from forecasting.fleet.windows import WindowSource
from forecasting.spec.training import MemberConfig


class FleetInTraining(Protocol):
    """What steps read and write of a fleet being trained; `forecasting.fleet.module.FleetModule` is one."""

    network: FleetNetwork
    windows: WindowSource
    config: MemberConfig
    average: nn.ParameterDict | None
    """The average of the weights over steps, where one is evaluated."""
    keys_S: Tensor
    """Each series' key for random numbers."""
    first_S: Tensor
    """Column of each series' first training origin."""
    num_windows_S: Tensor
    """Number of each series' training origins, which are consecutive columns."""
    validation_SV: Tensor
    """Columns of the validation origins."""
    quantiles_Q: Tensor
    broken_step_S: Tensor
    """Step at which a series' loss or gradient was first not finite; -1 while both are finite."""
    adam: Adam
    moments: Moments | None
    """Adam's moments, where the engine updates them."""
    num_steps: int
    """Optimiser steps taken so far."""

    @property
    def device(self) -> torch.device:
        """Return the device that weights and windows are on."""
        ...

    @property
    def max_steps(self) -> int:
        """Return the largest number of optimiser steps."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Return torch's optimiser of the network's parameters; None where the engine keeps the moments."""
        ...

    def step_size(self, step: int) -> float:
        """Return the optimiser's step size at a step."""
        ...

    def averaging(self, step: int) -> float:
        """Return the share of a step's new weights in their average."""
        ...

    def is_running(self, step: int | Tensor) -> Tensor:
        """Return whether each series still trains at a step, (S,)."""
        ...


class Steps(Protocol):
    """How a fleet advances; every implementation learns the same from the same windows."""

    def advance(self, module: FleetInTraining, num_steps: int) -> None:
        """Run optimiser steps on every series' weights, from `module.num_steps` on.

        A series whose loss or gradient is not finite stops learning; its step is noted in `module.broken_step_S`.

        Args:
            module: The fleet to train.
            num_steps: Optimiser steps to run.
        """
        ...

    def validation_loss(self, module: FleetInTraining, weights: dict[str, Tensor]) -> Tensor:
        """Return the loss of each series on its validation windows with the given weights, (S,)."""
        ...
