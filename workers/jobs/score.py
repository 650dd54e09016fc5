"""The score job: compares earlier forecasts with the actuals that have arrived since, and publishes scores."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from forecasting.flow.scoring import score as score_forecasts
from forecasting.schemas import table as declared_table
from forecasting.series.clock import format_clock
from forecasting.series.panel import Panel
from forecasting.store.staging import discard
from workers.cluster.shards import Shard
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.plan import pinned_version
from workers.jobs.run import Outcome, Run, count_points, main
from workers.jobs.shard_run import Slot, stage_shards
from workers.jobs.touched import UNIT, late_changes, touched_units


def score(run: Run) -> Outcome:
    """Score the forecasts of earlier runs up to the cutoff that are not complete, or whose measurements have changed.

    Args:
        run: The run.

    Returns:
        What was published.
    """
    data_version = pinned_version(run)
    changes = late_changes(run, data_version=data_version)
    due = find_due(run, changes).collect(engine="streaming")
    versions: dict[str, int] = {}
    num_rows = num_series = 0
    if due.is_empty():
        empty = pl.DataFrame(schema=declared_table("scores").schema(run.clock))
        versions = run.publish("scores", empty, models=run.arguments.models)
        message = f"nothing to score at {format_clock(run.cutoff)}: no forecast has new actuals"
    else:
        points = count_points(run, data_version=data_version, has_ended=True)
        num_points = {name: points.get(name, 0) for name in sorted(due["unique_id"].unique())}
        shard = ScoreShard(run.arguments.models, changes)
        staged = stage_shards(run, shard, [num_points], data_version=data_version)
        versions = run.publish("scores", staged.files["scores"], models=run.arguments.models)
        num_rows, num_series = staged.num_rows["scores"], len(num_points)
        num_runs = due["forecast_run_cutoff"].n_unique()
        num_again = int(due["is_again"].sum())
        reason = "because measurements were restated or late, or their forecasts replaced"
        again = f"; {num_again} of them again, {reason}" if num_again else ""
        message = f"{num_rows} forecasts of {num_series} series and {num_runs} runs scored"
        message += f" at {format_clock(run.cutoff)}{again}{_describe_errors(run, staged.files['scores'])}"
    discard(run.store, run.arguments.run_id)
    return Outcome(message, versions, num_series=num_series, num_rows=num_rows, is_idle=due.is_empty())


def _describe_errors(run: Run, files: Sequence[str]) -> str:
    """Report the mean error of the champions' forecasts and of Naive2 at the same points, where both are known."""
    scores = pl.scan_parquet(list(files), storage_options=run.store.storage_options or None, glob=False)
    both = scores.filter("is_champion").select("mase", "naive2_mase")
    known = both.filter(pl.all_horizontal(pl.all().is_finite())).mean().collect(engine="streaming")
    of_champions, of_naive = known.row(0)
    return "" if of_champions is None else f"; mean MASE {of_champions:.3f} of champions, {of_naive:.3f} of Naive2"


def find_due(run: Run, changes: pl.DataFrame) -> pl.LazyFrame:
    """Return the units that this run scores, one row each."""
    due = units_due(run.rows("forecasts"), run.rows("scores"), run.cutoff, run.arguments.models, changes)
    return due if run.arguments.series is None else due.filter(pl.col("unique_id").is_in(list(run.arguments.series)))


