"""Registry rows go in; the fleets that they name, read from their weights, come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from forecasting.spec import Spec
from forecasting.store.tables import Store

if TYPE_CHECKING:
    from forecasting.fleet.fitted import FittedFleet


def load_fleets(store: Store, spec: Spec, rows: pl.DataFrame) -> list[FittedFleet]:
    """Read each weights file once and keep the series that the rows name it for.

    `rows`: unique_id, model, role, weights_uri. A fleet of another frequency or horizon, other quantiles or
    other season lengths than the spec now has cannot forecast for it: its series count as not trained.
    """
    from forecasting.fleet.fitted import FittedFleet  # torch loads on actors only

    fleets = []
    named = rows.drop_nulls("weights_uri").sort("weights_uri", "unique_id")
    for (uri,), members in named.group_by("weights_uri", maintain_order=True):
        path = store.local_path(str(uri))
        fleet = FittedFleet.from_file(path) if path else FittedFleet.from_bytes(store.read_bytes(str(uri)))
        if _is_for(fleet, spec):
            fleets.append(fleet.select(members["unique_id"].to_list()))
    return fleets


def newest(rows: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
    """Keep of each key the rows of its newest run cutoff."""
    return rows.join(rows.group_by(key).agg(pl.col("run_cutoff").max()), on=[*key, "run_cutoff"], how="semi")


def _is_for(fleet: FittedFleet, spec: Spec) -> bool:
    architecture = fleet.architecture
    return (architecture.freq, architecture.horizon, architecture.quantiles, architecture.season_lengths) == (
        spec.freq,
        spec.horizon,
        spec.quantiles,
        spec.season_lengths,
    )
