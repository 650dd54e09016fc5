"""Series as streams: a network reads each series from its first point to an origin and carries its state on.

A stream is read in stretches of `context_segments` steps that end at the origin. The first stretch of a series may
begin before it, as windows may. At the origin the state is exactly what reading everything at once would give.
"""

# S series (one network each) · B = 1 window, the stretch · T steps of a stretch · F horizon steps · Q quantiles

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from forecasting.fleet.architectures import Dimensions, Recurrent
from forecasting.fleet.architectures.layers import States
from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.categories import embed
from forecasting.fleet.cells import Weights
from forecasting.fleet.network import reference_of
from forecasting.fleet.windows import WindowBatch, WindowSource


@dataclass(frozen=True)
class Stretch:
    """A stretch of every series' stream: the columns where it ends, (S, 1), and which streams begin with it, (S,)."""

    ends_S1: Tensor
    begins_S: Tensor


def width_of(windows: WindowSource) -> int:
    """Return the number of grid points of a stretch."""
    return windows.segment_length * windows.context_segments


def count_stretches(windows: WindowSource, origins_S: Tensor) -> Tensor:
    """Return the number of stretches from each series' first point to its origin, (S,)."""
    num_points_S = origins_S - windows.start_S + 1
    return (-(-num_points_S // width_of(windows))).clamp(min=1)


def stretch(windows: WindowSource, origins_S: Tensor, numbers_S: Tensor) -> Stretch:
    """Return each series' stretch with the given number, (S,), counted from its own first stretch."""
    num_left_S = count_stretches(windows, origins_S) - 1 - numbers_S
    ends_S = (origins_S - num_left_S * width_of(windows)).clamp(min=0)
    return Stretch(ends_S.unsqueeze(-1), numbers_S <= 0)


def stretches(windows: WindowSource, origins_S: Tensor) -> Iterator[Stretch]:
    """Yield all stretches up to the origins; shorter series begin later, so that all end together."""
    num_stretches_S = count_stretches(windows, origins_S)
    most = int(num_stretches_S.max())
    for number in range(most):
        yield stretch(windows, origins_S, number - (most - num_stretches_S))


def read(
    wiring: Recurrent,
    batch: WindowBatch,
    weights: Weights,
    states: States | None,
    begins_S: Tensor,
    *,
    noise: Noise | None = None,
) -> tuple[Tensor, States]:
    """Read a stretch from the states before it; streams that begin here start from zero.

    Args:
        wiring: Recurrent layers under a head.
        batch: Windows of the stretch, one per series.
        weights: Weights by name.
        states: States after the previous stretch; None before the first.
        begins_S: Whether a series' stream begins with this stretch.
        noise: Random numbers of a training step; None outside training.

    Returns:
        Outputs of all steps (S, B, T, H), and the states after the stretch.
    """
    if states is not None:
        is_old_S11 = (~begins_S)[:, None, None]
        states = [tuple(part.where(is_old_S11, part.new_zeros(())) for part in layer) for layer in states]
    return wiring.layers.advance(embed(batch, weights, noise).x_SBTI, weights, states, noise=noise)


def forecast_outputs(
    wiring: Recurrent, outputs: Tensor, batch: WindowBatch, weights: Weights, dimensions: Dimensions
) -> Tensor:
    """Return the quantiles (S, B, F, Q) of the outputs of steps, where B counts steps."""
    reference_SBF = reference_of(batch, weights)
    difference_SBO = wiring.apply_head(outputs, weights)
    return reference_SBF.unsqueeze(-1) + difference_SBO.view(*reference_SBF.shape, dimensions.num_quantiles)


@torch.no_grad()
def forecast_streams(
    wiring: Recurrent, windows: WindowSource, weights: Weights, origins_S: Tensor, dimensions: Dimensions
) -> Tensor:
    """Read every series from its first point to its origin and forecast the horizon after it: (S, 1, F, Q)."""
    states: States | None = None
    for part in stretches(windows, origins_S):
        batch = windows.gather(part.ends_S1, weights=weights)
        outputs_SBTH, states = read(wiring, batch, weights, states, part.begins_S)
    return forecast_outputs(wiring, outputs_SBTH[:, :, -1], batch, weights, dimensions)
