"""What every job shares: its arguments and settings, its result line, its row of `runs` and its exit code."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import polars as pl

from forecasting.errors import FleetcastError, NothingStored, UserError
from forecasting.schemas import WITH_QUANTILES, ds_dtype
from forecasting.schemas import table as declared_table
from forecasting.series.clock import format_clock
from forecasting.series.columns import is_blank
from forecasting.series.ends import has_not_ended
from forecasting.series.once import reading_once
from forecasting.series.read import require_series
from forecasting.series.reasons import NAMELESS
from forecasting.series.typed_cutoff import describe_settled
from forecasting.settings import FleetSettings, Settings
from forecasting.spec.frequency import Clock
from forecasting.spec.spec import Spec
from forecasting.store.publish import append_run, publish
from forecasting.store.rows import Frames
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import Store
from forecasting.version import code_version
from workers.arguments import RESULT_PREFIX, JobName, RunArguments, RunResult, read_arguments
from workers.cluster.metrics import report_end
from workers.jobs.cutoffs import requested_cutoff, storage_options_of
from workers.jobs.mirrored import supply_stored
from workers.log_lines import job_log, log_fields
from workers.settings import WorkerSettings

MOST_NAMED = 1_000
"""Series that the predicate of a commit names; tens of thousands would overflow the stack of Delta Lake's parser."""


@dataclass(frozen=True)
class Run:
    """One run of one job.

    Attributes:
        arguments: What the run is requested to do.
        store: The tables.
        workers: Settings of the workers.
        fleet: Settings of the networks.
        cutoff: The last `ds` that the run may know, on the clock of ds.
        changed: The series that have changed, where the run covers these alone.
    """

    arguments: RunArguments
    store: Store
    workers: WorkerSettings
    fleet: FleetSettings
    cutoff: datetime | int
    changed: tuple[str, ...] | None = None

    @property
    def spec(self) -> Spec:
        """The spec of its arguments."""
        return self.arguments.spec

    @property
    def clock(self) -> Clock:
        """The clock of ds."""
        return self.spec.clock

    @property
    def networks(self) -> tuple[str, ...]:
        """The requested networks, by default those of the spec."""
        return self.arguments.models or self.spec.models

    @property
    def series(self) -> tuple[str, ...] | None:
        """The series that the run is filtered to; None for all."""
        return self.arguments.series if self.changed is None else self.changed

    def rows(self, table: str, *, version: int | None = None) -> pl.LazyFrame:
        """Scan the rows of this spec that a run at this cutoff may know."""
        declared = declared_table(table)
        time_column = "run_cutoff" if declared.is_dated else "ds"
        return self.store.scan(table, self.clock, version=version).filter(
            pl.col("spec") == self.spec.name, pl.col(time_column) <= pl.lit(self.cutoff, ds_dtype(self.clock))
        )

    def slice(self, table: str, *, models: Sequence[str] | None = None) -> Slice:
        """Return what this run replaces of a table: its spec, its cutoff and the series that it was filtered to."""
        declared = declared_table(table)
        is_dated, has_times = declared.is_dated, "ds" in declared.schema(self.clock)
        return Slice(
            self.spec.name,
            run_cutoff=self.cutoff if is_dated else None,
            until=self.cutoff if has_times and not is_dated else None,
            unique_ids=self.series,
            models=models,
        )

    def publish_checks(self, verdicts: pl.DataFrame) -> dict[str, int]:
        """Replace the verdicts of this job at this cutoff, also where there are none any longer."""
        table, clock = "checks", self.clock
        rows = verdicts.with_columns(job=pl.lit(self.arguments.job))
        if self.series is not None:  # the verdicts of all series stay
            rows = rows.filter(pl.col("unique_id").is_in(list(self.series)))
        slice = replace(self.slice(table), job=self.arguments.job)
        if rows.is_empty() and self.stored_checks().head(1).collect(engine="streaming").is_empty():
            return {}
        stamped = stamp(rows, table, clock, spec=self.spec.name, run_cutoff=self.cutoff, run_id=self.arguments.run_id)
        return self._publish(table, stamped, slice)

    def stored_checks(self) -> pl.LazyFrame:
        """Return the stored verdicts of this job at this cutoff, of the run's series."""
        slice = replace(self.slice("checks"), job=self.arguments.job)
        return self.store.scan("checks", self.clock).filter(slice.contains(declared_table("checks"), self.clock))

    def publish(self, table: str, frames: Frames, *, models: Sequence[str] | None = None) -> dict[str, int]:
        """Replace this run's slice of a table in one commit; return the table's stored name and its version."""
        slice = self.slice(table, models=models)
        if table == "scenarios":
            slice = replace(slice, scenario=self.arguments.scenario)
        if self.changed is not None and len(self.changed) > MOST_NAMED:
            slice = replace(slice, unique_ids=None)
            frames = self._with_unchanged(table, frames, slice)
        return self._publish(table, frames, slice)

    def _with_unchanged(self, table: str, frames: Frames, slice: Slice) -> Frames:
        """Add the stored rows of a slice that belong to series which the run does not cover."""
        stored = self.store.scan(table, self.clock).filter(slice.contains(declared_table(table), self.clock))
        others = stored.filter(~pl.col("unique_id").is_in(list(self.changed or ())))
        if others.select("unique_id").head(1).collect(engine="streaming").is_empty():
            return frames
        if isinstance(frames, Sequence):
            options = self.store.storage_options or None
            frames = pl.scan_parquet(list(frames), storage_options=options, hive_partitioning=False, glob=False)
        return pl.concat([frames.lazy(), others.select(frames.lazy().collect_schema().names())])

    def _publish(self, table: str, frames: Frames, slice: Slice) -> dict[str, int]:
        version = publish(
            self.store,
            table,
            self.clock,
            frames,
            slice=slice,
            application=self.arguments.run_id,
            generation=self.arguments.generation,
            quantile_columns=self.spec.quantile_columns if table in WITH_QUANTILES else (),
        )
        return {declared_table(table).stored_as(self.clock): version}


