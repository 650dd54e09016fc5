"""The features job: reads a spec's source and publishes observations, rejects and features up to the cutoff."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice

import polars as pl
from polars.exceptions import PolarsError

from forecasting.errors import NothingStored, StoreError
from forecasting.flow.covariate_use import describe_short, describe_use
from forecasting.flow.ends import count_series
from forecasting.schemas import table as declared_table
from forecasting.series.budget import add_set_aside
from forecasting.series.checks import Checked, check_measurements, check_stale, newest_measurements
from forecasting.series.clock import format_clock, parse_clock
from forecasting.series.ends import find_ended, find_lagging
from forecasting.series.fingerprint import Fingerprint, fingerprint, fingerprint_of_source
from forecasting.series.found_cutoff import find_newest
from forecasting.series.freshness import current_time
from forecasting.series.ids import lay_out_names
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.inputs import Input
from forecasting.series.read import scan_source
from forecasting.series.typed_cutoff import settle_cutoff
from forecasting.series.verdicts import (
    count_verdicts,
    describe_warnings,
    find_set_aside,
    join_verdicts,
    no_verdicts,
    refuse_failed,
    verdict_of_each,
)
from forecasting.spec.checks import FreshnessCheck
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store
from workers.arguments import RunArguments
from workers.jobs.cutoffs import newest_allowed, requested_cutoff, source_zone, stored_cutoff
from workers.jobs.mirrored import Read, read_changed
from workers.jobs.restatements import Learnt, learn, publish_restatements
from workers.jobs.run import Outcome, Run, Skip, count_points, main

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
        CheckFailed: Measurements fail a check that stops the run; the verdicts are published.
    """
    if run.arguments.scenario is not None:
        return _use_stored(run)
    read = read_changed(run.arguments, run.store)
    if not run.arguments.is_explicit and is_done(run):
        verdicts = _check_stale(run)
        if verdicts is not None:
            counts = f"; checks: {count_verdicts(verdicts)}" if verdicts.height else ""
            of_source = "" if read is None else f"; {read}"
            raise Skip(f"nothing new since {format_clock(run.cutoff)}: that cutoff is done{counts}{of_source}")

    arguments = run.arguments
    ingested = ingest(
        run.spec,
        cutoff=run.cutoff,
        as_of=None if arguments.cutoff else newest_allowed(arguments),
        series=arguments.series,
        storage_options=run.store.storage_options,
        is_newest=arguments.cutoff is None,
        is_settled=arguments.cutoff is not None,
    )
    moment = None if arguments.cutoff else _moment(run)
    checked = check_measurements(ingested, run.spec, moment=moment, is_filtered=arguments.series is not None)
    ingested = checked.ingested
    short = describe_short(run.spec, ingested.lengths)
    for note in (*describe_warnings(checked.verdicts), *ingested.unused, *ingested.notes, *short):
        print(f"{arguments.job}: {note}", flush=True)
    versions = run.publish_checks(checked.verdicts)
    checked.refuse()
    versions |= _write(run, "features", ingested.points, is_small=ingested.is_in_memory)
    learnt = learn(run, ingested.observed, version=versions[declared_table("features").stored_as(run.clock)])
    for note in learnt.notes:
        print(f"{arguments.job}: {note}", flush=True)
    versions |= publish_restatements(run, learnt.restated)
    versions |= _write(run, "observations", learnt.observations, is_small=learnt.is_in_memory)
    versions |= _write(run, "rejects", add_set_aside(ingested.rejects, ingested.set_aside).lazy())
    if len(run.spec.source.ids) > 1:
        versions |= _write_names(run, ingested)
    num_series, num_rejects = len(ingested.unique_ids), ingested.rejects.height
    return Outcome(
        "".join(_describe(checked, learnt, run, read)),
        versions,
        num_series=num_series,
        num_rows=sum(ingested.lengths.values()),
        num_rejects=num_rejects,
        checks=verdict_of_each(checked.verdicts),
    )


def _use_stored(run: Run) -> Outcome:
    """Return what the stored features have; a scenario reads nothing newer than the forecast."""
    num_points = count_points(run, data_version=None)
    return Outcome(
        f"scenario '{run.arguments.scenario}' reads the stored features up to {format_clock(run.cutoff)}",
        num_series=len(num_points),
        num_rows=sum(num_points.values()),
    )


def _check_stale(run: Run) -> pl.DataFrame | None:
    """Check whether the source is stale although nothing is new, and publish the verdicts.

    Args:
        run: A run of the features job that has nothing to do.

    Returns:
        The verdicts; None where a series is to be set aside that the cutoff's forecast has, so that the run goes on.

    Raises:
        CheckFailed: It is stale, and that stops a run.
    """
    if not any(isinstance(check, FreshnessCheck) for check in run.spec.checks):
        return no_verdicts()
    ended: Mapping[str, str] = {}
    if any(check.per_series for check in run.spec.checks if isinstance(check, FreshnessCheck)):
        features = run.rows("features").select("unique_id", "ds", "is_observed").collect(engine="streaming")
        ended = find_ended(features, run.spec, cutoff=run.cutoff)
    newest = newest_measurements(run.rows("observations")).collect(engine="streaming")
    verdicts = check_stale(newest, run.spec, moment=_moment(run), ended=ended)
    stored = run.stored_checks().collect(engine="streaming")
    if set(find_set_aside(verdicts)) - set(find_set_aside(stored)):
        return None
    for note in describe_warnings(verdicts):
        print(f"{run.arguments.job}: {note}", flush=True)
    others = [check.name for check in run.spec.checks if not isinstance(check, FreshnessCheck)]
    kept = stored.filter(pl.col("check_name").is_in(others)).select(verdicts.columns)
    run.publish_checks(join_verdicts([kept, verdicts]))
    refuse_failed(verdicts)
    return verdicts


