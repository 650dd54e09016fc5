"""Covariates that are known ahead: scanned beside the measurements and in tables of their own, and validated.

`covariate_points` joins them to the grid of each series and its horizon.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from forecasting.errors import SourceError
from forecasting.schemas import ds_dtype
from forecasting.series.columns import LARGEST_TIME
from forecasting.series.covariate_tables import JoinedTable, ScannedTable, read_table, scan_table_of, series_keys
from forecasting.series.covariate_values import raw_columns, read_values
from forecasting.series.judge import IS_ACCEPTED, judge_alone, judge_together
from forecasting.series.newest import newest_first
from forecasting.series.read import covariate_column, scan_frame, scan_source
from forecasting.series.reasons import Reason
from forecasting.spec.covariate_table import CovariateTable
from forecasting.spec.frequency import Clock
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec

_KEY = ["unique_id", "ds"]


@dataclass(frozen=True)
class CovariateRows:
    """Rows of covariates as they are scanned; none where there are no covariates.

    Attributes:
        names: The covariates of `rows`.
        rows: Rows of the source in the columns of `scan_source`, with its covariates; None without any.
        tables: Rows of each table.
        classes: Rows of the source with the categories that tables are joined by; None where none is.
    """

    names: tuple[str, ...] = ()
    rows: pl.LazyFrame | None = None
    tables: tuple[ScannedTable, ...] = ()
    classes: pl.LazyFrame | None = None

    def __bool__(self) -> bool:
        return self.rows is not None or bool(self.tables)


@dataclass(frozen=True)
class Covariates:
    """The covariates of a spec.

    Attributes:
        rows: unique_id, ds and a column of Float64 per covariate, each null where the source has no value. A value
            takes precedence over that of a table.
        notes: What is to be said about values that could not be read.
        tables: The values of tables.
    """

    rows: pl.LazyFrame
    notes: tuple[str, ...] = ()
    tables: tuple[JoinedTable, ...] = ()


def scan_covariates(
    source: Source,
    clock: Clock,
    names: Sequence[str],
    tables: Sequence[CovariateTable] = (),
    *,
    frame: pl.DataFrame | None = None,
    frames: Sequence[pl.DataFrame | None] = (),
    storage_options: Mapping[str, str] | None = None,
) -> CovariateRows:
    """Scan the covariates of a source, and tables of covariates.

    Args:
        source: The source.
        clock: Whether times are timestamps or integer steps.
        names: The columns of the source.
        tables: The tables.
        frame: A frame that is read in the place of the source.
        frames: Frames that are read in the place of tables, in their order, with None for others; empty for none.
        storage_options: Options of the object store.

    Returns:
        The rows.

    Raises:
        SourceError: A column is missing, or its dtype is neither a number nor a boolean nor text.
        ServiceError: A remote file cannot be reached.
    """

    def scan(read: Source, static: Sequence[str] = ()) -> pl.LazyFrame:
        if frame is not None:
            return scan_frame(frame, read, clock, static=static)
        return scan_source(read, clock, static=static, storage_options=storage_options)

    rows = scan(source.reading_covariates(names)) if names else None
    columns = list(dict.fromkeys(table.by_column for table in tables if table.by_column is not None))
    classes = scan(source, columns) if columns else None
    scanned = [
        scan_table_of(table, source, clock, frame=own, storage_options=storage_options)
        for table, own in zip(tables, frames or [None] * len(tables), strict=True)
    ]
    return CovariateRows(tuple(names), rows, tuple(scanned), classes)


def read_covariates(
    scanned: CovariateRows, spec: Spec, *, zone: str | None = None, needs_one_value: str | None = None
) -> Covariates:
    """Read covariates by the rules of measurements, save that they may lie in the future.

    Args:
        scanned: Rows of the covariates.
        spec: The spec.
        zone: The zone of the measurements' times where these are in UTC; None where they state none.
        needs_one_value: What errors call the rows, where several values at a time of a series are an error; None where
            the first one counts.

    Returns:
        The values at the grid points of their series, before and after any cutoff, and those of tables.

    Raises:
        SourceError: More of a covariate's values cannot be read than the source allows to be refused; or a table has
            different values for one key and time, or several rows in a period.
    """
    names, notes = spec.covariates.names, list[str]()
    schema: dict[str, pl.DataType] = {"unique_id": pl.String(), "ds": ds_dtype(spec.clock)}
    whole = pl.DataFrame(schema=schema | dict.fromkeys(names, pl.Float64()))
    if scanned.rows is not None:
        values, notes = _read_rows(scanned.rows, scanned.names, spec, needs_one_value)
        whole = pl.concat([whole, values], how="diagonal_relaxed").select(whole.columns)
    keys = None if scanned.classes is None else series_keys(scanned.classes, spec)
    joined = []
    for rows in scanned.tables:
        table = read_table(rows, spec, keys=keys, zone=zone)
        joined.append(table)
        notes += table.notes
    return Covariates(whole.lazy(), tuple(notes), tuple(joined))


def _read_rows(
    rows: pl.LazyFrame, names: Sequence[str], spec: Spec, needs_one_value: str | None
) -> tuple[pl.DataFrame, list[str]]:
    """Return unique_id, ds and the covariates of the source, and what is to be said."""
    source, notes = spec.source, list[str]()
    columns = raw_columns(rows, len(names))
    alone = judge_alone(rows, freq=spec.freq, now=LARGEST_TIME, unfinished=None)
    wanted = [*_KEY, *columns, "reason"]
    is_kept = IS_ACCEPTED | (pl.col("reason") == Reason.REPEATED.value)  # y is the same in all rows
    placed = judge_together(alone, freq=spec.freq, source=source).filter(is_kept).select(wanted)
    raw = placed.collect(engine="streaming")
    if raw["reason"].null_count() < raw.height:
        merged, notes = _merge_repeats(
            newest_first(alone.filter(IS_ACCEPTED), source), columns, names, source, needs_one_value
        )
        raw = judge_together(merged, freq=spec.freq, source=source).filter(IS_ACCEPTED).select(wanted).collect()
    values, unread = read_values(
        raw, names, source=source, subject=f"source {source}", categories=spec.covariates.categories
    )
    return raw.select(_KEY).hstack(values), [*notes, *unread]


def _merge_repeats(
    rows: pl.LazyFrame, columns: Sequence[str], names: Sequence[str], source: Source, needs_one_value: str | None
) -> tuple[pl.LazyFrame, list[str]]:
    """Make one row of those of a series and time: the first value that is known counts, for each covariate by itself.

    Return the rows, and a note about covariates that have several values at a time.
    """
    schema = rows.collect_schema()
    blank_as_null = [
        pl.when(pl.col(name).str.strip_chars() != "").then(name).alias(name)
        for name in columns
        if schema[name] == pl.String
    ]
    others = [name for name in schema if name not in (*_KEY, *columns)]
    known = {name: pl.col(name).drop_nulls() for name in columns}
    merged = (
        rows.with_columns(blank_as_null)
        .group_by(_KEY, maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in others),
            *(values.first() for values in known.values()),
            *(values.n_unique().alias(f"number of values of {name}") for name, values in known.items()),
        )
        .collect(engine="streaming")
    )
    notes = []
    if source.duplicates == "refuse":
        for number, name in enumerate(names):
            several = merged.filter(pl.col(f"number of values of {covariate_column(number)}") > 1)
            if several.height:
                unique_id, ds = several.select(_KEY).row(0)
                if needs_one_value is not None:
                    raise SourceError(
                        f"{needs_one_value} has two values of '{name}' at {ds} of series '{unique_id}'; it needs one"
                    )
                notes.append(
                    f"covariate '{name}' has several values at {several.height:,} times of a series, such as"
                    f" '{unique_id}' at {ds}"
                    '; the first one is used; duplicates = "last" (--duplicates last) takes the newest'
                )
    return merged.lazy().select(schema.names()), notes


def merge_covariates(known: pl.DataFrame, newer: Covariates) -> pl.DataFrame:
    """Join newer values to those that are known; a newer value replaces an older one of its series and time.

    Args:
        known: unique_id, ds and a column per covariate.
        newer: The newer values, of which those of tables do not count.

    Returns:
        All values, in the same columns.
    """
    names = known.columns[2:]
    joined = known.lazy().join(newer.rows, on=_KEY, how="full", coalesce=True, suffix="_newer")
    given = newer.rows.collect_schema().names()
    merged = joined.with_columns(pl.coalesce(f"{name}_newer", name).alias(name) for name in names if name in given)
    return merged.select(known.columns).sort(_KEY).collect(engine="streaming")