@dataclass(frozen=True)
class Outcome:
    """What a job has done; one that had nothing to do is recorded as skipped."""

    message: str
    versions: Mapping[str, int] = field(default_factory=dict)
    num_series: int = 0
    num_rows: int = 0
    num_rejects: int = 0
    checks: Mapping[str, str] = field(default_factory=dict)
    is_idle: bool = False


class Skip(Exception):
    """Raised where a job has nothing to do; the message gives the reason."""


def count_points(
    run: Run, *, data_version: int | None, is_whole: bool = False, has_ended: bool = False
) -> dict[str, int]:
    """Count the grid points up to the cutoff of every series that the run covers.

    Args:
        run: The run.
        data_version: Version of the features table.
        is_whole: Whether all series of the spec are counted, regardless of the run's filters.
        has_ended: Whether the points of series that have ended count.

    Returns:
        Grid points by series: 0 for a series of which every row was rejected, that a check set aside, or that has
        ended. Missing and blank names are left out.

    Raises:
        NothingStored: The spec has no features yet.
        UserError: The run is filtered to series that do not exist.
    """
    stored = run.rows("features", version=data_version)
    points = pl.len() if has_ended else pl.when(has_not_ended(run.spec, cutoff=run.cutoff)).then(pl.len()).otherwise(0)
    features = stored.group_by("unique_id").agg(num_points=points.cast(pl.get_index_type()))
    refused = (
        run.rows("rejects")
        .filter(
            pl.col("run_cutoff") == run.cutoff,
            ~is_blank("unique_id", pl.String()),
            ~pl.col("reason").is_in(NAMELESS),
        )
        .select("unique_id", num_points=pl.lit(0, pl.get_index_type()))
    )
    set_aside = set_aside_by_checks(run.store, run.spec, run.cutoff)
    left_out = set_aside.select("unique_id", num_points=pl.lit(0, pl.get_index_type()))
    known = (
        pl.concat([features, refused, left_out])
        .group_by("unique_id")
        .agg(pl.col("num_points").max())
        .sort("unique_id")
        .collect(engine="streaming")
    )
    if known.is_empty():
        raise NothingStored(
            f"spec '{run.spec.name}' has no features at or before {format_clock(run.cutoff)};"
            " run the features job first"
        )
    if run.arguments.series is not None and not is_whole:
        require_series(known.lazy(), run.arguments.series)
        known = known.filter(pl.col("unique_id").is_in(list(run.arguments.series)))
    return dict(known.iter_rows())


