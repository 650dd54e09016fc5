"""The predict job: forecasts every series with the newest serving models, and publishes the forecasts.

A series that is new since the last training has no networks of its own and uses the newest priors directly.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from forecasting.classical.combination import COMBINATION
from forecasting.classical.trees import check_installed
from forecasting.evaluate.zero_medians import describe_zero_medians
from forecasting.flow.covariate_use import check_regressions
from forecasting.schemas import table as declared_table
from forecasting.series.budget import mark_unserved
from forecasting.series.clock import format_clock
from forecasting.series.verdicts import count_verdicts, no_verdicts, verdict_of_each
from forecasting.spec.spec import NETWORKS
from forecasting.store.rows import Frames
from forecasting.store.staging import discard
from workers.cluster.shards import Shard
from workers.jobs.changed import keep_changed
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.forecast_checks import has_forecast_checks, hold_failing
from workers.jobs.plan import pinned_version
from workers.jobs.priors import read_prior, serving_priors
from workers.jobs.run import Outcome, Run, count_points, main
from workers.jobs.scenario import as_scenario, discard_plan, stage_plan
from workers.jobs.serving_trainings import describe_trainings, mark_trainings
from workers.jobs.shard_run import Slot, group_by_files, stage_shards
from workers.jobs.trees import describe_missing, serving_trees
from workers.jobs.weights import load_fleets, newest

if TYPE_CHECKING:
    from forecasting.classical.trees import Trees
    from forecasting.fleet.fitted import FittedFleet
    from forecasting.series.panel import Panel


_NETWORK = {"unique_id": pl.String, "model": pl.String, "member": pl.Int32}


def predict(run: Run) -> Outcome:
    """Forecast every series with the newest models and champions that were trained at or before the cutoff."""
    if run.arguments.scenario is not None:
        return _make_scenario(run, run.arguments.scenario)
    data_version = pinned_version(run)
    covered = keep_changed(run, count_points(run, data_version=data_version), data_version=data_version)
    run, num_points = covered.run, covered.num_points
    if not num_points:
        return Outcome(f"nothing to forecast at {format_clock(run.cutoff)}{covered.note}", is_idle=True)
    if run.spec.has_trees:
        check_installed(f"spec {run.spec.name}")
    files = serving_models(run.rows("models"), run.networks).select("unique_id", "weights_uri")
    groups = group_by_files(num_points, files.collect(engine="streaming"))
    staged = stage_shards(run, compute_forecasts, groups, data_version=data_version)
    is_filtered = run.arguments.models is not None
    new = staged.files["forecasts"]
    rows: Frames = _with_other_models(run, new) if is_filtered else new
    versions: dict[str, int] = {}
    held: Mapping[str, str] = {}
    checks, verdicts = "", no_verdicts()
    if has_forecast_checks(run):
        checked = hold_failing(run, _scan(run, rows), data_version=data_version)
        rows, held, versions, verdicts = checked.rows, checked.held, dict(checked.versions), checked.verdicts
        checks = f" checks: {count_verdicts(verdicts)}; {len(held)} held;" if verdicts.height else ""
    features = run.rows("features", version=data_version)
    for note in check_regressions(run.spec, _scan(run, new), num_points, features):
        print(f"{run.arguments.job}: {note}", flush=True)
    zeros = describe_zero_medians(_scan(run, rows), run.spec.quantile_columns, has_paths=bool(run.spec.paths))
    versions |= run.publish("forecasts", rows)
    if run.spec.paths:
        paths = _scan(run, staged.files["sample_paths"])
        is_held = pl.col("unique_id").is_in(list(held))
        versions |= run.publish("sample_paths", paths.filter(~is_held) if held else staged.files["sample_paths"])
    elif _has_stored(run, "sample_paths"):
        versions |= run.publish("sample_paths", [])  # of forecasts that are replaced
    if run.spec.attributions:
        parts = _scan(run, staged.files["attributions"])
        is_held = pl.col("unique_id").is_in(list(held))
        versions |= run.publish("attributions", parts.filter(~is_held) if held else staged.files["attributions"])
    elif _has_stored(run, "attributions"):
        versions |= run.publish("attributions", [])
    trainings = describe_trainings(run, _scan(run, new)) + describe_missing(run)
    discard(run.store, run.arguments.run_id)
    return Outcome(
        f"{len(num_points)} series forecast {run.spec.horizon} steps ahead of {format_clock(run.cutoff)};"
        f"{_describe_paths(run)}{checks}{trainings} {staged.describe()}{covered.note}"
        + (f"; {zeros}" if zeros else ""),
        versions,
        num_series=len(num_points),
        num_rows=staged.num_rows["forecasts"],
        checks=verdict_of_each(verdicts),
    )


def _make_scenario(run: Run, name: str) -> Outcome:
    """Forecast with the covariates of a plan, and publish the forecasts as a scenario alone."""
    data_version = pinned_version(run)
    num_points = count_points(run, data_version=data_version)
    plan = stage_plan(run, data_version=data_version)
    files = serving_models(run.rows("models"), run.networks).select("unique_id", "weights_uri")
    groups = group_by_files(num_points, files.collect(engine="streaming"))
    staged = stage_shards(run, compute_scenario, groups, data_version=data_version, ahead=plan.uri)
    versions = run.publish("scenarios", staged.files["scenarios"])
    discard(run.store, run.arguments.run_id)
    discard_plan(run)
    return Outcome(
        f"scenario '{name}': {len(num_points)} series forecast {run.spec.horizon} steps ahead of"
        f" {format_clock(run.cutoff)}; the plan changes {plan.summary}; {staged.describe()}",
        versions,
        num_series=len(num_points),
        num_rows=staged.num_rows["scenarios"],
    )


def compute_scenario(slot: Slot, shard: Shard) -> Mapping[str, pl.DataFrame]:
    """Forecast the series of a shard as `compute_forecasts` does, with the covariates of a plan.

    Args:
        slot: The run, with a plan.
        shard: The series.

    Returns:
        Rows of `scenarios`.
    """
    assert slot.scenario is not None, "the run makes a scenario"
    alone = replace(slot, spec=slot.spec.model_copy(update={"paths": 0, "attributions": False}))
    return {"scenarios": as_scenario(compute_forecasts(alone, shard)["forecasts"], slot.scenario)}


def compute_forecasts(slot: Slot, shard: Shard) -> Mapping[str, pl.DataFrame]:
    """Forecast the series of a shard with their stored networks, champions and calibration.

    Args:
        slot: The run.
        shard: The series.

    Returns:
        Rows of `forecasts`, of `sample_paths` where the spec has paths, and of `attributions` where it has these.
    """
    from forecasting.flow.admissible import calibrate
    from forecasting.flow.explain import explain_panel
    from forecasting.flow.sample_paths import find_demands, no_paths, sample_paths
    from forecasting.flow.serving import join_versions
    from forecasting.flow.shards import predict_shard  # torch loads on actors only

    def known(table: str) -> pl.LazyFrame:
        return slot.store.scan(table, slot.clock).filter(
            pl.col("spec") == slot.spec.name, pl.col("run_cutoff") <= slot.cutoff
        )

    is_ours = pl.col("unique_id").is_in(list(shard.unique_ids))
    rows = serving_models(known("models").filter(is_ours), slot.networks).collect(engine="streaming")
    champions = newest(known("champions").filter(is_ours), ["unique_id"]).collect(engine="streaming")
    factors = newest(known("calibrations"), ["model"]).collect(engine="streaming")
    panel, ended = slot.read_live(shard.unique_ids)
    own = load_fleets(slot.store, slot.spec, rows)
    direct = _use_priors_directly(slot, known("priors"), own, panel)
    trees, registered = serving_trees(slot.store, slot.spec, known("priors"))
    columns = [*_NETWORK, "version", "run_cutoff"]
    used = pl.concat(
        [
            rows.join(_networks_of(own), on=list(_NETWORK), how="semi").select(columns),
            *(_networks_of([fleet]).join(prior, how="cross").select(columns) for fleet, prior in direct),
            *([] if trees is None else [_series_of(trees, panel).join(registered, how="cross").select(columns)]),
        ]
    )
    forecast = partial(
        predict_shard,
        spec=slot.spec,
        serving=own,
        champions=champions,
        networks=slot.networks,
        trees=trees,
        kernel=slot.kernel,
        direct=[fleet for fleet, _ in direct],
        versions=join_versions(used.drop("run_cutoff")),
    )
    forecasts = mark_trainings(forecast(panel), used)
    unserved = {**ended, **slot.read_set_aside(shard.unique_ids)}
    forecasts = mark_unserved(calibrate(forecasts, factors, slot.spec), unserved)
    tables = {"forecasts": forecasts}
    if slot.spec.attributions:
        served = forecasts.filter("is_champion", pl.col("forecast").is_not_null()).select("unique_id", "ds")
        parts = explain_panel(panel, slot.spec, champions, forecast=forecast)
        tables["attributions"] = parts.join(served, on=["unique_id", "ds"], how="semi", maintain_order="left")
    if not slot.spec.paths:
        return tables
    correlations = newest(known("correlations"), ["model"]).collect(engine="streaming")
    history = pl.DataFrame({"unique_id": panel.unique_ids, "y": list(panel.y_SN)}).explode("y")
    paths = sample_paths(forecasts, correlations, slot.spec, demands=find_demands(history))
    drawn = pl.concat([no_paths(forecasts), *paths])
    if slot.clock == "timestamp":
        drawn = drawn.with_columns(zone=pl.lit(panel.stated_zone, pl.String))
    return tables | {"sample_paths": drawn}


def _use_priors_directly(
    slot: Slot, stored: pl.LazyFrame, own: Sequence[FittedFleet], panel: Panel
) -> list[tuple[FittedFleet, pl.DataFrame]]:
    """Return the newest priors as fleets of the series without networks of their own, each with its row."""
    from forecasting.flow.predict import series_by_network, use_priors  # torch loads on actors only

    having = series_by_network(own)
    needed = [network for network in slot.networks if not having.get(network, set()).issuperset(panel.unique_ids)]
    if not needed:
        return []
    rows = serving_priors(slot.spec, needed, stored)
    priors = [read_prior(slot.store, uri) for uri in rows["weights_uri"]]
    registered = [rows[[number]].select("version", "run_cutoff") for number in range(rows.height)]
    return list(zip(use_priors(panel, priors, having=having), registered, strict=True))


def _networks_of(fleets: Sequence[FittedFleet]) -> pl.DataFrame:
    """Return unique_id, model and member of each network."""
    rows = [(name, fleet.model, fleet.member) for fleet in fleets for name in fleet.unique_ids]
    return pl.DataFrame(rows, schema=_NETWORK, orient="row")


def _series_of(trees: Trees, panel: Panel) -> pl.DataFrame:
    """Return the series that trees forecast."""
    names = [name for name, is_able in zip(panel.unique_ids, trees.can_forecast(panel), strict=True) if is_able]
    return pl.DataFrame({"unique_id": names}, schema={"unique_id": pl.String})


def serving_models(models: pl.LazyFrame, networks: tuple[str, ...]) -> pl.LazyFrame:
    """Keep the serving rows of the newest run of each series and requested network, one row per member."""
    wanted = (pl.col("role") == "serving") & pl.col("model").is_in(list(networks))
    return newest(models.filter(wanted), ["unique_id", "model"])


def _has_stored(run: Run, table: str) -> bool:
    stored = run.store.scan(table, run.clock)
    of_run = stored.filter(run.slice(table).contains(declared_table(table), run.clock))
    return not of_run.select("unique_id").head(1).collect(engine="streaming").is_empty()


def _describe_paths(run: Run) -> str:
    """Report the number of paths, and whether the correlation of their steps is unknown."""
    if not run.spec.paths:
        return ""
    known = run.rows("correlations").filter(pl.col("correlations").list.len() == run.spec.horizon)
    if known.select("model").head(1).collect(engine="streaming").is_empty():
        return f" {run.spec.paths} paths each, with fully correlated steps until a backtest has measured correlations;"
    return f" {run.spec.paths} paths each;"


def _with_other_models(run: Run, files: Sequence[str]) -> pl.LazyFrame:
    """Add the stored forecasts of networks outside the run's filter, unchanged but no longer champions."""
    new = _scan(run, files)
    kept = [network for network in NETWORKS if network not in run.networks]
    if not set(run.spec.models) <= set(run.networks):
        kept.append(COMBINATION)
    stored = run.store.scan("forecasts", run.clock)
    columns = [name for name in new.collect_schema() if name in stored.collect_schema()]
    others = stored.filter(
        run.slice("forecasts").contains(declared_table("forecasts"), run.clock), pl.col("model").is_in(kept)
    ).select(columns)
    return pl.concat(
        [
            new,
            others.with_columns(
                is_champion=pl.lit(False), reason=pl.lit(None, pl.String), held=pl.lit(None, pl.String)
            ),
        ],
        how="diagonal",
    )


def _scan(run: Run, rows: Frames) -> pl.LazyFrame:
    """Return staged files as a frame."""
    if isinstance(rows, pl.LazyFrame | pl.DataFrame):
        return rows.lazy()
    return pl.scan_parquet(list(rows), storage_options=run.store.storage_options or None, glob=False)


if __name__ == "__main__":
    from workers.jobs import predict as itself  # actors know the functions of a module, not those of a script

    sys.exit(main("predict", itself.predict, stored_cutoff))
