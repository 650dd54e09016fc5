"""The members of a spec's networks, and the origins of its backtests; the module does not import torch."""

# S series of a shard · J origins

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.evaluate import backtest as rolling
from forecasting.fleet.plan import required_length
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec


class MemberKey(NamedTuple):
    """Names one member of a network's ensemble; prints as `gru/0`."""

    model: str
    number: int

    def __str__(self) -> str:
        return f"{self.model}/{self.number}"


def members_of(spec: Spec, networks: Sequence[str]) -> list[MemberKey]:
    """Return all members of these networks."""
    return [MemberKey(network, number) for network in networks for number in range(len(configure(spec).members))]


def members_with_prior(spec: Spec, networks: Sequence[str]) -> list[MemberKey]:
    """Return the members of these networks that begin from a prior."""
    members = configure(spec).members
    return [key for key in members_of(spec, networks) if members[key.number].start == "prior"]


def hidden_from_candidates(panel: Panel, spec: Spec) -> npt.NDArray[np.int64]:
    """Return the number of last grid points of each series that its candidates may not read, (S,)."""
    num_steps_S: npt.NDArray[np.int64] = origins_of(panel, spec).max(1)
    return num_steps_S


def origins_of(panel: Panel, spec: Spec) -> npt.NDArray[np.int64]:
    """Return the backtest origins of each series, which leave enough points before them to train a network.

    Args:
        panel: The series, up to the run's cutoff.
        spec: What to forecast.

    Returns:
        Grid points after each origin (S, J), as `forecasting.evaluate.backtest.place_origins` returns them.
    """
    return rolling.place_origins(
        panel.length_S,
        wanted=spec.backtest.origins,
        step=spec.origin_step,
        horizon=spec.horizon,
        # A spec that sets the distance between origins gets exactly that.
        season_length=1 if spec.backtest.step else max(spec.season_lengths),
        minimum_length=required_length(configure(spec), horizon=spec.horizon),
    )
