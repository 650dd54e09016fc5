"""Registry rows go in; the fleets that they name, read from their weights, come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from forecasting.spec.spec import Categories, Spec
from forecasting.store.tables import Store

if TYPE_CHECKING:
    from forecasting.fleet.fitted import FittedFleet


def load_fleets(store: Store, spec: Spec, rows: pl.DataFrame) -> list[FittedFleet]:
    """Read each weights file once and keep the series that the rows name it for.

    `rows`: unique_id, model, role, weights_uri. A fleet of another frequency or horizon, other quantiles,
    season lengths or categories than the spec now has cannot forecast for it: its series count as not trained.
    """
    fleets = []
    named = rows.drop_nulls("weights_uri").sort("weights_uri", "unique_id")
    for (uri,), members in named.group_by("weights_uri", maintain_order=True):
        fleet = read_fleet(store, str(uri))
        if _is_for(fleet, spec):
            fleets.append(fleet.select(members["unique_id"].to_list()))
    return fleets


def read_fleet(store: Store, uri: str) -> FittedFleet:
    """Read a file of weights; raises NothingStored where there is none."""
    from forecasting.fleet.fitted import FittedFleet  # torch loads on actors only

    path = store.local_path(uri)
    return FittedFleet.from_file(path) if path else FittedFleet.from_bytes(store.read_bytes(uri))


def describe_architecture(spec: Spec) -> str:
    """Describe what the shape of a network and what it says depend on besides its configuration."""
    names = {"freq", "horizon", "quantiles", "season_lengths"}
    return spec.model_dump_json(include=names if spec.categories == Categories() else names | {"categories"})


def newest(rows: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
    """Keep of each key the rows of its newest run cutoff."""
    return rows.join(rows.group_by(key).agg(pl.col("run_cutoff").max()), on=[*key, "run_cutoff"], how="semi")


def _is_for(fleet: FittedFleet, spec: Spec) -> bool:
    names = ("freq", "horizon", "quantiles", "season_lengths", "categories")
    return all(getattr(fleet.architecture, name) == getattr(spec, name) for name in names)
