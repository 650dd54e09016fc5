"""The trees of a run: fitted to all series of the spec, or taken from the registry, where they lie beside the priors.

    weights/<spec>/<run>/lightgbm-<role>.txt

A row of the table `priors` has their version, the beginning of the file's SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import polars as pl

from forecasting.classical.trees import NAME, Trees, check_installed
from forecasting.flow.fleet_trees import (
    NOT_FITTED,
    config_of_trees,
    fit_fleet_trees,
    series_of_trees,
    trees_row,
    trees_seconds,
)
from forecasting.schemas import table as declared_table
from forecasting.settings import DRIVER_BYTES
from forecasting.spec.spec import Spec
from forecasting.spec.training import Role
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.tables import WEIGHTS_FOLDER, Store
from forecasting.version import code_version
from workers.jobs.place import is_short, open_place
from workers.jobs.run import Run, count_points
from workers.jobs.shard_run import Slot
from workers.jobs.weights import describe_task, newest

_BYTES_PER_POINT, _BYTES_PER_COVARIATE = 120, 40
"""Of a panel, its features and their copies; the latter for each covariate."""


def settle_trees(run: Run, slot: Slot) -> dict[str, int]:
    """Find the trees of a run in the registry, or fit and publish them; nothing where the spec has none.

    Stored trees of this cutoff are used if they were fitted in the same way to the same version of the features; a run
    that is filtered to some series accepts any version.

    Args:
        run: The run.
        slot: The same run, as workers know it.

    Returns:
        The new version of the table `priors` by its stored name, if it changed.
    """
    if not run.spec.has_trees:
        return {}
    check_installed(f"spec {run.spec.name}")
    alike = _alike(run.spec) & (pl.col("code_version") == code_version())
    stored = run.rows("priors").filter(pl.col("run_cutoff") == run.cutoff, alike)
    if run.series is None:
        stored = stored.filter(pl.col("data_version").eq_missing(slot.data_version))
    if stored.select(pl.len()).collect(engine="streaming").item() == len(get_args(Role)):
        return {}
    rows = _fit(run, slot)
    version = publish(
        run.store,
        "priors",
        run.clock,
        slot.stamp("priors", rows),
        slice=Slice(run.spec.name, run_cutoff=run.cutoff, models=(NAME,)),
        # Priors of networks are published in a commit of their own.
        application=f"{run.arguments.run_id}/{NAME}",
        generation=run.arguments.generation,
    )
    return {declared_table("priors").stored_as(run.clock): version}


def candidate_trees(store: Store, spec: Spec, stored: pl.LazyFrame) -> Trees | None:
    """Read the trees that a backtest scores.

    Args:
        store: Holds the files.
        spec: The spec.
        stored: Rows of `priors` of the cutoff.

    Returns:
        The trees; None where there are none.

    Raises:
        NothingStored: The file does not exist or is damaged.
    """
    rows = stored.filter(_alike(spec), pl.col("role") == "candidate").collect(engine="streaming")
    return _read(store, rows)


def serving_trees(store: Store, spec: Spec, stored: pl.LazyFrame) -> tuple[Trees | None, pl.DataFrame]:
    """Read the newest serving trees that match a spec as it is now.

    Args:
        store: Holds the files.
        spec: The spec.
        stored: Rows of `priors` up to the cutoff.

    Returns:
        The trees, None where there are none; and their row, with model, member, version and run_cutoff.

    Raises:
        NothingStored: The file does not exist or is damaged.
    """
    serving = stored.filter(_alike(spec), pl.col("role") == "serving")
    rows = newest(serving, ["model", "member"]).collect(engine="streaming")
    return _read(store, rows), rows.select("model", "member", "version", "run_cutoff")


def describe_missing(run: Run) -> str:
    """Return that a spec's trees are not in the registry, where that is so; part of a job's message."""
    if not run.spec.has_trees:
        return ""
    found = run.rows("priors").filter(pl.col("run_cutoff") <= run.cutoff, _alike(run.spec), pl.col("role") == "serving")
    if found.head(1).collect(engine="streaming").height:
        return ""
    return " lightgbm has no forecast, because no training has fitted it to the spec as it is now;"


def _alike(spec: Spec) -> pl.Expr:
    """Return an expression that selects the rows of a spec's trees, as it is now."""
    if not spec.has_trees:
        return pl.lit(value=False)
    return (
        (pl.col("model") == NAME)
        & (pl.col("config") == config_of_trees(spec))
        & (pl.col("architecture") == describe_task(spec))
        & (pl.col("seed") == spec.seed)
    )


def _read(store: Store, rows: pl.DataFrame) -> Trees | None:
    for uri, version in rows.select("weights_uri", "version").iter_rows():
        return Trees.from_bytes(store.read_bytes(uri), name=uri, version=version)
    return None


def _fit(run: Run, slot: Slot) -> pl.DataFrame:
    """Fit the trees of both roles on one worker, and return their rows; none where there is too little to fit to."""
    num_points = count_points(run, data_version=slot.data_version, is_whole=True)
    names = tuple(series_of_trees(num_points))
    total = sum(num_points[name] for name in names)
    per_point = _BYTES_PER_POINT + _BYTES_PER_COVARIATE * len(run.spec.covariate_names)
    needed = DRIVER_BYTES // 2 + per_point * total
    with open_place(run, is_here=is_short(run, trees_seconds(run.spec, len(names), total), needed)) as place:
        (rows,) = place.run_units(
            _FitTrees(slot), [_Fit(names)], name=run.arguments.job, resources=place.resources, noun="fits"
        )
    if not rows:
        print(f"{run.arguments.job}: warning: {NOT_FITTED}", flush=True)
    schema = declared_table("priors").schema(run.clock)
    columns = {name: dtype for name, dtype in schema.items() if not rows or name in rows[0]}
    return pl.DataFrame(rows, schema=columns)


@dataclass(frozen=True)
class _Fit:
    """The series that trees are fitted to: a unit of work for the pool."""

    unique_ids: tuple[str, ...]
    number: int = 0
    size: int = 1

    @property
    def description(self) -> str:
        return "the trees of the fleet"


@dataclass(frozen=True)
class _FitTrees:
    """Fits trees, writes their files and returns their registry rows."""

    slot: Slot

    def __call__(self, unit: _Fit) -> Sequence[dict[str, object]]:
        slot = self.slot
        fitted = fit_fleet_trees(slot.read_panel(unit.unique_ids), slot.spec)
        rows = []
        roles: tuple[Role, ...] = ("candidate", "serving")
        for role, trees in zip(roles, fitted or (), strict=False):
            uri = f"{WEIGHTS_FOLDER}/{slot.spec.name}/{slot.run_id}/{NAME}-{role}.txt"
            slot.store.write_bytes(uri, trees.to_bytes())
            stored = {
                "weights_uri": uri,
                "data_version": slot.data_version,
                "architecture": describe_task(slot.spec),
                "from_scratch": slot.from_scratch,
            }
            rows.append(trees_row(trees, slot.spec, role) | stored)
        return rows
