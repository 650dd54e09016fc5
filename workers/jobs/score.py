"""The score job: compares earlier forecasts with the actuals that have arrived since, and publishes scores."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from forecasting.flow.scoring import score as score_forecasts
from forecasting.schemas import table as declared_table
from forecasting.series.clock import format_clock
from forecasting.store.staging import discard
from workers.cluster.shards import Shard
from workers.jobs.plan import pinned_version
from workers.jobs.run import Outcome, Run, count_points, main, stored_cutoff
from workers.jobs.shard_run import Slot, stage_shards

UNIT = ("forecast_run_cutoff", "unique_id", "model")
"""Key of what is scored at once: one model's forecast of one series by one run."""


def score(run: Run) -> Outcome:
    """Score the forecasts of earlier runs up to the cutoff that no score run before this cutoff has completed."""
    data_version = pinned_version(run)
    due = find_due(run).collect(engine="streaming")
    versions: dict[str, int] = {}
    num_rows = num_series = 0
    if due.is_empty():
        empty = pl.DataFrame(schema=declared_table("scores").schema(run.clock))
        versions = run.publish("scores", empty, models=run.arguments.models)
        message = f"nothing to score at {format_clock(run.cutoff)}: no forecast has new actuals"
    else:
        points = count_points(run, data_version=data_version, has_ended=True)
        num_points = {name: points.get(name, 0) for name in sorted(due["unique_id"].unique())}
        staged = stage_shards(run, ScoreShard(run.arguments.models), [num_points], data_version=data_version)
        versions = run.publish("scores", staged.files["scores"], models=run.arguments.models)
        num_rows, num_series = staged.num_rows["scores"], len(num_points)
        num_runs = due["forecast_run_cutoff"].n_unique()
        message = (
            f"{num_rows} forecasts of {num_series} series and {num_runs} runs scored at {format_clock(run.cutoff)}"
        )
    discard(run.store, run.arguments.run_id)
    return Outcome(message, versions, num_series=num_series, num_rows=num_rows)


def find_due(run: Run) -> pl.LazyFrame:
    """Return the units that this run scores, one row each."""
    due = units_due(run.rows("forecasts"), run.rows("scores"), run.cutoff, run.arguments.models)
    return due if run.arguments.series is None else due.filter(pl.col("unique_id").is_in(list(run.arguments.series)))


def units_due(
    forecasts: pl.LazyFrame, scores: pl.LazyFrame, cutoff: datetime | int, models: tuple[str, ...] | None
) -> pl.LazyFrame:
    """Return the units of earlier runs with a point at or before the cutoff that no earlier score run has completed.

    A unit whose actuals had not all arrived stays due, because its series may lag behind the others (`is_complete`
    in `scores`).

    Args:
        forecasts: Rows of `forecasts`.
        scores: Rows of `scores`.
        cutoff: The run's cutoff.
        models: Models that the run is filtered to; None for all.

    Returns:
        One row per unit, with the columns of UNIT.
    """
    earlier = forecasts.filter(pl.col("run_cutoff") < cutoff, pl.col("ds") <= cutoff)
    if models is not None:
        earlier = earlier.filter(pl.col("model").is_in(list(models)))
    units = earlier.select(pl.col("run_cutoff").alias("forecast_run_cutoff"), "unique_id", "model").unique()
    completed = scores.filter(pl.col("run_cutoff") < cutoff, pl.col("is_complete")).select(UNIT).unique()
    return units.join(completed, on=UNIT, how="anti")


@dataclass(frozen=True)
class ScoreShard:
    """Scores the series of a shard, run by run.

    Attributes:
        models: Models that the job is filtered to; None for all.
    """

    models: tuple[str, ...] | None

    def __call__(self, slot: Slot, shard: Shard) -> Mapping[str, pl.DataFrame]:
        """Return the rows of `scores` of a shard."""
        forecasts, scores = (
            slot.store.scan(table, slot.clock).filter(
                pl.col("spec") == slot.spec.name, pl.col("unique_id").is_in(list(shard.unique_ids))
            )
            for table in ("forecasts", "scores")
        )
        due = units_due(forecasts, scores, slot.cutoff, self.models)
        rows = (
            forecasts.with_columns(forecast_run_cutoff=pl.col("run_cutoff"))
            .join(due, on=UNIT, how="semi")
            .sort("forecast_run_cutoff", "unique_id", "model", "ds")
            .collect(engine="streaming")
        )
        panel, _ = slot.read_live(shard.unique_ids, has_ended=True)
        scored = [
            score_forecasts(
                panel, of_run, slot.spec, run_cutoff=slot.cutoff, forecast_run_cutoff=forecast_cutoff
            ).with_columns(forecast_run_cutoff=pl.lit(forecast_cutoff, rows.schema["forecast_run_cutoff"]))
            for (forecast_cutoff,), of_run in rows.group_by("forecast_run_cutoff", maintain_order=True)
        ]
        return {"scores": pl.concat(scored)}


if __name__ == "__main__":
    from workers.jobs import score as itself  # actors know the functions of a module, not those of a script

    sys.exit(main("score", itself.score, stored_cutoff))
