"""Steps on a GPU: what one step does goes in; it is captured as a CUDA graph and replayed as often as is asked.

Hundreds of small launches would otherwise set the pace. A step therefore reads all that changes from one step to the
next, its own number too, from tensors on the device, and never waits for it.
"""

import logging
import warnings
from collections.abc import Callable

import torch

WARM_UP_STEPS = 3
"""Steps taken before a CUDA graph is captured, as torch.cuda.graph asks for."""


class GraphedSteps:
    """Takes steps on a stream of their own, as a capture asks for; nothing waits for the device in between."""

    def __init__(self, device: torch.device, *, may_capture: bool = True) -> None:
        self._stream = torch.cuda.Stream(device)
        self._may_capture = may_capture
        self._num_taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def is_captured(self) -> bool:
        return self._graph is not None

    def run(self, one_step: Callable[[], None], num_steps: int) -> None:
        """Take so many steps, the same ones at every call, behind all that the current stream was given."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # The optimiser cannot know that a capture follows.
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
        """Record a step, which takes none; where that cannot be done, say so, and never try again."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                one_step()
        except RuntimeError as error:
            self._may_capture = False
            logging.getLogger(__name__).warning("steps run one by one: they cannot be captured as a graph: %s", error)
            return None
        return graph