def _moment(run: Run) -> datetime | None:
    """Return the time of the run on the clock of ds; None for integer steps."""
    if run.clock == "step":
        return None
    moment = newest_allowed(run.arguments)
    return moment if isinstance(moment, datetime) else current_time(run.spec, source_zone(run.arguments))


def _write(run: Run, table: str, rows: pl.LazyFrame, *, is_small: bool = True) -> dict[str, int]:
    """Publish the rows of a table; small ones are collected, and larger ones go through a file."""
    run_id = run.arguments.run_id
    stamped = stamp(rows, table, run.clock, spec=run.spec.name, run_cutoff=run.cutoff, run_id=run_id)
    return run.publish(table, stamped.collect(engine="streaming") if is_small else stamped)


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


def _describe(checked: Checked, learnt: Learnt, run: Run, read: Read | None) -> Iterator[str]:
    """Yield the parts of the job's message: what was read and used, and which series are not forecast."""
    ingested = checked.ingested
    yield f"{len(ingested.unique_ids)} series, {sum(ingested.lengths.values())} grid points"
    yield f" and {ingested.rejects.height} refused rows up to {format_clock(run.cutoff)}; {ingested.counts}"
    yield "" if read is None else f"; {read}"
    if num_restated := learnt.restated.height:
        yield f"; {num_restated} measurement{'s' * (num_restated != 1)} restated"
    lagging = set(find_lagging(ingested.points)) - set(ingested.ended)
    num_forecast = len(ingested.unique_ids) - len(ingested.unserved)
    yield f"; series: {count_series(num_forecast, lagging, ingested.ended, ingested.set_aside)}"
    if checked.verdicts.height:
        yield f"; checks: {count_verdicts(checked.verdicts)}"
    use = describe_use(run.spec)
    yield f"; {use}" if use else ""
    for line in ingested.joined:
        yield f"\n  {line}"
    for name, reason in islice(ingested.unserved.items(), NUM_NAMED):
        yield f"\n  '{name}' {reason}"
    if len(ingested.unserved) > NUM_NAMED:
        yield f"\n  and {len(ingested.unserved) - NUM_NAMED} more"


def find_cutoff(arguments: RunArguments, store: Store) -> datetime | int:
    """Return what the requested cutoff means, else the newest finished period of most live series up to `as_of`."""
    if arguments.scenario is not None:
        return stored_cutoff(arguments, store)
    read_changed(arguments, store)
    given, spec, not_after = requested_cutoff(arguments), arguments.spec, newest_allowed(arguments)
    rows = scan_source(spec.source, spec.clock, storage_options=store.storage_options)
    if given is not None:
        return settle_cutoff(rows, spec, given)
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
        static=run.spec.static_columns,
        storage_options=run.store.storage_options,
    )
    as_of = None if run.arguments.cutoff else newest_allowed(run.arguments)
    return fingerprint_of_source(rows, run.spec, cutoff=run.cutoff, as_of=as_of) == stored


def find_last_done(run: Run) -> datetime | None:
    """Return when the newest success of the flow's last job began, for the same spec and cutoff without filters.

    A run of changed series alone counts only for another such run.

    Args:
        run: A run of the features job.

    Returns:
        The time, or None.
    """
    recorded = (
        _successes(run)
        .filter(pl.col("job") == LAST_JOBS[run.arguments.flow], pl.col("run_cutoff") == format_clock(run.cutoff))
        .select("arguments", "started_at")
        .collect()
    )
    spec = run.spec.model_dump(mode="json")
    earlier = [(json.loads(text), started_at) for text, started_at in recorded.iter_rows()]
    covers = {False, run.arguments.changed_only}
    return max(
        (
            at
            for a, at in earlier
            if a["spec"] == spec
            and a["series"] is None
            and a["models"] is None
            and a.get("changed_only", False) in covers
        ),
        default=None,
    )


def _has_trained_since(run: Run, began: datetime) -> bool:
    """Return whether a training of the spec, at or before the cutoff, ended after `began`."""
    trained = _successes(run).filter(pl.col("job").is_in(["train", "backtest"]), pl.col("ended_at") > began)
    # The spec may have run on the other clock before; those runs no longer count.
    is_on_clock = pl.col("run_cutoff").str.contains("T") == (run.clock == "timestamp")
    cutoffs = trained.filter(is_on_clock).select("run_cutoff").collect()["run_cutoff"]
    return any(parse_clock(text, run.clock) <= run.cutoff for text in cutoffs)  # type: ignore[operator]


def _read_at(run: Run, began: datetime) -> Fingerprint | None:
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
        return fingerprint(rows if run.spec.static_columns else rows.drop("categories"))
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
