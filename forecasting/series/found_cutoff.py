"""Find the cutoff of a run that none was requested of: the newest finished period that most series have."""

from datetime import datetime
from typing import Any

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.ends import up_to_cutoff
from forecasting.series.partial import find_whole_end, has_parts
from forecasting.series.plausible import wall_clock
from forecasting.series.reasons import UNREAD, Reason
from forecasting.series.spans import measured_spans, newest_observation
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
    read: dict[str, Any] = {"freq": spec.freq, "now": now, "source": spec.source, "unfinished": unfinished}
    spans = measured_spans(rows, not_after=not_after, **read).collect(engine="streaming")
    if spans.height:
        is_meant = up_to_cutoff(spans, freq=spec.freq, ended_after=spec.ended_after)
        newest: Any = spans["latest"].max()
        if not spans.select(ds="last").select(is_meant.all()).item():
            newest = newest_observation(rows, not_after=not_after, is_meant=is_meant, **read)
        if has_parts(spec.source):
            newest = find_whole_end(rows, newest, read)
        found: datetime | int = newest
        return found
    until = "" if not_after is None else f" at or before {not_after}"
    rejects = validate(rows, cutoff=not_after, **read).rejects
    unread = rejects.filter(pl.col("reason").is_in(UNREAD)).select("ds").head(NUM_SNIFFED).collect()["ds"]
    example = describe_unread(unread, spec.freq) or "".join(f"such as '{text}'" for text in unread.head(1))
    waiting = describe_unfinished(rows, freq=spec.freq, unfinished=unfinished)
    counts = rejects.group_by("reason").len().sort("len", "reason", descending=[True, False]).collect()
    reasons = "".join(f"; {count} rows: {reason}" for reason, count in counts.head(NUM_REASONS).iter_rows())
    more = f"; and {counts.height - NUM_REASONS} more reasons" if counts.height > NUM_REASONS else ""
    numbers = rejects.filter(pl.col("reason") == Reason.NOT_A_NUMBER.value).head(NUM_SNIFFED).collect()
    proposals = [*describe_unread_numbers(numbers, rows, spec.source.csv)]
    texts = proposals or [f"measurement '{text}'" for text in numbers["y"].head(1)]
    hints = "".join(f"; {hint}" for hint in (waiting, example, *texts) if hint)
    raise SourceError(
        f"source {spec.source} has no accepted observation{until}; it needs at least one{reasons}{more}{hints}"
    )