def units_due(
    forecasts: pl.LazyFrame,
    scores: pl.LazyFrame,
    cutoff: datetime | int,
    models: tuple[str, ...] | None,
    changes: pl.DataFrame,
) -> pl.LazyFrame:
    """Return the units of earlier runs with a point at or before the cutoff that are not complete, or no longer right.

    A unit whose actuals had not all arrived stays due, because its series may lag behind the others (`is_complete`
    in `scores`). A unit that an earlier score run has completed is due again if a measurement that enters its scores
    was restated, or came late, or if another run has replaced its forecast.

    Args:
        forecasts: Rows of `forecasts`.
        scores: Rows of `scores`.
        cutoff: The run's cutoff.
        models: Models that the run is filtered to; None for all.
        changes: Rows of `late_changes`.

    Returns:
        One row per unit, with the columns of UNIT and `is_again`, whether it was complete.
    """
    forecasts = forecasts.filter(pl.col("run_cutoff") < cutoff)
    if models is not None:
        forecasts = forecasts.filter(pl.col("model").is_in(list(models)))
    earlier = forecasts.filter(pl.col("ds") <= cutoff)
    units = earlier.select(pl.col("run_cutoff").alias("forecast_run_cutoff"), "unique_id", "model", "run_id").unique(
        UNIT
    )
    scores = scores.filter(pl.col("run_cutoff") < cutoff)
    made_by = pl.col("forecast_run_id").sort_by("run_cutoff").last()
    completed = scores.filter(pl.col("is_complete")).group_by(UNIT).agg(made_by, is_complete=pl.lit(value=True))
    both = units.join(completed, on=UNIT, how="left")
    is_complete = pl.col("is_complete").fill_null(value=False)
    is_replaced = is_complete & (pl.col("run_id") != pl.col("forecast_run_id")).fill_null(value=False)
    due = both.filter(~is_complete | is_replaced).select(*UNIT, is_again="is_complete").fill_null(value=False)
    if changes.is_empty():
        return due
    touched = touched_units(forecasts, scores, changes).join(completed, on=UNIT, how="semi").with_columns(is_again=True)
    return pl.concat([due, touched]).unique(UNIT)


@dataclass(frozen=True)
class ScoreShard:
    """Scores the series of a shard, run by run.

    Attributes:
        models: Models that the job is filtered to; None for all.
        changes: Rows of `late_changes`.
    """

    models: tuple[str, ...] | None
    changes: pl.DataFrame

    def __call__(self, slot: Slot, shard: Shard) -> Mapping[str, pl.DataFrame]:
        """Return the rows of `scores` of a shard."""
        forecasts, scores = (
            slot.store.scan(table, slot.clock).filter(
                pl.col("spec") == slot.spec.name, pl.col("unique_id").is_in(list(shard.unique_ids))
            )
            for table in ("forecasts", "scores")
        )
        changes = self.changes.filter(pl.col("unique_id").is_in(list(shard.unique_ids)))
        due = units_due(forecasts, scores, slot.cutoff, self.models, changes)
        rows = (
            forecasts.with_columns(forecast_run_cutoff=pl.col("run_cutoff"))
            .join(due, on=UNIT, how="semi")
            .sort("forecast_run_cutoff", "unique_id", "model", "ds")
            .collect(engine="streaming")
        )
        panel, _ = slot.read_live(shard.unique_ids, has_ended=True)
        scored = []
        for (made_at,), of_run in rows.group_by("forecast_run_cutoff", maintain_order=True):
            known = _panel_of(panel, of_run)
            errors = score_forecasts(known, of_run, slot.spec, run_cutoff=slot.cutoff, forecast_run_cutoff=made_at)
            made_by = of_run.group_by("unique_id", "model").agg(forecast_run_id=pl.col("run_id").first())
            made_at = pl.lit(made_at, rows.schema["forecast_run_cutoff"])
            scored.append(errors.join(made_by, on=["unique_id", "model"]).with_columns(forecast_run_cutoff=made_at))
        return {"scores": pl.concat(scored)}


def _panel_of(panel: Panel, forecasts: pl.DataFrame) -> Panel:
    """Return the panel of the series that are forecast: a restatement may be due of few series at many cutoffs."""
    names = set(forecasts["unique_id"].unique())
    return panel.select(np.array([row for row, name in enumerate(panel.unique_ids) if name in names], dtype=np.int64))


if __name__ == "__main__":
    from workers.jobs import score as itself  # actors know the functions of a module, not those of a script

    sys.exit(main("score", itself.score, stored_cutoff))
