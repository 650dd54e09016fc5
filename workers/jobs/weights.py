"""Fleets of networks, read from the weights that rows of the registry name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import polars as pl

from forecasting.fleet.task import ForecastTask
from forecasting.spec.categories import Categories
from forecasting.spec.spec import Spec
from forecasting.store.tables import Store

if TYPE_CHECKING:
    from forecasting.fleet.fitted import FittedFleet


def load_fleets(store: Store, spec: Spec, rows: pl.DataFrame) -> list[FittedFleet]:
    """Read each file of weights once and keep the series that the rows name it for.

    A fleet with another frequency, horizon, season lengths, quantiles, categories or covariates than the spec now has
    cannot forecast for the spec. Its series count as not trained.

    Args:
        store: Holds the weights.
        spec: The spec to forecast for.
        rows: Registry rows with unique_id, model, role and weights_uri.

    Returns:
        One fleet per file, in the order of the file names.
    """
    fleets = []
    named = rows.drop_nulls("weights_uri").sort("weights_uri", "unique_id")
    for (uri,), members in named.group_by("weights_uri", maintain_order=True):
        fleet = read_fleet(store, str(uri))
        if fleet.task == ForecastTask.of(spec):
            fleets.append(fleet.select(members["unique_id"].to_list()))
    return fleets


def read_fleet(store: Store, uri: str) -> FittedFleet:
    """Read a file of weights.

    Args:
        store: Holds the weights.
        uri: The file, relative to the store.

    Returns:
        The fleet, with all series of the file.

    Raises:
        NothingStored: The file does not exist, is damaged or has another format.
    """
    from forecasting.fleet.fitted import FittedFleet  # torch loads on actors only

    path = store.local_path(uri)
    return FittedFleet.from_file(path) if path else FittedFleet.from_bytes(store.read_bytes(uri), name=uri)


def describe_task(spec: Spec) -> str:
    """Return the fields of a spec, as JSON, that networks depend on besides their configuration."""
    names = {each.name for each in fields(ForecastTask)} - {"covariates"}
    text = spec.model_dump_json(include=names if spec.categories != Categories() else names - {"categories"})
    covariates = ForecastTask.of(spec).covariates
    return f'{text[:-1]},"covariates":{json.dumps(covariates)}}}' if covariates else text


def newest(rows: pl.LazyFrame, key: Sequence[str]) -> pl.LazyFrame:
    """Keep the rows of the newest run cutoff of each key."""
    return rows.join(rows.group_by(key).agg(pl.col("run_cutoff").max()), on=[*key, "run_cutoff"], how="semi")
