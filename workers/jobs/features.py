"""The features job: reads a spec's source and publishes observations, rejects and features up to the cutoff."""

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice

import polars as pl
from polars.exceptions import PolarsError

from forecasting.errors import NothingStored, StoreError
from forecasting.flow.ends import count_series
from forecasting.schemas import table as declared_table
from forecasting.series.budget import add_set_aside
from forecasting.series.clock import format_clock, parse_clock
from forecasting.series.columns import categories_of
from forecasting.series.ends import find_lagging
from forecasting.series.ids import lay_out_names
from forecasting.series.ingest import Ingested, find_newest, ingest, observed_rows
from forecasting.series.inputs import Input
from forecasting.series.plausible import wall_clock
from forecasting.series.read import scan_source
from forecasting.series.unfinished import is_unfinished
from forecasting.series.validate import validate
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store
from workers.arguments import RunArguments
from workers.jobs.run import Outcome, Run, Skip, main, newest_allowed, requested_cutoff

LAST_JOBS = {"train": "backtest", "forecast": "predict"}
"""The job of each flow whose success marks a cutoff as done."""
NUM_NAMED = 3
"""Series without a forecast that the message names."""


def write_features(run: Run) -> Outcome:
    """Read the source up to the cutoff and replace the spec's rows up to it.

    Args:
        run: The run.

    Returns:
        What was published.

    Raises:
        Skip: Nothing is new since the cutoff was done.
    """
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
    for note in (*ingested.unused, *ingested.notes):
        print(f"{arguments.job}: {note}", flush=True)
    versions: dict[str, int] = {}
    for table in ("observations", "rejects", "features"):
        rows: pl.DataFrame = getattr(ingested, table)
        rows = add_set_aside(rows, ingested.set_aside) if table == "rejects" else rows
        stamped = stamp(rows, table, run.clock, spec=run.spec.name, run_cutoff=run.cutoff, run_id=arguments.run_id)
        versions |= run.publish(table, stamped)
    if len(run.spec.source.ids) > 1:
        versions |= _write_names(run, ingested)
    num_series, num_rejects = len(ingested.unique_ids), ingested.rejects.height
    return Outcome(
        "".join(_describe(ingested, run)),
        versions,
        num_series=num_series,
        num_rows=ingested.features.height,
        num_rejects=num_rejects,
    )


def _write_names(run: Run, ingested: Ingested) -> dict[str, int]:
    """Publish the columns that name each series, beside those of series that other runs have read."""
    source = run.spec.source
    names = lay_out_names(ingested.unique_ids, Input(source, None, run.store.storage_options).id_dtypes())
    stored = run.store.scan("names", run.clock).filter(pl.col("spec") == run.spec.name).select("unique_id", "keys")
    if run.arguments.series is None:
        columns = pl.col("keys").list.eval(pl.element().struct.field("name")).list.join("\n")
        known = stored.filter(columns == "\n".join(source.ids))
        others = known.join(names.lazy(), on="unique_id", how="anti").collect()
        names = pl.concat([names, others]).sort("unique_id")
        if names.equals(stored.sort("unique_id").collect()):
            return {}
    stamped = stamp(names, "names", run.clock, spec=run.spec.name, run_id=run.arguments.run_id)
    return run.publish("names", stamped)


def _describe(ingested: Ingested, run: Run) -> Iterator[str]:
    """Yield the parts of the job's message: what was read and used, and which series are not forecast."""
    yield f"{len(ingested.unique_ids)} series, {ingested.features.height} grid points"
    yield f" and {ingested.rejects.height} refused rows up to {format_clock(run.cutoff)}; {ingested.counts}"
    lagging = set(find_lagging(ingested.features)) - set(ingested.ended)
    num_forecast = len(ingested.unique_ids) - len(ingested.unserved)
    yield f"; series: {count_series(num_forecast, lagging, ingested.ended, ingested.set_aside)}"
    for name, reason in islice(ingested.unserved.items(), NUM_NAMED):
        yield f"\n  '{name}' {reason}"
    if len(ingested.unserved) > NUM_NAMED:
        yield f"\n  and {len(ingested.unserved) - NUM_NAMED} more"


def find_cutoff(arguments: RunArguments, store: Store) -> datetime | int:
    """Return the requested cutoff, else the source's newest finished period of most live series, not after `as_of`."""
    given = requested_cutoff(arguments)
    if given is not None:
        return given
    spec, not_after = arguments.spec, newest_allowed(arguments)
    rows = scan_source(spec.source, spec.clock, storage_options=store.storage_options)
    return find_newest(rows, spec, not_after=not_after)


def is_done(run: Run) -> bool:
    """Return whether the flow has been done for the same spec and cutoff, without filters, and nothing is new since.

    Two things count as new. One is accepted rows at or before the cutoff that differ from those that were read then:
    series that lag behind the newest one add rows without moving the cutoff. The other, for the forecast flow, is a
    training of the spec that had not ended when the forecast began.

    Args:
        run: A run of the features job.

    Returns:
        Whether the run has nothing to do.
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
    as_of = None if run.arguments.cutoff else newest_allowed(run.arguments)
    unfinished = is_unfinished(
        rows.collect_schema(), run.spec.source, freq=run.spec.freq, now=wall_clock(), as_of=as_of
    )
    validated = validate(rows, freq=run.spec.freq, cutoff=run.cutoff, source=run.spec.source, unfinished=unfinished)
    return fingerprint(observed_rows(validated, run.spec)) == stored


def find_last_done(run: Run) -> datetime | None:
    """Return when the newest success of the flow's last job began, for the same spec and cutoff without filters."""
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
    """Return a value by which two sets of rows are compared, in any order and in one pass.

    Different rows have the same fingerprint with a chance of 2^-64. Fingerprints are not to be stored, because versions
    of Polars hash differently.

    Args:
        observations: Rows with unique_id, ds, y and categories.

    Returns:
        The number of rows and the sum of their hashes.
    """
    of_row = pl.struct("unique_id", "ds", "y", *categories_of(observations)).hash()
    num_rows, total = observations.select(num_rows=pl.len(), total=of_row.sum()).collect(engine="streaming").row(0)
    return num_rows, total


def _has_trained_since(run: Run, began: datetime) -> bool:
    """Return whether a training of the spec, at or before the cutoff, ended after `began`."""
    trained = _successes(run).filter(pl.col("job").is_in(["train", "backtest"]), pl.col("ended_at") > began)
    # The spec may have run on the other clock before; those runs no longer count.
    is_on_clock = pl.col("run_cutoff").str.contains("T") == (run.clock == "timestamp")
    cutoffs = trained.filter(is_on_clock).select("run_cutoff").collect()["run_cutoff"]
    return any(parse_clock(text, run.clock) <= run.cutoff for text in cutoffs)  # type: ignore[operator]


def _read_at(run: Run, began: datetime) -> tuple[int, int] | None:
    """Return the fingerprint of the observations that a run begun then has read; None where they are not kept."""
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
        return None  # maintenance has removed that version; to run again is always correct


def _successes(run: Run) -> pl.LazyFrame:
    """Return the spec's rows of `runs` that succeeded, with `ended_at`."""
    return (
        run.store.scan("runs", "timestamp")
        .filter(pl.col("spec") == run.spec.name, pl.col("status") == "success")
        .with_columns(ended_at=pl.col("started_at") + pl.duration(microseconds=pl.col("seconds") * 1e6))
    )


if __name__ == "__main__":
    sys.exit(main("features", write_features, find_cutoff))
