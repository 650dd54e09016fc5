"""Priors of a run: features of all series go in; what each member's networks begin from is trained, or found stored.

    weights/<spec>/<run>/prior-<network>-<member>-<role>.safetensors

They are trained on all series of the spec, whatever the run is filtered to: side by side, one on each worker, or where
there are many GPUs one after the other on all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from forecasting.errors import NothingStored
from forecasting.schemas import table as declared_table
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.staging import run_folder
from forecasting.store.tables import WEIGHTS_FOLDER, Store
from forecasting.version import code_version
from workers.cluster.local_ray import local_ray
from workers.cluster.pool import Resources, Status, plan_resources, run_shards
from workers.cluster.shards import Shard
from workers.jobs.run import Run, count_points
from workers.jobs.shard_run import Slot, peak_mib
from workers.jobs.sizing import choose_prior_series, cost_of, refuse_too_little
from workers.jobs.weights import describe_architecture, newest

if TYPE_CHECKING:
    from forecasting.fleet.fitted import Prior
    from forecasting.flow.learn import Priors, PriorsByMember
    from forecasting.series.panel import Panel


def settle_priors(run: Run, slot: Slot) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return the registry's rows of every prior that a run has, and the version of their table where it changed.

    What is stored at this cutoff serves where it was trained alike: on the same version of the features, or for a run
    that is filtered to some series, on any. Others go on from those of the newest cutoff strictly earlier that have
    read no more than they may, unless the run begins from scratch.
    """
    schema = declared_table("priors").schema(run.clock)
    wanted = _wanted(run.spec, run.networks, from_scratch=run.arguments.from_scratch)
    if wanted.is_empty():
        return pl.DataFrame(schema=schema), {}
    stored = run.rows("priors").filter(pl.col("run_cutoff") == run.cutoff)
    if run.arguments.series is None:
        stored = stored.filter(pl.col("data_version").eq_missing(slot.data_version))
    found = wanted.join(stored.collect(engine="streaming"), on=wanted.columns, how="inner")
    if found.height == wanted.height:
        return found, {}
    earlier = run.rows("priors").filter(pl.col("run_cutoff") < run.cutoff)
    rows = _train(run, slot, wanted, earlier.collect(engine="streaming"))
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
    from forecasting.flow.learn import Priors  # torch loads on actors only

    read = {
        (model, member, role): read_prior(store, uri)
        for model, member, role, uri in rows.select("model", "member", "role", "weights_uri").iter_rows()
        if uri is not None
    }
    return {
        (model, member): Priors(read[model, member, "candidate"], read[model, member, "serving"])
        for model, member, role in read
        if role == "serving"
    }


def serving_priors(spec: Spec, networks: Sequence[str], stored: pl.LazyFrame) -> pl.DataFrame:
    """Return the rows of the newest serving priors that suit a spec as it is now, one for each network and member."""
    wanted = _wanted(spec, networks, from_scratch=False).filter(role="serving")
    alike = stored.join(wanted.lazy(), on=["model", "member", "role", *_ALIKE], how="semi")
    return newest(alike, ["model", "member"]).collect(engine="streaming")


def read_prior(store: Store, uri: str) -> Prior:
    """Read a prior's weights; raises NothingStored where there are none."""
    from forecasting.fleet.fitted import Prior  # torch loads on actors only

    return Prior.from_bytes(store.read_bytes(uri))


def _wanted(spec: Spec, networks: Sequence[str], *, from_scratch: bool) -> pl.DataFrame:
    """Return what tells the rows of priors that would be trained now: their key, and what they are a function of."""
    from forecasting.spec.training import member_seed

    config = configure(spec)
    return pl.DataFrame(
        [
            {
                "model": network,
                "member": number,
                "role": role,
                "config": config.of_member(number).model_dump_json(),
                "architecture": describe_architecture(spec),
                "seed": member_seed(spec.seed, number),
                "code_version": code_version(),
                "from_scratch": from_scratch,
            }
            for network in networks
            for number, member in enumerate(config.members)
            if member.start == "prior"
            for role in ("candidate", "serving")
        ],
        schema={
            name: dtype
            for name, dtype in declared_table("priors").schema("timestamp").items()
            if name in ("model", "member", "role", *_ALIKE, "code_version", "from_scratch")
        },
    )


_ALIKE = ("config", "architecture", "seed")
"""What two priors must have in common for one to go on from the other."""


