"""Read the actuals that a one-shot forecast is scored by, as its own input is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from forecasting.errors import SourceError
from forecasting.series.budget import check_budget
from forecasting.series.clock import keeps_wall_clock
from forecasting.series.files import describe_skipped, describe_unused_dialect
from forecasting.series.inputs import Input
from forecasting.series.misread_times import refuse_scrambled
from forecasting.series.partial import MOST_PERIODS, has_parts, is_part
from forecasting.series.plausible import wall_clock
from forecasting.series.repeats import describe_repeats
from forecasting.series.sentinels import describe_sentinels, find_sentinels
from forecasting.series.shortfall import describe_parts, find_lacking, find_short, find_usual
from forecasting.series.spans import count_rows
from forecasting.series.thousands import check_thousands
from forecasting.series.time_sniff import refuse_codes
from forecasting.series.unfinished import is_unfinished
from forecasting.series.validate import validate
from forecasting.series.waiting import describe_waiting
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec

_POINT = ["unique_id", "ds"]


@dataclass(frozen=True)
class Actuals:
    """Measurements of a source on the clock of a spec.

    Attributes:
        source: The source, as messages name it.
        observed: Accepted measurements: unique_id, ds, y.
        refused: Refused rows, in the columns of `Validated.refused`.
        counted: Accepted rows by period, in the columns of `count_in_periods`; None where they are not aggregated.
        notes: Sentences about rows and files that are not used.
    """

    source: Source
    observed: pl.DataFrame
    refused: pl.DataFrame
    counted: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()


def read_actuals(given: Input, spec: Spec, *, has_zone: bool) -> Actuals:
    """Read and validate actuals as a spec's own input is: few bad rows are refused with a reason, many are an error.

    Args:
        given: The actuals.
        spec: The forecast that they are compared with.
        has_zone: Whether times of the forecast's own input have a time zone or an offset.

    Returns:
        The measurements on the spec's clock, without those of periods that are not over.

    Raises:
        SourceError: A file, a column or a clock does not match the spec, nothing was measured, too many rows are
            refused, or they show that others are misread.
    """
    source = given.source
    if source.timezone is None and spec.source.timezone is not None:  # that of the forecast may have been found
        source = source.model_copy(update={"timezone": spec.source.timezone})
        given = replace(given, source=source)
    rows = given.scan(spec.clock)
    require_same_clock(given, spec, has_zone=has_zone)
    now = wall_clock()
    unfinished = is_unfinished(rows.collect_schema(), source, freq=spec.freq, now=now)
    read: dict[str, Any] = {"freq": spec.freq, "now": now, "unfinished": unfinished}
    validated = validate(rows, source=source, **read)
    plans = [validated.accepted, validated.refused, validated.kept, count_rows(rows, cutoff=None, **read)]
    plans += [] if validated.counted is None else [validated.counted]
    accepted, refused, kept, counts, *by_period = pl.collect_all(plans, engine="streaming")
    if spec.clock == "step":
        refuse_codes(accepted["ds"], source.time_format, subject=f"source {source}", freq=spec.freq)
    check_thousands(rows, source)
    if spec.clock == "timestamp":
        refuse_scrambled(rows, source)
    check_budget(refused, kept, source, rows)
    observed = accepted.filter(pl.col("y").is_not_null())
    newest: Any = accepted["ds"].max()
    waiting = describe_waiting(counts.row(0, named=True), newest, is_found=True)
    found = (
        *waiting,
        describe_skipped(source, given.storage_options),
        describe_unused_dialect(source, rows),
        describe_repeats(refused, counts["read"].item(), source),
        describe_sentinels(find_sentinels(observed), rows, source),
    )
    notes = tuple(note for note in found if note is not None)
    if observed.is_empty():
        first = f"the first was refused because: {refused['reason'][0]}" if refused.height else ""
        hints = "".join(f"; {hint}" for hint in (first, *notes) if hint)
        raise SourceError(f"{source} has no actual in its {counts['read'].item()} rows{hints}")
    return Actuals(source, observed, refused, by_period[0] if by_period else None, notes)


def leave_out_parts(actuals: Actuals, spec: Spec, *, usual: Mapping[str, float]) -> Actuals:
    """Leave out the periods of which the actuals have only a part of the rows that are aggregated.

    Args:
        actuals: The actuals.
        spec: The forecast that they are compared with.
        usual: How many rows the periods of a series usually have, as the history shows it.

    Returns:
        The other actuals, with a note about the periods that are left out.
    """
    counted, source = actuals.counted, actuals.source
    if counted is None or not has_parts(source):
        return actuals
    # Actuals with one row in every period are those of whole periods.
    counted = counted.filter(pl.col("num_rows").max().over("unique_id") > 1)
    number = {**find_usual(counted, season_lengths=spec.season_lengths), **usual}
    parts = pl.concat(_find_parts(counted, actuals.refused, source, spec, number)).unique(_POINT).sort(_POINT)
    if parts.is_empty():
        return actuals
    observed = actuals.observed.join(parts, on=_POINT, how="anti", maintain_order="left")
    return replace(actuals, observed=observed, notes=(*actuals.notes, describe_parts(parts, source, spec.freq)))


def _find_parts(
    counted: pl.DataFrame, refused: pl.DataFrame, source: Source, spec: Spec, usual: Mapping[str, float]
) -> Iterator[pl.DataFrame]:
    yield find_short(counted, {} if source.missing_rows == "zero" else usual)
    if source.aggregate == "sum":
        yield find_lacking(counted, refused, source, spec.freq)
    is_newest = pl.col("period") == pl.col("period").max()
    newest = counted.filter(is_newest)
    before = counted.filter(~is_newest, pl.col("unique_id").is_in(newest["unique_id"].implode()))
    by_period = pl.concat([before, newest]).group_by("period").agg(pl.col("num_rows").sum()).sort("period")
    if is_part(by_period.tail(MOST_PERIODS + 1)):  # as in a history
        whole = before.group_by("unique_id").agg(num_whole=pl.col("num_rows").median().round().cast(pl.Int64))
        joined = newest.join(whole, on="unique_id", how="left")
        yield joined.select("unique_id", "period", "ds", "num_rows", pl.col("num_whole").fill_null(0))


def require_same_clock(given: Input, spec: Spec, *, has_zone: bool) -> None:
    """Raise SourceError where times of an input cannot be compared with those of a forecast's own input.

    Args:
        given: The input.
        spec: The forecast.
        has_zone: Whether times of the forecast's own input have a time zone or an offset.

    Raises:
        SourceError: One has a zone or an offset, and the other does not.
    """
    if spec.clock == "step" or keeps_wall_clock(spec.freq):
        return
    is_zoned = given.zone(spec.clock, spec.freq) is not None
    if is_zoned != has_zone:
        found, wanted = ("has" if each else "does not have" for each in (is_zoned, has_zone))
        raise SourceError(
            f"{given.source}: time column '{given.source.time}' {found} a time zone or offset, but that of the input"
            f" {wanted} one; both must be on one clock"
        )
