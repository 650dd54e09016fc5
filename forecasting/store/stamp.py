"""Add the bookkeeping columns of a table to the rows of a job."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

import polars as pl

from forecasting.schemas import ds_dtype
from forecasting.schemas import table as declared_table
from forecasting.spec.frequency import Clock
from forecasting.spec.quantiles import is_quantile_column

_OFTEN_NULL = ("zone", "held", "training_cutoff")
"""Columns of rows that mostly have none of these."""
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def stamp(
    frame: Frame,
    table: str,
    clock: Clock,
    *,
    spec: str,
    run_cutoff: datetime | int | None = None,
    run_id: str,
    data_version: int | None = None,
    quantile_columns: Sequence[str] = (),
) -> Frame:
    """Add the bookkeeping columns that a table declares, and put all columns in the declared order.

    Default quantiles that the spec does not forecast, the zone of rows without one, the checks that hold back
    forecasts, and the training of models without one become null columns. Rows that have a `data_version` keep it.
    Other missing or unknown columns are left for `publish` to refuse.

    Args:
        frame: The rows.
        table: The declared name of the table.
        clock: The clock of the spec.
        spec: The name of the spec.
        run_cutoff: The run's cutoff, a naive datetime or an integer step; `cutoff_date` is its date.
        run_id: The run.
        data_version: Version of the features table that the run read.
        quantile_columns: The spec's quantile columns.

    Returns:
        The rows as the table declares them.
    """
    schema = declared_table(table).schema(clock, quantile_columns)
    stamps = {"spec": pl.lit(spec, pl.String), "run_id": pl.lit(run_id, pl.String)}
    if run_cutoff is not None:
        stamps["run_cutoff"] = pl.lit(run_cutoff, ds_dtype(clock))
        if isinstance(run_cutoff, datetime):
            stamps["cutoff_date"] = pl.lit(run_cutoff.date(), pl.Date)
    stamped = frame.with_columns(**{name: value for name, value in stamps.items() if name in schema})
    present = stamped.collect_schema().names()
    absent = [name for name in schema if name not in present and (is_quantile_column(name) or name in _OFTEN_NULL)]
    stamped = stamped.with_columns(pl.lit(None, schema[name]).alias(name) for name in absent)
    if "data_version" in schema and "data_version" not in present:
        stamped = stamped.with_columns(data_version=pl.lit(data_version, pl.Int64))
    present = stamped.collect_schema().names()
    return stamped.select([name for name in schema if name in present] + [n for n in present if n not in schema])
