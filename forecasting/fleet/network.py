"""A fleet's networks as one module: windows of every series in, every horizon step's quantiles out.

Each series has a network of its own: a recurrent cell reads the window segment by segment, and a linear head turns the
last state into the whole horizon at once (direct multi-horizon), as a difference from a learned mixture of seasonal
references.
"""

# S series (one network each) · B windows · T steps · I inputs · H hidden · F horizon steps · Q quantiles
# M season lengths · W the elements of one parameter

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forecasting.fleet.cells import Cell, Weights
from forecasting.fleet.kernels import Kernel
from forecasting.fleet.random import draw_uniform
from forecasting.fleet.smoothing import COEFFICIENTS, SEASONS, parameter_shapes
from forecasting.fleet.windows import WindowBatch

MIXTURE_GAIN = 10.0
"""Lets Adam's small steps move a mixture of references from even to one-sided within a hundred steps."""

DRAWS_AT_ONCE = 1 << 16
"""Random numbers that are drawn together: their 64-bit steps on the way stay in the cache, and weigh nothing."""


class FleetNetwork(nn.Module):
    """The stacked networks of one fleet; every parameter's first axis is the series, so series never mix."""

    def __init__(
        self,
        cell: Cell,
        *,
        kernel: Kernel,
        num_series: int,
        num_inputs: int,
        hidden_size: int,
        horizon: int,
        num_quantiles: int,
        num_seasons: int,
        smoothed: Sequence[int] | None = None,
    ) -> None:
        """Stack the networks of so many series; those that are smoothed have weights for it (`smoothed`: seasons)."""
        super().__init__()
        self.cell, self.kernel = cell, kernel
        self.horizon, self.num_quantiles, self.hidden_size = horizon, num_quantiles, hidden_size
        shapes = cell.parameter_shapes(num_inputs=num_inputs, hidden_size=hidden_size) | {
            "head_HO": (hidden_size, horizon * num_quantiles),
            "bias_head_1O": (1, horizon * num_quantiles),
            "mixture_FM": (horizon, num_seasons),
        }
        shapes |= {} if smoothed is None else parameter_shapes(smoothed)
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(num_series, *shape)) for name, shape in shapes.items()}
        )

    @torch.no_grad()
    def initialise(self, keys_S: Tensor) -> None:
        """Draw each series' own weights: uniform within 1/√H as torch does, the head a tenth of that, mixtures even.

        A small head makes the first forecast the seasonal reference. What smooths a series is not drawn, but estimated
        (`forecasting.fleet.smoothing`).
        """
        bound = 1 / math.sqrt(self.hidden_size)
        for name, weight in self.weights.items():
            if name in ("mixture_FM", "bias_head_1O", COEFFICIENTS, SEASONS):
                weight.zero_()
                continue
            num_draws, scale = math.prod(weight.shape[1:]), bound * (0.1 if name == "head_HO" else 1.0)
            num_at_once = max(1, DRAWS_AT_ONCE // num_draws)
            for some_S, some in zip(keys_S.split(num_at_once), weight.split(num_at_once), strict=True):
                uniform_SW = draw_uniform(some_S, purpose=f"initial {name}", num_draws=num_draws)
                some.copy_(((2 * uniform_SW - 1) * scale).view(some.shape))

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor], *, rows_S: npt.NDArray[np.int64] | None = None) -> None:
        """Copy weights, one set for each series, or for each of those in `rows_S`, or one for all of them."""
        for name, weight in self.weights.items():
            if rows_S is None:
                weight.copy_(weights[name].expand_as(weight))
            else:
                weight[torch.from_numpy(rows_S)] = weights[name]

    def forward(self, windows: WindowBatch) -> Tensor:
        """Return (S, B, F, Q) quantiles in the loss's units; they may cross until they are sorted."""
        return forecast_windows(
            self.cell, windows, dict(self.weights.items()), kernel=self.kernel, num_quantiles=self.num_quantiles
        )


def forecast_windows(
    cell: Cell, windows: WindowBatch, weights: Weights, *, kernel: Kernel, num_quantiles: int
) -> Tensor:
    """Run the networks with the given weights: (S, B, F, Q)."""
    last_SBH = kernel.run(cell, windows.x_SBTI, weights, only_last=True)
    head_SBO = torch.baddbmm(weights["bias_head_1O"], last_SBH, weights["head_HO"])
    share_S1FM = torch.softmax(MIXTURE_GAIN * weights["mixture_FM"], dim=-1).unsqueeze(1)
    reference_SBF1 = (windows.reference_SBFM * share_S1FM).sum(-1, keepdim=True)
    return reference_SBF1 + head_SBO.view(*reference_SBF1.shape[:3], num_quantiles)
