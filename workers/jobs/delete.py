"""The deletion of a run as a job: `fleetcast runs delete` on the cluster, which has the store and its keys."""

import sys
from collections.abc import Iterator

import polars as pl

from forecasting.connections import find_connection
from forecasting.settings import Settings
from forecasting.store.deletion import Deletion, delete_runs, plan_deletion, refuse_lost
from forecasting.store.tables import Store
from workers.arguments import RESULT_PREFIX
from workers.deletion import DeletionArguments, DeletionResult, read_deletion
from workers.jobs.run import in_job_log, report_failure


def delete(arguments: DeletionArguments, store: Store) -> DeletionResult:
    """Delete a run and the jobs of its flow after it, or show what would change.

    Args:
        arguments: What is deleted.
        store: The store.

    Returns:
        What was deleted; the recorded result of a deletion that is repeated.

    Raises:
        UserError: No run has this name, it has been deleted by another deletion, later runs build on it, or replaced
            rows cannot be restored.
        StoreError: A table cannot be read or written.
    """
    recorded = store.scan("runs", "timestamp").filter(pl.col("run_id") == arguments.record).collect()
    if not recorded.is_empty():
        return DeletionResult(record=arguments.record, message=recorded["message"][0])
    deletion = plan_deletion(store, arguments.run_id, with_later=arguments.with_later)
    names = tuple(each.run_id for each in deletion.runs)
    number = f"{len(names)} run{'s' * (len(names) != 1)}"
    changes = "".join(f"\n- {line}" for line in _describe(deletion))
    if not arguments.without_restoring:
        refuse_lost(deletion, arguments.run_id)
    if arguments.dry_run:
        message = f"dry run, nothing is changed; without dry_run, {number} would be deleted{changes}"
        return DeletionResult(deleted=names, message=message)
    record = delete_runs(store, deletion, reason=arguments.reason, record=arguments.record)
    return DeletionResult(record=record, deleted=names, message=f"{number} deleted{changes}")


def _describe(deletion: Deletion) -> Iterator[str]:
    """Yield what a deletion does to each run and table."""
    for run in deletion.runs:
        yield f"run `{run.run_id}` ({run.job} of spec '{run.spec}', cutoff {run.cutoff}, {run.status})"
    for part in deletion.affected:
        at = "" if part.run_cutoff is None else f" at {part.run_cutoff}"
        version = "" if part.version is None else f" of version {part.version}"
        yield f"{part.stored_as}{at}: {part.num_deleted} rows to delete, {part.num_restored} to restore{version}"


def main() -> int:
    """Delete a run with the arguments of this process, and print the result as the last line.

    Returns:
        The exit code: 0 for success, 2 for the user's mistakes, else 1.
    """
    return in_job_log(_delete_and_report)


def _delete_and_report() -> int:
    try:
        arguments = read_deletion()
        settings, name = Settings.load(), arguments.store_connection
        options = settings.storage_options if name is None else find_connection(name).storage_options()
        result = delete(arguments, Store(settings.store, options))
    except Exception as error:
        return report_failure(error)
    print(result.message)
    print(f"{RESULT_PREFIX}{result.model_dump_json()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
