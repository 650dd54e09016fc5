"""Windows, wiring and network of a fleet, put together the same way for candidates, priors and forecasts."""

# S series

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from forecasting.fleet import kernels
from forecasting.fleet.architectures import Dimensions, Wiring, make_wiring
from forecasting.fleet.categories import Vocabulary, hide_unseen, rows_of
from forecasting.fleet.network import FleetNetwork
from forecasting.fleet.scaling import Scaling
from forecasting.fleet.task import ForecastTask
from forecasting.fleet.windows import WindowSource, window_source
from forecasting.series.panel import Panel
from forecasting.spec.training import KernelName, MemberConfig


@dataclass(frozen=True)
class Assembly:
    """A panel's windows and the wiring that reads them."""

    task: ForecastTask
    config: MemberConfig
    wiring: Wiring
    dimensions: Dimensions
    windows: WindowSource

    def hide_unseen(self, seen: Sequence[Tensor]) -> Self:
        """Return the same with windows that read categories which were not seen as the unseen.

        Args:
            seen: Which rows of each category's table were seen, K of (S, V) or (1, V).

        Returns:
            An assembly whose windows are new where they read categories.
        """
        row_SNK = self.windows.row_SNK
        if row_SNK is None:
            return self
        return replace(self, windows=replace(self.windows, row_SNK=hide_unseen(row_SNK, seen)))

    def make_network(self, *, num_series: int, device: torch.device, kernel: KernelName) -> FleetNetwork:
        """Return a network whose weights are all zero.

        Args:
            num_series: Networks to stack; 1 for a prior.
            device: Device that the network will run on.
            kernel: The requested kernel.

        Returns:
            The network, on the CPU.
        """
        hidden_size = self.config.hidden_size
        return FleetNetwork(
            self.wiring,
            self.dimensions,
            kernel=kernels.choose(self.wiring.cell, device, torch.float32, hidden_size, wanted=kernel),
            num_series=num_series,
            num_references=self.config.num_references(self.task.season_lengths),
            smoothed=self.config.smoothed(self.task.season_lengths),
            embeddings=self.task.embeddings(self.config),
        )


def assemble(
    panel: Panel, scaling: Scaling, *, model: str, task: ForecastTask, config: MemberConfig, vocabulary: Vocabulary
) -> Assembly:
    """Put the windows of a panel together with the wiring of a model.

    Args:
        panel: Series to train on or to forecast.
        scaling: Scales of the panel's series, in its order.
        model: Name of the network.
        task: What is to be forecast.
        config: Configuration of the member.
        vocabulary: Values of the categories that have rows; empty where none are read.

    Returns:
        Windows on the CPU, and what reads them.
    """
    wiring = make_wiring(model, config.design)
    windows = window_source(
        panel,
        scaling,
        config=config,
        season_lengths=config.references(task.season_lengths),
        smoothed=config.smoothed(task.season_lengths),
        freq=task.freq,
        row_SNK=rows_of(panel.coded, vocabulary),
        num_static=task.num_static(config),
        vector_size=task.categories.size,
        reads_future=wiring.reads_future,
        is_causal=wiring.is_dense,
    )
    return Assembly(task, config, wiring, task.dimensions(config, num_inputs=windows.num_inputs), windows)
