"""Trees that are fitted to the whole fleet, in both roles: which series they read, up to when, and their registry rows.

Like a prior, the candidate ends before the first origin of the backtests, and the serving model reads everything.
"""

# S series

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

import numpy as np

from forecasting.classical.tree_fit import MOST_ROWS, PARAMETERS, fit_trees
from forecasting.classical.trees import NAME, Trees
from forecasting.fleet.plan import prior_series
from forecasting.flow.members import hidden_from_candidates
from forecasting.flow.outcome import PriorFiles
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec
from forecasting.spec.training import Role
from forecasting.version import code_version

SECONDS, SECONDS_PER_ROW, SECONDS_PER_POINT = 0.5, 80e-6, 1e-6
"""Of a fit: constant, per row, and per grid point, on the core of `forecasting/fleet/cost/pace.py`."""
NOT_FITTED = "lightgbm was not fitted, because the series have too few grid points together; it has no forecast"


class FleetTrees(NamedTuple):
    """The trees of a fleet.

    Attributes:
        candidate: Has read nothing after the first origin of any series; it is backtested.
        serving: Has read everything up to the cutoff; it forecasts.
    """

    candidate: Trees
    serving: Trees

    @classmethod
    def from_files(cls, files: PriorFiles) -> Self:
        """Read both from their files."""
        return cls(Trees.from_bytes(files.candidate), Trees.from_bytes(files.serving))

    def to_files(self) -> PriorFiles:
        """Return both as files."""
        return PriorFiles(self.candidate.to_bytes(), self.serving.to_bytes())


def series_of_trees(num_points: Mapping[str, int]) -> list[str]:
    """Return the series that trees are fitted to, by the grid points of all series: those of priors.

    The choice does not depend on the memory of a machine, as that of priors does, because rows are few.

    Args:
        num_points: Grid points of each series, by its name.

    Returns:
        Names in alphabetical order.
    """
    return prior_series(num_points)


def fit_fleet_trees(panel: Panel, spec: Spec) -> FleetTrees | None:
    """Fit trees to the series of a panel, once for each role.

    The candidate reads no point of any series after the oldest origin of all: series may move together, and one of them
    must not disclose the others' future.

    Args:
        panel: The series, up to the run's cutoff.
        spec: What to forecast.

    Returns:
        The trees; None where there are too few points to fit to.
    """
    hidden_S = hidden_from_candidates(panel, spec)
    fitted = []
    for dropped_S in (np.full_like(hidden_S, hidden_S.max(initial=0)), np.zeros_like(hidden_S)):
        trees = fit_trees(
            panel, season_lengths=spec.season_lengths, quantiles=spec.quantiles, dropped_S=dropped_S, seed=spec.seed
        )
        if trees is None:
            return None
        fitted.append(trees)
    return FleetTrees(*fitted)


def fit_tree_files(panel: Panel, spec: Spec) -> PriorFiles | None:
    """Fit as `fit_fleet_trees` does, and return files."""
    trees = fit_fleet_trees(panel, spec)
    return None if trees is None else trees.to_files()


def trees_seconds(spec: Spec, num_series: int, num_points: int) -> float:
    """Predict the seconds of the fits of both roles on one core.

    Args:
        spec: What to forecast.
        num_series: Number of series that they are fitted to.
        num_points: Grid points of all of these.

    Returns:
        Seconds.
    """
    num_rows = min(MOST_ROWS, spec.horizon * num_points)
    return 2 * (SECONDS + SECONDS_PER_ROW * num_rows) + SECONDS_PER_POINT * num_points


def config_of_trees(spec: Spec) -> str:
    """Return what trees depend on besides the task of a spec, as JSON: parameters and covariates."""
    covariates = {
        "covariates": spec.covariate_names,
        "names": spec.covariates.categories,
        "holidays": spec.holidays.model_dump(mode="json"),
    }
    return json.dumps({**PARAMETERS, **covariates}, sort_keys=True)


def trees_row(trees: Trees, spec: Spec, role: Role) -> dict[str, Any]:
    """Return the row of trees in the table `priors`, without the columns that the job adds."""
    from importlib.metadata import version

    until: datetime | int = trees.trained_until
    if spec.clock == "timestamp":
        until = datetime(1970, 1, 1) + timedelta(microseconds=trees.trained_until)
    return {
        "model": NAME,
        "member": 0,
        "role": role,
        "version": trees.version,
        "num_series": trees.num_series,
        "num_steps": trees.num_trees,
        "loss": trees.error,
        "config": config_of_trees(spec),
        "seed": spec.seed,
        "kernel": f"lightgbm {version('lightgbm')}",
        "code_version": code_version(),
        "gains": [],
        "trained_until": until,
        "started_from": None,
    }
