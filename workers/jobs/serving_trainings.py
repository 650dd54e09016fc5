"""The trainings whose networks forecast: a column of `forecasts`, and what a run reports of their age.

Where a training is late or has failed, the networks of the last one that succeeded forecast.
"""

from datetime import datetime

import polars as pl

from forecasting.classical.combination import COMBINATION
from forecasting.errors import SpecError
from forecasting.series.clock import format_clock, parse_clock
from workers.jobs.run import Run


def mark_trainings(forecasts: pl.DataFrame, networks: pl.DataFrame) -> pl.DataFrame:
    """Add the cutoff of the training that each forecast's networks come from.

    Args:
        forecasts: Rows of `forecasts`.
        networks: unique_id, model and run_cutoff of each network that has forecast.

    Returns:
        The rows with `training_cutoff`, the oldest of several; null for models without training.
    """
    oldest = pl.col("run_cutoff").min()
    of_networks = networks.group_by("unique_id", "model").agg(training_cutoff=oldest)
    of_combinations = networks.group_by("unique_id").agg(training_cutoff=oldest).with_columns(model=pl.lit(COMBINATION))
    trained = pl.concat([of_networks, of_combinations.select(of_networks.columns)])
    return forecasts.join(trained, on=["unique_id", "model"], how="left", maintain_order="left")


def describe_trainings(run: Run, forecasts: pl.LazyFrame) -> str:
    """Report up to when the networks of a run were trained, how old that is, and a training that has failed since.

    Args:
        run: A run of the predict job.
        forecasts: Its rows of `forecasts`.

    Returns:
        Part of the job's message, with a blank before it; nothing where no network has forecast.
    """
    trained = forecasts.filter(pl.col("training_cutoff").is_not_null())
    by_series = trained.group_by("unique_id").agg(pl.col("training_cutoff").min())
    counts = by_series.group_by("training_cutoff").len().sort("training_cutoff").collect(engine="streaming")
    if counts.is_empty():
        return ""
    cutoffs: list[datetime | int] = counts["training_cutoff"].to_list()
    newest = cutoffs[-1]
    num_older = counts["len"][:-1].sum()
    older = f" ({num_older} series: earlier, from {format_clock(cutoffs[0])} on)" if num_older else ""
    age = _describe_age(run, newest)
    return f" networks trained up to {format_clock(newest)}{age}{older};{_describe_failure(run, newest)}"


def _describe_age(run: Run, trained_at: datetime | int) -> str:
    """Return how many cutoffs the spec has forecast since a training, with this one."""
    if run.cutoff == trained_at:
        return ""
    between = run.rows("forecasts").filter(pl.col("run_cutoff") > trained_at, pl.col("run_cutoff") < run.cutoff)
    num = 1 + int(between.select(pl.col("run_cutoff").n_unique()).collect(engine="streaming").item())
    return f", {num} cutoff{'s' * (num != 1)} ago"


def _describe_failure(run: Run, trained_at: datetime | int) -> str:
    """Return that a training of a later cutoff has failed, where one has."""
    recorded = (
        run.store.scan("runs", "timestamp")
        .filter(
            pl.col("spec") == run.spec.name,
            pl.col("status") == "failed",
            pl.col("run_cutoff").is_not_null(),
            pl.col("arguments").str.contains('"flow":"train"', literal=True),
        )
        .sort("started_at")
        .select("run_cutoff", "job", "message")
        .collect(engine="streaming")
    )
    for text, job, message in reversed(recorded.rows()):
        try:
            cutoff = parse_clock(text, run.clock)
        except SpecError:  # the spec had another clock
            continue
        if trained_at < cutoff <= run.cutoff:  # type: ignore[operator]
            reason = message.partition("\n")[0]
            return (
                f" the training up to {format_clock(cutoff)} has failed, so that earlier ones serve ({job}: {reason});"
            )
    return ""
