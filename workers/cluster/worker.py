"""What a worker is: its resources, its environment, and the units of work that it computes.

It does not import ray, which jobs without actors do without.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

from forecasting.settings import WORKER_BYTES

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


class WorkUnit(Protocol):
    """What one actor computes in one call, such as a shard of series or the training of a prior; it pickles."""

    @property
    def number(self) -> int:
        """Position in the run, from 0; results are kept by it."""

    @property
    def size(self) -> int:
        """Its contribution to the progress, such as the number of its series."""

    @property
    def description(self) -> str:
        """Its name in messages, such as `shard 3 (2 series, 'a' to 'b')`."""


Unit = TypeVar("Unit", bound=WorkUnit)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Resources:
    """The actors of a pool and what each of them gets.

    Attributes:
        num_workers: Number of actors.
        num_cpus: Cores of one actor.
        num_gpus: GPUs of one actor; a share such as 0.25 is allowed.
        num_bytes: Memory that one actor may hold.
    """

    num_workers: int
    num_cpus: float
    num_gpus: float
    num_bytes: int = WORKER_BYTES

    @property
    def num_threads(self) -> int:
        """Threads of one actor: its whole cores, at least 1."""
        return max(1, int(self.num_cpus))


def environment_of(resources: Resources) -> dict[str, str]:
    """Return the environment variables of a worker.

    Libraries read them when they load, before any code of the worker runs.

    Args:
        resources: What the worker gets.

    Returns:
        Values by name of the variable.
    """
    # A worker without a GPU must not see one: Lightning takes what it sees.
    hidden_gpus = {} if resources.num_gpus else {"CUDA_VISIBLE_DEVICES": ""}
    return dict.fromkeys(_THREAD_VARIABLES, str(resources.num_threads)) | hidden_gpus
