"""Events as covariates: named days of a spec and of files, each in one of a few columns of codes.

Different events of a series may lie on the same day, so there are several columns. An event has the same column
throughout, and a day around an event is one of its own: `sale` is another name than `sale, day -1`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from forecasting.errors import SourceError, SpecError
from forecasting.series.arrow_types import scan_parquet
from forecasting.series.columns import read_id, read_times
from forecasting.series.covariate_names import code_of
from forecasting.series.csv_records import read_header
from forecasting.series.csv_scan import scan_csv
from forecasting.series.delta import scan_table
from forecasting.series.files import is_csv, list_all_files
from forecasting.series.frames import IN_MEMORY, is_frame, read_whole
from forecasting.series.holiday_covariates import days_of
from forecasting.series.read import reading
from forecasting.series.stores import storage_options_of
from forecasting.series.time_format import read_formatted, refuse_formatted
from forecasting.spec.events import AFTER, BEFORE, DATE, DAYS, EVENT, LONGEST, LONGEST_WINDOW, SLOTS, Events
from forecasting.spec.holidays import has_days
from forecasting.spec.source import as_uri
from forecasting.spec.spec import Spec

_NONE = code_of("")
_ALL = ""
"""Stands for all series in the place of a name."""
_ROWS = {
    "series": pl.String(),
    EVENT: pl.String(),
    DATE: pl.Date(),
    DAYS: pl.Int64(),
    BEFORE: pl.Int64(),
    AFTER: pl.Int64(),
}
_LIMITS = {DAYS: (1, LONGEST), BEFORE: (0, LONGEST_WINDOW), AFTER: (0, LONGEST_WINDOW)}


def read_events(spec: Spec, *, storage_options: Mapping[str, str] | None = None) -> pl.DataFrame:
    """Read the events of a spec.

    Args:
        spec: The spec, with events.
        storage_options: Options of the object store that holds files of events.

    Returns:
        A row for each time of an event: series, null for all; event, its date and how many days it lasts; and how many
        days before and after it have effects of their own.

    Raises:
        SourceError: A file cannot be read, or has a row without a name or a day.
        ServiceError: A remote file cannot be reached.
    """
    parts = [pl.DataFrame(schema=_ROWS)]
    for events in spec.events:
        if events.uri is None:
            parts.append(_rows_of(events))
        else:
            uris = (events.uri,) if isinstance(events.uri, str) else events.uri
            is_store = spec.source.connection is not None and not spec.source.is_database
            options = storage_options_of(spec.source, storage_options) if is_store else dict(storage_options or {})
            files = list_all_files(uris, storage_options=options)
            parts += [_read_file(file, events, columns_of_series(spec.source.id), options) for file in files]
    return pl.concat(parts)


def name_events(given: Any, id: str | Sequence[str] | None, *, subject: str = "events") -> list[Mapping[str, Any]]:
    """Return what names events as fields of a spec's `[[events]]`.

    Args:
        given: A frame with the columns of a file of events, paths of such files, or fields of `[[events]]`.
        id: The column or columns with the names of the measurements' series.
        subject: What errors name.

    Returns:
        The fields of each event or file.

    Raises:
        SpecError: It is none of these.
        SourceError: A frame has no names or days.
    """
    if is_frame(given):
        rows = read_whole(given)
        _refuse_lacking(rows.columns, f"{subject} {IN_MEMORY}", columns_of_series(id))
        return _as_fields(tidy_events(rows.lazy(), IN_MEMORY, None, columns_of_series(id)))
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    if not all(isinstance(one, (str, os.PathLike, Mapping)) for one in several):
        raise SpecError(subject, ["must be a frame, paths of files, or tables such as {'name': …, 'dates': […]}"])
    return [one if isinstance(one, Mapping) else {"uri": as_uri(os.fspath(one))} for one in several]


def inline_events(spec: Spec, *, storage_options: Mapping[str, str] | None = None) -> Spec:
    """Return a spec that has the events of files itself, so that the files are not read again."""
    if all(events.uri is None for events in spec.events):
        return spec
    fields = _as_fields(read_events(spec, storage_options=storage_options))
    return spec.model_copy(update={"events": tuple(Events(**each) for each in fields)})


def columns_of_series(id: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns of which the first one that a file of events has names the series."""
    return tuple(dict.fromkeys((*([id] if isinstance(id, str) else []), "unique_id")))


