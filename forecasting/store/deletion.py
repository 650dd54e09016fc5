"""Delete runs: take the rows that they wrote out of every table, and put back what these rows replaced.

A run is deleted with the other jobs of its flow that follow it. Delta Lake commits one table at a time. Forecasts are
deleted first, and runs are marked as deleted last, so that the same command completes an interrupted deletion.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import polars as pl
from polars.exceptions import PolarsError

from forecasting.errors import NothingStored, StoreError, UserError
from forecasting.schemas import TABLES, Table, ds_dtype
from forecasting.spec.frequency import Clock
from forecasting.store.lineage import RecordedRun, builds_on, of_same_flow, read_runs
from forecasting.store.publish import append_run, rewrite
from forecasting.store.slices import Slice
from forecasting.store.tables import Store
from forecasting.version import code_version

FIRST = "forecasts"
"""The table whose rows are deleted before those of all others."""
STATUS, JOB = "deleted", "delete"
NUM_NAMED = 3
"""Later runs that a message names."""


@dataclass(frozen=True)
class Affected:
    """What a deletion does to one table, or to the rows of one cutoff of it.

    Attributes:
        table: The declared name of the table.
        stored_as: Its name in the store.
        run_cutoff: The cutoff of the rows; None in a table whose rows do not belong to cutoffs.
        num_deleted: Rows that are deleted.
        version: The version whose rows come back; None where these rows replaced none.
        num_restored: Rows that come back.
        is_lost: Whether the rows that were replaced cannot be restored: their version is not recorded, or its files
            have been removed.
    """

    table: str
    stored_as: str
    run_cutoff: datetime | int | None
    num_deleted: int
    version: int | None
    num_restored: int
    is_lost: bool = False


@dataclass(frozen=True)
class Deletion:
    """A deletion that has not been carried out.

    Attributes:
        spec: The spec of the runs.
        clock: Its clock.
        runs: The runs that are deleted, oldest first.
        gone: Names of runs that have been deleted before, whose rows do not come back either.
        affected: What it does to the tables, in that order.
    """

    spec: str
    clock: Clock
    runs: tuple[RecordedRun, ...]
    gone: tuple[str, ...] = ()
    affected: tuple[Affected, ...] = ()

    @property
    def is_theirs(self) -> pl.Expr:
        """Whether a row of a table was written by one of the runs."""
        return pl.col("run_id").is_in(self._names)

    def is_deleted(self, table: Table) -> pl.Expr:
        """Return whether a stored row is deleted: one of the runs has written it, or it scores a forecast of theirs."""
        return _is_of(self._names, table, self.clock)

    def stays_deleted(self, table: Table) -> pl.Expr:
        """Return whether a row of an earlier version does not come back, because its run is deleted."""
        return _is_of([*self._names, *self.gone], table, self.clock)

    @property
    def _names(self) -> list[str]:
        return [each.run_id for each in self.runs]


def plan_deletion(store: Store, run_id: str, *, with_later: bool = False) -> Deletion:
    """Find out what a deletion of a run would change; nothing is written.

    The jobs of the same run of its flow that came after it are deleted with it. A later run builds on one that is
    deleted if it may have read its features, networks, backtests or forecasts.

    Args:
        store: The store.
        run_id: The run, as the table `runs` names it.
        with_later: Whether later runs that build on it are deleted too.

    Returns:
        The deletion.

    Raises:
        NothingStored: No run has this name.
        UserError: The run has been deleted, or later runs build on it and `with_later` is not given.
        StoreError: A table cannot be read.
    """
    recorded = read_runs(store, run_id)
    run = next(each for each in recorded if each.run_id == run_id)
    if run.status == STATUS:
        raise UserError(f"run '{run_id}' has been deleted already")
    if run.job == JOB:
        raise UserError(f"run '{run_id}' is a deletion, which cannot be deleted")
    group = of_same_flow(run, recorded)
    later = builds_on(group, recorded)
    if later and not with_later:
        named = ", ".join(f"'{each.run_id}'" for each in later[:NUM_NAMED]) + (", …" if len(later) > NUM_NAMED else "")
        raise UserError(
            f"{len(later)} later run{'s' * (len(later) != 1)} of spec '{run.spec}' build{'s' * (len(later) == 1)} on"
            f" run '{run_id}': {named}; --with-later (with_later) deletes them too"
        )
    runs = tuple(sorted([*group, *later], key=lambda each: (each.started_at, each.run_id)))
    gone = tuple(each.run_id for each in recorded if each.status == STATUS)
    deletion = Deletion(run.spec, run.clock, runs, gone)
    declared = sorted((each for each in TABLES.values() if each.has_clock), key=lambda each: each.name != FIRST)
    return replace(deletion, affected=tuple(part for each in declared for part in _examine(store, each, deletion)))


def refuse_lost(deletion: Deletion, run_id: str) -> None:
    """Check that the rows that the runs of a deletion have replaced can be restored.

    Args:
        deletion: What `plan_deletion` has found.
        run_id: The run that it is of.

    Raises:
        UserError: Some cannot.
    """
    lost = sorted({each.stored_as for each in deletion.affected if each.is_lost})
    if lost:
        raise UserError(
            f"the rows that run '{run_id}' replaced in {', '.join(lost)} cannot be restored, because their version is"
            " not recorded or maintenance has removed it; --without-restoring (without_restoring) deletes the run all"
            " the same"
        )


def delete_runs(store: Store, deletion: Deletion, *, reason: str = "", record: str | None = None) -> str:
    """Carry out a deletion, mark its runs as deleted in `runs`, and record it there as a run of its own.

    Args:
        store: The store.
        deletion: What `plan_deletion` has found.
        reason: Why the runs are deleted, for the record.
        record: The run id of the record; one of the spec and the time where not given.

    Returns:
        The run id of the record.

    Raises:
        StoreError: A table cannot be read or written; the same deletion can be planned and carried out again.
    """
    began = datetime.now(UTC)
    versions = {}
    for part in deletion.affected:
        change = partial(_change, store=store, deletion=deletion, part=part)
        slice = _slice(part.run_cutoff, deletion)
        versions[part.stored_as] = rewrite(store, part.table, deletion.clock, change, slice=slice)
    for run in reversed(deletion.runs):  # the one that is named last, since a deletion of it can then be repeated
        append_run(store, {**run.row, "status": STATUS})
    names = [each.run_id for each in deletion.runs]
    num_deleted, num_restored = (
        sum(getattr(each, name) for each in deletion.affected) for name in ("num_deleted", "num_restored")
    )
    record = record or f"{JOB}.{deletion.spec}.{int(began.timestamp() * 1000)}"
    message = f"{num_deleted} rows of {', '.join(names)} deleted, {num_restored} earlier rows restored"
    row = {
        "run_id": record,
        "job": JOB,
        "spec": deletion.spec,
        "run_cutoff": deletion.runs[0].cutoff,
        "generation": 0,
        "status": "success",
        "started_at": began,
        "seconds": round((datetime.now(UTC) - began).total_seconds(), 3),
        "num_rows": num_deleted,
        "versions": json.dumps(versions),
        "arguments": json.dumps({"deleted": names, "reason": reason}),
        "code_version": code_version(),
        "message": f"{message}: {reason}" if reason else message,
    }
    append_run(store, row)
    return record


def _examine(store: Store, table: Table, deletion: Deletion) -> Iterator[Affected]:
    """Yield what a deletion does to a table, by cutoff where its rows belong to cutoffs."""
    rows = store.scan(table.name, deletion.clock).filter(pl.col("spec") == deletion.spec, deletion.is_deleted(table))
    cutoff = pl.col("run_cutoff") if table.is_dated else pl.lit(None, ds_dtype(deletion.clock)).alias("run_cutoff")
    counted = (
        rows.group_by(cutoff).agg(num_rows=pl.len(), is_theirs=deletion.is_theirs.any()).filter(pl.col("num_rows") > 0)
    )
    stored_as = table.stored_as(deletion.clock)
    for run_cutoff, num_rows, is_theirs in counted.collect(engine="streaming").sort("run_cutoff").iter_rows():
        part = Affected(table.name, stored_as, run_cutoff, num_rows, None, 0)
        writers = [each for each in deletion.runs if run_cutoff is None or each.parsed_cutoff == run_cutoff]
        recorded = [each.versions[stored_as] for each in writers if stored_as in each.versions]
        if not is_theirs or (recorded and min(recorded) == 0):
            yield part
        elif not recorded:
            yield replace(part, is_lost=True)
        else:
            yield _find_replaced(store, table, deletion, replace(part, version=min(recorded) - 1))


def _find_replaced(store: Store, table: Table, deletion: Deletion, part: Affected) -> Affected:
    """Count the rows of an earlier version that come back."""
    slice = _slice(part.run_cutoff, deletion).contains(table, deletion.clock)
    try:
        stored = store.scan(table.name, deletion.clock).filter(slice)
        replaced = _replaced(stored, store, table, deletion, part)
        num_restored = replaced.select(pl.len()).collect(engine="streaming").item()
    except (NothingStored, StoreError, PolarsError, OSError):  # maintenance has removed that version
        return replace(part, version=None, is_lost=True)
    return replace(part, num_restored=num_restored)


def _change(stored: pl.LazyFrame, *, store: Store, deletion: Deletion, part: Affected) -> pl.LazyFrame:
    """Return the stored rows of a slice without the deleted ones, and with those that come back."""
    table = TABLES[part.table]
    kept = stored.filter(~deletion.is_deleted(table))
    if part.version is None:
        return kept
    return pl.concat([kept, _replaced(stored, store, table, deletion, part)], how="diagonal")


def _replaced(stored: pl.LazyFrame, store: Store, table: Table, deletion: Deletion, part: Affected) -> pl.LazyFrame:
    """Return the rows of an earlier version that come back: those whose keys no other run has written since."""
    key = list(table.key)
    is_deleted = deletion.is_deleted(table)
    kept = stored.filter(~is_deleted)
    before = store.scan(table.name, deletion.clock, version=part.version).filter(
        _slice(part.run_cutoff, deletion).contains(table, deletion.clock), ~deletion.stays_deleted(table)
    )
    before = before.join(kept.select(key), on=key, how="anti", nulls_equal=True)
    if table.is_dated or "ds" not in key:
        return before
    # A later run has replaced the rows before the first one that is deleted, and may have left some out.
    first = stored.filter(is_deleted).group_by("unique_id").agg(first=pl.col("ds").min())
    oldest = kept.group_by("unique_id").agg(oldest=pl.col("ds").min())
    bounds = oldest.join(first, on="unique_id").filter(pl.col("oldest") < pl.col("first")).drop("oldest")
    is_after = pl.col("first").is_null() | (pl.col("ds") >= pl.col("first"))
    return before.join(bounds, on="unique_id", how="left").filter(is_after).drop("first")


def _slice(run_cutoff: datetime | int | None, deletion: Deletion) -> Slice:
    return Slice(deletion.spec, run_cutoff=run_cutoff)


def _is_of(names: list[str], table: Table, clock: Clock) -> pl.Expr:
    """Return whether a row was written by one of some runs, or scores a forecast of theirs."""
    is_written = pl.col("run_id").is_in(names)
    if "forecast_run_id" in table.schema(clock):
        is_written |= pl.col("forecast_run_id").is_in(names)
    return is_written.fill_null(value=False)
