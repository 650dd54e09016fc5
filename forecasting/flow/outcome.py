"""What passes between the parts of a one-shot forecast: tasks, results of shards, and weights as files.

The module does not import torch, so that a process that only hands out work starts quickly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from forecasting.series.panel import Panel


@dataclass(frozen=True)
class Keeps:
    """What is kept of a shard besides its forecasts and backtests.

    Attributes:
        correlations: Sums for the correlations of sample paths; a spec with `paths` keeps them in any case.
        networks: Weights of the serving networks, as files.
    """

    correlations: bool = False
    networks: bool = False


class FittedShard(NamedTuple):
    """Serving networks of some series: files of weights, as `FittedFleet.to_bytes` writes them."""

    unique_ids: tuple[str, ...]
    weights: tuple[bytes, ...]


class PriorFiles(NamedTuple):
    """A model of the whole fleet in both roles, as files: the priors of one member, or the trees.

    Attributes:
        candidate: Has read nothing after the first origin of any series.
        serving: Has read everything.
    """

    candidate: bytes
    serving: bytes


class ShardResult(NamedTuple):
    """Everything that one shard of a one-shot forecast returns.

    Attributes:
        forecasts: Rows of the table `forecasts`, not calibrated yet.
        backtests: Rows of the table `backtests`.
        champions: Rows of the table `champions`.
        ratios: Counts for the calibration (`evaluate.conformal`).
        products: Sums for the correlations of sample paths (`evaluate.dependence`).
        fitted: Serving networks, where they are kept.
    """

    forecasts: pl.DataFrame
    backtests: pl.DataFrame
    champions: pl.DataFrame
    ratios: pl.DataFrame
    products: pl.DataFrame
    fitted: FittedShard | None = None


class ShardTask(Protocol):
    """A task that trains and forecasts the series of a panel; `on_validation` gets the steps at each validation."""

    def __call__(self, panel: Panel, *, on_validation: Callable[[int], None] | None = None) -> ShardResult:
        """Return the result of one shard."""
        ...


def spread(panels: Sequence[Panel], num_workers: int) -> list[Panel]:
    """Cut panels where there are fewer of them than workers; the series keep their order."""
    num_parts = -(-num_workers // max(1, len(panels)))
    return [
        panel.select(part)
        for panel in panels
        for part in np.array_split(np.arange(len(panel.unique_ids)), min(num_parts, len(panel.unique_ids)))
    ]