def _as_fields(rows: pl.DataFrame) -> list[Mapping[str, Any]]:
    """Return rows of `read_events` as fields of `[[events]]`."""
    key = ["series", EVENT, DAYS, BEFORE, AFTER]
    return [
        {
            "name": event,
            "dates": dates,
            "days": days,
            "window": (-before, after),
            **({} if series is None else {"series": (series,)}),
        }
        for series, event, days, before, after, dates in rows.group_by(key, maintain_order=True).agg(DATE).iter_rows()
    ]


def _refuse_lacking(columns: Sequence[str], subject: str, of_series: Sequence[str]) -> None:
    if lacking := [name for name in (EVENT, DATE) if name not in columns]:
        raise SourceError(
            f"{subject} lacks the column {' and '.join(map(repr, lacking))}; it needs {EVENT} and {DATE}, and may have"
            f" {of_series[0]}, {', '.join(_LIMITS)}"
        )


def _rows_of(events: Events) -> pl.DataFrame:
    """Return the rows of one event."""
    first, last = events.window
    each = [
        (series, events.name, day, events.days, -first, last)
        for series in events.series or (None,)
        for day in events.dates
    ]
    return pl.DataFrame(each, schema=_ROWS, orient="row")


def _read_file(uri: str, events: Events, of_series: Sequence[str], options: dict[str, str]) -> pl.DataFrame:
    """Read a file of events, or a Delta table."""
    wanted = (EVENT, DATE, *_LIMITS, *of_series)
    with reading(uri):
        if uri.endswith("/"):
            rows, _ = scan_table(uri, None, storage_options=options)
        elif is_csv(uri):
            header = read_header(uri, options, events.csv)
            needed = [name for name in wanted if name in header]
            rows, _, problem = scan_csv(uri, header, needed, events.csv, options, time=DATE if DATE in needed else None)
            if problem is not None and (found := rows.filter(pl.col(problem).is_not_null()).head(1).collect()).height:
                raise SourceError(f"{uri}: {found[problem][0]}; every row needs as many fields as the header")
        else:
            rows = scan_parquet(uri, wanted, options)
        columns = rows.collect_schema().names()
        _refuse_lacking(columns, f"events {uri}", of_series)
        return tidy_events(rows.select(name for name in wanted if name in columns), uri, events.time_format, of_series)


def tidy_events(rows: pl.LazyFrame, uri: str, form: str | None, of_series: Sequence[str]) -> pl.DataFrame:
    """Return rows of a file of events in the columns of `read_events`.

    Args:
        rows: The rows.
        uri: What messages call them.
        form: How days are written, as `source.time_format`; None for ISO 8601.
        of_series: Columns of which the first one that there is names the series.

    Returns:
        The rows, in their order.

    Raises:
        SourceError: A row has no name, no day, or a number of days that is not allowed.
    """
    schema = rows.collect_schema()
    series = next((name for name in of_series if name in schema), None)
    names = {"series": series, EVENT: EVENT}
    text = {
        to: pl.lit(None, pl.String)
        if name is None
        else read_id(name, schema[name], subject=f"events {uri}: column '{name}'").str.strip_chars()
        for to, name in names.items()
    }
    if form is not None:
        refuse_formatted(schema[DATE], form, subject=f"events {uri}: column '{DATE}'")
        rows = rows.with_columns(read_formatted(DATE, schema[DATE], form).dt.replace_time_zone(None).alias(DATE))
    elif schema[DATE] not in (pl.Date, pl.Datetime, pl.String):
        raise SourceError(f"events {uri}: column '{DATE}' has {schema[DATE]} but needs days")
    written = rows.select(pl.col(DATE).cast(pl.String).alias("written"))
    times = read_times(rows, DATE, clock="timestamp", keeps_wall_clock=True)
    counts = [
        (pl.col(name).cast(pl.Int64, strict=False) if name in schema else pl.lit(None, pl.Int64)).alias(name)
        for name in _LIMITS
    ]
    whole = times.select(*(value.alias(name) for name, value in text.items()), DATE, *counts).collect()
    whole = whole.with_columns(
        pl.when(pl.col(name) != "").then(name).alias(name) for name in ("series", EVENT)
    ).with_columns(pl.col(DATE).dt.date(), *(pl.col(name).fill_null(low) for name, (low, _) in _LIMITS.items()))
    if (bad := whole.with_row_index("row", 1).filter(pl.col(EVENT).is_null() | pl.col(DATE).is_null())).height:
        row = bad.row(0, named=True)
        given = written.collect()["written"][row["row"] - 1]
        what = "no name" if row[EVENT] is None else f"'{given}' as its date, which is not a day such as 2026-03-31"
        raise SourceError(f"events {uri}: row {row['row']} has {what}; events.time_format reads other spellings")
    for name, (low, high) in _LIMITS.items():
        if (bad := whole.filter(~pl.col(name).is_between(low, high))).height:
            raise SourceError(
                f"events {uri}: event '{bad[EVENT][0]}' on {bad[DATE][0]} has {name} = {bad[name][0]}; it must be"
                f" {low} to {high}"
            )
    return whole.select(*_ROWS)


