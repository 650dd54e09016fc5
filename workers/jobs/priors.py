"""The priors of a run, from which the networks of each member begin: trained, or taken from the registry.

    weights/<spec>/<run>/prior-<network>-<member>-<role>.safetensors

They are trained on all series of the spec, regardless of the run's filters: side by side, one on each worker, or one
after the other on all workers where there are many GPUs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import polars as pl

from forecasting.errors import NothingStored
from forecasting.fleet.plan import prior_series
from forecasting.schemas import table as declared_table
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.staging import run_folder
from forecasting.store.tables import WEIGHTS_FOLDER, Store
from forecasting.version import code_version
from workers.cluster.worker import Resources
from workers.jobs.place import HERE, is_short, open_place
from workers.jobs.run import Run, count_points
from workers.jobs.shard_run import Slot, peak_mib
from workers.jobs.sizing import choose_prior_series, cost_of, predict_prior_work, refuse_too_little
from workers.jobs.weights import describe_task, newest

if TYPE_CHECKING:
    from forecasting.fleet.fitted import Prior
    from forecasting.flow.learn import Priors, PriorsByMember
    from forecasting.series.panel import Panel


def settle_priors(run: Run, slot: Slot) -> tuple[pl.DataFrame, dict[str, int]]:
    """Find the priors of a run in the registry, or train and publish them.

    Stored priors of this cutoff are used if they were trained with the same configuration on the same version of the
    features; a run that is filtered to some series accepts any version. Otherwise training goes on from the priors of
    the newest strictly earlier cutoff that have read no more than the new ones may, unless the run begins from scratch.

    Args:
        run: The run.
        slot: The same run, as workers know it.

    Returns:
        The registry rows of every prior, and the new version of their table by its stored name, if it changed.
    """
    schema = declared_table("priors").schema(run.clock)
    wanted = _wanted(run.spec, run.networks, from_scratch=run.arguments.from_scratch)
    if wanted.is_empty():
        return pl.DataFrame(schema=schema), {}
    stored = run.rows("priors").filter(pl.col("run_cutoff") == run.cutoff)
    if run.series is None:
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
    """Read the priors that registry rows name.

    Args:
        store: Holds the weights.
        rows: Rows with model, member, role and weights_uri.

    Returns:
        Priors by network and member.
    """
    from forecasting.flow.learn import Priors  # torch loads on actors only
    from forecasting.flow.members import MemberKey

    read = {
        (model, member, role): read_prior(store, uri)
        for model, member, role, uri in rows.select("model", "member", "role", "weights_uri").iter_rows()
        if uri is not None
    }
    return {
        MemberKey(model, member): Priors(read[model, member, "candidate"], read[model, member, "serving"])
        for model, member, role in read
        if role == "serving"
    }


def serving_priors(spec: Spec, networks: Sequence[str], stored: pl.LazyFrame) -> pl.DataFrame:
    """Return the newest serving priors that match a spec as it is now.

    Args:
        spec: The spec.
        networks: Names of networks.
        stored: Rows of `priors`.

    Returns:
        One row for each network and member that has such a prior.
    """
    wanted = _wanted(spec, networks, from_scratch=False).filter(role="serving")
    alike = stored.join(wanted.lazy(), on=["model", "member", "role", *_ALIKE], how="semi")
    return newest(alike, ["model", "member"]).collect(engine="streaming")


def read_prior(store: Store, uri: str) -> Prior:
    """Read the weights of a prior.

    Args:
        store: Holds the weights.
        uri: The file, relative to the store.

    Returns:
        The prior.

    Raises:
        NothingStored: The file does not exist, is damaged or has another format.
    """
    from forecasting.fleet.fitted import Prior  # torch loads on actors only

    return Prior.from_bytes(store.read_bytes(uri), name=uri)


def _wanted(spec: Spec, networks: Sequence[str], *, from_scratch: bool) -> pl.DataFrame:
    """Return the key and the inputs of each prior that would be trained now, by which stored rows are recognised."""
    from forecasting.spec.training import Role, member_seed

    config = configure(spec)
    return pl.DataFrame(
        [
            {
                "model": network,
                "member": number,
                "role": role,
                "config": config.of_member(number).model_dump_json(),
                "architecture": describe_task(spec),
                "seed": member_seed(spec.seed, number),
                "code_version": code_version(),
                "from_scratch": from_scratch,
            }
            for network in networks
            for number, member in enumerate(config.members)
            if member.start == "prior"
            for role in get_args(Role)
        ],
        schema={
            name: dtype
            for name, dtype in declared_table("priors").schema("timestamp").items()
            if name in ("model", "member", "role", *_ALIKE, "code_version", "from_scratch")
        },
    )


_ALIKE = ("config", "architecture", "seed")
"""Columns that two priors must have in common for one to go on from the other."""


def _train(run: Run, slot: Slot, wanted: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    """Train priors, one for each network and member at a time; return their rows.

    `earlier` are rows of earlier cutoffs.
    """
    num_points = count_points(run, data_version=slot.data_version, is_whole=True)
    members = wanted.select("model", "member").unique(maintain_order=True).iter_rows()
    alike = earlier.join(wanted.filter(role="candidate"), on=["model", "member", *_ALIKE], how="semi")
    is_here = is_short(
        run, *predict_prior_work(run, HERE, {name: num_points[name] for name in prior_series(num_points)})
    )
    with open_place(run, is_here=is_here) as place:
        resources = place.resources
        refuse_too_little(cost_of(run, resources), resources)
        names = tuple(choose_prior_series(run, resources, num_points))
        task = _TrainPrior(slot, alike.select("model", "member", "role", "run_cutoff", "trained_until", "weights_uri"))
        units = [_PriorTraining(number, names, *member) for number, member in enumerate(members)]
        num_together = count_together(resources, num_priors=len(units), num_windows=configure(run.spec).prior_windows)
        if num_together > 1:
            trained = _train_together(run, task, units, resources, num_together)
        else:
            trained = place.run_units(task, units, name=run.arguments.job, resources=resources, noun="priors")
    most = max(result.peak_mib for result in trained)
    print(f"{run.arguments.job}: priors took at most {most} MiB in a worker", flush=True)
    schema = declared_table("priors").schema(run.clock)
    rows = [row for result in trained for row in result.rows]
    columns = {name: dtype for name, dtype in schema.items() if not rows or name in rows[0]}
    return pl.DataFrame(rows, schema=columns)


def count_together(resources: Resources, *, num_priors: int, num_windows: int) -> int:
    """Return the number of GPUs on which each prior is trained.

    Training one prior after the other on several GPUs pays where there are at least twice as many GPUs as priors.

    Args:
        resources: The workers and what each gets.
        num_priors: Number of priors to train.
        num_windows: Windows of one optimiser step, which the GPUs share evenly.

    Returns:
        1 where priors are trained side by side, one on each worker.
    """
    if not resources.num_gpus or resources.num_workers < 2 * num_priors:
        return 1
    return max(number for number in range(1, resources.num_workers + 1) if num_windows % number == 0)


def _train_together(
    run: Run, task: _TrainPrior, units: Sequence[_PriorTraining], resources: Resources, num_together: int
) -> list[_TrainedPrior]:
    """Train priors one after the other, each on several workers."""
    from workers.cluster.together import Together, run_together

    print(f"{run.arguments.job}: {len(units)} priors are trained on {num_together} GPUs together", flush=True)
    return [
        run_together(
            Together(task.train, task.keep),
            unit,
            num_processes=num_together,
            resources=resources,
            files=run.store.files,
            folder=f"{run_folder(run.arguments.run_id)}/together",
        )
        for unit in units
    ]


@dataclass(frozen=True)
class _PriorTraining:
    """One prior and the series that it is trained on: a unit of work for the pool."""

    number: int
    unique_ids: tuple[str, ...]
    network: str
    member: int
    size: int = 1

    @property
    def description(self) -> str:
        return f"the prior of {self.network}, member {self.member}"


@dataclass(frozen=True)
class _TrainedPrior:
    """The registry's rows of one prior, empty where no series can train it, and the worker's peak memory."""

    rows: Sequence[Mapping[str, object]]
    peak_mib: int


@dataclass(frozen=True)
class _TrainPrior:
    """Trains a prior.

    Attributes:
        slot: The run.
        earlier: Registry rows of the priors from which it may go on.
    """

    slot: Slot
    earlier: pl.DataFrame

    def __call__(self, unit: _PriorTraining) -> _TrainedPrior:
        return self.keep(unit, self.train(unit))

    def train(self, unit: _PriorTraining) -> Priors | None:
        """Train a prior; it goes on where an earlier try was interrupted, unless several workers train it."""
        from forecasting.fleet.options import FitOptions
        from forecasting.fleet.prior.prior import is_together
        from forecasting.flow.learn import train_priors  # torch loads on actors only

        slot = self.slot
        panel = slot.read_panel(unit.unique_ids)
        checkpoint = None if is_together() else slot.checkpoint_folder(f"prior={unit.number}") / _task_of(slot)
        options = FitOptions(checkpoint=checkpoint, kernel=slot.kernel)
        start = self._find_start(panel, unit)
        return train_priors(panel, slot.spec, unit.network, unit.member, start=start, options=options)

    def keep(self, unit: _PriorTraining, priors: Priors | None) -> _TrainedPrior:
        """Write a prior's weights and return its registry rows."""
        from forecasting.flow.registry import prior_row

        slot = self.slot
        rows = []
        for prior in priors or ():
            name = f"prior-{unit.network}-{unit.member}-{prior.role}.safetensors"
            uri = f"{WEIGHTS_FOLDER}/{slot.spec.name}/{slot.run_id}/{name}"
            slot.store.write_bytes(uri, prior.to_bytes())
            stored = {
                "weights_uri": uri,
                "data_version": slot.data_version,
                "architecture": describe_task(slot.spec),
                "from_scratch": slot.from_scratch,
            }
            rows.append(prior_row(prior) | stored)
        return _TrainedPrior(rows, peak_mib())

    def _find_start(self, panel: Panel, unit: _PriorTraining) -> Prior | None:
        """Return the prior to go on from: of the newest cutoff whose prior has read no more than this one may."""
        from forecasting.flow.learn import candidates_until
        from forecasting.flow.warm import choose_prior

        rows = self.earlier.filter(model=unit.network, member=unit.member)
        if self.slot.from_scratch or rows.is_empty():
            return None
        until = candidates_until(panel, self.slot.spec)
        usable = rows.filter(pl.col("trained_until").to_physical() <= max(until.values(), default=0))
        # Within a cutoff, the serving prior comes before the candidate.
        uris = usable.sort("run_cutoff", "role", descending=True)["weights_uri"]
        found = choose_prior(self._read(uris, until), until, self.slot.spec, unit.network, unit.member)
        if found is None:
            print(
                f"{unit.description} is trained from scratch: earlier ones are unreadable or have read too much",
                flush=True,
            )
        return found

    def _read(self, uris: Iterable[str], until: dict[str, int]) -> Iterator[Prior]:
        """Read priors one by one, and add to `until` the limits of those of their series that it lacks."""
        from forecasting.flow.learn import candidates_until  # torch loads on actors only

        for uri in uris:
            try:
                prior = read_prior(self.slot.store, uri)
            except NothingStored:
                print(f"{uri} cannot be read; no prior goes on from it", flush=True)
                continue
            others = sorted(set(prior.trained_until or ()) - set(until))
            if others:
                until.update(candidates_until(self.slot.read_panel(others), self.slot.spec))
            yield prior


def _task_of(slot: Slot) -> str:
    """Name the inputs of a prior: an earlier try of the run may have read other data, and must not be continued."""
    task = [slot.spec.model_dump_json(), str(slot.cutoff), str(slot.data_version), code_version()]
    return "priors-" + hashlib.sha256("\n".join(task).encode()).hexdigest()[:16]