def _train(run: Run, slot: Slot, wanted: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Train priors on the cluster, one for each network and member at a time; return their rows.

    `earlier` are rows of earlier cutoffs.
    """
    num_points = count_points(run, data_version=slot.data_version, is_whole=True)
    members = wanted.select("model", "member").unique(maintain_order=True).iter_rows()
    alike = earlier.join(wanted.filter(role="candidate"), on=["model", "member", *_ALIKE], how="semi")
    with local_ray(log_to_driver=True):
        resources = plan_resources(run.workers)
        refuse_too_little(cost_of(run, resources), resources)
        names = tuple(choose_prior_series(run, resources, num_points))
        total = sum(num_points[name] for name in names)
        task = _TrainPrior(slot, alike.select("model", "member", "role", "run_cutoff", "trained_until", "weights_uri"))
        shards = [_PriorShard(number, names, total, *member) for number, member in enumerate(members)]
        num_together = count_together(resources, num_priors=len(shards), num_windows=configure(run.spec).prior_windows)
        if num_together > 1:
            statuses = _train_together(run, task, shards, resources, num_together)
        else:
            statuses = run_shards(task, shards, name=run.arguments.job, resources=resources, unit="priors")
    most = max(status["peak_mib"] for status in statuses)
    print(f"{run.arguments.job}: priors took at most {most} MiB in a worker", flush=True)
    schema = declared_table("priors").schema(run.clock)
    rows = [row for status in statuses for row in status["rows"]]
    columns = {name: dtype for name, dtype in schema.items() if not rows or name in rows[0]}
    return pl.DataFrame(rows, schema=columns)


def count_together(resources: Resources, *, num_priors: int, num_windows: int) -> int:
    """Return on how many GPUs each prior is trained, one prior after the other; 1 where all are trained side by side.

    Together pays where there are twice as many GPUs as priors. A step's windows are divided evenly among them.
    """
    if not resources.num_gpus or resources.num_workers < 2 * num_priors:
        return 1
    return max(number for number in range(1, resources.num_workers + 1) if num_windows % number == 0)


def _train_together(
    run: Run, task: _TrainPrior, shards: Sequence[_PriorShard], resources: Resources, num_together: int
) -> list[Status]:
    """Train priors one after the other, each on several workers."""
    from workers.cluster.together import Together, run_together

    print(f"{run.arguments.job}: {len(shards)} priors are trained on {num_together} GPUs together", flush=True)
    return [
        run_together(
            Together(task.train, task.keep),
            shard,
            num_processes=num_together,
            resources=resources,
            files=run.store.files,
            folder=f"{run_folder(run.arguments.run_id)}/together",
        )
        for shard in shards
    ]


@dataclass(frozen=True)
class _PriorShard(Shard):
    """The series that a prior is trained on, and which one that is."""

    network: str
    member: int

    def __str__(self) -> str:
        return f"the prior of {self.network}, member {self.member}"


@dataclass(frozen=True)
class _TrainPrior:
    """Trains a prior; `earlier` has the registry's rows of those that it may go on from."""

    slot: Slot
    earlier: pl.DataFrame

    def __call__(self, shard: Shard) -> Status:
        return self.keep(shard, self.train(shard))

    def train(self, shard: Shard) -> Priors | None:
        """Train a prior; it goes on where an earlier try was interrupted, unless it is trained with others."""
        from forecasting.fleet.options import FitOptions
        from forecasting.fleet.prior.prior import is_together
        from forecasting.flow.learn import train_priors  # torch loads on actors only

        assert isinstance(shard, _PriorShard)
        slot = self.slot
        panel = slot.read_panel(shard.unique_ids)
        checkpoint = None if is_together() else slot.checkpoint_folder(shard) / _task_of(slot)
        options = FitOptions(checkpoint=checkpoint, kernel=slot.kernel)
        start = self._find_start(panel, shard)
        return train_priors(panel, slot.spec, shard.network, shard.member, start=start, options=options)

    def keep(self, shard: Shard, priors: Priors | None) -> Status:
        """Write a prior's weights and return its registry rows."""
        from forecasting.flow.learn import prior_row

        assert isinstance(shard, _PriorShard)
        slot = self.slot
        rows = []
        for prior in priors or ():
            name = f"prior-{shard.network}-{shard.member}-{prior.role}.safetensors"
            uri = f"{WEIGHTS_FOLDER}/{slot.spec.name}/{slot.run_id}/{name}"
            slot.store.write_bytes(uri, prior.to_bytes())
            stored = {
                "weights_uri": uri,
                "data_version": slot.data_version,
                "architecture": describe_architecture(slot.spec),
                "from_scratch": slot.from_scratch,
            }
            rows.append(prior_row(prior) | stored)
        return {"rows": rows, "peak_mib": peak_mib()}

    def _find_start(self, panel: Panel, shard: _PriorShard) -> Prior | None:
        """Return what to go on from: a prior of the newest cutoff that has one which has read no more than it may."""
        from forecasting.flow.learn import candidates_until
        from forecasting.flow.warm import choose_prior

        rows = self.earlier.filter(model=shard.network, member=shard.member)
        if self.slot.from_scratch or rows.is_empty():
            return None
        until = candidates_until(panel, self.slot.spec)
        usable = rows.filter(pl.col("trained_until").to_physical() <= max(until.values(), default=0))
        # Of a cutoff, what serves goes before the candidate.
        uris = usable.sort("run_cutoff", "role", descending=True)["weights_uri"]
        found = choose_prior(self._read(uris, until), until, self.slot.spec, shard.network, shard.member)
        if found is None:
            print(f"{shard} begins anew: earlier ones are gone, or have read more than it may", flush=True)
        return found

    def _read(self, uris: Iterable[str], until: dict[str, int]) -> Iterator[Prior]:
        """Read priors one by one; `until` gains what candidates may read of those of their series that it lacks."""
        from forecasting.flow.learn import candidates_until  # torch loads on actors only

        for uri in uris:
            try:
                prior = read_prior(self.slot.store, uri)
            except NothingStored:
                print(f"{uri} is gone, so that no prior goes on from it", flush=True)
                continue
            others = sorted(set(prior.trained_until or ()) - set(until))
            if others:
                until.update(candidates_until(self.slot.read_panel(others), self.slot.spec))
            yield prior


def _task_of(slot: Slot) -> str:
    """Name what is trained on what: an earlier try of the same run, which no plan holds yet, may have read other data.

    What it left unfinished is then not taken up.
    """
    task = [slot.spec.model_dump_json(), str(slot.cutoff), str(slot.data_version), code_version()]
    return "priors-" + hashlib.sha256("\n".join(task).encode()).hexdigest()[:16]
