"""Return results in the dtypes that the input has for its ids and times."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import NoReturn
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.errors import SpecError
from forecasting.series.clock import keeps_wall_clock, parse_clock
from forecasting.series.ids import narrow, unfold_names
from forecasting.series.inputs import Input
from forecasting.spec.frequency import Clock

TIMES = ("ds", "cutoff", "origin")
"""Columns of results that hold times of the series."""


@dataclass(frozen=True)
class NativeTypes:
    """The dtypes in which results are returned.

    Attributes:
        unique_id: The input's dtype of ids; text for CSV files.
        ds: The input's dtype of times; timestamps for CSV files, in the zone of their offsets.
        keeps_wall_clock: Whether times with a zone keep its wall clock inside, as at frequencies of a day or coarser.
        timezone: The declared zone of the data (`source.timezone`).
        id_columns: The columns that name a series together, and their dtypes; empty where one column does.
    """

    unique_id: pl.DataType
    ds: pl.DataType
    keeps_wall_clock: bool = False
    timezone: str | None = None
    id_columns: Mapping[str, pl.DataType] = field(default_factory=dict)

    @property
    def zone(self) -> str | None:
        """The input's time zone; None for naive times and integer steps."""
        return self.ds.time_zone if isinstance(self.ds, pl.Datetime) else None

    @property
    def local_zone(self) -> str | None:
        """The zone on whose wall clock seasons are, where times of the pipeline are in UTC."""
        return None if self.keeps_wall_clock else self.timezone or self.zone

    def restore(self, forecasts: pl.DataFrame) -> pl.DataFrame:
        """Return a result in the input's dtypes.

        Args:
            forecasts: Rows with unique_id, ds, cutoff or origin, in the dtypes of the pipeline.

        Returns:
            The same rows, with the columns that name a series together. A column with a value outside the range of the
            input's dtype keeps the wider dtype. If a clock change skips a time of any column on the wall clock, all
            times stay naive, so they can be compared.
        """
        ids = [forecasts["unique_id"]] if self.unique_id.is_integer() and "unique_id" in forecasts.columns else []
        times = [self.restore_time(forecasts[name]) for name in TIMES if name in forecasts.columns]
        if self.keeps_wall_clock and any(self.zone and not _has_zone(column) for column in times):
            times = []
        return self.unfold(forecasts.with_columns(*(narrow(names, self.unique_id) for names in ids), *times))

    def unfold(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add the columns that name a series together after unique_id; without such columns, return the rows."""
        return unfold_names(rows, self.id_columns) if self.id_columns and "unique_id" in rows.columns else rows

    def restore_time(self, times: pl.Series) -> pl.Series:
        """Return times in the input's dtype.

        Args:
            times: Integer steps, or naive timestamps: in UTC if the input has a zone of its own or a declared one, or
                on the wall clock of the declared zone, or else its own, with `keeps_wall_clock`.

        Returns:
            The same times. If a clock change skips one of them on the wall clock, all stay naive.
        """
        if self.zone and self.keeps_wall_clock:
            local = times.dt.replace_time_zone(self.timezone or self.zone, ambiguous="earliest", non_existent="null")
            if local.null_count() > times.null_count():
                return times
            return narrow(local.dt.convert_time_zone(self.zone), self.ds)
        if self.timezone and not self.zone and not self.keeps_wall_clock:
            times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(self.timezone).dt.replace_time_zone(None)
        # Polars takes the naive time for UTC, which it is: `read_times` has converted it.
        return narrow(times, self.ds)

    def parse_cutoff(
        self, text: str, clock: Clock, *, zone: tzinfo | None = None, subject: str = "--cutoff"
    ) -> datetime | int:
        """Read a cutoff; one without an offset is on the wall clock of the input's own zone.

        Args:
            text: An ISO 8601 time or an integer step.
            clock: Whether times are timestamps or integer steps.
            zone: The zone of the pipeline's clock, for an input whose times are text with offsets.
            subject: What an error names.

        Returns:
            The cutoff on the clock of the pipeline.

        Raises:
            SpecError: The text is neither, or has an offset although the input's times have none.
        """

        def no_zone() -> NoReturn:
            raise SpecError(
                subject,
                [
                    f"{text!r} has an offset, but the times of the input have none; leave it out, or name the zone of"
                    " these times with --timezone (source.timezone)"
                ],
            )

        name = self.zone or self.timezone
        if not name or clock == "step":
            return parse_clock(text, clock, zone=zone or no_zone, subject=subject)
        own = ZoneInfo(name)
        local = parse_clock(text, clock, zone=own, subject=subject)
        inside = own if self.timezone is None else ZoneInfo(self.timezone)
        if self.keeps_wall_clock and inside == own:
            return local
        assert isinstance(local, datetime)
        return local.replace(tzinfo=own).astimezone(inside if self.keeps_wall_clock else UTC).replace(tzinfo=None)


def native_types(given: Input, clock: Clock, freq: str | int) -> NativeTypes:
    """Read an input's own types from its schema.

    Args:
        given: The input; files that differ have no type in common, so that ids stay text.
        clock: Whether times are timestamps or integer steps.
        freq: The frequency of the grid.

    Returns:
        The dtypes of ids and times that results are returned in.

    Raises:
        SourceError: The input cannot be read; see `scan_source`.
    """
    time = given.scan(clock).collect_schema()["ds"]
    ids = given.id_dtypes()
    if clock == "timestamp" and time == pl.String and (zone := given.own_zone(clock, freq)):
        time = pl.Datetime("us", zone)
    is_typed = time.is_integer() if clock == "step" else time in (pl.Date, pl.Datetime)
    plain = pl.Int64() if clock == "step" else pl.Datetime("us")
    return NativeTypes(
        next(iter(ids.values())) if len(ids) == 1 else pl.String(),
        time if is_typed else plain,
        keeps_wall_clock=keeps_wall_clock(freq),
        timezone=given.source.timezone if clock == "timestamp" else None,
        id_columns=ids if len(ids) > 1 else {},
    )


def _has_zone(times: pl.Series) -> bool:
    return isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None
