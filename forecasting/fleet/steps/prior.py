"""Run whole optimiser steps of a prior in the CPU engine.

One call runs all steps of a block, on all threads that torch has. The windows of a step are divided into parts of a
fixed size, and the parts' gradients are added up in a fixed order; so the bits do not depend on the number of threads.
"""

import ctypes
from typing import Protocol

import torch
from torch import Tensor, nn

from forecasting.fleet.categories import HIDDEN_SHARE
from forecasting.fleet.native import PART_WINDOWS, library, structures
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.random import purpose_keys
from forecasting.fleet.steps.adam import Adam, Moments
from forecasting.fleet.steps.handover import cell_of, describe_network, describe_optimiser, describe_state
from forecasting.fleet.windows import WindowSource
from forecasting.spec.training import MemberConfig


class PriorInTraining(Protocol):
    """What steps read and write of a prior being trained; `forecasting.fleet.prior.prior.PriorModule` is one."""

    network: FleetNetwork
    windows: WindowSource
    config: MemberConfig
    average: nn.ParameterDict
    adam: Adam
    moments: Moments | None
    """Adam's moments, where the engine updates them."""
    key_1: Tensor
    """Key of random numbers."""
    rows_S: Tensor
    """Rows of the series that take part."""
    first_S: Tensor
    """Column of each series' first training origin."""
    num_windows_S: Tensor
    """Number of each series' training origins, which are consecutive columns."""
    quantiles_Q: Tensor
    loss: Tensor
    """The average of the loss over steps."""

    def step_size(self, step: int) -> float:
        """Return the optimiser's step size at a step."""
        ...

    def averaging(self, step: int) -> float:
        """Return the share of a step's new weights in their average."""
        ...


def advance(module: PriorInTraining, steps: range) -> None:
    """Run optimiser steps in place.

    Args:
        module: The prior.
        steps: Numbers of the steps.

    Raises:
        MemoryError: The engine could not allocate what a step needs.
    """
    assert module.moments is not None, "the engine was chosen for this prior"
    trained = describe_state(module.network, module.moments, module.average)
    optimiser, _rates = describe_optimiser(module.adam, steps, clip=module.config.gradient_clip, schedule=module)
    purposes = ("series", "windows", "hide categories")
    keys = (int(purpose_keys(module.key_1, purpose=purpose)) for purpose in purposes)
    read = (module.rows_S, module.first_S, module.num_windows_S, module.loss)
    tables = structures.PriorTables(
        *map(structures.pointer, read),
        len(module.rows_S),
        *keys,
        torch.get_num_threads(),
        PART_WINDOWS,
        HIDDEN_SHARE,
        optimiser,
    )
    network, _kept = describe_network(
        cell_of(module.network),
        module.windows,
        dict(module.network.weights.items()),
        trained,
        module.quantiles_Q,
        num_windows=module.config.prior_windows,
    )
    failed = library.require().fleetcast_train_prior(ctypes.byref(network), ctypes.byref(tables))
    library.refuse_failure(failed)
