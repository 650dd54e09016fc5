"""Find aggregated periods that lack rows: some are refused or not measured, or there are fewer than is usual."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from forecasting.series.budget import is_refusal
from forecasting.series.grid import make_grid
from forecasting.series.ignored import is_ignored
from forecasting.series.reasons import IMPOSSIBLE, UNKNOWN, Reason
from forecasting.spec.frequency import clock_of
from forecasting.spec.source import Source

LEAST = 0.8
"""Share of the usual number of its rows below which a period is short."""
WITHIN = 0.1
"""Share of the median by which the usual numbers of rows differ from it."""
REGULAR = 0.8
"""Share of the periods of a series, without its first and last, whose number of rows must be usual."""
FEWEST_PERIODS = 3
_PERIOD = ("unique_id", "period")
_INSTANT = pl.duration(microseconds=1)


def count_in_periods(accepted: pl.LazyFrame, source: Source, freq: str | int) -> pl.LazyFrame:
    """Count the accepted rows of each period before they are aggregated.

    Args:
        accepted: Accepted rows of `judge_until`, with `row_ds`.
        source: The source, which aggregates.
        freq: The frequency.

    Returns:
        unique_id, the number of the period, its grid point `ds`, and the numbers of rows with a measurement and without
        one: `num_rows` and `num_unknown`.
    """
    period = _period("row_ds", source, freq)
    return accepted.group_by("unique_id", period=period).agg(
        pl.col("ds").first(), num_rows=pl.col("y").count(), num_unknown=pl.col("y").null_count()
    )


def find_usual(counted: pl.DataFrame, *, season_lengths: Sequence[int]) -> dict[str, float]:
    """Return how many rows the periods of each series usually have; only of series whose periods are alike.

    A series whose unlike periods mostly lie a season apart, such as Sundays, has periods that differ by design.

    Args:
        counted: Rows of `count_in_periods`.
        season_lengths: Seasons of the series, in periods.

    Returns:
        Numbers of rows by series.
    """
    period, num = pl.col("period"), pl.col("num_rows")
    # A series may begin and end within a period.
    is_inner = (period > period.min().over("unique_id")) & (period < period.max().over("unique_id"))
    inner = counted.filter(num > 0).filter(is_inner).with_columns(usual=num.median().over("unique_id"))
    usual = pl.col("usual")
    inner = inner.with_columns(is_alike=(num - usual).abs() <= WITHIN * usual)
    unlike = inner.filter(~pl.col("is_alike")).select(_PERIOD)
    later = [unlike.with_columns(period + season) for season in season_lengths if season > 1]
    recurring = pl.concat([unlike.clear(), *later]).unique().join(unlike, on=_PERIOD, how="semi")
    series = inner.group_by("unique_id").agg(
        usual.first(), pl.col("is_alike").mean(), num_unlike=(~pl.col("is_alike")).sum(), num_periods=pl.len()
    )
    series = series.join(recurring.group_by("unique_id").len("num_recurring"), on="unique_id", how="left")
    recurs = (2 * pl.col("num_recurring") >= pl.col("num_unlike")).fill_null(False)
    alike = series.filter(usual > 1, pl.col("is_alike") >= REGULAR, pl.col("num_periods") >= FEWEST_PERIODS, ~recurs)
    return dict(alike.select("unique_id", "usual").sort("unique_id").iter_rows())


def find_short(counted: pl.DataFrame, usual: Mapping[str, float]) -> pl.DataFrame:
    """Return the periods that have far fewer rows than is usual of their series.

    Args:
        counted: Rows of `count_in_periods`.
        usual: The usual numbers of rows by series; the others have no short periods.

    Returns:
        unique_id, period, ds, num_rows and num_whole, the number that is usual; sorted.
    """
    number = pl.col("unique_id").replace_strict(dict(usual), default=None, return_dtype=pl.Float64)
    known = counted.with_columns(num_whole=number.round().cast(pl.Int64))
    short = known.filter(pl.col("num_rows") > 0, pl.col("num_rows") < LEAST * pl.col("num_whole"))
    return short.select(*_PERIOD, "ds", "num_rows", "num_whole").sort(*_PERIOD)


def find_lacking(counted: pl.DataFrame, refused: pl.DataFrame, source: Source, freq: str | int) -> pl.DataFrame:
    """Return the periods that are aggregated without some of their rows, which are refused or, in a sum, not measured.

    Args:
        counted: Rows of `count_in_periods`.
        refused: Rows of `Validated.refused`.
        source: The source, which aggregates.
        freq: The frequency.

    Returns:
        Rows in the columns of `find_short`; `num_whole` is the number of all rows.
    """
    is_sum = source.aggregate == "sum"
    is_lost = is_refusal() | (pl.col("reason").is_in(UNKNOWN) if is_sum else pl.lit(False))
    has_place = pl.col("time").is_not_null() & ~pl.col("reason").is_in([*IMPOSSIBLE, Reason.CLOSED.value])
    lost = (
        refused.filter(is_lost, has_place).group_by("unique_id", period=_period("time", source, freq)).len("num_lost")
    )
    num_unknown = pl.col("num_unknown") if is_sum else 0
    joined = counted.join(lost, on=_PERIOD, how="left").with_columns(
        num_whole=pl.col("num_rows") + pl.col("num_lost").fill_null(0).cast(pl.Int64) + num_unknown
    )
    lacking = joined.filter(pl.col("num_rows") > 0, pl.col("num_whole") > pl.col("num_rows"))
    return lacking.select(*_PERIOD, "ds", "num_rows", "num_whole").sort(*_PERIOD)


@dataclass(frozen=True)
class Shortfall:
    """The periods of a history that lack rows.

    Attributes:
        usual: How many rows the periods of a series usually have, by its name.
        lacking: Rows of `find_lacking`.
        short: Rows of `find_short` that are not among these.
    """

    usual: Mapping[str, float]
    lacking: pl.DataFrame
    short: pl.DataFrame


def find_shortfall(
    counted: pl.DataFrame, refused: pl.DataFrame, source: Source, freq: str | int, *, season_lengths: Sequence[int]
) -> Shortfall:
    """Find the periods of a history that lack rows, of whole series.

    Args:
        counted: Rows of `count_in_periods`.
        refused: Rows of `Validated.refused`.
        source: The source, which aggregates.
        freq: The frequency.
        season_lengths: Seasons of the series, in periods.

    Returns:
        The periods that the source does not ignore.
    """
    usual = find_usual(counted, season_lengths=season_lengths)
    used = counted.filter(~is_ignored(source, clock_of(freq)))
    lacking = find_lacking(used, refused, source, freq)
    short = find_short(used, usual).join(lacking, on=_PERIOD, how="anti", maintain_order="left")
    return Shortfall(usual, lacking, short)


def describe_shortfall(
    parts: Sequence[Shortfall], source: Source, freq: str | int, *, without: Sequence[str]
) -> Iterator[str]:
    """Yield sentences about the periods of a history that lack rows.

    Args:
        parts: Those of blocks of whole series, in the order of their names.
        source: The source, which aggregates.
        freq: The frequency.
        without: Series that are not meant.

    Yields:
        Sentences with the option that leaves these periods out.
    """
    if not parts:
        return
    is_meant = ~pl.col("unique_id").is_in(list(without))
    option = "source.ignore (--ignore) leaves a period out"
    lacking = pl.concat(part.lacking for part in parts).filter(is_meant)
    if lacking.height:
        found = _count(lacking, freq, source, "which has a measurement in {} of its {} rows")
        yield f"{found}, are aggregated ({source.aggregate}) without rows that are refused or not measured; {option}"
    if source.missing_rows == "zero":
        return
    short = pl.concat(part.short for part in parts).filter(is_meant)
    if short.height:
        found = _count(short, freq, source, "which has {} rows, and {} are usual")
        yield f"{found}, are aggregated ({source.aggregate}) of far fewer rows than is usual of their series; {option}"


def describe_parts(parts: pl.DataFrame, source: Source, freq: str | int) -> str:
    """Return a sentence about actual periods that are not compared, because some of their rows are not there.

    Args:
        parts: Rows of `find_short` or `find_lacking`, at least one.
        source: The source of the actuals.
        freq: The frequency.

    Returns:
        The sentence.
    """
    found = _count(parts, freq, source, "which has {} of {} rows")
    return (
        f"actuals that have only a part of their rows are not compared: {found};"
        ' source.unfinished = "use" (--unfinished use) compares them'
    )


def _count(periods: pl.DataFrame, freq: str | int, source: Source, example: str) -> str:
    name, ds, *numbers = periods.select("unique_id", "ds", "num_rows", "num_whole").row(0)
    num_series = periods["unique_id"].n_unique()
    return (
        f"source {source}: {periods.height:,} periods of {freq} of {num_series:,} series, such as {ds} of '{name}',"
        f" {example.format(*numbers)}"
    )


def _period(time: str, source: Source, freq: str | int) -> pl.Expr:
    """Return the number of the period that a row's own time belongs to."""
    is_end = source.label == "end" and clock_of(freq) == "timestamp"
    return make_grid(freq).period(pl.col(time) - _INSTANT if is_end else pl.col(time))
