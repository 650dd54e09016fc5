"""Which forecasts were scored by measurements that the source has since restated, or added late.

A measurement at or before the end of a forecast enters its scores: by an error at its own time, or by the scale of MASE
and MSIS and the Naive2 forecast, which use all of the series up to the forecast's cutoff.
"""

import polars as pl

from workers.jobs.run import Run

UNIT = ("forecast_run_cutoff", "unique_id", "model")
"""Key of what is scored at once: one model's forecast of one series by one run."""


def late_changes(run: Run, *, data_version: int | None) -> pl.DataFrame:
    """Return measurements that became known, or changed, after later ones of any series were known.

    Others cannot enter a complete score, because a forecast is complete only when its horizon is over.

    Args:
        run: A run of the score job.
        data_version: The version of the features table that it reads; changes after it are not known yet.

    Returns:
        For each series and version that has such changes: unique_id, data_version, `first`, the time of the first
        change in this version or a later one, and `since`, that of the first stored row.
    """
    if data_version is None:
        return pl.DataFrame(schema={"unique_id": pl.String, "data_version": pl.Int64})
    columns = ("unique_id", "ds", pl.col("data_version").fill_null(-1))
    observed = run.rows("observations").filter(pl.col("y").is_not_null()).select(*columns, is_observed=True)
    restated = run.rows("restatements").select(*columns, is_observed=False)
    known = pl.concat([observed, restated]).filter(pl.col("data_version") <= data_version)
    if run.arguments.series is not None:
        known = known.filter(pl.col("unique_id").is_in(list(run.arguments.series)))
    changes = (
        known.group_by("unique_id", "data_version")
        .agg(
            first=pl.col("ds").min(),
            last=pl.col("ds").max(),
            since=pl.col("ds").filter("is_observed").min(),
        )
        .collect(engine="streaming")
    )
    reached = changes.group_by("data_version").agg(pl.col("last").max()).sort("data_version")
    reached = reached.select("data_version", reached=pl.col("last").cum_max().shift())
    late = (
        changes.with_columns(pl.col("since").min().over("unique_id"))
        .join(reached, on="data_version")
        .filter(pl.col("first") <= pl.col("reached"))
    )
    if late.height:  # a series that is set aside for now has no features, so that its scores would be lost
        names = late["unique_id"].unique().implode()
        features = run.rows("features", version=data_version).filter(pl.col("unique_id").is_in(names))
        late = late.join(features.select("unique_id").unique().collect(engine="streaming"), on="unique_id", how="semi")
    return (
        late.sort("unique_id", "data_version")
        .with_columns(pl.col("first").reverse().cum_min().reverse().over("unique_id"))
        .select("unique_id", "data_version", "first", "since")
    )


def touched_units(forecasts: pl.LazyFrame, scores: pl.LazyFrame, changes: pl.DataFrame) -> pl.LazyFrame:
    """Return the units whose newest score is older than a change that enters it.

    A forecast whose cutoff lies before the first stored row keeps its scores, because most of what they were computed
    from is no longer stored.

    Args:
        forecasts: Rows of `forecasts` of earlier runs.
        scores: Rows of `scores` of earlier cutoffs.
        changes: Rows of `late_changes`.

    Returns:
        One row per unit, with the columns of UNIT.
    """
    series = changes["unique_id"].unique().implode()
    ends = (
        forecasts.filter(pl.col("unique_id").is_in(series))
        .group_by(pl.col("run_cutoff").alias("forecast_run_cutoff"), "unique_id", "model")
        .agg(until=pl.col("ds").max(), cutoff=pl.col("cutoff").min())
    )
    newest = (
        scores.filter(pl.col("unique_id").is_in(series))
        .group_by(UNIT)
        .agg(pl.col("data_version").sort_by("run_cutoff").last())
        .with_columns(following=pl.col("data_version").fill_null(-1) + 1)
        .drop("data_version")
    )
    return (
        ends.join(newest, on=UNIT)
        .sort("following")
        .join_asof(
            changes.lazy().sort("data_version"),
            left_on="following",
            right_on="data_version",
            by="unique_id",
            strategy="forward",
            check_sortedness=False,
        )
        .filter(pl.col("first") <= pl.col("until"), pl.col("cutoff") >= pl.col("since"))
        .select(UNIT)
    )