@dataclass(frozen=True)
class SeriesEvents:
    """The events of series at their grid points.

    Attributes:
        values: group, ds and a code for each of `SLOTS`, where any event is.
        groups: unique_id and group of series with events of their own; others have the group of events of all.
        names: Names of events, and of days around them, by their codes.
        notes: What is to be said about events.
    """

    values: pl.DataFrame
    groups: pl.DataFrame
    names: Mapping[float, str]
    notes: tuple[str, ...] = ()

    def add_to(self, points: pl.LazyFrame, column_of: Mapping[str, str]) -> pl.LazyFrame:
        """Add the covariates to points.

        Args:
            points: unique_id and ds.
            column_of: The columns to add, by the names of covariates.

        Returns:
            The points in their order, with the columns.
        """
        grouped = points.join(self.groups.lazy(), on="unique_id", how="left", maintain_order="left")
        grouped = grouped.with_columns(pl.col("group").fill_null(_ALL))
        joined = grouped.join(self.values.lazy(), on=["group", "ds"], how="left", maintain_order="left")
        values = [pl.col(name).fill_null(_NONE).alias(column_of[name]) for name in SLOTS]
        return joined.with_columns(values).drop("group", *SLOTS)

    def leave_out_new(
        self, known: pl.LazyFrame, ahead: pl.DataFrame, column_of: Mapping[str, str]
    ) -> tuple[pl.DataFrame, list[str]]:
        """Leave out events of the horizon that a series has not had before, because no model can know their effect.

        Args:
            known: Grid points up to the cutoff with unique_id and the covariates.
            ahead: Those of the horizon, also with ds.
            column_of: The columns of covariates by their names.

        Returns:
            The horizon, and a sentence for each such event.
        """
        left_out = [ahead.select("unique_id", "ds", code=pl.lit(None, pl.Float64)).clear()]
        for name in (column_of[slot] for slot in SLOTS):
            key = ["unique_id", name]
            had = known.select(key).unique().collect(engine="streaming").with_columns(has_had=pl.lit(True))
            joined = ahead.join(had, on=key, how="left", maintain_order="left")
            is_new = pl.col("has_had").is_null() & (pl.col(name) != _NONE)
            left_out.append(joined.filter(is_new).select("unique_id", "ds", code=name))
            ahead = joined.with_columns(pl.when(is_new).then(_NONE).otherwise(name).alias(name)).drop("has_had")
        new = pl.concat(left_out).sort("ds", "unique_id")
        return ahead, [
            f"event '{self.names[code]}' lies within the horizon of {rows['unique_id'].n_unique()} series for the first"
            f" time, such as on {rows['ds'][0].date()} in '{rows['unique_id'][0]}'; no model can know its effect, so"
            " their forecasts do not depend on it"
            for (code,), rows in new.group_by("code", maintain_order=True)
        ]


def find_events(
    rows: pl.DataFrame, points: pl.LazyFrame, ahead: pl.LazyFrame, spec: Spec, *, zone: str | None
) -> SeriesEvents:
    """Find which events each series has at which grid points.

    Args:
        rows: Rows of `read_events`.
        points: unique_id and ds of the grid points up to the cutoff.
        ahead: Those of the horizon.
        spec: The spec.
        zone: The zone on whose wall clock days are, where times are in UTC.

    Returns:
        The events. An event that a series has for the first time within the horizon is left out, and a note names it.

    Raises:
        SourceError: A series has more different events at a time than there are covariates.
    """
    ids = points.select(pl.col("unique_id").unique()).collect(engine="streaming")["unique_id"]
    both = pl.concat([points.select("ds"), ahead.select("ds")])
    times = both.unique().collect(engine="streaming")["ds"].sort()
    begin_T, end_T = days_of(times, spec, zone)
    days = (
        pl.DataFrame({"ds": times, "begin": begin_T, "end": end_T})
        .with_columns(day=pl.int_ranges("begin", "end"))
        .explode("day")
        .select("ds", "day")
    )
    rows = rows.with_row_index("row").with_columns(group=pl.col("series").fill_null(_ALL))
    is_known = pl.col("series").is_null() | pl.col("series").is_in(ids.implode())
    unknown = rows.filter(~is_known)
    rows = rows.filter(is_known)
    placed = _place(rows, days, is_by_day=has_days(spec.freq))
    own = rows.select("series").drop_nulls().unique()["series"].sort()
    of_all = placed.filter(pl.col("group") == _ALL)
    shared = of_all.drop("group").join(own.alias("group").to_frame(), how="cross").select(placed.columns)
    placed = pl.concat([placed, shared])
    groups = pl.DataFrame({"unique_id": own, "group": own})
    outside = rows.filter(~pl.col("row").is_in(placed["row"].unique().implode()))
    notes = (*_describe_outside(outside, rows, times), *_describe_unknown(unknown))
    codes = {label: code_of(label) for label in placed["label"].unique()}
    return SeriesEvents(_in_slots(placed, codes), groups, {code: label for label, code in codes.items()}, notes)


