"""The publish job: copies the newest forecasts to each place that the spec publishes to."""

import sys

from forecasting.errors import FleetcastError, NothingStored, SinkError, UserError
from forecasting.schemas import table as declared_table
from forecasting.sinks.publish import copy_to, read_served
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.run import Outcome, Run, main


def publish(run: Run) -> Outcome:
    """Copy the newest forecast of each series. A place's rows of the spec are replaced, so that a retry is safe.

    Args:
        run: The run.

    Returns:
        What was copied.

    Raises:
        NothingStored: The spec has no forecasts, so that all places keep what they have.
        SinkError: A place cannot be reached, or fails; the others have been copied to.
        UserError: No place fails, but one refuses.
    """
    rows = read_served(run.store, run.spec.name, clock_table=declared_table("forecasts").stored_as(run.clock))
    if rows.is_empty():
        raise NothingStored(f"spec '{run.spec.name}' has no forecasts yet; run the predict job first")
    failures: list[FleetcastError] = []
    for sink in run.spec.publish:
        try:
            copy_to(sink, rows, spec=run.spec.name, storage_options=run.store.storage_options)
        except FleetcastError as error:
            print(f"publish: failed for {sink}: {error}", flush=True)
            failures.append(error)
        else:
            print(f"publish: {rows.height:,} rows in {sink}", flush=True)
    if failures:
        _refuse(failures, run)
    places = f"{len(run.spec.publish)} place" + ("s" if len(run.spec.publish) > 1 else "")
    num_series = rows["unique_id"].n_unique()
    return Outcome(
        f"{rows.height:,} forecasts of {num_series:,} series copied to {places}",
        num_series=num_series,
        num_rows=rows.height,
    )


def _refuse(failures: list[FleetcastError], run: Run) -> None:
    """Raise the errors of all places as one, which is retried if that may help any of them."""
    if len(failures) == len(run.spec.publish) == 1:
        raise failures[0]
    kind = UserError if all(isinstance(error, UserError) for error in failures) else SinkError
    raise kind(f"{len(failures)} of {len(run.spec.publish)} places failed: {'; '.join(map(str, failures))}")


if __name__ == "__main__":
    sys.exit(main("publish", publish, stored_cutoff))
