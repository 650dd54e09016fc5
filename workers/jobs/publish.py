"""The publish job: copies the newest forecasts to each place that the spec publishes to."""

import sys

from forecasting.schemas import table as declared_table
from forecasting.sinks.publish import copy_to, read_served
from workers.jobs.run import Outcome, Run, main, stored_cutoff


def publish(run: Run) -> Outcome:
    """Copy the newest forecast of each series. A place's rows of the spec are replaced, so that a retry is safe."""
    rows = read_served(run.store, run.spec.name, clock_table=declared_table("forecasts").stored_as(run.clock))
    for sink in run.spec.publish:
        copy_to(sink, rows, spec=run.spec.name, storage_options=run.store.storage_options)
        print(f"publish: {rows.height:,} rows in {sink}", flush=True)
    places = f"{len(run.spec.publish)} place" + ("s" if len(run.spec.publish) > 1 else "")
    num_series = rows["unique_id"].n_unique()
    return Outcome(
        f"{rows.height:,} forecasts of {num_series:,} series copied to {places}",
        num_series=num_series,
        num_rows=rows.height,
    )


if __name__ == "__main__":
    sys.exit(main("publish", publish, stored_cutoff))
