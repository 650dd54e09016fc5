"""Settle a requested cutoff: the time on the grids of the series that it means, or why it is refused.

A cutoff means the newest period that begins at or before it, so that it is moved back to the grid: a Sunday of business
days means the Friday, a day within a month the month's point before it. It is the time that a run without a requested
cutoff would choose for that period (`found_cutoff`). A cutoff after the newest measured period is refused, because
nothing is known of the time right before it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.errors import SpecError
from forecasting.series.clock import format_clock, refuse_other_clock
from forecasting.series.grid import anchor_series, make_grid
from forecasting.series.judge import keep_accepted
from forecasting.series.judged_blocks import Block, JudgedBlocks, Judging, Pass, Round
from forecasting.series.partial import has_parts, move_cutoff
from forecasting.series.place import make_placing
from forecasting.series.plausible import wall_clock
from forecasting.series.regularise import is_live, number_at, time_literal
from forecasting.series.unfinished import is_unfinished
from forecasting.series.zone import local_zone
from forecasting.spec.spec import Spec


def settle_cutoff(
    rows: pl.LazyFrame, spec: Spec, given: datetime | int, *, now: datetime | None = None, zone: str | None = None
) -> datetime | int:
    """Return the time that a requested cutoff means.

    Args:
        rows: Rows of `scan_source`.
        spec: The spec of the rows.
        given: The requested cutoff, on the clock of ds.
        now: The current time, as of `ingest`.
        zone: The zone of `rows` whose times are in UTC already, as of `ingest`.

    Returns:
        A grid point or the time of a row: the newest one at or before the cutoff or, for a cutoff on a grid point, the
        newest row of its period. The cutoff itself where the source has nothing at or before it.

    Raises:
        SpecError: The cutoff is not on the frequency's clock, or lies after the newest period that is measured.
    """
    now = now or wall_clock()
    unfinished = is_unfinished(rows.collect_schema(), spec.source, freq=spec.freq, now=now)
    with JudgedBlocks(rows, Judging(spec.freq, spec.source, now, unfinished)) as blocks:
        zone = zone or local_zone(rows, spec.source, spec.clock, spec.freq)
        return settle_in(blocks, spec, given, zone=zone)


def settle_in(
    blocks: JudgedBlocks,
    spec: Spec,
    given: datetime | int,
    *,
    zone: str | None,
    also: Callable[[], Pass] | None = None,
) -> datetime | int:
    """Return the time of `settle_cutoff`.

    Args:
        blocks: The source.
        spec: The spec of the rows.
        given: The requested cutoff, on the clock of ds.
        zone: The zone that an error writes times in, where those of ds are in UTC.
        also: Makes another pass, which takes the same blocks on the way.

    Returns:
        A naive datetime or an integer step.

    Raises:
        SpecError: The cutoff is not on the frequency's clock, or lies after the newest period that is measured.
    """
    refuse_other_clock(given, freq=spec.freq)
    # A row may be measured later than the grid point of its period.
    until = given if make_placing(spec.source, spec.freq) is None else None
    known = blocks.run(lambda: _Known(until, also and also()), until=until)
    meant = _meant_by_rows(known.times(), spec, given)
    if meant is not None:
        return meant
    points = [time for time in blocks.run(lambda: _Points(spec, given), until=given).found if time is not None]
    if until is not None:
        known = blocks.run(lambda: _Known(None, None), until=None)
    times = known.times()
    if not points or times.is_empty():
        return given
    point, newest = max(points), times["ds"][-1]
    if _period(point, spec) > _period(newest, spec):
        num_open = known.num_unfinished
        reads = f'; {num_open:,} rows of periods that are not over need source.unfinished = "use" (--unfinished use)'
        _refuse(given, newest, zone, more=reads if num_open else "")
    earlier = times.filter(pl.col("latest") <= given)["latest"]
    is_measured_later = not times.filter(pl.col("ds") == point, pl.col("latest") > given).is_empty()
    if is_measured_later:
        point = max(earlier, default=given)
    settled: datetime | int = max([*earlier, point])
    return settled


def describe_settled(given: datetime | int, settled: datetime | int, freq: str | int) -> str | None:
    """Return a sentence about a requested cutoff that was moved back; None where it was not."""
    if settled >= given:  # type: ignore[operator]
        return None
    return (
        f"cutoff {format_clock(given)} means {format_clock(settled)}, the newest point of the grid of {freq} that is"
        " known by then; nothing after that is used"
    )


def newest_point(points: pl.LazyFrame, spec: Spec, given: datetime | int) -> datetime | int | None:
    """Return the newest grid point at or before a time, of the series that are live then.

    Args:
        points: unique_id and ds of rows on the grids of their series, none after the time.
        spec: The spec, with the frequency and `ended_after`.
        given: The time.

    Returns:
        The grid point; that of all series where none is live, and None without any row.
    """
    grid = make_grid(spec.freq)
    last = points.group_by("unique_id").agg(pl.col("ds").max())
    is_in_reach = is_live(grid, pl.col("ds"), until=given, reach=spec.ended_after)
    of_series = (
        last.join(anchor_series(points, freq=spec.freq), on="unique_id")
        .select(is_in_reach.alias("is_live"), point=grid.ds(number_at(grid, given)))
        .collect(engine="streaming")
    )
    live = of_series.filter("is_live")
    newest: datetime | int | None = (of_series if live.is_empty() else live)["point"].max()  # type: ignore[assignment]
    return newest


def refuse_unmeasured(point: datetime | int, newest: datetime | int, spec: Spec, *, given: datetime | int) -> None:
    """Raise SpecError where the grid point of a cutoff lies in a later period than the newest measurement.

    Args:
        point: The grid point that the cutoff means.
        newest: The grid point of the newest measurement.
        spec: The spec.
        given: The requested cutoff.

    Raises:
        SpecError: Nothing is known of the time right before the cutoff.
    """
    if _period(point, spec) > _period(newest, spec):
        _refuse(given, newest, None, more="; newer ones are read by the features job")


class _Known:
    """Find the times of measurements: the grid points, and the newest row's own time of each."""

    def __init__(self, until: datetime | int | None, also: Pass | None) -> None:
        self._until, self._also = until, also
        self._parts: list[pl.DataFrame] = []
        self.num_unfinished = 0

    def add(self, block: Block, round: Round) -> None:
        judged = block.judge(self._until, round.lives).rows.lazy()
        measured = keep_accepted(judged, self._until).filter(pl.col("y").is_not_null())
        by_point = measured.group_by("ds").agg(latest=pl.max_horizontal("ds", "row_ds").max())
        self._parts.append(by_point.collect(engine="streaming"))
        if block.has_unfinished:
            self.num_unfinished += int(block.alone["is_unfinished"].sum())
        if self._also is not None:
            self._also.add(block, round)

    def times(self) -> pl.DataFrame:
        return pl.concat(self._parts).group_by("ds").agg(pl.col("latest").max()).sort("ds")


