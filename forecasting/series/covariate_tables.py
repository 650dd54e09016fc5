"""Tables of covariates of their own: scanned, read by key and period, and joined to points of series.

The key of a row is the name of a series, the value of a column that series have too (such as a weather station), or
nothing where all series share the row. Its place in time is the period of its time at a frequency of a day or coarser,
and where rows are aggregated; else it is the exact time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from forecasting.errors import ServiceError, SourceError
from forecasting.series.clock import is_day_or_coarser, keeps_wall_clock
from forecasting.series.columns import LARGEST_TIME, as_text, refuse_time
from forecasting.series.covariate_names import is_coded
from forecasting.series.covariate_values import raw_columns, read_values
from forecasting.series.declared_zone import add_declared
from forecasting.series.grid import is_closed, make_grid
from forecasting.series.judge import IS_ACCEPTED, judge_alone, read_columns, source_dtype
from forecasting.series.lacking import describe_lacking, needed_columns
from forecasting.series.newest import newest_first
from forecasting.series.read import AVAILABLE, SHARED, scan_frame, scan_source
from forecasting.series.unread_columns import columns_of
from forecasting.series.zone import local_zone, zone_of
from forecasting.spec.covariate_table import CovariateTable
from forecasting.spec.frequency import Clock, fixed_width, num_months
from forecasting.spec.source import Source
from forecasting.spec.spec import Spec

_KEY = ["key", "place"]
KNOWN_UNTIL = "known until"
"""Column of points with the last time of publication that counts there."""
NUM_NAMED = 3


@dataclass(frozen=True)
class ScannedTable:
    """Rows of a table as they are scanned.

    Attributes:
        table: The table.
        source: How its rows are read.
        rows: Rows in the columns of `scan_source`, with its covariates; unique_id has the key.
        by: What joins a row to series beside its time: `id`, `all` or a column of the source.
        name: What messages call the table; of a Delta table with its version.
    """

    table: CovariateTable
    source: Source
    rows: pl.LazyFrame
    by: str
    name: str


@dataclass(frozen=True)
class JoinedTable:
    """Values of a table, ready to be joined.

    Attributes:
        name: What messages call the table.
        by: As of `ScannedTable`.
        is_by_period: Whether places are periods of the frequency, or times.
        values: key, place and a column of Float64 per covariate; one row per key and place. Where the times are known
            at which values were published, `available` has them, with one row for each.
        keys: unique_id and key of the series, of a table that is joined by a column; else None.
        num_read: Number of rows of the table.
        num_refused: Number of rows that cannot be read.
        notes: What is to be said.
    """

    name: str
    by: str
    is_by_period: bool
    values: pl.DataFrame
    keys: pl.DataFrame | None = None
    num_read: int = 0
    num_refused: int = 0
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The covariates."""
        return tuple(name for name in self.values.columns if name not in (*_KEY, AVAILABLE))

    @property
    def has_vintages(self) -> bool:
        """Whether values were published at times that are known, so that one key and place may have several."""
        return AVAILABLE in self.values.columns

    def place(self, points: pl.LazyFrame, freq: str | int) -> pl.LazyFrame:
        """Add the key and the place of points.

        Args:
            points: unique_id and ds, perhaps with other columns.
            freq: The frequency of the points.

        Returns:
            The points in their order, with `key` and `place`.
        """
        placed = points.with_columns(place=_place(pl.col("ds"), freq, is_by_period=self.is_by_period))
        if self.by == "id":
            return placed.with_columns(key="unique_id")
        if self.keys is None:
            return placed.with_columns(key=pl.lit(SHARED))
        return placed.join(self.keys.lazy(), on="unique_id", how="left", maintain_order="left")

    def merged_with(self, newer: "JoinedTable") -> "JoinedTable":
        """Return the table with the values of a newer one, which replace those of the same key and place."""
        key = [name for name in self.values.columns if name not in self.names]
        joined = self.values.join(newer.values, on=key, how="full", coalesce=True, suffix="_newer")
        values = joined.with_columns(pl.coalesce(f"{name}_newer", name).alias(name) for name in self.names)
        return replace(self, values=values.select(self.values.columns), num_read=newer.num_read, notes=())

    def with_keys(self, newer: Mapping[str, pl.DataFrame]) -> "JoinedTable":
        """Return the table with the keys of newer series, by column of the source."""
        if self.keys is None or self.by not in newer:
            return self
        keys = pl.concat([newer[self.by], self.keys]).unique("unique_id", keep="first").sort("unique_id")
        return replace(self, keys=keys)

    def attach(self, points: pl.LazyFrame, columns: Mapping[str, str], *, freq: str | int) -> pl.LazyFrame:
        """Join the values to points, as `attach_tables` does."""
        names = points.collect_schema().names()
        values = self.values.lazy().rename({name: f"new {columns[name]}" for name in self.names})
        placed = self.place(points, freq)
        if self.has_vintages:
            joined = (
                placed.with_row_index("row")
                .sort(KNOWN_UNTIL)
                .join_asof(
                    values.sort(AVAILABLE), left_on=KNOWN_UNTIL, right_on=AVAILABLE, by=_KEY, check_sortedness=False
                )
                .sort("row")
            )
        else:
            joined = placed.join(values, on=_KEY, how="left", maintain_order="left")
        return joined.with_columns(
            pl.coalesce(columns[name], f"new {columns[name]}").alias(columns[name]) for name in self.names
        ).select(names)


