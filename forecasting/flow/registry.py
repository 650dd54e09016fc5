"""Describe trained networks and priors as rows of the registry, the tables `models` and `priors`.

Rows have the columns of their table without the bookkeeping (spec, run cutoff, run), which the store adds.
"""

# S series of a fleet

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from forecasting.fleet.fitted import FittedFleet, Prior
from forecasting.schemas import STEP, table
from forecasting.series.panel import Panel
from forecasting.spec.frequency import Clock
from forecasting.spec.training import Status
from forecasting.version import code_version

_ADDED_BY_THE_JOB = ("weights_uri", "data_version", "architecture")
"""Columns of `models` that only the job which stores the weights can fill."""
_TRAINED: Status = "trained"


def registry_rows(
    fleet: FittedFleet, panel: Panel, *, reasons: Mapping[str, str] = MappingProxyType({})
) -> pl.DataFrame:
    """Return a fleet's rows of the table `models`, one per series, trained or refused.

    Args:
        fleet: One member's networks.
        panel: The series that they were fitted to.
        reasons: By series, why it was trained from scratch though it has earlier weights.

    Returns:
        Rows without the columns that the job adds (`weights_uri`, `data_version`, `architecture`), sorted.
    """
    cutoff_of = dict(zip(panel.unique_ids, panel.cutoffs.tolist(), strict=True))
    versions = fleet.versions()
    shared = {
        "model": fleet.model,
        "member": fleet.member,
        "role": fleet.role,
        "config": fleet.config.model_dump_json(),
        "seed": fleet.seed,
        "kernel": fleet.kernel,
        "code_version": code_version(),
        "prior_version": fleet.prior_version,
    }
    until_S = None if fleet.trained_until_S is None else fleet.trained_until_S.astype(panel.ds_SN.dtype).tolist()
    trained = [
        shared
        | {
            "unique_id": unique_id,
            "version": versions[slot],
            "cutoff": cutoff_of[unique_id],
            "status": _TRAINED,
            "num_steps": int(fleet.num_steps_S[slot]),
            "num_windows": int(fleet.num_windows_S[slot]),
            "validation_loss": _finite(fleet.validation_loss_S[slot]),
            "weights_slot": slot,
            "strength": None if fleet.strength_S is None else float(fleet.strength_S[slot]),
            "trained_until": None if until_S is None else until_S[slot],
            "started_from": None if fleet.started_from is None else fleet.started_from[slot],
            "reason": reasons.get(unique_id),
        }
        for slot, unique_id in enumerate(fleet.unique_ids)
    ]
    refused = [
        shared
        | {
            "unique_id": refusal.unique_id,
            "cutoff": cutoff_of[refusal.unique_id],
            "status": refusal.status,
            "reason": refusal.reason,
        }
        for refusal in fleet.refused
    ]
    clock: Clock = "step" if panel.clock_dtype == STEP else "timestamp"
    schema = table("models").row_schema(clock, without=_ADDED_BY_THE_JOB)
    return pl.DataFrame(trained + refused, schema=schema).sort("unique_id")


def prior_row(prior: Prior) -> dict[str, Any]:
    """Return a prior's row of the table `priors`, without the columns that the job adds."""
    return {
        "model": prior.model,
        "member": prior.member,
        "role": prior.role,
        "version": prior.version,
        "num_series": prior.num_series,
        "num_steps": prior.num_steps,
        "loss": prior.loss,
        "gains": list(prior.gains),
        "config": prior.config.model_dump_json(),
        "seed": prior.seed,
        "kernel": prior.kernel,
        "code_version": code_version(),
        "trained_until": _newest_read(prior),
        "started_from": prior.started_from,
    }


def _newest_read(prior: Prior) -> datetime | int | None:
    """Return the latest point of any series that a prior may have read, on the clock of ds."""
    newest = max((prior.trained_until or {}).values(), default=None)
    if newest is None or isinstance(prior.task.freq, int):
        return newest
    return datetime(1970, 1, 1) + timedelta(microseconds=newest)


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
