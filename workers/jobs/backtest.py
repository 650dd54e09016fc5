"""The backtest job: scores candidates and other models at past origins, and publishes backtests and champions."""

import sys
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from forecasting.classical.baselines import seasonal_naive_name
from forecasting.classical.combination import COMBINATION
from forecasting.classical.trees import check_installed
from forecasting.evaluate.conformal import COUNTS, find_factors
from forecasting.evaluate.dependence import SUMS, find_correlations
from forecasting.schemas import table as declared_table
from forecasting.series.clock import format_clock
from forecasting.spec.spec import REGRESSIONS, STATISTICS, Spec
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.staging import discard
from forecasting.store.stamp import stamp
from workers.cluster.shards import Shard
from workers.jobs.changed import keep_changed
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.plan import pinned_version
from workers.jobs.run import Outcome, Run, count_points, main
from workers.jobs.shard_run import Slot, group_by_files, stage_shards
from workers.jobs.trees import candidate_trees
from workers.jobs.weights import load_fleets, newest


def backtest(run: Run) -> Outcome:
    """Score this cutoff's candidates and the untrained models at rolling origins, and choose champions."""
    data_version = pinned_version(run)
    covered = keep_changed(run, count_points(run, data_version=data_version), data_version=data_version)
    run, num_points = covered.run, covered.num_points
    if not num_points:
        return Outcome(f"nothing to backtest at {format_clock(run.cutoff)}{covered.note}", is_idle=True)
    if run.spec.has_trees:
        check_installed(f"spec {run.spec.name}")
    wanted = candidates_of(run.cutoff, contestants(run.spec, run.networks))
    names = run.rows("models").filter(wanted).select("unique_id", "weights_uri")
    groups = group_by_files(num_points, names.collect(engine="streaming"))
    staged = stage_shards(run, compare_shard, groups, data_version=data_version)
    models = None
    if run.arguments.models is not None:
        naives = (seasonal_naive_name(length) for length in run.spec.season_lengths)
        models = (*run.networks, *STATISTICS, *REGRESSIONS, *naives, COMBINATION)
    versions = run.publish("backtests", staged.files["backtests"], models=models)
    changes = _describe_changes(run, staged.files["champions"]) + _describe_errors(run, staged.files["champions"])
    versions |= run.publish("champions", staged.files["champions"])
    if run.series is None:  # a few series say little about the fleet
        counts = pl.concat(_read_each(run, staged.files["calibrations"]))
        factors = find_factors(counts.select(*COUNTS), horizon=run.spec.horizon)
        versions |= _publish_of_fleet(run, "calibrations", factors, models)
        if run.spec.paths:
            sums = (rows.select(*SUMS) for rows in _read_each(run, staged.files["correlations"]))
            correlations = find_correlations(sums, horizon=run.spec.horizon)
            versions |= _publish_of_fleet(run, "correlations", correlations, models)
    discard(run.store, run.arguments.run_id)
    return Outcome(
        f"{len(num_points)} series backtested with {', '.join(run.networks)} at {format_clock(run.cutoff)};"
        f"{changes} {staged.describe()}{covered.note}",
        versions,
        num_series=len(num_points),
        num_rows=staged.num_rows["backtests"],
    )


def _describe_changes(run: Run, files: Sequence[str]) -> str:
    """Report how many series have another champion than at the newest earlier cutoff that chose one for them."""
    key = ["unique_id"]
    earlier = newest(run.rows("champions").filter(pl.col("run_cutoff") < run.cutoff), key).select(*key, "model")
    now = pl.scan_parquet(list(files), storage_options=run.store.storage_options or None, glob=False)
    both = now.join(earlier, on=key, suffix="_before").select(
        pl.len(), changed=(pl.col("model") != pl.col("model_before")).sum()
    )
    num_both, num_changed = both.collect(engine="streaming").row(0)
    return f" {num_changed} of {num_both} champions changed;" if num_both else ""


