"""The train job: fits a spec's networks and publishes their weights and registry rows, candidates and serving."""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from itertools import product

import polars as pl

from forecasting.series.clock import format_clock
from forecasting.store.staging import discard
from forecasting.store.tables import WEIGHTS_FOLDER
from workers.cluster.local_ray import local_ray
from workers.cluster.shards import Shard
from workers.jobs.changed import keep_changed
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.plan import pinned_version
from workers.jobs.priors import load_priors, settle_priors
from workers.jobs.run import Outcome, Run, count_points, main
from workers.jobs.shard_run import Slot, StagedRun, are_short, slot_of, stage_shards
from workers.jobs.trees import settle_trees
from workers.jobs.weights import describe_task, read_fleet


def train(run: Run) -> Outcome:
    """Fit every requested network for every series, and replace their registry rows of this cutoff."""
    data_version = pinned_version(run)
    covered = keep_changed(run, count_points(run, data_version=data_version), data_version=data_version)
    run, num_points = covered.run, covered.num_points
    if not num_points:
        return Outcome(f"nothing to train at {format_clock(run.cutoff)}{covered.note}", is_idle=True)
    # One connection to Ray for both.
    with nullcontext() if are_short(run, num_points) else local_ray(log_to_driver=True):
        priors, versions = settle_priors(run, slot_of(run, data_version))
        versions |= settle_trees(run, slot_of(run, data_version))
        staged = stage_shards(run, partial(fit_shard, priors=priors), [num_points], data_version=data_version)
    versions |= run.publish("models", staged.files["models"], models=run.arguments.models)
    starts = _describe_starts(run, staged)
    discard(run.store, run.arguments.run_id)
    num_rows = staged.num_rows["models"]
    return Outcome(
        f"{len(num_points)} series trained with {', '.join(run.networks)} up to {format_clock(run.cutoff)};"
        f"{starts} {staged.describe()}{covered.note}",
        versions,
        num_series=len(num_points),
        num_rows=num_rows,
    )


def _describe_starts(run: Run, staged: StagedRun) -> str:
    """Report how many networks without a prior went on from earlier weights, and why others did not."""
    rows = pl.scan_parquet(
        list(staged.files["models"]), storage_options=run.store.storage_options or None, glob=False
    ).filter(pl.col("role") == "candidate", pl.col("status") == "trained", pl.col("prior_version").is_null())
    counts = rows.select(warm=pl.col("started_from").count(), all=pl.len(), refused=pl.col("reason").count())
    num_warm, num_all, num_refused = counts.collect(engine="streaming").row(0)
    if not num_warm + num_refused:
        return ""
    reasons = rows.drop_nulls("reason").select(pl.col("reason").str.replace(", .*", "").value_counts(sort=True))
    refusals = [f"{each['count']} {each['reason']}" for (each,) in reasons.collect(engine="streaming").iter_rows()]
    return "; ".join([f" {num_warm} of {num_all} networks go on from earlier weights", *refusals]) + ";"


def fit_shard(slot: Slot, shard: Shard, *, priors: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
    """Fit the networks of a shard and write their weights.

    Args:
        slot: The run.
        shard: The series to fit.
        priors: Registry rows of the priors that networks begin from.

    Returns:
        The networks' rows of `models`.
    """
    from forecasting.fleet.options import FitOptions
    from forecasting.flow.learn import train_member  # torch loads on actors only
    from forecasting.flow.members import MemberKey
    from forecasting.flow.registry import registry_rows
    from forecasting.flow.warm import Earlier, find_starts
    from forecasting.spec.recipes import configure

    (panel, ended), priors_of = slot.read_live(shard.unique_ids), load_priors(slot.store, priors)
    options = FitOptions(checkpoint=slot.checkpoint_folder(f"shard={shard.number}"), kernel=slot.kernel)
    architecture = describe_task(slot.spec)
    earlier = Earlier(earlier_networks(slot, shard), architecture, partial(read_fleet, slot.store))
    rows = []
    folder = f"{WEIGHTS_FOLDER}/{slot.spec.name}/{slot.run_id}"
    for network, number in product(slot.networks, range(len(configure(slot.spec).members))):
        found = find_starts(panel, slot.spec, network, number, earlier)
        fleets = train_member(
            panel,
            slot.spec,
            network,
            number,
            priors=priors_of.get(MemberKey(network, number)),
            starts=found.starts,
            options=options,
        )
        for fleet in fleets:  # one by one, so that memory holds the weights of one fleet only
            part = f"{fleet.role}-warm" if fleet.started_from else fleet.role
            uri = f"{folder}/{shard.number}-{network}-{number}-{part}.safetensors"
            slot.store.write_bytes(uri, fleet.to_bytes())
            rows.append(
                registry_rows(fleet, panel, reasons=found.reasons).with_columns(
                    weights_uri=pl.lit(uri),
                    data_version=pl.lit(slot.data_version, pl.Int64),
                    architecture=pl.lit(architecture),
                )
            )
    has_ended = pl.col("unique_id").is_in(list(ended))
    unserved = {**ended, **slot.read_set_aside(shard.unique_ids)}
    why = pl.col("unique_id").replace_strict(unserved, default=None, return_dtype=pl.String)
    models = pl.concat(rows).with_columns(
        status=pl.when(has_ended).then(pl.lit("ended")).otherwise("status"), reason=pl.coalesce(why, "reason")
    )
    return {"models": models}


def earlier_networks(slot: Slot, shard: Shard) -> pl.DataFrame:
    """Return the registry rows of the networks from which those of a shard may go on.

    They are of cutoffs strictly before the run's: networks of the same cutoff are left out, so that a repeated run
    gives the same values.

    Args:
        slot: The run.
        shard: The series.

    Returns:
        Trained networks of the shard's series; no rows where the run begins from scratch.
    """
    models = slot.store.scan("models", slot.clock).filter(
        pl.col("spec") == slot.spec.name,
        pl.col("run_cutoff") < slot.cutoff,
        pl.col("unique_id").is_in(list(shard.unique_ids)),
        pl.col("model").is_in(list(slot.networks)),
        pl.col("status") == "trained",
        pl.col("weights_uri").is_not_null(),
    )
    columns = ("unique_id", "model", "member", "role", "run_cutoff", "trained_until", "weights_uri")
    wanted = models.select(*columns, "config", "architecture", "seed")
    return (wanted.head(0) if slot.from_scratch else wanted).collect(engine="streaming")


if __name__ == "__main__":
    from workers.jobs import train as itself  # actors know the functions of a module, not those of a script

    sys.exit(main("train", itself.train, stored_cutoff))
