"""Scenarios of the predict job: a plan replaces covariates within the horizon; forecasts have a table of their own.

A scenario is made at the cutoff of the newest forecast, from the same features and models. It publishes `scenarios`
alone, so that nothing can serve, score or copy it as the forecast.
"""

import io
from typing import NamedTuple

import polars as pl

from forecasting.errors import NothingStored
from forecasting.flow.scenario import place_plan, read_plan
from forecasting.schemas import COVARIATES_AHEAD, table
from forecasting.series.clock import format_clock
from forecasting.series.columns import AHEAD
from forecasting.series.grid import future_grid
from forecasting.series.local_grid import stated_zone
from forecasting.store.staging import STAGING_FOLDER
from workers.jobs.run import Run


class StagedPlan(NamedTuple):
    """A plan as the workers of a run read it.

    Attributes:
        uri: The file, which has `unique_id` and `covariates_ahead` of the series that the plan changes.
        summary: Which values it changes.
    """

    uri: str
    summary: str


def stage_plan(run: Run, *, data_version: int | None) -> StagedPlan:
    """Read the plan of a run, print what of it is not used, and write the values for the workers.

    A retry goes on with the plan as the first try has read it, as with everything else.

    Args:
        run: A run with a scenario.
        data_version: Version of the features table that it reads.

    Returns:
        The staged plan.

    Raises:
        NothingStored: The features have no covariates of the steps after the cutoff.
        SourceError: The plan cannot be read, or does not match the series and the horizon.
    """
    assert run.arguments.plan is not None, "a scenario has a plan"
    files, path, summary = run.store.files, f"{_folder(run)}/values.parquet", f"{_folder(run)}/summary.txt"
    if any(file.path == path for file in files.find(_folder(run))):
        return StagedPlan(files.uri(path), files.read_bytes(summary).decode())
    names = list(run.spec.covariate_names)
    features = run.rows("features", version=data_version)
    if run.series is not None:
        features = features.filter(pl.col("unique_id").is_in(list(run.series)))
    last = features.filter(pl.col(AHEAD).is_not_null(), pl.col("ds") == pl.col("ds").max().over("unique_id")).collect(
        engine="streaming"
    )
    if last.is_empty():
        raise NothingStored(
            f"the features of spec '{run.spec.name}' at {format_clock(run.cutoff)} have no covariates of the steps"
            " after it; a scenario needs those of the newest forecast"
        )
    grid = future_grid(features.select("unique_id", "ds"), freq=run.spec.freq, horizon=run.spec.horizon)
    values = last.lazy().select(
        "unique_id", step=pl.int_ranges(1, pl.col(AHEAD).list.len() + 1, dtype=pl.Int32), known=AHEAD
    )
    ahead = (
        grid.join(values.explode("step", "known"), on=["unique_id", "step"])
        .select(
            "unique_id",
            "ds",
            "step",
            *(pl.col("known").list.get(place).alias(name) for place, name in enumerate(names)),
        )
        .collect(engine="streaming")
    )
    zone = stated_zone(last)
    subject = f"plan {run.arguments.plan}"
    given = read_plan(
        run.arguments.plan,
        run.spec,
        run.spec.source.reading_of([run.arguments.plan]),
        has_zone=zone is not None,
        storage_options=run.store.storage_options,
        subject=subject,
    )
    scenario = place_plan(given, ahead.lazy(), ahead.lazy(), cutoff=run.cutoff, subject=subject)
    planned = scenario.covariates.rows.collect()
    left_out = [name for name in names if name in planned.columns and ahead[name].null_count() == ahead.height]
    unused = [
        f"{subject} has values of covariate '{name}', which makes no difference because the features leave it out"
        " (covariates.future_missing = drop_column)"
        for name in left_out
        if planned[name].null_count() < planned.height
    ]
    for note in (*scenario.notes, *unused):
        print(f"{run.arguments.job}: {note}", flush=True)
    planned_or_known = [
        pl.coalesce(f"{name}_planned", name) if name in planned.columns else pl.col(name) for name in names
    ]
    merged = (
        ahead.filter(pl.col("unique_id").is_in(planned["unique_id"].unique().implode()))
        .join(planned, on=["unique_id", "ds"], how="left", suffix="_planned", maintain_order="left")
        .sort("unique_id", "step")
        .select("unique_id", pl.concat_list(planned_or_known).alias(AHEAD))
        .group_by("unique_id", maintain_order=True)
        .agg(AHEAD)
        .with_columns(pl.col(AHEAD).cast(COVARIATES_AHEAD))
    )
    content = io.BytesIO()
    merged.write_parquet(content)
    files.write_bytes(summary, scenario.describe().encode())
    files.write_bytes(path, content.getvalue())  # last: a retry that finds it finds both
    return StagedPlan(files.uri(path), scenario.describe())


def discard_plan(run: Run) -> None:
    """Delete what `stage_plan` has written for a run."""
    run.store.files.delete_folder(_folder(run))


def as_scenario(forecasts: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the forecasts of serving models as rows of the table `scenarios`.

    Args:
        forecasts: Rows of the table `forecasts`, without bookkeeping.
        name: The name of the scenario.

    Returns:
        The rows, without bookkeeping.
    """
    columns, kept = ({column.name for column in table(each).columns} for each in ("forecasts", "scenarios"))
    served = forecasts.filter("is_champion").drop(columns - kept, strict=False)
    return served.with_columns(scenario=pl.lit(name, pl.String))


def _folder(run: Run) -> str:
    return f"{STAGING_FOLDER}/plan_of_run={run.arguments.run_id}"