def _describe_errors(run: Run, files: Sequence[str]) -> str:
    """Report the mean error of the champions and of the best naives, of the series that have both."""
    champions = pl.scan_parquet(list(files), storage_options=run.store.storage_options or None, glob=False)
    both = champions.select("mase", "baseline_mase").filter(pl.all_horizontal(pl.all().is_finite()))
    of_champions, of_naives = both.mean().collect(engine="streaming").row(0)
    if of_champions is None:
        return ""
    return f" mean MASE {of_champions:.3f} of champions, {of_naives:.3f} of the best naives;"


def compare_shard(slot: Slot, shard: Shard) -> Mapping[str, pl.DataFrame]:
    """Backtest the candidates of a shard and choose its champions.

    Args:
        slot: The run.
        shard: The series.

    Returns:
        Rows by table; those of networks that the run is not filtered to are left out, except champions.
    """
    from forecasting.flow.shards import backtest_shard  # torch loads on actors only

    networks = contestants(slot.spec, slot.networks)
    rows = (
        slot.store.scan("models", slot.clock)
        .filter(pl.col("spec") == slot.spec.name, candidates_of(slot.cutoff, networks))
        .filter(pl.col("unique_id").is_in(list(shard.unique_ids)))
        .collect(engine="streaming")
    )
    candidates = load_fleets(slot.store, slot.spec, rows)
    of_cutoff = (pl.col("spec") == slot.spec.name) & (pl.col("run_cutoff") == slot.cutoff)
    trees = candidate_trees(slot.store, slot.spec, slot.store.scan("priors", slot.clock).filter(of_cutoff))
    panel = slot.read_panel(shard.unique_ids)
    backtested = backtest_shard(panel, slot.spec, candidates, networks=networks, trees=trees, kernel=slot.kernel)
    is_requested = ~pl.col("model").is_in([network for network in networks if network not in slot.networks])
    staged = {
        "backtests": backtested.backtests.filter(is_requested),
        "champions": backtested.champions,
        "calibrations": backtested.ratios.filter(is_requested),  # counts, which the driver adds up
    }
    return staged | {"correlations": backtested.products.filter(is_requested)} if slot.spec.paths else staged


def _read_each(run: Run, files: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Read what each shard has staged."""
    for file in files:
        yield pl.read_parquet(file, storage_options=run.store.storage_options or None)


def _publish_of_fleet(run: Run, table: str, frame: pl.DataFrame, models: Sequence[str] | None) -> dict[str, int]:
    """Publish rows that describe models over the whole fleet."""
    rows = stamp(
        frame,
        table,
        run.clock,
        spec=run.spec.name,
        run_cutoff=run.cutoff,
        run_id=run.arguments.run_id,
    )
    version = publish(
        run.store,
        table,
        run.clock,
        rows,
        slice=Slice(run.spec.name, run_cutoff=run.cutoff, models=models),
        application=run.arguments.run_id,
        generation=run.arguments.generation,
    )
    return {declared_table(table).stored_as(run.clock): version}


def contestants(spec: Spec, networks: Sequence[str]) -> tuple[str, ...]:
    """Return the networks that champions are chosen from: the spec's, and those of the run.

    A run that is filtered to one network still compares it with the others' candidates at this cutoff. Otherwise the
    run would make it champion without a comparison.

    Args:
        spec: The run's spec.
        networks: Networks that the run is filtered to.

    Returns:
        Names of networks, each once.
    """
    return tuple(dict.fromkeys((*spec.models, *networks)))


def candidates_of(cutoff: object, networks: tuple[str, ...]) -> pl.Expr:
    """Return an expression that selects the registry rows of a cutoff's candidates."""
    return (pl.col("run_cutoff") == cutoff) & (pl.col("role") == "candidate") & pl.col("model").is_in(list(networks))


if __name__ == "__main__":
    from workers.jobs import backtest as itself  # actors know the functions of a module, not those of a script

    sys.exit(main("backtest", itself.backtest, stored_cutoff))
