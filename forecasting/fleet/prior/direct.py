"""Fleets in which every series uses its prior directly, without tuning.

So a series has a network before it has its own: because it is new, too short to be tuned, or its network broke.
"""

# S series

import numpy as np

from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.fleet.plan import Refusal
from forecasting.fleet.scaling import Scaling, scaling_for
from forecasting.series.panel import Panel
from forecasting.spec.training import Role


def use_prior_directly(
    prior: Prior, panel: Panel, scaling: Scaling | None = None, *, role: Role = "serving"
) -> FittedFleet:
    """Return the prior as each series' network, with the series' own scale, strength 0 and no steps.

    Args:
        prior: The prior.
        panel: The series.
        scaling: Scales of the panel, where they have been measured already.
        role: Role of the networks.

    Returns:
        A fleet with weights of shape (S, …). Series without two different values, or whose values differ too much in
        size to be scaled, are refused.
    """
    scaling = scaling or scaling_for(prior.config, panel, prior.task.season_lengths)
    is_scaled_S = (scaling.spread_S > 0) & np.isfinite([scaling.location_S, scaling.spread_S, scaling.error_S]).all(0)
    rows = np.flatnonzero(is_scaled_S)
    num_series = len(rows)
    return FittedFleet(
        role=role,
        model=prior.model,
        task=prior.task,
        config=prior.config,
        seed=prior.seed,
        kernel=prior.kernel,
        unique_ids=tuple(panel.unique_ids[row] for row in rows),
        weights={name: w.repeat(num_series, *(1,) * (w.dim() - 1)) for name, w in prior.weights.items()},
        scaling=scaling.select(rows),
        num_steps_S=np.zeros(num_series, dtype=np.int64),
        num_windows_S=np.zeros(num_series, dtype=np.int64),
        validation_loss_S=np.full(num_series, np.nan),
        refused=tuple(
            Refusal(name, "broken", f"series '{name}': its values differ too much in size to be scaled")
            for name, is_scaled in zip(panel.unique_ids, is_scaled_S, strict=True)
            if not is_scaled
        ),
        member=prior.member,
        prior_version=prior.version,
        strength_S=np.zeros(num_series),
        vocabulary=prior.vocabulary,
    )
