"""The train job: features go in; weights and their registry rows, candidates and serving, are published."""

import sys
from collections.abc import Mapping
from functools import partial

import polars as pl

from forecasting.series.clock import format_clock
from forecasting.store.staging import discard
from forecasting.store.tables import WEIGHTS_FOLDER
from workers.jobs.plan import pinned_version
from workers.jobs.priors import load_priors, settle_priors
from workers.jobs.run import Outcome, Run, count_points, main, stored_cutoff
from workers.jobs.shard_run import Slot, slot_of, stage_shards
from workers.local_ray import local_ray
from workers.shards import Shard


def train(run: Run) -> Outcome:
    """Fit every requested network for every series, and replace their registry rows of this cutoff."""
    data_version = pinned_version(run)
    num_points = count_points(run, data_version=data_version)
    with local_ray(log_to_driver=True):
        priors, versions = settle_priors(run, slot_of(run, data_version))
        staged = stage_shards(run, partial(fit_shard, priors=priors), [num_points], data_version=data_version)
    versions |= run.publish("models", staged.files["models"], models=run.arguments.models)
    discard(run.store, run.arguments.run_id)
    num_rows = staged.num_rows["models"]
    return Outcome(
        f"{len(num_points)} series trained with {', '.join(run.networks)} up to {format_clock(run.cutoff)};"
        f" {staged.describe()}",
        versions,
        num_series=len(num_points),
        num_rows=num_rows,
    )


def fit_shard(slot: Slot, shard: Shard, *, priors: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
    """Fit the networks of a shard, write their weights and return their registry rows; `priors` are rows too."""
    from forecasting.fleet.options import FitOptions
    from forecasting.learn import registry_rows, train_network  # torch loads on actors only

    panel, begun = slot.read_panel(shard.unique_ids), load_priors(slot.store, priors)
    options = FitOptions(checkpoint=slot.checkpoint_folder(shard), kernel=slot.kernel)
    rows = []
    folder = f"{WEIGHTS_FOLDER}/{slot.spec.name}/{slot.run_id}"
    for network in slot.networks:  # written one by one, so that memory holds the weights of one
        for fleet in train_network(panel, slot.spec, network, priors=begun, options=options):
            uri = f"{folder}/{shard.number}-{network}-{fleet.member}-{fleet.role}.safetensors"
            slot.store.write_bytes(uri, fleet.to_bytes())
            rows.append(
                registry_rows(fleet, panel).with_columns(
                    weights_uri=pl.lit(uri), data_version=pl.lit(slot.data_version, pl.Int64)
                )
            )
    return {"models": pl.concat(rows)}


if __name__ == "__main__":
    from workers.jobs import train as itself  # actors know the functions of a module, not those of a script

    sys.exit(main("train", itself.train, stored_cutoff))
