"""A fleet's networks as one torch module, from windows of every series to quantiles of every horizon step.

Each series has its own network. Its architecture (`forecasting.fleet.architectures`) maps a window to the horizon; the
output is the difference from a learned mixture of references.
"""

# S series (one network each) · B windows · F horizon steps · Q quantiles · O = F Q · M references
# W the elements of one parameter

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forecasting.fleet.architectures import Dimensions, Wiring
from forecasting.fleet.architectures.noise import Noise
from forecasting.fleet.categories import embed
from forecasting.fleet.cells import Weights
from forecasting.fleet.embedding_shapes import EMBEDDING
from forecasting.fleet.kernels import Kernel
from forecasting.fleet.random import draw_uniform
from forecasting.fleet.smoothing import COEFFICIENTS, SEASONS, parameter_shapes
from forecasting.fleet.windows import WindowBatch

MIXTURE_GAIN = 10.0
"""Scale of raw mixtures, so that Adam's small steps reach a one-sided mixture within a hundred steps."""

EMBEDDING_BOUND = 0.5
"""Largest initial magnitude in a category's vector: half the spread of scaled inputs."""

DRAWS_AT_ONCE = 1 << 16
"""Random numbers that are drawn together, so that 64-bit temporaries stay in the cache."""


class FleetNetwork(nn.Module):
    """The stacked networks of one fleet; every parameter's first axis is the series, so series never mix.

    Args:
        wiring: How the networks are wired.
        dimensions: Numbers that determine the shapes of parameters.
        kernel: Kernel that runs the recurrence.
        num_series: Networks to stack.
        num_references: References in the mixture, M.
        smoothed: Seasons that series are smoothed by; None where they are not smoothed.
        embeddings: Shapes of the tables of categories (`forecasting.fleet.embedding_shapes`).
    """

    def __init__(
        self,
        wiring: Wiring,
        dimensions: Dimensions,
        *,
        kernel: Kernel,
        num_series: int,
        num_references: int,
        smoothed: Sequence[int] | None = None,
        embeddings: Mapping[str, tuple[int, int]] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.wiring, self.dimensions, self.kernel = wiring, dimensions, kernel
        shapes = wiring.parameter_shapes(dimensions) | {
            "mixture_FM": (wiring.count_mixtures(dimensions), num_references)
        }
        shapes |= {} if smoothed is None else parameter_shapes(smoothed)
        shapes |= embeddings
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(num_series, *shape)) for name, shape in shapes.items()}
        )

    @torch.no_grad()
    def initialise(self, keys_S: Tensor) -> None:
        """Draw each series' initial weights: uniform within the bounds of torch's layers, the head a tenth of that.

        A small head and an even mixture make the first forecast the mean of the references. Smoothing weights are
        estimated instead (`forecasting.fleet.smoothing`).

        Args:
            keys_S: Each series' key of random numbers.
        """
        for name, weight in self.weights.items():
            if name in ("mixture_FM", "bias_head_1O", COEFFICIENTS, SEASONS):
                weight.zero_()
                continue
            shape = tuple(weight.shape[1:])
            bound = EMBEDDING_BOUND
            if not name.startswith(EMBEDDING):
                bound = self.wiring.draw_bound(name, shape, hidden_size=self.dimensions.hidden_size)
            num_draws, scale = math.prod(shape), bound * (0.1 if name == "head_HO" else 1.0)
            num_at_once = max(1, DRAWS_AT_ONCE // num_draws)
            for some_S, some in zip(keys_S.split(num_at_once), weight.split(num_at_once), strict=True):
                uniform_SW = draw_uniform(some_S, purpose=f"initial {name}", num_draws=num_draws)
                some.copy_(((2 * uniform_SW - 1) * scale).view(some.shape))
        self.wiring.settle(dict(self.weights.items()), num_steps=self.dimensions.num_steps)
        self.bound()

    @torch.no_grad()
    def begin_at(self, differences_SQ: npt.NDArray[np.float64]) -> None:
        """Set the bias of the head, so that the first forecast is that far from the mean of the references.

        Args:
            differences_SQ: Differences of each series and quantile, in the loss's unit.
        """
        bias_S1O = self.weights["bias_head_1O"]
        num_steps = bias_S1O.shape[-1] // differences_SQ.shape[-1]
        bias_S1O += torch.from_numpy(differences_SQ).to(bias_S1O).repeat(1, num_steps).unsqueeze(1)

    @torch.no_grad()
    def bound(self) -> None:
        """Clamp weights to their bounds, as each optimiser step does."""
        self.wiring.bound(dict(self.weights.items()), num_steps=self.dimensions.num_steps)

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor], *, rows_S: npt.NDArray[np.int64] | None = None) -> None:
        """Copy weights: one set for each series, for each series in `rows_S`, or one for all series."""
        for name, weight in self.weights.items():
            if rows_S is None:
                weight.copy_(weights[name].expand_as(weight))
            else:
                weight[torch.from_numpy(rows_S)] = weights[name]

    def forward(self, windows: WindowBatch, noise: Noise | None = None) -> Tensor:
        """Return (S, B, F, Q) quantiles in the loss's unit; they may cross."""
        return forecast_windows(
            self.wiring,
            self.dimensions,
            windows,
            dict(self.weights.items()),
            kernel=self.kernel,
            noise=noise,
        )


def forecast_windows(
    wiring: Wiring,
    dimensions: Dimensions,
    windows: WindowBatch,
    weights: Weights,
    *,
    kernel: Kernel,
    noise: Noise | None = None,
) -> Tensor:
    """Run networks with the given weights.

    Args:
        wiring: How the networks are wired.
        dimensions: Numbers that determine the shapes of parameters.
        windows: Windows to forecast from.
        weights: Weights by name.
        kernel: Kernel that runs the recurrence.
        noise: Random numbers of a training step; None outside training.

    Returns:
        Quantiles (S, B, F, Q) in the loss's unit.
    """
    windows = embed(windows, weights, noise)
    reference_SBF = reference_of(windows, weights)
    difference_SBO = wiring.run(windows, reference_SBF, weights, dimensions, kernel=kernel, noise=noise)
    return reference_SBF.unsqueeze(-1) + difference_SBO.view(*reference_SBF.shape, dimensions.num_quantiles)


def reference_of(windows: WindowBatch, weights: Weights) -> Tensor:
    """Return each series' mixture of its references.

    Steps beyond the number of mixtures start over with the first mixture.

    Args:
        windows: Windows with references.
        weights: Weights by name, of which the mixture is read.

    Returns:
        (S, B, F) in the loss's unit.
    """
    raw_S1FM, is_known_SBFM = MIXTURE_GAIN * weights["mixture_FM"].unsqueeze(1), windows.is_known_SBFM
    num_steps, num_mixtures = windows.reference_SBFM.shape[2], raw_S1FM.shape[2]
    if num_mixtures != num_steps:
        raw_S1FM = raw_S1FM.repeat(1, 1, -(-num_steps // num_mixtures), 1)[:, :, :num_steps]
    if is_known_SBFM is not None:
        is_mixed_SBFM = is_known_SBFM | ~is_known_SBFM.any(-1, keepdim=True)
        raw_S1FM = raw_S1FM.masked_fill(~is_mixed_SBFM, -torch.inf)
    return (windows.reference_SBFM * torch.softmax(raw_S1FM, dim=-1)).sum(-1)