def _place(rows: pl.DataFrame, days: pl.DataFrame, *, is_by_day: bool) -> pl.DataFrame:
    """Return row, group, ds and the name of each event, and of each day around one, at the grid points.

    Of the same event on the same day, one time within it comes before a day around another time, then the nearest one.
    """
    first = pl.col(DATE).cast(pl.Int32).cast(pl.Int64)
    spread = rows.with_columns(place=pl.int_ranges(-pl.col(BEFORE), pl.col(DAYS) + pl.col(AFTER))).explode("place")
    after = pl.col("place") - pl.col(DAYS) + 1
    distance = pl.when(pl.col("place") < 0).then("place").when(after > 0).then(after).otherwise(0)
    spread = spread.with_columns(day=first + pl.col("place"), distance=distance)
    label = pl.col(EVENT)
    if is_by_day:
        sign = pl.when(pl.col("distance") > 0).then(pl.lit("+")).otherwise(pl.lit(""))
        around = pl.format("{}, day {}{}", EVENT, sign, "distance")
        label = pl.when(pl.col("distance") == 0).then(EVENT).otherwise(around)
    found = spread.with_columns(label=label).join(days, on="day")
    nearest = found.sort("group", "ds", EVENT, pl.col("distance").abs(), "distance", "row", maintain_order=True)
    return nearest.select("row", "group", "ds", EVENT, "label")


def _in_slots(placed: pl.DataFrame, codes: Mapping[str, float]) -> pl.DataFrame:
    """Return group, ds and the code in each slot, so that different events at a time are in different slots."""
    one = placed.unique(["group", "ds", EVENT], keep="first", maintain_order=True)
    one = one.with_columns(code=pl.col("label").replace_strict(codes, default=None, return_dtype=pl.Float64))
    slots = []
    for (group,), rows in one.group_by("group", maintain_order=True):
        taken: list[set[object]] = [set() for _ in SLOTS]
        of_event = rows.group_by(EVENT).agg("ds", first=pl.col("ds").min()).sort("first", EVENT)
        for event, ds in of_event.select(EVENT, "ds").iter_rows():
            free = next((slot for slot, others in enumerate(taken) if others.isdisjoint(ds)), None)
            if free is None:
                at = next(time for time in sorted(ds) if any(time in others for others in taken))
                names = rows.filter(pl.col("ds") == at)[EVENT].unique().sort().to_list()
                of = f"series '{group}'" if group else "all series"
                raise SourceError(
                    f"events: {', '.join(map(repr, names))} of {of} meet at {at}, directly or with days around them; at"
                    f" most {len(SLOTS)} different events may; give several of them one name"
                )
            taken[free] |= set(ds)
            slots.append((group, event, free))
    of_slot = pl.DataFrame(slots, schema={"group": pl.String, EVENT: pl.String, "slot": pl.Int64}, orient="row")
    joined = one.join(of_slot, on=["group", EVENT])
    return joined.group_by("group", "ds").agg(
        pl.col("code").filter(pl.col("slot") == slot).first().alias(name) for slot, name in enumerate(SLOTS)
    )


def _describe_outside(outside: pl.DataFrame, rows: pl.DataFrame, times: pl.Series) -> list[str]:
    if outside.is_empty():
        return []
    row = outside.sort(DATE, EVENT).row(0, named=True)
    return [
        f"{outside.height} of {rows.height} dates of events lie outside of the data and its horizon, from {times[0]} to"
        f" {times[-1]}, such as {row[DATE]} of event '{row[EVENT]}'; they have no effect"
    ]


def _describe_unknown(unknown: pl.DataFrame) -> list[str]:
    if unknown.is_empty():
        return []
    names = unknown["series"].unique().sort()
    return [
        f"{unknown.height} dates of events are of {len(names)} series that the data lacks, such as '{names[0]}'; they"
        " have no effect"
    ]