class _Points:
    """Find the newest grid points at or before a time."""

    def __init__(self, spec: Spec, given: datetime | int) -> None:
        self._spec, self._given = spec, given
        self.found: list[Any] = []

    def add(self, block: Block, round: Round) -> None:
        accepted = keep_accepted(block.judge(self._given, round.lives).rows.lazy(), self._given)
        self.found.append(newest_point(accepted.select("unique_id", "ds"), self._spec, self._given))


def _meant_by_rows(times: pl.DataFrame, spec: Spec, given: datetime | int) -> datetime | int | None:
    """Return the time that a cutoff means where the period that it lies in has rows; None where this is not known."""
    if given in times["latest"]:
        return given
    if isinstance(given, datetime) and spec.source.aggregate is not None:
        if has_parts(spec.source):
            grid = make_grid(spec.freq)
            periods = times.group_by(period=grid.period(pl.col("ds"))).agg(pl.col("latest").max()).sort("period")
            return move_cutoff(periods, given, spec.freq)
        has_begun = (pl.col("ds") <= given) & (pl.col("latest") > given)
        return given if not times.filter(has_begun).is_empty() else None
    own: datetime | int | None = times.filter(ds=given)["latest"].max()  # type: ignore[assignment]
    return own


def _period(time: datetime | int, spec: Spec) -> int:
    number: int = pl.select(make_grid(spec.freq).period(time_literal(time))).item()
    return number


def _refuse(given: datetime | int, newest: datetime | int, zone: str | None, *, more: str) -> NoReturn:
    problem = (
        f"{_spell(given, zone)} lies after the newest finished period that is measured, {_spell(newest, zone)};"
        f" type that or an earlier time, or leave it out for the newest period that most series have{more}"
    )
    raise SpecError("cutoff", [problem])


def _spell(time: datetime | int, zone: str | None) -> str:
    """Write a time as it can be typed: on the clock of ds or, where that is UTC, with the offset of a zone."""
    if zone is None or not isinstance(time, datetime):
        return format_clock(time)
    return time.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).isoformat()
