"""What the trainings of fleets and priors share: a network, its windows, and Adam in torch or in the engine."""

import torch
from torch import nn

from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.steps.adam import Adam, Moments
from forecasting.fleet.windows import WindowSource


class Optimised(nn.Module):
    """Networks, the windows that they learn from, and their optimiser.

    Args:
        network: The networks, with initial weights.
        windows: Their windows.
        adam: Constants of the optimiser.
        in_engine: Whether the CPU engine runs whole steps, so that the moments are kept here.
    """

    def __init__(self, network: FleetNetwork, windows: WindowSource, *, adam: Adam, in_engine: bool) -> None:
        super().__init__()
        self.network, self.windows, self.adam = network, windows, adam
        self.moments = Moments(network) if in_engine else None
        self._optimizer: torch.optim.Optimizer | None = None
        self.num_steps = 0
        self.is_done = False

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Torch's optimiser; None where the engine keeps the moments."""
        if self._optimizer is None and self.moments is None:
            self._optimizer = self.adam.make_optimizer(self.network)
        return self._optimizer

    def start(self) -> None:
        """Move the windows to the device of the weights."""
        self.windows = self.windows.to(self.device)
