"""What an architecture is: how a fleet's networks are wired from their windows to what they say of the horizon.

Like cells, it declares shapes without torch; what runs it imports that.
"""

# S series (one network each) · B windows · T steps · I inputs · H hidden · F horizon steps · Q quantiles · O = F Q

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from forecasting.fleet.cells import Cell, Shapes, Weights

if TYPE_CHECKING:
    from torch import Tensor

    from forecasting.fleet.architectures.noise import Noise
    from forecasting.fleet.kernels import Kernel
    from forecasting.fleet.windows import WindowBatch


@dataclass(frozen=True)
class Dimensions:
    """The numbers that the shapes of a network's parameters follow from."""

    num_inputs: int
    num_steps: int
    hidden_size: int
    horizon: int
    num_quantiles: int
    segment_length: int = 1
    median: int = 0
    """Which of the quantiles is the median."""

    @property
    def num_calendar(self) -> int:
        """Inputs of a step that are known of the future, too; they are the last."""
        return self.num_inputs - 2 * self.segment_length - 1

    @property
    def num_segments(self) -> int:
        """Segments that the horizon reaches into."""
        return -(-self.horizon // self.segment_length)

    @property
    def num_outputs(self) -> int:
        return self.horizon * self.num_quantiles


class Wiring(Protocol):
    """A network's wiring; all of its work keeps series apart.

    What is not said otherwise is that of a network which has no recurrence that kernels run, and mixes references anew
    for each step of the horizon.
    """

    @property
    def cell(self) -> Cell | None:
        """Return the recurrent cell that a kernel runs; None where there is no recurrence."""
        return None

    @property
    def is_plain(self) -> bool:
        """Whether it is one cell under one linear head, which the CPU engine trains in whole steps."""
        return False

    @property
    def reads_future(self) -> bool:
        """Whether it reads what is known of the horizon: windows then have `future_SBFC`."""
        return False

    def count_read_ahead(self, dimensions: Dimensions) -> int:
        """Count the points of the horizon whose calendar and categories it reads."""
        return dimensions.horizon if self.reads_future else 0

    @property
    def is_dense(self) -> bool:
        """Whether it is trained at every step of a window; no step's input may then tell of a later one."""
        return False

    @property
    def is_stream(self) -> bool:
        """Whether it reads a series from its first point, its state handed on (`forecasting.fleet.stream`)."""
        return False

    def count_mixtures(self, dimensions: Dimensions) -> int:
        """Count the steps that have a mixture of references each; those beyond them begin again with the first."""
        return dimensions.horizon

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        """Return each parameter's shape; `head_HO` and `bias_head_1O` make of what is hidden what is said."""
        ...

    def count_kept(self, dimensions: Dimensions) -> int:
        """Count the numbers that a window's step keeps for its gradient, inputs and outputs left out."""
        ...

    def count_launched(self, dimensions: Dimensions) -> int:
        """Count the steps that wait for one another, each some launches of its own where no kernel fuses them."""
        ...

    def run(
        self,
        windows: WindowBatch,
        reference_SBF: Tensor,
        weights: Weights,
        dimensions: Dimensions,
        *,
        kernel: Kernel,
        noise: Noise | None,
    ) -> Tensor:
        """Return (S, B, O): how each step's quantiles differ from the reference, in the loss's units.

        `noise` is what training draws, such as dropout; None where networks are judged or serve.
        """
        ...

    def draw_bound(self, name: str, shape: tuple[int, ...], *, hidden_size: int) -> float:
        """Return the largest magnitude that a parameter's numbers begin with; a head's are a tenth of it.

        1/√H, as torch's recurrent layers have it.
        """
        return 1 / math.sqrt(hidden_size)

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Set in place what does not begin as drawn."""
        return

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Put weights that left their bounds back to them, in place; windows have so many steps."""
        return


class SegmentBySegment(Wiring):
    """A wiring that goes on over the horizon a segment at a time, with the same weights at each.

    What is not said otherwise: a segment is read to tell the one after it, so that the last is never read.
    """

    @property
    def reads_future(self) -> bool:
        return True

    def count_read_ahead(self, dimensions: Dimensions) -> int:
        return (dimensions.num_segments - 1) * dimensions.segment_length

    def count_mixtures(self, dimensions: Dimensions) -> int:
        return min(dimensions.segment_length, dimensions.horizon)