def scan_table_of(
    table: CovariateTable,
    source: Source,
    clock: Clock,
    *,
    frame: pl.DataFrame | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> ScannedTable:
    """Scan a table of covariates.

    Args:
        table: The table.
        source: The source of the measurements.
        clock: Whether times are timestamps or integer steps.
        frame: A frame that is read in its place.
        storage_options: Options of the object store.

    Returns:
        Its rows.

    Raises:
        SourceError: The table cannot be read, or lacks a column.
        ServiceError: A remote file cannot be reached.
    """
    read = table.read_as(source)
    with_names = read.reading_covariates(table.names)
    try:
        by = table.by
        if by is None:
            columns = columns_of(with_names, storage_options, has_keys=True) if frame is None else frame.columns
            by = "id" if set(with_names.ids) <= set(columns) else "all"
        wanted = read.reading_covariates(table.names, is_shared=by == "all", available_at=table.available_at)
        if frame is not None:
            if lacking := describe_lacking(needed_columns(wanted, ()), frame.columns):
                raise SourceError(f"the frame lacks {lacking}")
            rows = scan_frame(frame, wanted, clock)
        else:
            rows = scan_source(wanted, clock, storage_options=storage_options)
    except (SourceError, ServiceError) as error:
        raise _of_table(error, table) from error
    place = rows.select("source_file").head(1).collect().item()
    has_version = place.startswith(f"{str(table).rstrip('/')}@v")
    return ScannedTable(table, wanted, rows, by, place if has_version else str(table))


def series_keys(classes: pl.LazyFrame, spec: Spec) -> dict[str, pl.DataFrame]:
    """Return the key of each series, by the column of the source that has it.

    Args:
        classes: Rows of the source with categories, among them the columns that tables are joined by.
        spec: The spec.

    Returns:
        unique_id and key, sorted.

    Raises:
        SourceError: A series has several values in a column.
    """
    named = classes.select("unique_id", "categories").unique().explode("categories").unnest("categories")
    found = named.drop_nulls(["unique_id", "value"]).unique().sort("unique_id", "name", "value").collect()
    keys = {}
    for column in spec.covariates.by_columns:
        of_column = found.filter(name=column).select("unique_id", key="value")
        several = of_column.filter(pl.col("unique_id").is_duplicated())
        if several.height:
            name = several["unique_id"][0]
            values = ", ".join(map(repr, several.filter(unique_id=name)["key"].head(NUM_NAMED)))
            raise SourceError(
                f"source {spec.source}: series '{name}' has several values in '{column}', {values};"
                " a table of covariates is joined by a column that is constant in each series (covariates.tables.by)"
            )
        keys[column] = of_column
    return keys


def read_table(
    scanned: ScannedTable, spec: Spec, *, keys: Mapping[str, pl.DataFrame] | None, zone: str | None
) -> JoinedTable:
    """Read the values of a table.

    Args:
        scanned: Its rows.
        spec: The spec.
        keys: The keys of series by column, as `series_keys` returns them.
        zone: The zone of the measurements' times where these are in UTC; None where they state none.

    Returns:
        The values.

    Raises:
        SourceError: Too many rows or values cannot be read; a key has different values at one time, or several rows in
            a period; or times have a zone and those of the measurements have none, or the other way round.
    """
    table, freq = scanned.table, spec.freq
    try:
        _refuse_other_zone(scanned, spec, zone)
        raw, refused = _collect(scanned, spec)
        num_read = raw.height + refused.height
        notes = _describe_refused(refused, num_read, scanned.source)
        values, unread = read_values(
            raw, table.names, source=scanned.source, subject=str(table), categories=spec.covariates.categories
        )
        rows = raw.select(key="unique_id", ds="ds").hstack(values)
        if table.available_at is not None:
            rows = rows.with_columns(_read_published(raw, scanned, spec).alias(AVAILABLE))
        rows = _merge_repeats(rows, table)
        rows, is_by_period = _merge_periods(rows, table, freq)
    except SourceError as error:
        raise _of_table(error, table) from error
    own = None if scanned.by in ("id", "all") else (keys or {}).get(scanned.by)
    notes += [f"covariates of {table}: {note}" for note in unread]
    return JoinedTable(scanned.name, scanned.by, is_by_period, rows, own, num_read, refused.height, tuple(notes))


def attach_tables(
    points: pl.LazyFrame, tables: Sequence[JoinedTable], columns: Mapping[str, str], *, freq: str | int
) -> pl.LazyFrame:
    """Join tables to points, which keep the values that they have.

    Args:
        points: unique_id, ds and the columns of covariates, null where there is no value; and `KNOWN_UNTIL`, the last
            time of publication that counts, where a table has such times.
        tables: The tables.
        columns: The columns of the points by covariate.
        freq: The frequency of the points.

    Returns:
        The points in their order and columns.
    """
    for table in tables:
        points = table.attach(points, columns, freq=freq)
    return points


def publishing_ends(ds: pl.Expr, freq: str | int, label: str) -> pl.Expr:
    """Return the last time of publication that a forecast from an origin may know: the end of the origin's period.

    Args:
        ds: The origin.
        freq: The frequency.
        label: Whether `ds` is the `start` of its period or its `end`.

    Returns:
        Times on the clock of ds. Of integer steps, the origin itself.
    """
    if isinstance(freq, int) or label == "end":
        return ds
    months = num_months(freq)
    if months is not None:
        return ds.dt.offset_by(f"{months}mo")
    return ds + pl.duration(microseconds=fixed_width(freq))


def describe_joined(
    table: JoinedTable, points: pl.LazyFrame, *, freq: str | int, unique_ids: Sequence[str] | None
) -> tuple[str, list[str]]:
    """Count the rows of a table that points of series use.

    Args:
        table: The table.
        points: unique_id and ds of all points, those of the horizon among them.
        freq: The frequency of the points.
        unique_ids: All series of the source; None where the run is filtered to some of them.

    Returns:
        A line about the rows, and what is to be said about keys that match nothing.
    """
    placed = table.place(points.select("unique_id", "ds"), freq).select(_KEY).unique().collect(engine="streaming")
    num_used = table.values.join(placed, on=_KEY, how="semi").height
    how = {"id": "series and time", "all": "time"}.get(table.by, f"{table.by} and time")
    line = (
        f"{table.name}: {', '.join(table.names)}, joined by {how}; {table.num_read:,} rows read,"
        f" {table.num_refused:,} refused, {num_used:,} of {table.values.height:,} keys and times used"
    )
    if table.by == "all" or unique_ids is None:
        return line, []
    known = table.values["key"].unique()
    needed = pl.Series(unique_ids, dtype=pl.String) if table.keys is None else table.keys["key"].unique()
    unused = known.filter(~known.is_in(needed.implode())).sort()
    if unused.is_empty():
        return line, []
    of = "names of series" if table.by == "id" else f"values of '{table.by}'"
    note = (
        f"covariates of {table.name}: {len(unused):,} of {len(known):,} {of} match no series, such as '{unused[0]}';"
        " their rows are not used"
    )
    return line, [note]


def _place(ds: pl.Expr, freq: str | int, *, is_by_period: bool) -> pl.Expr:
    return make_grid(freq).period(ds) if is_by_period else ds.cast(pl.Int64)


def _collect(scanned: ScannedTable, spec: Spec) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows whose key and time can be read, newer ones first where the newest counts, and the others."""
    rows = scanned.rows
    columns = raw_columns(rows, len(scanned.table.names))
    judged = newest_first(judge_alone(rows, freq=spec.freq, now=LARGEST_TIME, unfinished=None), scanned.source)
    text = as_text("source_ds", source_dtype(rows.collect_schema()))
    refused = judged.filter(~IS_ACCEPTED).select("source_file", "source_row", "unique_id", "reason", time=text)
    published = [AVAILABLE] if scanned.source.available_at is not None else []
    accepted = judged.filter(IS_ACCEPTED).select("unique_id", "ds", *published, *columns)
    both = pl.collect_all([accepted, refused], engine="streaming")
    return both[0], both[1]


def _describe_refused(refused: pl.DataFrame, num_read: int, source: Source) -> list[str]:
    """Return a note about refused rows; raise SourceError where they are too many."""
    if refused.is_empty():
        return []
    row = refused.row(0, named=True)
    found = (
        f"{refused.height:,} of {num_read:,} rows are refused, such as row {row['source_row']} of {row['source_file']}"
        f" ('{row['time']}'): {row['reason']}"
    )
    share = refused.height / num_read
    if refused.height > 10 and share > source.allow_rejects:
        raise SourceError(f"{found}; allow_rejects = {min(1.0, share + 0.0005):.3f} leaves them out")
    return [f"covariates of {source}: {found}"]


def _merge_repeats(rows: pl.DataFrame, table: CovariateTable) -> pl.DataFrame:
    """Make one row of those of a key and time, which must have the same values."""
    key = ["key", "ds", *(name for name in (AVAILABLE,) if name in rows.columns)]
    is_repeated = rows.select(pl.struct(key).is_duplicated()).to_series()
    if not is_repeated.any():
        return rows
    repeated = rows.filter(is_repeated)
    if table.duplicates == "refuse":
        for name in table.names:
            numbers = repeated.group_by(key, maintain_order=True).agg(pl.col(name).drop_nulls().unique())
            several = numbers.filter(pl.col(name).list.len() > 1)
            if several.height:
                key_value, ds, *_, values = several.row(0)
                of = "" if key_value == SHARED else f" of '{key_value}'"
                raise SourceError(
                    f"{several.height:,} times have different values of '{name}', such as {ds}{of} with"
                    f" {' and '.join(f'{value:g}' for value in values[:NUM_NAMED])};"
                    ' duplicates = "last" takes the newest row, and by or id names what rows belong to'
                )
    merged = repeated.group_by(key, maintain_order=True).agg(pl.col(name).drop_nulls().first() for name in table.names)
    return pl.concat([rows.filter(~is_repeated), merged.select(rows.columns)])


def _merge_periods(rows: pl.DataFrame, table: CovariateTable, freq: str | int) -> tuple[pl.DataFrame, bool]:
    """Return rows by key and place, and whether places are periods; several rows of a period need an aggregate."""
    if isinstance(freq, int):
        return _at_place(rows, freq, is_by_period=False), False
    key = [*_KEY, *(name for name in (AVAILABLE,) if name in rows.columns)]
    time = pl.col("ds") - pl.duration(microseconds=1) if table.label == "end" else pl.col("ds")
    is_coarse = is_day_or_coarser(freq)
    rows = rows.filter(~is_closed(freq, pl.col("ds"))) if is_coarse else rows
    periods = rows.with_columns(place=_place(time, freq, is_by_period=True)).sort("key", "ds")
    if table.aggregate is not None:
        coded = [name for name in table.names if is_coded(rows[name].drop_nulls().to_numpy())]
        if coded and table.aggregate not in ("first", "last"):
            raise SourceError(
                f"covariate '{coded[0]}' has names, which have no {table.aggregate}; aggregate = first or last"
            )
        grouped = periods.group_by(key, maintain_order=True)
        known = {name: pl.col(name).drop_nulls() for name in table.names}
        values = (
            pl.when(each.len() > 0).then(getattr(each, str(table.aggregate))()).cast(pl.Float64).alias(name)
            for name, each in known.items()
        )
        return grouped.agg(*values), True
    several = periods.group_by(key, maintain_order=True).agg(pl.len().alias("number"), pl.col("ds").head(2))
    several = several.filter(pl.col("number") > 1)
    if several.height:
        name, number, times = several.select("key", "number", "ds").row(0)
        of = "" if name == SHARED else f" of '{name}'"
        raise SourceError(
            f"{several.height:,} periods of {freq} have several rows, such as the {number}{of} at"
            f" {', '.join(map(str, times))}{' and later' if number > 2 else ''}; aggregate = mean, sum, last, first,"
            " max or min makes one of them"
        )
    return _at_place(rows if not is_coarse else periods, freq, is_by_period=is_coarse), is_coarse


def _at_place(rows: pl.DataFrame, freq: str | int, *, is_by_period: bool) -> pl.DataFrame:
    if not is_by_period:
        rows = rows.with_columns(place=_place(pl.col("ds"), freq, is_by_period=False))
    return rows.select(*_KEY, pl.exclude(*_KEY, "ds"))


def _read_published(raw: pl.DataFrame, scanned: ScannedTable, spec: Spec) -> pl.Series:
    """Return the times at which rows were published, on the clock of ds; raise SourceError where one is not known."""
    source, dtype = scanned.source, raw.schema[AVAILABLE]
    subject = f"available_at column '{source.available_at}'"
    refuse_time(dtype, clock=spec.clock, subject=subject)
    rows = raw.lazy().select("unique_id", ds=AVAILABLE, y=pl.lit(1.0))
    if source.timezone is not None and spec.clock == "timestamp":
        rows = add_declared(rows, source.timezone)
    published = read_columns(rows, freq=spec.freq).select("ds").collect().to_series()
    if published.null_count():
        row = raw.filter(published.is_null()).select("unique_id", "ds", pl.col(AVAILABLE).cast(pl.String)).row(0)
        raise SourceError(
            f"{published.null_count():,} rows have no time in '{source.available_at}' (available_at), such as that at"
            f" {row[1]}, which has {row[2]!r}; every row needs the time at which it was published"
        )
    if spec.clock == "timestamp" and source.timezone is None and not keeps_wall_clock(spec.freq):
        zoned = [_has_zone(pl.LazyFrame({"ds": raw[AVAILABLE]})), _has_zone(scanned.rows)]
        if zoned[0] != zoned[1]:
            has, needs = ("a time zone" if each else "no time zone" for each in zoned)
            raise SourceError(f"{subject} has {has}, but times have {needs}; timezone names that of times without one")
    return published


def _has_zone(rows: pl.LazyFrame) -> bool:
    return zone_of([rows], "times", "timestamp", "1h") is not None


def _refuse_other_zone(scanned: ScannedTable, spec: Spec, zone: str | None) -> None:
    """Refuse times that have a zone where those of the measurements have none, or the other way round."""
    if spec.clock == "step" or keeps_wall_clock(spec.freq):
        return
    own = local_zone(scanned.rows, scanned.source, spec.clock, spec.freq)
    if (own is None) != (zone is None):
        of_table, of_source = ("are in a time zone" if each else "have no time zone" for each in (own, zone))
        raise SourceError(
            f"times {of_table}, but those of the measurements {of_source}; timezone names the zone of times without one"
        )


def _of_table(error: SourceError | ServiceError, table: CovariateTable) -> SourceError | ServiceError:
    """Return the error as one of the table, whose fields are not those of the source."""
    text = str(error).removeprefix(f"{table}: ")
    return type(error)(
        f"covariates of {table}: {text} (here these are fields of [[covariates.tables]], or of --covariates"
        f" '{table} FIELD=VALUE')"
    )