def set_aside_by_checks(store: Store, spec: Spec, cutoff: datetime | int) -> pl.LazyFrame:
    """Return the rows of `checks` by which the features job of a cutoff has set series aside."""
    return store.scan("checks", spec.clock).filter(
        pl.col("spec") == spec.name,
        pl.col("run_cutoff") == pl.lit(cutoff, ds_dtype(spec.clock)),
        pl.col("job") == "features",
        pl.col("on_failure") == "set_aside",
        pl.col("unique_id").is_not_null(),
    )


Work = Callable[[Run], Outcome]
"""Does a job."""
Resolve = Callable[[RunArguments, Store], datetime | int]
"""Returns the cutoff of a run, on the clock of ds."""


def main(job: JobName, work: Work, resolve: Resolve) -> int:
    """Run a job with the arguments of this process, as `run_step` does.

    Args:
        job: Name of the job.
        work: Does the job.
        resolve: Returns the run's cutoff.

    Returns:
        The exit code: 0 for success, 2 for the user's mistakes, else 1.
    """
    return in_job_log(lambda: _run_alone(job, work, resolve))


def _run_alone(job: JobName, work: Work, resolve: Resolve) -> int:
    try:
        arguments = read_arguments()
        if arguments.job != job:
            raise UserError(f"run {arguments.run_id} is for job '{arguments.job}', but this is job '{job}'")
    except UserError as error:
        return report_failure(error)
    ended = run_step(arguments, work, resolve)
    return ended if isinstance(ended, int) else 0


def in_job_log(main: Callable[[], int]) -> int:
    """Run a job's main function; what it prints is in the format of the setting `log_format`.

    Args:
        main: Runs the job, and returns its exit code.

    Returns:
        The exit code.
    """
    try:
        log_format = WorkerSettings.load().log_format
    except UserError:
        log_format = "text"  # the job reports refused settings
    with job_log(log_format):
        return main()


def run_step(arguments: RunArguments, work: Work, resolve: Resolve) -> RunResult | int:
    """Run a job, record the run, and print its result as the last line.

    A run that is already recorded as done returns its recorded result.

    Args:
        arguments: What the run is requested to do.
        work: Does the job.
        resolve: Returns the run's cutoff.

    Returns:
        The result; of a failed run, which has printed its error, the exit code: 2 for the user's mistakes, else 1.
    """
    names = arguments.model_dump(include={"job", "flow", "run_id", "generation"})
    with log_fields(spec=arguments.spec.name, **names), reading_once():
        return _run_step(arguments, work, resolve)


def _run_step(arguments: RunArguments, work: Work, resolve: Resolve) -> RunResult | int:
    began, started_at = time.monotonic(), datetime.now(UTC)
    store: Store | None = None
    cutoff: datetime | int | None = None
    try:
        has_mirror = arguments.spec.source.modified is not None  # which has all rows
        spec = arguments.spec.within(None if has_mirror else arguments.cutoff or arguments.as_of)
        arguments = arguments.model_copy(update={"spec": spec})
        store = Store(Settings.load().store, storage_options_of(arguments))
        result = _find_recorded(store, arguments)
        if result is None:
            if arguments.job != "features" or arguments.scenario is not None:
                supply_stored(spec, store)
            cutoff = resolve(arguments, store)
            note = _describe_cutoff(arguments, cutoff)
            if note:
                print(f"{arguments.job}: {note}", flush=True)
            run = Run(arguments, store, WorkerSettings.load(), FleetSettings.load(), cutoff)
            outcome, status = _work(work, run)
            result = RunResult(
                run_id=arguments.run_id,
                job=arguments.job,
                status=status,
                cutoff=format_clock(cutoff),
                requested=_requested(arguments, format_clock(cutoff)),
                versions=dict(outcome.versions),
                checks=dict(outcome.checks),
                num_series=outcome.num_series,
                num_rows=outcome.num_rows,
                num_rejects=outcome.num_rejects,
                seconds=round(time.monotonic() - began, 3),
                message=f"{outcome.message}; {note}" if note else outcome.message,
            )
            if arguments.job != "features" or arguments.scenario is None:  # which has written nothing
                append_run(store, _row(arguments, result.model_dump(), started_at))
                _report_end(arguments, status, cutoff)
    except Exception as error:
        if store is not None:
            _record_failure(store, arguments, cutoff, started_at, time.monotonic() - began, _describe(error))
            _report_end(arguments, "failed", None, kind=type(error).__name__)
        return report_failure(error)
    print(result.message)
    print(f"{RESULT_PREFIX}{result.model_dump_json()}", flush=True)
    return result


