"""Random draws of a fleet's training: dropout, hidden categories and scheduled sampling.

Draws depend on series, step and purpose only, so they are reproducible. Dropout drops a unit for all time steps of a
window (Gal & Ghahramani 2016), so that the inputs of a recurrence above are consistent over time.
"""

# S series · B windows · T steps · H units · K segments

from dataclasses import dataclass

import torch
from torch import Tensor

from forecasting.fleet.random import draw_bits


@dataclass(frozen=True)
class Noise:
    """The draws of one optimiser step. A part of its `num_windows` windows may be present, from `first` on."""

    keys_S: Tensor
    step: int | Tensor
    num_windows: int
    first: int = 0
    max_steps: int = 1

    @property
    def progress(self) -> float | Tensor:
        """The completed share of the training, 0 to 1."""
        return self.step / self.max_steps

    def drop(self, x_SBTH: Tensor, *, share: float, purpose: str) -> Tensor:
        """Apply dropout.

        Args:
            x_SBTH: Outputs of a layer.
            share: Probability of dropping a unit.
            purpose: Name of the draw; each layer has its own.

        Returns:
            The outputs with dropped units at 0 and all others divided by 1 - share.
        """
        _, num_windows, _, num_units = x_SBTH.shape
        is_kept_SBH = self._uniform(num_windows, num_units, purpose=f"dropout {purpose}") >= share
        return x_SBTH * (is_kept_SBH.to(x_SBTH.dtype) / (1 - share)).unsqueeze(2)

    def hide(self, num_windows: int, num_things: int, *, share: float, purpose: str) -> Tensor:
        """Draw what is hidden from each window.

        Args:
            num_windows: Windows, B.
            num_things: Things that can be hidden, D.
            share: Probability of hiding one.
            purpose: Name of the draw.

        Returns:
            Whether each thing is hidden, (S, B, D).
        """
        return self._uniform(num_windows, num_things, purpose=f"hide {purpose}") < share

    def coins(self, num_windows: int, num_segments: int, *, share: float | Tensor) -> Tensor:
        """Draw where a decoder reads actual values.

        Args:
            num_windows: Windows, B.
            num_segments: Segments of the horizon, K.
            share: Probability of actual values.

        Returns:
            Whether actual values are read, (S, B, K).
        """
        return self._uniform(num_windows, num_segments, purpose="coins") < share

    def _uniform(self, num_windows: int, num_draws: int, *, purpose: str) -> Tensor:
        """Return uniform numbers in [0, 1), (S, B, D)."""
        counters_D = torch.arange(num_windows * num_draws, device=self.keys_S.device)
        counters_D = counters_D + (self.step * self.num_windows + self.first) * num_draws
        bits_SD = draw_bits(self.keys_S, purpose=purpose, counters_D=counters_D)
        return ((bits_SD >> 10).double() * 2.0**-53).view(-1, num_windows, num_draws)
