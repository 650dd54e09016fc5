"""Decide whether the refused rows of a source are few enough to forecast, and which series are set aside.

Many refused rows mean that the source was read in the wrong way: the run stops. Few cost only the series they are of.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.files import name_row
from forecasting.series.misread_times import describe_misread
from forecasting.series.reasons import IMPOSSIBLE, NAMELESS, OF_MEASUREMENT, REPEATS, UNKNOWN, UNREAD
from forecasting.series.time_sniff import describe_unread
from forecasting.series.unread_numbers import describe_refusal, describe_unread_numbers, refuse_misread
from forecasting.spec.source import Source

FEWEST = 10
"""Refused rows, or series with some, that never stop a run."""
SERIES_SHARE = 0.05
"""Share of its rows that a series may lose."""
MOST_UNREAD = 0.5
"""Share of the rows whose times cannot be read from which the source is taken to have another format."""
NUM_EXAMPLES = 3
NUM_REASONS = 3
"""Reasons that the message about a series, or a run, names."""


@dataclass(frozen=True)
class RowCounts:
    """What became of the rows of a source, counted before anything is aggregated.

    Attributes:
        read: All rows.
        used: Accepted rows.
        after_cutoff: Rows after the cutoff that were not refused.
        not_used: Refused rows and repeats by reason.
        ignored: Accepted rows in periods that the source ignores.
        unfinished: Rows of periods that are not over.
    """

    read: int
    used: int
    after_cutoff: int
    not_used: Mapping[str, int] = field(default_factory=dict)
    ignored: int = 0
    unfinished: int = 0

    @property
    def repeats(self) -> int:
        """Rows that repeat another one exactly."""
        return sum(self.not_used.get(reason, 0) for reason in REPEATS)

    @property
    def unknown(self) -> int:
        """Rows whose measurement is NaN, which are gaps."""
        return sum(self.not_used.get(reason, 0) for reason in UNKNOWN)

    @property
    def refused(self) -> int:
        """Rows that are refused, without repeats and NaN."""
        return sum(self.not_used.values()) - self.repeats - self.unknown

    def __str__(self) -> str:
        kinds = {
            "repeated": self.repeats,
            "NaN": self.unknown,
            "ignored": self.ignored,
            "after the cutoff": self.after_cutoff,
            "of unfinished periods": self.unfinished,
            "refused": self.refused,
        }
        unused = "".join(f", {count:,} {kind}" for kind, count in kinds.items() if count)
        return f"{self.read:,} rows read, {self.used:,} used{unused}"


def check_budget(
    refused: pl.DataFrame, kept: pl.DataFrame, source: Source, rows: pl.LazyFrame | None = None
) -> dict[str, str]:
    """Stop where too many rows are refused; otherwise return the series that are set aside, with the reason.

    Identical repeats and NaN are not refusals. A row with an impossible time is one, but not its series' newest row.

    Args:
        refused: Refused rows, with `time`: their `ds` on the clock, null where it cannot be read.
        kept: Accepted rows by series: unique_id, num_kept and newest, the time of the newest one.
        source: The source of the rows, with `allow_rejects`.
        rows: All rows, in the columns of `scan_source`; a proposal must read more of them.

    Returns:
        Why a series is set aside, by its name.

    Raises:
        SourceError: Too many rows, or rows of too many series, are refused; or they show that others are misread.
    """
    lost = refused.filter(is_refusal())
    if lost.is_empty():
        return {}
    if rows is not None:
        refuse_misread(lost, rows, source.csv)
    is_named = ~pl.col("reason").is_in(NAMELESS) & (pl.col("unique_id").str.strip_chars() != "").fill_null(False)
    of_series = lost.filter(is_named)
    ids = of_series["unique_id"].unique()
    num_rows = int(kept["num_kept"].sum()) + refused.height
    num_series = pl.concat([kept["unique_id"], ids]).n_unique()
    allowed = source.allow_rejects
    found = ((lost.height, num_rows), (len(ids), num_series))
    too_many = [count / num_all for count, num_all in found if count > FEWEST and count > allowed * num_all]
    if too_many:
        lines = _explain(lost, num_rows, len(ids), num_series, source, rows, needed=max(too_many))
        raise SourceError("\n".join(lines))
    return _find_set_aside(of_series, refused, kept, allowed)


def is_refusal() -> pl.Expr:
    """Return whether a row of the table `rejects` loses something: repeats and NaN do not."""
    return ~pl.col("reason").is_in([*REPEATS, *UNKNOWN])


def add_set_aside(rejects: pl.DataFrame, set_aside: Mapping[str, str]) -> pl.DataFrame:
    """Add why the series of each refused row is set aside, in `set_aside`; null where it is not.

    A series is set aside because of refused rows, so that each has at least one.

    Args:
        rejects: Refused rows.
        set_aside: Reasons by series.

    Returns:
        The same rows.
    """
    return rejects.with_columns(
        set_aside=pl.col("unique_id").replace_strict(dict(set_aside), default=None, return_dtype=pl.String)
    )


def mark_unserved(forecasts: pl.DataFrame, reasons: Mapping[str, str]) -> pl.DataFrame:
    """Give the serving model of each series that is set aside, or has ended, that reason.

    Args:
        forecasts: Rows of the table `forecasts`.
        reasons: Reasons by series.

    Returns:
        The same rows.
    """
    if not reasons:
        return forecasts
    why = pl.col("unique_id").replace_strict(dict(reasons), default=None, return_dtype=pl.String)
    return forecasts.with_columns(reason=pl.when("is_champion").then(pl.coalesce(why, "reason")).otherwise("reason"))


def _explain(
    lost: pl.DataFrame,
    num_rows: int,
    num_series_with: int,
    num_series: int,
    source: Source,
    rows: pl.LazyFrame | None,
    *,
    needed: float,
) -> Iterator[str]:
    """Yield the lines of the message: how many, of which kind, examples, and the options."""
    yield (
        f"source {source}: {lost.height:,} of {num_rows:,} rows are refused ({_percent(lost.height / num_rows)}), in"
        f" {num_series_with:,} of {num_series:,} series; more than {_percent(source.allow_rejects)} of the rows or of"
        f" the series stop a run"
    )
    counts = lost.group_by("reason").len().sort("len", "reason", descending=[True, False])
    yield from (f"  {count:,} × {reason}" for reason, count in counts.iter_rows())
    yield "  for example:"
    first_of_each = lost.join(counts, on="reason").with_columns(place=pl.int_range(pl.len()).over("reason"))
    examples = first_of_each.sort("place", "len", descending=[False, True], maintain_order=True).head(NUM_EXAMPLES)
    for file, row, *texts, reason in examples.select(
        "source_file", "source_row", "unique_id", "ds", "y", "reason"
    ).iter_rows():
        yield f"    {name_row(file, row)}: {', '.join('' if text is None else text for text in texts)} ({reason})"
    unread = lost.filter(pl.col("reason").is_in(UNREAD))["ds"]
    if len(unread) >= MOST_UNREAD * num_rows and (format_found := describe_unread(unread)):
        yield f"  {format_found}"
    if misread := describe_misread(lost["time"]):
        yield f"  {misread}"
    yield from (f"  {proposal}" for proposal in describe_unread_numbers(lost, rows, source.csv))
    share = min(1.0, math.ceil(1000 * needed) / 1000)
    yield f"  --allow-rejects {share:g} (source.allow_rejects) goes on with the other rows"


def _find_set_aside(lost: pl.DataFrame, refused: pl.DataFrame, kept: pl.DataFrame, allowed: float) -> dict[str, str]:
    """Return why each series that lost too much of its rows, its newest one, or all of them is set aside."""
    others = refused.filter(pl.col("reason").is_in([*REPEATS, *UNKNOWN]))
    others = others.group_by("unique_id").agg(num_others=pl.len())
    may_be_newest = ~pl.col("reason").is_in(IMPOSSIBLE) & pl.col("time").is_not_null()
    measurement = pl.when(pl.col("reason").is_in(OF_MEASUREMENT)).then("y")
    is_of_time = pl.col("reason").str.starts_with("time")
    wrong = pl.struct("reason", measurement.when(is_of_time).then("ds").alias("text"), "source_file")
    wrong_newest = pl.struct("reason", measurement.alias("text"), "source_file")
    by_series = lost.group_by("unique_id").agg(
        num_lost=pl.len(),
        most=wrong.filter(pl.col("reason") == pl.col("reason").mode().sort().first()).first(),
        lost_newest=pl.col("time").filter(may_be_newest).max(),
        newest_lost=wrong_newest.filter(may_be_newest).sort_by(pl.col("time").filter(may_be_newest)).last(),
    )
    series = (
        by_series.join(kept, on="unique_id", how="left")
        .with_columns(pl.col("num_kept").fill_null(0))
        .join(others, on="unique_id", how="left")
        .with_columns(num_rows=pl.col("num_kept") + pl.col("num_lost") + pl.col("num_others").fill_null(0))
        .sort("unique_id")
    )
    limit = max(SERIES_SHARE, allowed)
    set_aside = {}
    for each in series.iter_rows(named=True):
        share = each["num_lost"] / each["num_rows"]
        if each["num_kept"] == 0:
            set_aside[each["unique_id"]] = (
                f"set aside: {each['num_lost']} of its {each['num_rows']} rows are refused, and none is a measurement,"
                f" such as {describe_refusal(*each['most'].values())}"
            )
        elif allowed >= 1:
            continue
        elif share > limit:
            set_aside[each["unique_id"]] = (
                f"set aside: {each['num_lost']} of its {each['num_rows']} rows are refused ({_percent(share)}, more"
                f" than {_percent(limit)}), such as {describe_refusal(*each['most'].values())}; a higher"
                " source.allow_rejects (--allow-rejects) forecasts it from the others"
            )
        elif each["lost_newest"] is not None and each["lost_newest"] > each["newest"]:
            set_aside[each["unique_id"]] = (
                f"set aside: its newest row, {each['lost_newest']}, is refused:"
                f" {describe_refusal(*each['newest_lost'].values())}; source.allow_rejects = 1 (--allow-rejects 1)"
                " forecasts it from the others"
            )
    return set_aside


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
