"""Find the cutoff of a run that none was requested of: the newest finished period that most series have."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.ends import up_to_cutoff
from forecasting.series.judged_blocks import Block, JudgedBlocks, Judging, Pass, Round
from forecasting.series.partial import find_whole_end, has_parts
from forecasting.series.plausible import wall_clock
from forecasting.series.reasons import UNREAD, Reason
from forecasting.series.spans import newest_judged, spans_of
from forecasting.series.time_sniff import NUM_SNIFFED, describe_unread
from forecasting.series.unfinished import is_unfinished
from forecasting.series.unread_numbers import describe_unread_numbers
from forecasting.series.validate import validate
from forecasting.series.waiting import describe_unfinished
from forecasting.spec.spec import Spec

NUM_REASONS = 3
"""How many reasons an error names if every row is refused."""


def find_newest(
    rows: pl.LazyFrame, spec: Spec, *, not_after: datetime | int | None = None, now: datetime | None = None
) -> datetime | int:
    """Return the newest time of the newest finished period that at least half of the live series have.

    It is the cutoff of a run without a requested one.

    Args:
        rows: Rows of `scan_source`.
        spec: The spec of the rows.
        not_after: The latest time that counts; None for no limit.
        now: The current time, as of `ingest`.

    Returns:
        A naive datetime or an integer step.

    Raises:
        SourceError: No observation is accepted; the error names the most frequent reasons.
    """
    now = now or wall_clock()
    unfinished = is_unfinished(rows.collect_schema(), spec.source, freq=spec.freq, now=now, as_of=not_after)
    with JudgedBlocks(rows, Judging(spec.freq, spec.source, now, unfinished)) as blocks:
        return newest_of(blocks, spec, not_after=not_after)


def newest_of(
    blocks: JudgedBlocks,
    spec: Spec,
    *,
    not_after: datetime | int | None = None,
    also: Callable[[], Pass] | None = None,
) -> datetime | int:
    """Return the time of `find_newest`.

    Args:
        blocks: The source.
        spec: The spec of the rows.
        not_after: The latest time that counts; None for no limit.
        also: Makes another pass, which takes the same blocks on the way.

    Returns:
        A naive datetime or an integer step.

    Raises:
        SourceError: No observation is accepted; the error names the most frequent reasons.
    """
    spans = blocks.run(lambda: _Spans(not_after, also and also()), until=not_after).spans()
    if not spans.height:
        raise SourceError(_explain(blocks, spec, not_after))
    is_meant = up_to_cutoff(spans, freq=spec.freq, ended_after=spec.ended_after)
    newest: Any = spans["latest"].max()
    if not spans.select(ds="last").select(is_meant.all()).item():
        newest = max(blocks.run(lambda: _Newest(not_after, is_meant), until=not_after).found)
    if has_parts(spec.source):
        newest = find_whole_end(blocks.periods(), newest)
    found: datetime | int = newest
    return found


class _Spans:
    """Find when the measurements of each series lie."""

    def __init__(self, not_after: datetime | int | None, also: Pass | None) -> None:
        self._not_after, self._also = not_after, also
        self._parts: list[pl.DataFrame] = []

    def add(self, block: Block, round: Round) -> None:
        self._parts.append(spans_of(block.judge(self._not_after, round.lives), self._not_after))
        if self._also is not None:
            self._also.add(block, round)

    def spans(self) -> pl.DataFrame:
        return pl.concat(self._parts)


class _Newest:
    """Find the newest times of measurements that are meant."""

    def __init__(self, not_after: datetime | int | None, is_meant: pl.Expr) -> None:
        self._not_after, self._is_meant = not_after, is_meant
        self.found: list[Any] = []

    def add(self, block: Block, round: Round) -> None:
        judged = block.judge(self._not_after, round.lives).rows.lazy()
        newest = newest_judged(judged, not_after=self._not_after, is_meant=self._is_meant)
        self.found += [] if newest is None else [newest]


def _explain(blocks: JudgedBlocks, spec: Spec, not_after: datetime | int | None) -> str:
    """Return why no observation is accepted."""
    rows, how = blocks.rows, blocks.how
    until = "" if not_after is None else f" at or before {not_after}"
    read: dict[str, Any] = {"freq": how.freq, "now": how.now, "source": how.source, "unfinished": how.unfinished}
    rejects = validate(rows, cutoff=not_after, **read).rejects
    unread = rejects.filter(pl.col("reason").is_in(UNREAD)).select("ds").head(NUM_SNIFFED).collect()["ds"]
    example = describe_unread(unread, spec.freq) or "".join(f"such as '{text}'" for text in unread.head(1))
    waiting = describe_unfinished(rows, freq=spec.freq, unfinished=how.unfinished)
    counts = rejects.group_by("reason").len().sort("len", "reason", descending=[True, False]).collect()
    reasons = "".join(f"; {count} rows: {reason}" for reason, count in counts.head(NUM_REASONS).iter_rows())
    more = f"; and {counts.height - NUM_REASONS} more reasons" if counts.height > NUM_REASONS else ""
    numbers = rejects.filter(pl.col("reason") == Reason.NOT_A_NUMBER.value).head(NUM_SNIFFED).collect()
    proposals = [*describe_unread_numbers(numbers, rows, spec.source.csv)]
    texts = proposals or [f"measurement '{text}'" for text in numbers["y"].head(1)]
    hints = "".join(f"; {hint}" for hint in (waiting, example, *texts) if hint)
    return f"source {spec.source} has no accepted observation{until}; it needs at least one{reasons}{more}{hints}"
