"""Adam in torch and in the CPU engine: the same constants, and the moments where the engine updates them."""

from dataclasses import dataclass

import torch
from torch import nn

from forecasting.fleet.network import FleetNetwork


@dataclass(frozen=True)
class Adam:
    """Constants of Adam (Kingma & Ba 2015); a decay of weights is decoupled (Loshchilov & Hutter 2019)."""

    rate: float
    decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def make_optimizer(self, network: FleetNetwork) -> torch.optim.Optimizer:
        """Return torch's optimiser of a network's parameters, ready for CUDA graphs where these are on a GPU.

        Args:
            network: The network, on its device.

        Returns:
            AdamW; without decay it is Adam.
        """
        # torch's first optimiser of a process imports its compiler, which takes seconds; the engine needs none.
        on_gpu = next(network.parameters()).device.type == "cuda"
        return torch.optim.AdamW(
            network.parameters(),
            lr=self.rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.decay,
            capturable=on_gpu,
            fused=on_gpu or None,
        )


class Moments(nn.Module):
    """Adam's moments of every parameter of a network."""

    def __init__(self, network: FleetNetwork) -> None:
        super().__init__()
        self.first, self.second = (
            nn.ParameterDict(
                {
                    name: nn.Parameter(torch.zeros_like(weight), requires_grad=False)
                    for name, weight in network.weights.items()
                }
            )
            for _ in range(2)
        )
