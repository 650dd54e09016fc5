"""Check the forecasts of a run before they are published, and hold those that fail.

A held forecast is stored, but is not that of the series' champion. The views of newest forecasts show the last good one
in its place. A series whose earlier forecasts do not reach beyond the cutoff gets rows without a forecast, which say
why.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from forecasting.classical.baselines import NONE
from forecasting.evaluate.forecast_checks import check_forecasts
from forecasting.schemas import ds_dtype
from forecasting.series.verdicts import describe_warnings, find_held, refuse_failed
from forecasting.spec.checks import ForecastCheck
from forecasting.spec.quantiles import is_quantile_column
from workers.jobs.run import Run


@dataclass(frozen=True)
class CheckedForecasts:
    """Forecasts after their checks.

    Attributes:
        rows: Rows of `forecasts` to publish.
        held: Why forecasts are held, by the name of their series.
        verdicts: The verdict of every check.
        versions: Versions of the tables that the verdicts were published to.
    """

    rows: pl.LazyFrame
    held: Mapping[str, str]
    verdicts: pl.DataFrame
    versions: Mapping[str, int]


def has_forecast_checks(run: Run) -> bool:
    """Return whether forecasts are checked, or have been at this cutoff, so that stored verdicts are to be replaced."""
    if any(isinstance(check, ForecastCheck) for check in run.spec.checks):
        return True
    return not run.stored_checks().head(1).collect(engine="streaming").is_empty()


def hold_failing(run: Run, rows: pl.LazyFrame, *, data_version: int | None) -> CheckedForecasts:
    """Check the forecasts of a run, publish the verdicts, and mark forecasts that are held.

    Args:
        run: The run.
        rows: Its rows of `forecasts`.
        data_version: Version of the features that they were made from.

    Returns:
        The rows to publish.

    Raises:
        CheckFailed: A check fails that stops the run; its verdicts are published.
    """
    history = run.rows("features", version=data_version).select("unique_id", "y")
    earlier = earlier_forecasts(run)
    verdicts = check_forecasts(
        rows.filter("is_champion"), history, run.spec, earlier=earlier, is_filtered=run.series is not None
    )
    for note in describe_warnings(verdicts, has_store=True):
        print(f"{run.arguments.job}: {note}", flush=True)
    versions = run.publish_checks(verdicts)
    refuse_failed(verdicts)
    held = find_held(verdicts)
    return CheckedForecasts(mark_held(rows, held, earlier) if held else rows, held, verdicts, versions)


def earlier_forecasts(run: Run) -> pl.LazyFrame:
    """Return the last good forecasts of earlier runs after the cutoff: unique_id, ds and forecast, one row for each."""
    cutoff = pl.lit(run.cutoff, ds_dtype(run.clock))
    good = (
        run.store.scan("forecasts", run.clock)
        .filter(pl.col("spec") == run.spec.name, pl.col("run_cutoff") < cutoff, pl.col("ds") > cutoff)
        .filter("is_champion", pl.col("held").is_null(), pl.col("forecast").is_not_null())
        .select("unique_id", "ds", "run_cutoff", "forecast")
    )
    if run.series is not None:
        good = good.filter(pl.col("unique_id").is_in(list(run.series)))
    newest = good.group_by("unique_id", "ds").agg(pl.col("forecast").get(pl.col("run_cutoff").arg_max()))
    return newest.select("unique_id", "ds", "forecast")


def mark_held(rows: pl.LazyFrame, held: Mapping[str, str], earlier: pl.LazyFrame) -> pl.LazyFrame:
    """Mark the champions' forecasts of some series as held.

    A series without an earlier forecast gets rows without one. A series with an earlier one gets none, also where that
    does not reach: readers take the newest cutoff of a series for that of its forecast.

    Args:
        rows: Rows of `forecasts`.
        held: Why forecasts are held, by the name of their series.
        earlier: As `earlier_forecasts` returns them.

    Returns:
        Rows of the same columns.
    """
    why = pl.col("unique_id").replace_strict(dict(held), default=None, return_dtype=pl.String)
    is_held = pl.col("is_champion") & why.is_not_null()
    of_held = rows.filter(is_held)
    uncovered = of_held.join(earlier.select("unique_id"), on="unique_id", how="anti")
    schema = rows.collect_schema()
    values = [name for name in schema if name in ("forecast", "training_cutoff") or is_quantile_column(name)]
    absent = uncovered.with_columns(
        pl.lit(None, pl.String).alias("model_version"),
        *(pl.lit(None, schema[name]).alias(name) for name in values),
        model=pl.lit(NONE),
        reason=pl.concat_str(why, pl.lit("; there is no earlier forecast of these times")),
    )
    marked = rows.with_columns(
        held=pl.when(is_held).then(why).otherwise("held"), is_champion=pl.col("is_champion") & ~is_held
    )
    return pl.concat([marked, absent])
