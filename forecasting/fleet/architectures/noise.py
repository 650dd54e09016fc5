"""What a fleet's training draws: what dropout hides, and what a decoder is fed; a series' own, and the same again.

A unit is dropped for all time steps of a window (Gal & Ghahramani 2016), so that a recurrence above sees a steady
world.
"""

# S series · B windows · T steps · H units · K segments

from dataclasses import dataclass

import torch
from torch import Tensor

from forecasting.fleet.random import draw_bits


@dataclass(frozen=True)
class Noise:
    """What one optimiser step draws from; `first` is the first of its `num_windows` that is here."""

    keys_S: Tensor
    step: int | Tensor
    num_windows: int
    first: int = 0
    max_steps: int = 1

    @property
    def progress(self) -> float | Tensor:
        """Return how much of the training is behind this step, 0 to 1."""
        return self.step / self.max_steps

    def drop(self, x_SBTH: Tensor, *, share: float, purpose: str) -> Tensor:
        """Return the outputs of a layer with a share of its units at 0, and the rest as much larger."""
        _, num_windows, _, num_units = x_SBTH.shape
        is_kept_SBH = self._uniform(num_windows, num_units, purpose=f"dropout {purpose}") >= share
        return x_SBTH * (is_kept_SBH.to(x_SBTH.dtype) / (1 - share)).unsqueeze(2)

    def hide(self, num_windows: int, num_things: int, *, share: float, purpose: str) -> Tensor:
        """Return which of some things are hidden from each window, (S, B, D)."""
        return self._uniform(num_windows, num_things, purpose=f"hide {purpose}") < share

    def coins(self, num_windows: int, num_segments: int, *, share: float | Tensor) -> Tensor:
        """Return whether what was is fed, in a share of all windows and segments, (S, B, K)."""
        return self._uniform(num_windows, num_segments, purpose="coins") < share

    def _uniform(self, num_windows: int, num_draws: int, *, purpose: str) -> Tensor:
        """Return numbers in [0, 1) of every series and window, (S, B, D)."""
        counters_D = torch.arange(num_windows * num_draws, device=self.keys_S.device)
        counters_D = counters_D + (self.step * self.num_windows + self.first) * num_draws
        bits_SD = draw_bits(self.keys_S, purpose=purpose, counters_D=counters_D)
        return ((bits_SD >> 10).double() * 2.0**-53).view(-1, num_windows, num_draws)
