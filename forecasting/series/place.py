"""Move times that lie off the grid of their series to the grid point of their period, or to the nearest one.

Times of a day or coarser belong to their period. Finer times are exact, unless the source says that they are near their
grid points (`source.snap`), or that the measurements of an interval become one (`source.aggregate`).

A series whose times all lie on one grid stays as it is. In another one, the grid that at least half of its times lie on
gives each period its grid point. Without such a grid, that is the beginning of the period.
"""

from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from forecasting.schemas import STEP
from forecasting.series.clock import is_day_or_coarser
from forecasting.series.grid import EvenGrid, MonthGrid, anchor_series, make_grid
from forecasting.spec.frequency import DAY, clock_of, fixed_width
from forecasting.spec.source import Source

_INSTANT = pl.duration(microseconds=1)


@dataclass(frozen=True)
class Placing:
    """How times move.

    Attributes:
        freq: The frequency.
        ends: Whether a time is the end of its interval, so that a midnight belongs to the day before.
        tolerance: The most microseconds to the nearest grid point, which then is the place of a time; None for the grid
            point of its period.
        shares: Whether a period may have several rows, because they are aggregated.
    """

    freq: str | int
    ends: bool
    tolerance: int | None
    shares: bool

    def move(self, rows: pl.DataFrame) -> pl.Series:
        """Move the times of accepted rows.

        Args:
            rows: unique_id, ds and is_accepted; accepted rows first, sorted by unique_id and ds.

        Returns:
            Structs of `ds`, in the same order within each series, and `is_shared`: whether another accepted row is
            preferred in the same period.
        """
        is_off = rows.select(_differs(make_grid(self.freq)) & pl.col("is_accepted")).to_series()
        if not is_off.any():  # so it is in most sources
            return rows.select(pl.struct("ds", is_shared=pl.lit(False))).to_series()
        numbered = rows.with_row_index("row")
        of_series = rows["is_accepted"] & rows["unique_id"].is_in(rows["unique_id"].filter(is_off).unique().implode())
        moved = self._move_series(numbered.filter(of_series)).select("row", "place", "is_shared")
        joined = numbered.join(moved, on="row", how="left", maintain_order="left")
        return joined.select(
            pl.struct(ds=pl.coalesce("place", "ds"), is_shared=pl.col("is_shared").fill_null(False))
        ).to_series()

    def _move_series(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the place of each row of series that do not lie on one grid, and leave out the other series."""
        grid, width = make_grid(self.freq), _finer_width(self.freq)
        anchors = anchor_series(rows.lazy().select("unique_id", "ds"), freq=self.freq).collect()
        counts = rows.group_by("unique_id").agg(num_rows=pl.len())
        loose = anchors.join(counts, on="unique_id").filter(pl.col("num_points") < pl.col("num_rows"))
        has_grid, time = 2 * pl.col("num_points") >= pl.col("num_rows"), pl.col("ds")
        placed = (
            rows.join(loose, on="unique_id", maintain_order="left")
            .with_columns(begin=grid.begin(time - _INSTANT if self.ends else time, width))
            .with_columns(before=grid.begin(pl.col("begin") - _INSTANT, width), after=grid.end(pl.col("begin"), width))
        )
        point = {
            name: pl.when(has_grid).then(grid.point_in(pl.col(name), width)).otherwise(name)
            for name in ("before", "begin", "after")
        }
        # At the beginning of a period, an end is that of the period before.
        is_end = has_grid & (point["begin"] == pl.col("begin")) if self.ends else pl.lit(False)
        placed = placed.with_columns(
            of_period=pl.when(is_end).then(point["after"]).otherwise(point["begin"]), nearest=_nearest(time, point)
        )
        if self.tolerance is not None:
            is_near = (pl.col("nearest") - time).abs() <= pl.duration(microseconds=self.tolerance)
            return _mark_shared(placed.with_columns(place=pl.when(is_near).then("nearest").otherwise("ds")))
        if self.shares:
            return placed.with_columns(place=pl.col("of_period"), is_shared=pl.lit(False))
        # A week may begin on a Sunday, and the midnights of another zone may lie on both sides of one.
        is_close = (pl.col("nearest") - time).abs() <= _closeness(self.freq)
        placed = placed.with_columns(nearest=pl.when(is_close).then("nearest").otherwise("of_period"))
        num_lost = {name: (pl.struct("unique_id", name).is_duplicated()).sum().over("unique_id") for name in _PLACES}
        is_better = has_grid & (num_lost["nearest"] < num_lost["of_period"])
        return _mark_shared(placed.with_columns(place=pl.when(is_better).then("nearest").otherwise("of_period")))


_PLACES = ("of_period", "nearest")


def make_placing(source: Source, freq: str | int) -> Placing | None:
    """Return how times of a source move; None if they are exact.

    Args:
        source: The source, with `label`, `aggregate`, `snap` and `snap_tolerance`.
        freq: The frequency of the grid.

    Returns:
        The placing.
    """
    if clock_of(freq) == "step":
        return None
    shares, ends, tolerance = source.aggregate is not None, source.label == "end", None
    if not is_day_or_coarser(freq):
        if source.snap is not None:
            width = fixed_width(freq)
            assert width is not None
            tolerance = width // 2 if source.snap_tolerance is None else fixed_width(source.snap_tolerance)
        elif not shares:
            return None
    return Placing(freq, ends, tolerance, shares)


def place_rows(judged: pl.LazyFrame, placing: Placing, *, is_accepted: pl.Expr) -> pl.LazyFrame:
    """Move the times of accepted rows.

    Args:
        judged: Rows of which the accepted ones come first, sorted by unique_id and ds.
        placing: How times move.
        is_accepted: Whether a row is accepted so far.

    Returns:
        The same rows in their order, with the place in `ds` and a boolean `is_shared`.
    """
    # Polars' lazy frames cannot skip the work where no row is off its grid.
    moved = pl.struct("unique_id", "ds", is_accepted.alias("is_accepted")).map_batches(
        lambda rows: placing.move(rows.struct.unnest()),
        return_dtype=pl.Struct({"ds": pl.Datetime("us"), "is_shared": pl.Boolean}),
    )
    fields = pl.col("_moved").struct
    return (
        judged.with_columns(_moved=moved)
        .with_columns(ds=fields.field("ds"), is_shared=fields.field("is_shared"))
        .drop("_moved")
    )


def aggregate_rows(accepted: pl.LazyFrame, how: str) -> pl.LazyFrame:
    """Make one row of the rows of each series and place.

    Args:
        accepted: unique_id, ds, y and maybe categories, sorted by unique_id and time.
        how: sum, mean, last, first, max or min; of the measurements that are not null.

    Returns:
        Rows in the same columns and order; the categories are those of the last row.
    """
    known = pl.col("y").drop_nulls()
    y = pl.when(known.len() > 0).then(getattr(known, how)())
    others = pl.exclude("unique_id", "ds", "y").last()
    return accepted.group_by("unique_id", "ds", maintain_order=True).agg(y, others)


def _differs(grid: EvenGrid | MonthGrid) -> pl.Expr:
    """Return whether a row does not lie in its period as the row before it, of the same series; may be too often."""
    ds = pl.col("ds")
    if isinstance(grid, EvenGrid):
        lies = [ds.cast(pl.Int64) % grid.width]
    else:
        number = ds.dt.year().cast(STEP) * 12 + ds.dt.month().cast(STEP)
        lies = [ds.cast(pl.Int64) % DAY + ds.dt.day().cast(STEP) * DAY, number % grid.months]
    is_same_series = pl.col("unique_id") == pl.col("unique_id").shift()
    return (is_same_series & pl.any_horizontal(each != each.shift() for each in lies)).fill_null(False)


def _finer_width(freq: str | int) -> int | None:
    """Return the width of a period that is shorter than a day; None for others."""
    return None if is_day_or_coarser(freq) else fixed_width(freq)


def _closeness(freq: str | int) -> timedelta:
    """Return the most that a time may lie from the grid point of another period and still belong to that one."""
    width = fixed_width(freq)
    if width is None:
        return timedelta(days=4)  # a weekend and two holidays
    return timedelta(days=3) if width % (7 * DAY) == 0 else timedelta(hours=3)


def _nearest(time: pl.Expr, point: dict[str, pl.Expr]) -> pl.Expr:
    """Return the point at the least distance; of two, the one of the time's own period."""
    away = {name: (each - time).abs() for name, each in point.items()}
    others = pl.when(away["before"] < away["after"]).then(point["before"]).otherwise(point["after"])
    least = pl.min_horizontal(away["before"], away["after"])
    return pl.when(away["begin"] <= least).then(point["begin"]).otherwise(others)


def _mark_shared(placed: pl.DataFrame) -> pl.DataFrame:
    """Mark the rows of each place but the nearest one, or the first of these."""
    placed = placed.with_columns(away=(pl.col("place") - pl.col("ds")).abs())
    key = ["unique_id", "place"]
    best = placed.sort("away", maintain_order=True).unique(key, keep="first").select("row")
    return placed.with_columns(is_shared=~pl.col("row").is_in(best["row"].implode()))
