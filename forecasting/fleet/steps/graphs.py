"""Capture an optimiser step as a CUDA graph and replay it.

The overhead of hundreds of small launches would otherwise limit the speed. A captured step must read everything that
changes between steps, its own number included, from tensors on the device, and must not wait for the device.
"""

import logging
import warnings
from collections.abc import Callable

import torch

WARM_UP_STEPS = 3
"""Steps before the capture, which torch.cuda.graph requires."""


class GraphedSteps:
    """Runs steps on a separate stream, which a capture requires, without waiting for the device in between."""

    def __init__(self, device: torch.device, *, may_capture: bool = True) -> None:
        self._stream = torch.cuda.Stream(device)
        self._may_capture = may_capture
        self._num_taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def is_captured(self) -> bool:
        """Whether steps are replayed from a graph."""
        return self._graph is not None

    def run(self, one_step: Callable[[], None], num_steps: int) -> None:
        """Run steps after all work of the current stream.

        Args:
            one_step: Runs one step; the same function at every call.
            num_steps: Number of steps.
        """
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # torch's optimiser warns, because it does not know that a capture follows.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            for _ in range(num_steps):
                if self._graph is None and self._may_capture and self._num_taken >= WARM_UP_STEPS:
                    self._graph = self._capture(one_step)
                if self._graph is not None:
                    self._graph.replay()
                else:
                    one_step()
                self._num_taken += 1
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)

    def _capture(self, one_step: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        """Record a step without running it; if that fails, log a warning and do not try again."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                one_step()
        except RuntimeError as error:
            self._may_capture = False
            logging.getLogger(__name__).warning("steps run one by one: they cannot be captured as a graph: %s", error)
            return None
        return graph
