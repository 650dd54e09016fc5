"""Adam's moments of a training, wherever they are kept."""

from torch import Tensor

from forecasting.fleet.module import FleetModule
from forecasting.fleet.prior.prior import PriorModule


def moments_of(module: FleetModule | PriorModule, name: str) -> tuple[Tensor, Tensor]:
    """Return both moments of a parameter: of the engine, or of torch's optimiser."""
    if module.moments is not None:
        return module.moments.first[name].data, module.moments.second[name].data
    assert module.optimizer is not None
    state = module.optimizer.state[module.network.weights[name]]
    return state["exp_avg"], state["exp_avg_sq"]
