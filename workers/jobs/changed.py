"""The series that a run with `changed_only` covers: those with new or restated rows since it last covered them.

The others keep their models or forecasts, because a run replaces the rows of its own series alone.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from workers.jobs.plan import planned_series
from workers.jobs.run import Run
from workers.jobs.weights import newest


@dataclass(frozen=True)
class Covered:
    """What a run covers.

    Attributes:
        run: The run, narrowed to the series that have changed; unchanged if it covers all.
        num_points: Grid points of the series to run for.
        note: How many series are skipped, as the end of a message; empty if the run covers all.
    """

    run: Run
    num_points: dict[str, int]
    note: str = ""


def keep_changed(run: Run, num_points: dict[str, int], *, data_version: int | None) -> Covered:
    """Leave out the series that have not changed, if the run has `changed_only`.

    A series has changed if it has a measurement that its last training (in the train flow) or forecast (in the forecast
    flow) did not have, or had with another value. Series without one, or with one of another spec, have changed as
    well. A backtest covers the series that were trained at its cutoff and not backtested since. A forecast also covers
    series that can no longer be forecast, so that their rows say so. A retry covers the series of the first try.

    Args:
        run: A run of the train, backtest or predict job.
        num_points: Grid points by series, of `count_points`.
        data_version: The run's `pinned_version`.

    Returns:
        What the run covers.
    """
    if not run.arguments.changed_only:
        return Covered(run, num_points)
    planned = planned_series(run)
    names = _find_changed(run, num_points, data_version) if planned is None else planned
    kept = {name: points for name, points in num_points.items() if name in names}
    if len(kept) == len(num_points):
        return Covered(run, num_points, "; no series is skipped, because all have changed")
    since, keeps = _SPOKEN[run.arguments.job]
    note = f"; {len(num_points) - len(kept)} of {len(num_points)} series skipped: {since}, and they keep {keeps}"
    return Covered(replace(run, changed=tuple(kept)), kept, note)


_SPOKEN = {
    "train": ("no new or restated rows since their last training", "their models"),
    "backtest": ("not trained at this cutoff since their last backtest", "their champions"),
    "predict": ("no new or restated rows since their last forecast", "it"),
}
"""What a message says of skipped series, by job."""


def _find_changed(run: Run, num_points: dict[str, int], data_version: int | None) -> Set[str]:
    if run.arguments.job == "backtest":
        return _find_trained(run)
    last = _last_forecasts(run) if run.arguments.job == "predict" else _last_trainings(run)
    last = last.filter(~pl.col("run_id").is_in(_runs_of_other_specs(run, last["run_id"].unique().to_list())))
    both = last.join(_changes(run, data_version), on="unique_id", how="left")
    is_same = ~(pl.col("changed_in") > pl.col("data_version")).fill_null(value=False)
    unchanged = both.filter(pl.col("data_version").is_not_null(), is_same)
    if run.arguments.job == "predict":
        unserved = [name for name, points in num_points.items() if not points]
        unchanged = unchanged.filter(~(pl.col("unique_id").is_in(unserved) & (pl.col("model") != "none")))
    return set(num_points) - set(unchanged["unique_id"])


def _changes(run: Run, data_version: int | None) -> pl.DataFrame:
    """Return the newest version that changed each series, at or before the version that the run reads."""
    columns = ("unique_id", "data_version")
    observed = run.rows("observations").filter(pl.col("y").is_not_null()).select(columns)
    known = pl.concat([observed, run.rows("restatements").select(columns)])
    if data_version is not None:
        known = known.filter(pl.col("data_version") <= data_version)
    newest = known.group_by("unique_id").agg(changed_in=pl.col("data_version").max())
    return newest.collect(engine="streaming")


def _last_forecasts(run: Run) -> pl.DataFrame:
    """Return the version, run and champion of each series' newest forecast."""
    rows = newest(run.rows("forecasts"), ["unique_id"]).filter("is_champion")
    return rows.group_by("unique_id").agg(pl.col("data_version", "run_id", "model").first()).collect(engine="streaming")


def _last_trainings(run: Run) -> pl.DataFrame:
    """Return the version of each series' last training that was also backtested, and its run.

    A series that lacks one of the requested networks has none.
    """
    key = ["unique_id", "model"]
    trained = newest(run.rows("models").filter(pl.col("model").is_in(list(run.networks))), key)
    complete = (
        trained.group_by("unique_id")
        .agg(
            pl.col("data_version").min(),
            pl.col("run_id").first(),
            num=pl.col("model").n_unique(),
            is_known=pl.col("data_version").is_not_null().all(),
        )
        .filter(pl.col("num") == len(set(run.networks)), "is_known")
    )
    compared = newest(run.rows("champions"), ["unique_id"]).select("unique_id", compared="data_version")
    both = complete.join(compared.drop_nulls(), on="unique_id")
    since = pl.min_horizontal("data_version", "compared")
    return both.select("unique_id", "run_id", data_version=since).collect(engine="streaming")


def _find_trained(run: Run) -> set[str]:
    """Return the series whose candidates of this cutoff are of a run that began after their newest comparison."""
    began = run.store.scan("runs", "timestamp").filter(pl.col("spec") == run.spec.name).select("run_id", "started_at")
    models = run.rows("models").filter(pl.col("run_cutoff") == run.cutoff, pl.col("role") == "candidate")
    models = models.select("unique_id", "run_id").unique().join(began, on="run_id", how="left")
    compared = newest(run.rows("champions"), ["unique_id"]).select("unique_id", "run_id")
    compared = compared.join(began, on="run_id", how="left").select("unique_id", compared_at="started_at")
    both = models.join(compared, on="unique_id", how="left")
    is_compared = (pl.col("started_at") < pl.col("compared_at")).fill_null(value=False)
    return set(both.filter(~is_compared).select(pl.col("unique_id").unique()).collect()["unique_id"])


def _runs_of_other_specs(run: Run, run_ids: list[str]) -> list[str]:
    spec = _of_models(run.spec.model_dump(mode="json"))
    recorded = run.store.scan("runs", "timestamp").filter(pl.col("run_id").is_in(run_ids)).select("run_id", "arguments")
    return [run_id for run_id, text in recorded.collect().iter_rows() if _of_models(json.loads(text)["spec"]) != spec]


def _of_models(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec without the table that no model and no forecast depends on."""
    return {name: value for name, value in spec.items() if name != "airflow"}
