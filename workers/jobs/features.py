"""The features job: a spec's source goes in; observations, rejects and features up to the cutoff are published."""

import json
import sys
from datetime import datetime

import polars as pl
from polars.exceptions import PolarsError

from forecasting.errors import NothingStored, StoreError
from forecasting.schemas import table as declared_table
from forecasting.series.clock import format_clock, parse_clock
from forecasting.series.columns import categories_of
from forecasting.series.ingest import find_newest, ingest
from forecasting.series.read import scan_source
from forecasting.series.validate import validate
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store
from workers.arguments import RunArguments
from workers.jobs.run import Outcome, Run, Skip, asked_cutoff, main, newest_allowed

LAST_JOBS = {"train": "backtest", "forecast": "predict"}
"""The job of each flow whose success says that a cutoff is done."""


def write_features(run: Run) -> Outcome:
    """Read the source up to the cutoff and replace the spec's rows up to it; raises Skip where nothing is new."""
    if not run.arguments.is_explicit and is_done(run):
        raise Skip(f"nothing new since {format_clock(run.cutoff)}: that cutoff is done")

    arguments = run.arguments
    ingested = ingest(
        run.spec,
        cutoff=run.cutoff,
        as_of=None if arguments.cutoff else newest_allowed(arguments),
        series=arguments.series,
        storage_options=run.store.storage_options,
        is_newest=arguments.cutoff is None,
    )
    versions: dict[str, int] = {}
    for table in ("observations", "rejects", "features"):
        rows: pl.DataFrame = getattr(ingested, table)
        stamped = stamp(rows, table, run.clock, spec=run.spec.name, run_cutoff=run.cutoff, run_id=arguments.run_id)
        versions |= run.publish(table, stamped)
    num_series, num_rejects = len(ingested.unique_ids), ingested.rejects.height
    return Outcome(
        f"{num_series} series, {ingested.features.height} grid points and {num_rejects} refused rows"
        f" up to {format_clock(run.cutoff)}",
        versions,
        num_series=num_series,
        num_rows=ingested.features.height,
        num_rejects=num_rejects,
    )


def find_cutoff(arguments: RunArguments, store: Store) -> datetime | int:
    """Return the cutoff that was asked for, else the newest observation of the source not after `as_of`."""
    given = asked_cutoff(arguments)
    if given is not None:
        return given
    spec, not_after = arguments.spec, newest_allowed(arguments)
    rows = scan_source(spec.source, spec.clock, storage_options=store.storage_options)
    return find_newest(rows, spec, not_after=not_after)


def is_done(run: Run) -> bool:
    """Whether the flow has been done for the same spec and cutoff, every series and model, and nothing is new since.

    New are, for a forecast, a training of the spec that had not ended when the forecast began; and for both flows
    accepted rows at or before the cutoff other than those that were read then: series that lag behind the newest one
    bring theirs without moving the cutoff.
    """
    began = find_last_done(run)
    if began is None:
        return False
    if run.arguments.flow == "forecast" and _has_trained_since(run, began):
        return False
    stored = _read_at(run, began)
    if stored is None:
        return False
    rows = scan_source(
        run.spec.source,
        run.clock,
        static=run.spec.categories.static,
        storage_options=run.store.storage_options,
    )
    return fingerprint(validate(rows, freq=run.spec.freq, cutoff=run.cutoff).accepted) == stored


def find_last_done(run: Run) -> datetime | None:
    """Return when the newest success of the flow's last job began, for the same spec, cutoff and no filters."""
    recorded = (
        _successes(run)
        .filter(pl.col("job") == LAST_JOBS[run.arguments.flow], pl.col("run_cutoff") == format_clock(run.cutoff))
        .select("arguments", "started_at")
        .collect()
    )
    spec = run.spec.model_dump(mode="json")
    earlier = [(json.loads(text), started_at) for text, started_at in recorded.iter_rows()]
    return max(
        (at for a, at in earlier if a["spec"] == spec and a["series"] is None and a["models"] is None), default=None
    )


def fingerprint(observations: pl.LazyFrame) -> tuple[int, int]:
    """Return how many rows there are and a sum of their hashes, in one pass; their order does not count.

    Equal only for equal rows, but for a chance of 2^-64. It is for comparing now, not for keeping: another version of
    Polars hashes otherwise.
    """
    of_row = pl.struct("unique_id", "ds", "y", *categories_of(observations)).hash()
    num_rows, total = observations.select(num_rows=pl.len(), total=of_row.sum()).collect(engine="streaming").row(0)
    return num_rows, total


def _has_trained_since(run: Run, began: datetime) -> bool:
    """Whether a training of the spec, at or before the cutoff, ended after `began`."""
    trained = _successes(run).filter(pl.col("job").is_in(["train", "backtest"]), pl.col("ended_at") > began)
    # The spec may have run on the other clock before, of which nothing is read any more.
    is_on_clock = pl.col("run_cutoff").str.contains("T") == (run.clock == "timestamp")
    cutoffs = trained.filter(is_on_clock).select("run_cutoff").collect()["run_cutoff"]
    return any(parse_clock(text, run.clock) <= run.cutoff for text in cutoffs)  # type: ignore[operator]


def _read_at(run: Run, began: datetime) -> tuple[int, int] | None:
    """Return the fingerprint of the observations that a run read which began then; None where they are not kept."""
    published = _successes(run).filter(pl.col("job") == "features").sort("ended_at").collect()
    before = published.filter(pl.col("ended_at") <= began)
    if before.is_empty():
        return None
    version: int | None = None
    if before.height < published.height:  # the rows have been published again since, perhaps others
        version = json.loads(before["versions"][-1]).get(declared_table("observations").stored_as(run.clock))
        if version is None:
            return None
    try:
        rows = run.rows("observations", version=version)
        return fingerprint(rows if run.spec.categories.static else rows.drop("categories"))
    except (NothingStored, StoreError, PolarsError, OSError):
        if version is None:
            raise
        return None  # maintenance has removed that version; running again is never wrong


def _successes(run: Run) -> pl.LazyFrame:
    """Return the spec's rows of `runs` that succeeded, with `ended_at`."""
    return (
        run.store.scan("runs", "timestamp")
        .filter(pl.col("spec") == run.spec.name, pl.col("status") == "success")
        .with_columns(ended_at=pl.col("started_at") + pl.duration(microseconds=pl.col("seconds") * 1e6))
    )


if __name__ == "__main__":
    sys.exit(main("features", write_features, find_cutoff))
