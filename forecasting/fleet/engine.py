"""The one place that decides whether the CPU engine runs a fleet's whole steps and forecasts; needs no torch."""

from forecasting.fleet.architectures import Wiring


def runs_in_engine(kernel: str, wiring: Wiring, *, is_smoothed: bool) -> bool:
    """Return whether the engine runs whole steps: it supports one cell under one head, but no smoothing.

    Args:
        kernel: Name of the kernel that runs the recurrence; `cpu` is the engine's.
        wiring: How the network is wired.
        is_smoothed: Whether level and season of the series are smoothed by weights.

    Returns:
        False where steps run in torch operations instead.
    """
    return kernel == "cpu" and wiring.is_plain and not is_smoothed
