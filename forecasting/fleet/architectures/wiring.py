"""The interface of an architecture: the networks of a fleet from their windows to their outputs for the horizon.

Like cells, an architecture declares shapes without importing torch; only `run` needs it.
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
    """Sizes that determine the shapes of a network's parameters."""

    num_inputs: int
    num_steps: int
    hidden_size: int
    horizon: int
    num_quantiles: int
    segment_length: int = 1
    median: int = 0
    """Index of the median among the quantiles."""

    @property
    def num_calendar(self) -> int:
        """Number of a step's inputs, the last ones, that are also known for the future."""
        return self.num_inputs - 2 * self.segment_length - 1

    @property
    def num_segments(self) -> int:
        """Number of segments that cover the horizon."""
        return -(-self.horizon // self.segment_length)

    @property
    def num_outputs(self) -> int:
        """Outputs of a network that forecasts the whole horizon at once, O."""
        return self.horizon * self.num_quantiles


class Wiring(Protocol):
    """The wiring of a fleet's networks. Series never mix.

    By default a network has no recurrence for kernels, and every step of the horizon has its own mixture of references.
    """

    @property
    def cell(self) -> Cell | None:
        """The recurrent cell that a kernel runs; None for a network without a recurrence."""
        return None

    @property
    def is_plain(self) -> bool:
        """Whether the network is one cell and one linear head, which the CPU engine trains in whole steps."""
        return False

    @property
    def reads_future(self) -> bool:
        """Whether the network reads the calendar of the horizon; windows then have `future_SBFC`."""
        return False

    def count_read_ahead(self, dimensions: Dimensions) -> int:
        """Return the number of points of the horizon whose calendar and categories the network reads."""
        return dimensions.horizon if self.reads_future else 0

    @property
    def is_dense(self) -> bool:
        """Whether the loss covers every step of a window; inputs of a step must then not depend on later ones."""
        return False

    @property
    def is_stream(self) -> bool:
        """Whether the network reads a series as one stream and carries its state (`forecasting.fleet.stream`)."""
        return False

    def count_mixtures(self, dimensions: Dimensions) -> int:
        """Return the number of steps that have their own mixture of references; later steps reuse them in order."""
        return dimensions.horizon

    def parameter_shapes(self, dimensions: Dimensions) -> Shapes:
        """Return the shapes of all parameters; those of the linear head are `head_HO` and `bias_head_1O`."""
        ...

    def count_kept(self, dimensions: Dimensions) -> int:
        """Return the number of values per window that the gradient needs, without inputs and outputs."""
        ...

    def count_launched(self, dimensions: Dimensions) -> int:
        """Return the number of consecutive steps, each of which costs launches unless a kernel fuses them."""
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
        """Run the networks.

        Args:
            windows: The batch of windows.
            reference_SBF: The mixed reference, in the unit of the loss.
            weights: Parameters by name.
            dimensions: The sizes of the network.
            kernel: The kernel that runs recurrences.
            noise: Random draws of training, such as dropout; None in validation and prediction.

        Returns:
            The difference of all quantiles from the reference, (S, B, O), in the unit of the loss.
        """
        ...

    def draw_bound(self, name: str, shape: tuple[int, ...], *, hidden_size: int) -> float:
        """Return the bound of a parameter's initial values, 1/√H as in torch's recurrent layers.

        The head uses a tenth of it.

        Args:
            name: The parameter's name.
            shape: Its shape, without the series axis.
            hidden_size: Hidden units, H.

        Returns:
            The largest magnitude.
        """
        return 1 / math.sqrt(hidden_size)

    def settle(self, weights: Weights, *, num_steps: int) -> None:
        """Overwrite the drawn initial values of some parameters, in place; windows have `num_steps` steps."""
        return

    def bound(self, weights: Weights, *, num_steps: int) -> None:
        """Clip bounded parameters, in place; windows have `num_steps` steps."""
        return


class SegmentBySegment(Wiring):
    """A wiring that forecasts the horizon segment by segment, with the same weights for each.

    By default the network reads each segment to forecast the next one, and so does not read the last.
    """

    @property
    def reads_future(self) -> bool:
        """Whether the network reads the calendar of the horizon; it does."""
        return True

    def count_read_ahead(self, dimensions: Dimensions) -> int:
        """Return the points of all segments but the last."""
        return (dimensions.num_segments - 1) * dimensions.segment_length

    def count_mixtures(self, dimensions: Dimensions) -> int:
        """Return the points of a segment, because all segments share their mixtures."""
        return min(dimensions.segment_length, dimensions.horizon)