def report_failure(error: Exception) -> int:
    """Print an error as a job's last line, and return the exit code: 2 for the user's mistakes, else 1."""
    is_mistake = isinstance(error, UserError)
    sys.stdout.flush()
    if not is_mistake:
        sys.stderr.write("".join(traceback.format_exception(error)))  # at once: one entry of a log of JSON lines
    print(f"error: {_describe(error)}", file=sys.stderr, flush=True)
    return UserError.exit_code if is_mistake else FleetcastError.exit_code


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, FleetcastError) else f"{type(error).__name__}: {error}"


def _requested(arguments: RunArguments, cutoff: str) -> str | None:
    """Return the requested cutoff where the run has another one."""
    given = requested_cutoff(arguments)
    return None if given is None or format_clock(given) == cutoff else format_clock(given)


def _describe_cutoff(arguments: RunArguments, cutoff: datetime | int) -> str | None:
    """Return a sentence about a requested cutoff where the run has another one."""
    given = requested_cutoff(arguments)
    if given is None or given == cutoff:
        return None
    forward = f"cutoff {format_clock(given)} means its whole period, up to {format_clock(cutoff)}"
    return describe_settled(given, cutoff, arguments.spec.freq) or forward


def _work(work: Work, run: Run) -> tuple[Outcome, str]:
    try:
        outcome = work(run)
    except Skip as reason:
        outcome = Outcome(str(reason), is_idle=True)
    return outcome, "skipped" if outcome.is_idle else "success"


def _find_recorded(store: Store, arguments: RunArguments) -> RunResult | None:
    """Return the recorded result of this run, whose job was lost after it had published everything."""
    recorded = (
        store.scan("runs", "timestamp")
        .filter(
            pl.col("run_id") == arguments.run_id,
            pl.col("generation") == arguments.generation,
            pl.col("status").is_in(["success", "skipped"]),
            pl.col("arguments") == arguments.model_dump_json(),
        )
        .collect()
    )
    if recorded.is_empty():
        return None
    row = recorded.row(0, named=True)
    fields = {name: row[name] for name in RunResult.model_fields if name in row}
    requested = _requested(arguments, row["run_cutoff"])
    return RunResult(
        **fields
        | {
            "job": arguments.job,
            "cutoff": row["run_cutoff"],
            "requested": requested,
            "versions": json.loads(row["versions"]),
        }
    )


def _report_end(arguments: RunArguments, status: str, cutoff: datetime | int | None, *, kind: str = "") -> None:
    spec = arguments.spec
    reached = cutoff if isinstance(cutoff, datetime) else None
    report_end(
        spec.name, arguments.recorded_job, spec.freq, status=status, kind=kind, cutoff=reached, zone=spec.schedule.zone
    )


def _row(arguments: RunArguments, result: Mapping[str, object], started_at: datetime) -> dict[str, object]:
    counts = {name: result.get(name) for name in ("num_series", "num_rows", "num_rejects", "seconds")}
    return {
        "run_id": arguments.run_id,
        "job": arguments.recorded_job,
        "spec": arguments.spec.name,
        "run_cutoff": result["cutoff"],
        "generation": arguments.generation,
        "status": result["status"],
        "started_at": started_at,
        "versions": json.dumps(result.get("versions", {})),
        "arguments": arguments.model_dump_json(),
        "code_version": code_version(),
        "message": result["message"],
        **counts,
    }


def _record_failure(
    store: Store,
    arguments: RunArguments,
    cutoff: datetime | int | None,
    started_at: datetime,
    seconds: float,
    message: str,
) -> None:
    failure = {
        "cutoff": arguments.cutoff if cutoff is None else format_clock(cutoff),
        "status": "failed",
        "seconds": round(seconds, 3),
        "message": message,
    }
    try:
        append_run(store, _row(arguments, failure, started_at))
    except FleetcastError as error:
        print(f"the failure could not be recorded: {error}", file=sys.stderr)
