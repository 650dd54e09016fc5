"""The second pass of `ingest`, over observations: the series on their grids, and what is to be said about these."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from forecasting.series.absent import AbsentRows, describe_absent, find_sparse
from forecasting.series.closed import describe_closed_days
from forecasting.series.closed_hours import describe_closed_hours
from forecasting.series.ends import explain_ended, find_ended
from forecasting.series.ignored import describe_unused, is_ignored, mask_ignored
from forecasting.series.lay_out import lay_out
from forecasting.series.parts import Parts
from forecasting.series.runs import Runs, find_runs, gather_known
from forecasting.series.suspicious import Suspicions
from forecasting.spec.spec import Spec


@dataclass
class Gridded:
    """The series of a source on their grids.

    Attributes:
        points: Grid points: unique_id, ds, y, is_observed and, if the observations have them, categories.
        ended: Why a series gets no forecast, by its name: it has ended.
        num_points: Grid points of each series, by its name.
        unmeasured: The series without any measurement that models may learn from.
        suspicions: Measurements that seem to be mistakes.
        notes: What is to be said about absent rows and ignored periods.
    """

    points: Parts
    ended: dict[str, str] = field(default_factory=dict)
    num_points: dict[str, int] = field(default_factory=dict)
    unmeasured: list[str] = field(default_factory=list)
    suspicions: Suspicions = field(default_factory=Suspicions)
    notes: tuple[str, ...] = ()


def put_on_grids(
    observed: Parts, points: Parts, spec: Spec, *, cutoff: datetime | int, until: datetime | int, zone: str | None
) -> Gridded:
    """Put observations on the grids of their series.

    Args:
        observed: Observations, in blocks of whole series.
        points: Where grid points go.
        spec: The spec.
        cutoff: The cutoff of the run.
        until: The time up to which grids continue.
        zone: The zone of the wall clock that closed hours are described on, where times are in UTC.

    Returns:
        The grids.

    Raises:
        SourceError: No series has a row on the same days of the week.
    """
    freq, source = spec.freq, spec.source
    gridded, absent = Gridded(points), AbsentRows(freq)
    sparse: list[pl.DataFrame] = []
    num_rows = num_points = num_series = 0
    if source.missing_rows == "zero":
        for rows, _, grid, _ in _grids(observed, spec, until):
            absent.add(grid, rows)
    for rows, of_rows, grid, part in _grids(observed, spec, until):
        num_rows, num_points = num_rows + rows.height, num_points + grid.height
        has_gaps = grid.height > rows.height
        filled = absent.fill(grid, rows) if source.missing_rows == "zero" else grid
        if source.missing_rows is None and has_gaps:
            sparse.append(find_sparse(grid, rows))
        masked = mask_ignored(filled, source, spec.clock)
        runs = find_runs(masked["unique_id"]) if has_gaps else of_rows
        num_series += len(runs.names)
        gridded.num_points.update(zip(runs.names, runs.length_S.tolist(), strict=True))
        newest_S = runs.newest_where(masked["is_observed"].to_numpy())
        newest = pl.DataFrame({"unique_id": runs.names, "last": gather_known(masked["ds"], newest_S)})
        gridded.unmeasured += newest.filter(pl.col("last").is_null())["unique_id"].to_list()
        of_block = find_ended(masked, spec, cutoff=cutoff) if source.ignore else None
        gridded.ended.update(explain_ended(newest, spec, cutoff=cutoff) if of_block is None else of_block)
        if source.ignore:
            gridded.suspicions.add(rows.filter(~is_ignored(source, spec.clock)))
        else:
            gridded.suspicions.add(rows, of_rows)
        if masked is grid and not has_gaps and "categories" not in grid.columns:
            points.append_lazy(part.with_columns(is_observed=pl.col("y").is_not_null()))
        else:
            points.append(masked)
    rows_of_all = observed.scan()
    hours = describe_closed_hours(rows_of_all, spec, num_points=num_points, num_rows=num_rows, zone=zone)
    note = absent.describe() if source.missing_rows == "zero" else None
    if source.missing_rows is None and hours is None and sparse:
        blocks = (part.collect(engine="streaming") for part in observed)
        note = describe_absent(pl.concat(sparse), num_series, blocks, freq=freq)
    notes = (
        note,
        hours,
        describe_closed_days(rows_of_all, spec, has_gaps=num_points > num_rows),
        describe_unused(rows_of_all, source, spec.clock),
    )
    gridded.notes = tuple(each for each in notes if each)
    return gridded


def _grids(
    observed: Parts, spec: Spec, until: datetime | int
) -> Iterator[tuple[pl.DataFrame, Runs, pl.DataFrame, pl.LazyFrame]]:
    """Yield the rows of each block, the runs of their names, their grids and the block."""
    for part in observed:
        rows = part.collect(engine="streaming")
        runs = find_runs(rows["unique_id"])
        yield rows, runs, lay_out(rows, freq=spec.freq, until=until, reach=spec.ended_after, runs=runs), part
