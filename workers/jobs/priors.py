"""Priors of a run: features of all series go in; what each member's networks begin from is trained, or found stored.

    weights/<spec>/<run>/prior-<network>-<member>-<role>.safetensors

They are trained on all series of the spec, whatever the run is filtered to, one after the other on each worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from forecasting.schemas import table as declared_table
from forecasting.spec import Spec
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.tables import WEIGHTS_FOLDER, Store
from forecasting.version import code_version
from workers.jobs.run import Run, count_points
from workers.jobs.shard_run import Slot, peak_mib
from workers.jobs.sizing import choose_prior_series, cost_of, refuse_too_little
from workers.local_ray import local_ray
from workers.pool import plan_resources, run_shards
from workers.shards import Shard

if TYPE_CHECKING:
    from forecasting.learn import PriorsByMember


def settle_priors(run: Run, slot: Slot) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the registry's rows of every prior that a run has, and the version of their table where it changed.

    What is stored at this cutoff serves where it was trained alike: on the same version of the features, or for a run
    that is filtered to some series, on any.
    """
    schema = declared_table("priors").schema(run.clock)
    wanted = _wanted(run.spec, run.networks)
    if wanted.is_empty():
        return pl.DataFrame(schema=schema), {}
    stored = run.rows("priors").filter(pl.col("run_cutoff") == run.cutoff)
    if run.arguments.series is None:
        stored = stored.filter(pl.col("data_version").eq_missing(slot.data_version))
    found = wanted.join(stored.collect(engine="streaming"), on=wanted.columns, how="inner")
    if found.height == wanted.height:
        return found, {}
    rows = _train(run, slot, wanted)
    version = publish(
        run.store,
        "priors",
        run.clock,
        slot.stamp("priors", rows),
        slice=Slice(run.spec.name, run_cutoff=run.cutoff, models=run.networks),
        application=run.arguments.run_id,
        generation=run.arguments.generation,
    )
    return rows, {declared_table("priors").stored_as(run.clock): version}


def load_priors(store: Store, rows: pl.DataFrame) -> PriorsByMember:
    """Read the priors that rows of their table name (model, member, role, weights_uri)."""
    from forecasting.fleet.fitted import Prior
    from forecasting.learn import Priors  # torch loads on actors only

    read = {
        (model, member, role): Prior.from_bytes(store.read_bytes(uri))
        for model, member, role, uri in rows.select("model", "member", "role", "weights_uri").iter_rows()
        if uri is not None
    }
    return {
        (model, member): Priors(read[model, member, "candidate"], read[model, member, "serving"])
        for model, member, role in read
        if role == "serving"
    }


def _wanted(spec: Spec, networks: Sequence[str]) -> pl.DataFrame:
    """Return what tells the rows of priors that would be trained now: their key, and what they are a function of."""
    from forecasting.recipes import configure
    from forecasting.training import member_seed

    config = configure(spec)
    return pl.DataFrame(
        [
            {
                "model": network,
                "member": number,
                "role": role,
                "config": config.of_member(number).model_dump_json(),
                "architecture": _architecture(spec),
                "seed": member_seed(spec.seed, number),
                "code_version": code_version(),
            }
            for network in networks
            for number, member in enumerate(config.members)
            if member.start == "prior"
            for role in ("candidate", "serving")
        ],
        schema={
            name: dtype
            for name, dtype in declared_table("priors").schema("timestamp").items()
            if name in ("model", "member", "role", "config", "architecture", "seed", "code_version")
        },
    )


def _architecture(spec: Spec) -> str:
    """Describe what the shape of a prior and what it says depend on besides its configuration."""
    return spec.model_dump_json(include={"freq", "horizon", "quantiles", "season_lengths"})


def _train(run: Run, slot: Slot, wanted: pl.DataFrame) -> pl.DataFrame:
    """Train priors on the cluster, one for each network and member at a time; return their rows."""
    num_points = count_points(run, data_version=slot.data_version, is_whole=True)
    members = wanted.select("model", "member").unique(maintain_order=True).iter_rows()
    with local_ray(log_to_driver=True):
        resources = plan_resources(run.workers)
        refuse_too_little(cost_of(run, resources), resources)
        names = tuple(choose_prior_series(run, resources, num_points))
        total = sum(num_points[name] for name in names)
        statuses = run_shards(
            _TrainPrior(slot),
            [_PriorShard(number, names, total, *member) for number, member in enumerate(members)],
            name=run.arguments.job,
            resources=resources,
            unit="priors",
        )
    most = max(status["peak_mib"] for status in statuses)
    print(f"{run.arguments.job}: priors took at most {most} MiB in a worker", flush=True)
    schema = declared_table("priors").schema(run.clock)
    rows = [row for status in statuses for row in status["rows"]]
    columns = {name: dtype for name, dtype in schema.items() if not rows or name in rows[0]}
    return pl.DataFrame(rows, schema=columns)


@dataclass(frozen=True)
class _PriorShard(Shard):
    """The series that a prior is trained on, and which one that is."""

    network: str
    member: int

    def __str__(self) -> str:
        return f"the prior of {self.network}, member {self.member}"


@dataclass(frozen=True)
class _TrainPrior:
    slot: Slot

    def __call__(self, shard: Shard) -> Mapping[str, Any]:
        from forecasting.fleet.options import FitOptions
        from forecasting.learn import prior_row, train_priors  # torch loads on actors only

        assert isinstance(shard, _PriorShard)
        slot = self.slot
        panel = slot.read_panel(shard.unique_ids)
        options = FitOptions(checkpoint=slot.checkpoint_folder(shard) / _task_of(slot), kernel=slot.kernel)
        priors = train_priors(panel, slot.spec, shard.network, shard.member, options=options)
        rows = []
        for prior in priors or ():
            name = f"prior-{shard.network}-{shard.member}-{prior.role}.safetensors"
            uri = f"{WEIGHTS_FOLDER}/{slot.spec.name}/{slot.run_id}/{name}"
            slot.store.write_bytes(uri, prior.to_bytes())
            stored = {"weights_uri": uri, "data_version": slot.data_version, "architecture": _architecture(slot.spec)}
            rows.append(prior_row(prior) | stored)
        return {"rows": rows, "peak_mib": peak_mib()}


def _task_of(slot: Slot) -> str:
    """Name what is trained on what: an earlier try of the same run, which no plan holds yet, may have read other data.

    What it left unfinished is then not taken up.
    """
    task = [slot.spec.model_dump_json(), str(slot.cutoff), str(slot.data_version), code_version()]
    return "priors-" + hashlib.sha256("\n".join(task).encode()).hexdigest()[:16]
