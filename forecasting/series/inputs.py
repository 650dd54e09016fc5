"""Observations to forecast or to score by: the files of a source, or a frame in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo

import polars as pl

from forecasting.series.files import is_csv, list_files
from forecasting.series.read import scan_frame, scan_source
from forecasting.series.zone import clock_zone, zone_of
from forecasting.spec.frequency import Clock
from forecasting.spec.source import Source


@dataclass(frozen=True)
class Input:
    """What is read: `frame` in the columns that `source` names, or without one the files of `source`.

    `storage_options` are those of an object store that holds the files.
    """

    source: Source
    frame: pl.DataFrame | None = None
    storage_options: Mapping[str, str] = field(default_factory=dict)

    def scan(self, clock: Clock, *, static: Sequence[str] = ()) -> pl.LazyFrame:
        """Scan the rows.

        Args:
            clock: Whether times are timestamps or integer steps.
            static: Columns that class whole series.

        Returns:
            Rows in the columns of `scan_source`.

        Raises:
            SourceError: There is nothing to read, or a column is missing or does not match the clock.
            ServiceError: A remote file cannot be reached.
        """
        if self.frame is not None:
            return scan_frame(self.frame, self.source, clock, static=static)
        return scan_source(self.source, clock, static=static, storage_options=self.storage_options)

    def zone(self, clock: Clock, freq: str | int) -> tzinfo | None:
        """Return the zone that its times have, as `clock_zone` does; None where they have none."""
        if self.frame is not None:
            return zone_of([self.scan(clock)], str(self.source), clock, freq)
        return clock_zone(self.source, clock, freq, storage_options=self.storage_options)

    def files(self) -> list[str]:
        """List every file that is read, sorted; none of a frame. Raises SourceError where a source has none."""
        if self.frame is not None:
            return []
        options = dict(self.storage_options)
        return sorted({file for uri in self.source.uris for file in list_files(uri, storage_options=options)})

    def id_dtypes(self) -> list[pl.DataType]:
        """Return the dtype of the column of series in the frame or in each file; that of a CSV file is text."""
        if self.frame is not None:
            return [self.frame.schema[self.source.id]]
        return [self._id_dtype(file) for file in self.files()]

    def _id_dtype(self, file: str) -> pl.DataType:
        if is_csv(file):
            return pl.String()
        rows = pl.scan_parquet(file, glob=False, storage_options=dict(self.storage_options))
        return rows.collect_schema()[self.source.id]
