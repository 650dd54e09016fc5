"""What the features job learns of past measurements: which the source has corrected, withdrawn or added.

`observations` keeps for each row the version of the features table that first had its value, and `restatements` keeps
each correction. Both are compared with what earlier runs stored, so a run publishes `restatements` before
`observations`: a retry then still finds what it replaces.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
from pydantic import ValidationError

from forecasting.schemas import table as declared_table
from forecasting.series.once import new_temporary_folder
from forecasting.series.parts import Parts
from forecasting.series.restated import KEY, Compared, compare
from forecasting.spec.modified import INCREMENTAL
from forecasting.store.publish import publish
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from workers.arguments import RunArguments
from workers.jobs.run import Run

STRETCH_ROWS = 1_000_000
"""Rows that are compared at a time."""
NOT_OF_VALUES = {"allow_rejects", "ended", "ended_after", "ignore", *INCREMENTAL}
"""Fields of a source that do not decide which measurements are stored."""


@dataclass(frozen=True)
class Learnt:
    """What a run has learnt of measurements that earlier runs stored.

    Attributes:
        observations: The rows that were read, with `data_version`.
        is_in_memory: Whether they are in memory, and not in files.
        restated: Rows of `restatements` without bookkeeping.
        notes: Sentences about what has changed.
    """

    observations: pl.LazyFrame
    is_in_memory: bool
    restated: pl.DataFrame
    notes: tuple[str, ...]


def learn(run: Run, observations: pl.LazyFrame, *, version: int) -> Learnt:
    """Compare the rows that a run has read with those that earlier runs stored.

    A difference is a restatement if the run that stored the row read it from the same source in the same way: the
    same frequency and `[source]`, except fields that do not decide which measurements are stored.

    Args:
        run: A run of the features job that has not published its observations yet.
        observations: The rows that it has read, sorted by series and time.
        version: The version of the features table that has them.

    Returns:
        The rows with their versions, and the restatements.
    """
    is_aggregated = run.spec.source.aggregate is not None
    known = _known_before(run)
    bounds = _bounds(observations)
    # Rows of several stretches do not fit into memory together.
    kept = Parts("learnt", new_temporary_folder() if len(bounds) > 1 else None)
    parts = []
    for between in bounds:
        rows = observations.filter(between).collect(engine="streaming")
        part = compare(rows, _stored(run, known, between), version=version, is_aggregated=is_aggregated)
        kept.append(rows.with_columns(data_version=part.data_version))
        parts.append(part)
    restated = _date(pl.concat([part.restated for part in parts]), known.own)
    if "zone" in observations.collect_schema():
        zone = observations.select("zone").head(1).collect()["zone"]
        restated = restated.with_columns(zone=pl.lit(zone.first(), pl.String))
    return Learnt(kept.scan(), kept.are_in_memory, restated, tuple(_describe(parts, restated)))


def publish_restatements(run: Run, restated: pl.DataFrame) -> dict[str, int]:
    """Replace the restatements of this run, unless they, or its observations, are stored already.

    Args:
        run: The run.
        restated: Rows of `Learnt.restated`.

    Returns:
        The new version of the table by its stored name; nothing if it stays as it is.
    """
    observations = run.store.open("observations", run.clock)
    published = None if observations is None else observations.transaction_version(run.arguments.run_id)
    if published == run.arguments.generation:
        return {}
    rows = stamp(
        restated,
        "restatements",
        run.clock,
        spec=run.spec.name,
        run_cutoff=run.cutoff,
        run_id=run.arguments.run_id,
    )
    own = _own(run).collect().select(rows.columns)
    if own.sort(KEY).equals(rows.sort(KEY)):
        return {}
    # A retry may read a source that has changed since the first try, so the name of the transaction has the content.
    content = hashlib.sha256(rows.drop("learnt_at").write_csv().encode()).hexdigest()[:16]
    version = publish(
        run.store,
        "restatements",
        run.clock,
        rows,
        slice=Slice(run.spec.name, unique_ids=run.arguments.series, run_id=run.arguments.run_id),
        application=f"{run.arguments.run_id}.{content}",
        generation=run.arguments.generation,
    )
    return {declared_table("restatements").stored_as(run.clock): version}


@dataclass(frozen=True)
class _Known:
    """What is known of stored measurements besides their rows.

    Attributes:
        own: Restatements of this run, from an earlier try or generation.
        withdrawn: Times of measurements that earlier runs of the same source found withdrawn.
        other_runs: Runs that have read rows in another way.
    """

    own: pl.DataFrame
    withdrawn: pl.DataFrame
    other_runs: list[str]


def _known_before(run: Run) -> _Known:
    others = _of_run(run, run.store.scan("restatements", run.clock)).filter(pl.col("run_id") != run.arguments.run_id)
    newest = others.group_by(KEY).agg(pl.col("new_y", "run_id").sort_by("learnt_at").last())
    withdrawn = newest.filter(pl.col("new_y").is_null()).select(*KEY, "run_id").collect()
    other_runs = _runs_of_other_sources(run, withdrawn)
    own = _own(run).select(*KEY, "old_y", "new_y", "learnt_at", "data_version").collect()
    return _Known(own, withdrawn.filter(~pl.col("run_id").is_in(other_runs)).select(KEY), other_runs)


def _own(run: Run) -> pl.LazyFrame:
    rows = _of_run(run, run.store.scan("restatements", run.clock), until_cutoff=False)
    return rows.filter(pl.col("run_id") == run.arguments.run_id)


def _of_run(run: Run, rows: pl.LazyFrame, *, until_cutoff: bool = True) -> pl.LazyFrame:
    """Keep the rows of the series and times that the run reads."""
    rows = rows.filter(pl.col("spec") == run.spec.name)
    if until_cutoff:
        rows = rows.filter(pl.col("ds") <= pl.lit(run.cutoff))
    series = run.arguments.series
    return rows if series is None else rows.filter(pl.col("unique_id").is_in(list(series)))


def _runs_of_other_sources(run: Run, withdrawn: pl.DataFrame) -> list[str]:
    """Return the runs, of those that stored or withdrew a measurement, whose spec read the source in another way."""
    writers = _of_run(run, run.store.scan("observations", run.clock)).select("run_id")
    writers = pl.concat([writers, withdrawn.lazy().select("run_id")]).unique()
    recorded = run.store.scan("runs", "timestamp").filter(pl.col("spec") == run.spec.name, pl.col("job") == "features")
    rows = recorded.select("run_id", "arguments").join(writers, on="run_id", how="semi").collect()
    wanted = _describe_source(run.arguments)
    return [run_id for run_id, text in rows.iter_rows() if _source_of(text) != wanted]


def _source_of(text: str) -> Any:
    try:
        return _describe_source(RunArguments.model_validate_json(text))
    except ValidationError:  # another version of Fleetcast had other fields
        return None


def _describe_source(arguments: RunArguments) -> Any:
    return arguments.spec.freq, arguments.spec.source.model_dump(exclude=NOT_OF_VALUES)


def _bounds(observations: pl.LazyFrame) -> list[pl.Expr]:
    """Return conditions that each hold for some whole series: the rows, and the stored rows up to the last of these."""
    counts = observations.group_by("unique_id").len().collect(engine="streaming").sort("unique_id")
    stretch = ((pl.col("len").cum_sum() - 1) // STRETCH_ROWS).alias("stretch")
    last = counts.group_by(stretch, maintain_order=True).agg(pl.col("unique_id").last())["unique_id"].to_list()
    name, bounds, before = pl.col("unique_id"), [], None
    for place, each in enumerate(last):
        between = pl.lit(value=True) if before is None else name > before
        bounds.append(between if place == len(last) - 1 else between & (name <= each))
        before = each
    return bounds or [pl.lit(value=True)]


def _stored(run: Run, known: _Known, between: pl.Expr) -> pl.DataFrame:
    """Return what `compare` takes of the stored rows of some series."""
    is_other = pl.col("run_id").is_in(known.other_runs)
    rows = _of_run(run, run.store.scan("observations", run.clock)).filter(between)
    stored = rows.select(
        *KEY, "y", "data_version", is_stored=True, is_measured=pl.col("y").is_not_null(), is_respecified=is_other
    ).collect(engine="streaming")
    before = pl.concat(
        [
            known.own.select(*KEY, "old_y", is_known=True, is_withdrawn=False),
            known.withdrawn.join(known.own, on=KEY, how="anti").select(
                *KEY, old_y=pl.lit(None, pl.Float64), is_known=True, is_withdrawn=True
            ),
        ]
    ).filter(between)
    both = stored.join(before, on=KEY, how="full", coalesce=True)
    # A measurement that was withdrawn may have come back in a run that was not compared.
    is_kept = pl.col("is_known").is_null() | (pl.col("is_withdrawn") & pl.col("is_measured").fill_null(value=False))
    return both.with_columns(
        old_y=pl.when(is_kept).then("y").otherwise("old_y"),
        is_known=pl.when(is_kept).then(pl.col("is_measured") & ~pl.col("is_respecified")).otherwise(pl.lit(value=True)),
    ).select(*KEY, "y", "data_version", "is_stored", "old_y", "is_known", "is_respecified")


def _date(restated: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Add when each restatement was learnt: now, or by an earlier try of this run, whose version it then keeps."""
    values = [*KEY, "old_y", "new_y"]
    both = restated.join(own, on=values, how="left", nulls_equal=True, maintain_order="left", suffix="_own")
    now = pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC"))
    return both.select(
        *values,
        learnt_at=pl.coalesce("learnt_at", now),
        data_version=pl.coalesce("data_version_own", "data_version"),
    )


def _describe(parts: list[Compared], restated: pl.DataFrame) -> Iterator[str]:
    if num_restated := restated.height:
        num_withdrawn = restated["new_y"].null_count()
        name, ds, old_y, new_y = restated.select(*KEY, "old_y", "new_y").row(0)
        yield (
            f"the source has restated {num_restated} measurement{'s' * (num_restated != 1)} of"
            f" {restated['unique_id'].n_unique()} series, {num_withdrawn} of them withdrawn, such as that of {ds} of"
            f" series '{name}' from {_spell(old_y)} to {_spell(new_y)}; the table `restatements` has them"
        )
    if num_respecified := sum(part.num_respecified for part in parts):
        yield (
            f"{num_respecified} stored measurements differ because the spec has changed how the source is read; they"
            " are not restatements, and scores of earlier forecasts stay as they are"
        )
    if num_gone := sum(part.num_gone for part in parts):
        yield (
            f"{num_gone} stored measurements lie before the first row that the source has of their series; they are"
            " removed from `observations`, are not restatements, and scores that used them stay as they are"
        )


def _spell(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"
