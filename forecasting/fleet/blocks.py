"""What fleets and priors have in common while they train: blocks of optimiser steps."""

from typing import Any, Protocol

import torch


class Training(Protocol):
    """A training in blocks of optimiser steps, each followed by a validation pass if it has any; a torch module."""

    has_validation: bool
    num_steps: int
    """Optimiser steps taken so far."""
    is_done: bool
    """Whether a validation pass found that no further block is needed."""

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Return torch's optimiser; None where the engine keeps the moments."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move weights and constants to a device."""
        ...

    def start(self) -> None:
        """Move what is not a parameter or buffer to the device of the weights; called once, after `to`."""
        ...

    def run_block(self) -> None:
        """Run the optimiser steps of one block."""
        ...

    def validate(self) -> None:
        """Run a validation pass."""
        ...

    def progress(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides parameters, buffers and the optimiser's state."""
        ...

    def resume(self, progress: dict[str, Any]) -> None:
        """Restore what `progress` returned."""
        ...
