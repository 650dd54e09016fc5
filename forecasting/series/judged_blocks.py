"""Pass over a source in blocks of whole series, whose rows are judged once for all that a pass finds out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import polars as pl

from forecasting.series.blocks import Blocks, Unsorted
from forecasting.series.clock import refuse_other_clock
from forecasting.series.grid import make_grid
from forecasting.series.judge import IS_ACCEPTED, IS_OVER
from forecasting.series.plain import Judged, judge_block
from forecasting.series.plausible import Lives
from forecasting.series.runs import Runs, find_runs
from forecasting.series.witnesses import judge_each
from forecasting.spec.source import Source


@dataclass(frozen=True)
class Judging:
    """How rows are judged, as of `validate`.

    Attributes:
        freq: The frequency of the grid.
        source: How rows are read.
        now: The current time in UTC, naive.
        unfinished: Which rows are of periods that are not over; None for none.
    """

    freq: str | int
    source: Source
    now: datetime
    unfinished: pl.Expr | None = None


@dataclass(frozen=True)
class Round:
    """When series live, of those judged up to the end of a pass and of those judged up to a later time."""

    lives: Lives
    later: Lives


class Block:
    """Rows of whole series.

    Args:
        rows: Rows with the columns of `scan_source`.
        how: How they are judged.
    """

    def __init__(self, rows: pl.DataFrame, how: Judging) -> None:
        self.rows, self.how = rows, how
        self._judged: dict[datetime | int | None, Judged] = {}

    @cached_property
    def runs(self) -> Runs:
        """The runs of the rows' names."""
        return find_runs(self.rows["unique_id"])

    @cached_property
    def alone(self) -> pl.DataFrame:
        """The rows, each judged by itself (`judge_alone`)."""
        how = self.how
        return judge_each(self.rows, self.runs, freq=how.freq, now=how.now, unfinished=how.unfinished)

    @cached_property
    def has_unfinished(self) -> bool:
        """Whether a row is of a period that is not over."""
        return self.how.unfinished is not None and bool(self.alone["is_unfinished"].any())

    @cached_property
    def newest(self) -> pl.Series:
        """The newest time of rows whose period is over; as a series, because it may be beyond Python's times."""
        time = pl.col("ds").filter(IS_OVER) if self.has_unfinished else pl.col("ds")
        return self.alone.select(time.max()).to_series()

    def has_later(self, until: datetime | int | None) -> bool:
        """Return whether a row whose period is over lies after a time; none does after None."""
        return until is not None and bool((self.newest > until).any())

    def judge(self, until: datetime | int | None, lives: Lives) -> Judged:
        """Judge the rows as `judge_until` does.

        Args:
            until: The last time to judge; None for no limit.
            lives: When series of other blocks live.

        Returns:
            The rows of `judge_until`.
        """
        limit = until if self.has_later(until) else None
        if limit not in self._judged:
            rows = self.alone.filter(IS_OVER) if self.has_unfinished else self.alone
            if limit is not None:
                rows = rows.filter(pl.col("ds").is_null() | (pl.col("ds") <= limit))
            runs = self.runs if rows is self.alone else None
            self._judged[limit] = judge_block(rows, freq=self.how.freq, source=self.how.source, lives=lives, runs=runs)
        return self._judged[limit]


class Pass(Protocol):
    """What is done with each block."""

    def add(self, block: Block, round: Round) -> None:
        """Take a block, in the order of names."""


P = TypeVar("P", bound=Pass)


class JudgedBlocks:
    """The blocks of a source; a source of one block is read and judged once for all passes.

    Args:
        rows: Rows with the columns of `scan_source`.
        how: How they are judged.
    """

    def __init__(self, rows: pl.LazyFrame, how: Judging) -> None:
        self.how = how
        self._blocks = Blocks(rows)
        self._single: Block | None = None
        self._periods: pl.DataFrame | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.close()

    @property
    def rows(self) -> pl.LazyFrame:
        """The rows of the source, which are in memory if they are one block."""
        return self._blocks.scan()

    @property
    def is_single(self) -> bool:
        """Whether the source is one block."""
        return self._blocks.is_single

    def run(self, make: Callable[[], P], *, until: datetime | int | None) -> P:
        """Pass over all blocks.

        The pass is made again where the source turns out not to be sorted, or where a series has a part that may be in
        a wrong century, which those of other blocks may confirm.

        Args:
            make: Makes the pass.
            until: The last time that is judged.

        Returns:
            The pass, with all blocks.
        """
        refuse_other_clock(until, freq=self.how.freq)
        lives = Round(self._lives(None), self._lives(None))
        while True:
            made = make()
            try:
                for block in self._each():
                    made.add(block, lives)
            except Unsorted:
                self._blocks.partition()
                continue
            parts = [lives.lives, lives.later]
            if self.is_single or not any(each.has_gap and each.known is None for each in parts):
                return made
            lives = Round(*(self._lives(each.all() if each.has_gap else None) for each in parts))

    def periods(self) -> pl.DataFrame:
        """Return the rows of `rows_by_period`, which are counted once."""
        if self._periods is None:
            self._periods = self.run(lambda: _Periods(self.how.freq), until=None).count()
        return self._periods

    def _lives(self, known: pl.DataFrame | None) -> Lives:
        return Lives(known, is_asked=not self.is_single)

    def _each(self) -> Any:
        if not self.is_single:
            return (Block(rows, self.how) for rows in self._blocks)
        if self._single is None:
            (rows,) = self._blocks
            self._single = Block(rows, self.how)
        return [self._single]


class _Periods:
    """Count the accepted measurements of all series by period, before they are aggregated."""

    def __init__(self, freq: str | int) -> None:
        self._freq = freq
        self._parts: list[pl.DataFrame] = []

    def add(self, block: Block, round: Round) -> None:
        measured = block.judge(None, round.lives).rows.lazy().filter(IS_ACCEPTED, pl.col("y").is_not_null())
        by_period = measured.group_by(period=make_grid(self._freq).period(pl.col("ds")))
        self._parts.append(by_period.agg(num_rows=pl.len(), latest=pl.col("row_ds").max()).collect(engine="streaming"))

    def count(self) -> pl.DataFrame:
        by_period = pl.concat(self._parts).group_by("period")
        return by_period.agg(pl.col("num_rows").sum(), pl.col("latest").max()).sort("period")
