"""Observations to forecast or to score by: the files of a source, or a frame in memory."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

import polars as pl

from forecasting.series.arrow_types import scan_parquet
from forecasting.series.covariates import CovariateRows, scan_covariates
from forecasting.series.delta import scan_table
from forecasting.series.files import is_csv, list_all_files
from forecasting.series.frames import IN_MEMORY, NativeFrames, read_frame
from forecasting.series.partitions import is_whole, path_keys
from forecasting.series.read import reading, scan_files, scan_frame, scan_source
from forecasting.series.stores import storage_options_of
from forecasting.series.supplied import find_supplied
from forecasting.series.zone import clock_zone, declared_clock, own_zone, zone_of
from forecasting.spec.covariate_table import CovariateTable
from forecasting.spec.frequency import Clock
from forecasting.spec.source import Source, check_source, make_source


@dataclass(frozen=True)
class Input:
    """Observations to read.

    Attributes:
        source: The files, and the names of the columns to read.
        frame: A frame that is read instead of the files.
        storage_options: Options of an object store that holds the files.
        tables: Frames that are read instead of tables of covariates, in the order of the tables; None where the table
            itself is read. Empty where all tables are.
    """

    source: Source
    frame: pl.DataFrame | None = None
    storage_options: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[pl.DataFrame | None, ...] = ()

    def scan(self, clock: Clock, *, static: Sequence[str] = ()) -> pl.LazyFrame:
        """Scan the rows.

        Args:
            clock: Whether times are timestamps or integer steps.
            static: Columns that classify whole series.

        Returns:
            Rows in the columns of `scan_source`.

        Raises:
            SourceError: There is nothing to read, or a column is missing or does not match the clock.
            ServiceError: A remote file cannot be reached.
        """
        if self.frame is not None:
            return scan_frame(self.frame, self.source, clock, static=static)
        return scan_source(self.source, clock, static=static, storage_options=self.storage_options)

    def scan_covariates(
        self, clock: Clock, names: Sequence[str], tables: Sequence[CovariateTable] = ()
    ) -> CovariateRows:
        """Scan the covariates of the input, and tables of covariates.

        Args:
            clock: Whether times are timestamps or integer steps.
            names: The columns of the input.
            tables: The tables.

        Returns:
            The rows.

        Raises:
            SourceError: A column is missing or has no numbers.
            ServiceError: A remote file cannot be reached.
        """
        return scan_covariates(
            self.source,
            clock,
            names,
            tables,
            frame=self.frame,
            frames=self.tables,
            storage_options=self.storage_options,
        )

    def zone(self, clock: Clock, freq: str | int) -> tzinfo | None:
        """Return the time zone of the input, as `clock_zone` does; None without one."""
        if self.source.timezone is not None and clock == "timestamp":
            return declared_clock(self.source.timezone, freq)
        if self.frame is not None:
            return zone_of([self.scan(clock)], str(self.source), clock, freq)
        return clock_zone(self.source, clock, freq, storage_options=self.storage_options)

    def own_zone(self, clock: Clock, freq: str | int) -> str | None:
        """Return the zone that times are written in, as `zone.own_zone` does; None without one."""
        if self.frame is not None:
            return own_zone([self.scan(clock)], str(self.source), clock, freq, timezone=self.source.timezone)
        files = scan_files(self.source, clock, storage_options=self.storage_options)
        return own_zone(files, str(self.source), clock, freq, timezone=self.source.timezone)

    def files(self) -> list[str]:
        """List every file that is read, sorted; none of a frame. Raises SourceError where a source has none."""
        if self.frame is not None or self.source.is_database:
            return []
        return list_all_files(self.source.uris, storage_options=storage_options_of(self.source, self.storage_options))

    def table_files(self, tables: Sequence[CovariateTable]) -> list[str]:
        """List every file of tables of covariates, as `files` does."""
        sources = [table.read_as(self.source) for table in tables if not table.is_database]
        return [
            file
            for source in sources
            if source.uris != (IN_MEMORY,)
            for file in list_all_files(source.uris, storage_options=storage_options_of(source, self.storage_options))
        ]

    def id_dtypes(self) -> dict[str, pl.DataType]:
        """Return the dtype of each column that names series; text of CSV files, and where files differ."""
        if self.frame is not None:
            return {name: self.frame.schema[name] for name in self.source.ids}
        if (supplied := find_supplied(self.source)) is not None:
            schema = supplied.rows.collect_schema()
            return {name: schema[name] for name in self.source.ids}
        if self.source.is_database:
            from forecasting.series.database import read_database

            schema = read_database(self.source)[0].collect_schema()
            return {name: schema[name] for name in self.source.ids}
        of_files = [self._id_dtypes(file) for file in self.files()]
        return {
            name: of_files[0][name] if len({each[name] for each in of_files}) == 1 else pl.String()
            for name in self.source.ids
        }

    def _id_dtypes(self, file: str) -> dict[str, pl.DataType]:
        if is_csv(file):
            return {name: pl.String() for name in self.source.ids}
        options = storage_options_of(self.source, self.storage_options)
        if file.endswith("/"):
            rows, _ = scan_table(file, self.source.version, storage_options=options)
            schema = rows.collect_schema()
            return {name: schema[name] for name in self.source.ids}
        with reading(file):
            schema = scan_parquet(file, self.source.ids, options).collect_schema()
        keys = path_keys(file)
        return {
            name: schema[name] if name in schema else pl.Int64() if is_whole(keys[name]) else pl.String()
            for name in self.source.ids
        }


def read_input(
    given: Any,
    fields: Mapping[str, Any],
    *,
    static: Sequence[str] = (),
    covariates: Sequence[str] = (),
    storage_options: Mapping[str, str] | None = None,
    subject: str = "frame",
) -> tuple[Input, NativeFrames]:
    """Read a frame, or the paths of files, as an input.

    Args:
        given: A frame of long data, a path, or several paths.
        fields: Fields of a `Source` besides its URI, by name. A frame without `id` and without a column `unique_id` is
            one series; see `read_frame`.
        static: Columns of categories.
        covariates: Columns of covariates.
        storage_options: Options of an object store that holds the files.
        subject: What an error about paths names.

    Returns:
        The input, and the kind of frame that results come back as.

    Raises:
        SpecError: A path is not that of a parquet or CSV file, a folder or a glob.
        SourceError: The frame cannot be read.
    """
    if (paths := as_paths(given)) is not None:
        source = make_source(paths, fields, subject=subject)
        frames = NativeFrames(id=source.id, time=source.time, target=source.target)
        return Input(source, None, storage_options or {}), frames
    columns = check_source([IN_MEMORY], fields, subject=subject)
    id = columns.id if "id" in columns.model_fields_set else None
    frame, frames = read_frame(
        given,
        id=id,
        time=columns.time,
        target=columns.target,
        static=static,
        covariates=covariates,
        newer=columns.newer,
    )
    return Input(columns.model_copy(update={"id": frames.id}), frame), frames


def as_paths(given: Any) -> list[str] | None:
    """Return paths of files as text; None of anything else."""
    if isinstance(given, (str, os.PathLike)):
        return [os.fspath(given)]
    if isinstance(given, (list, tuple)) and given and all(isinstance(one, (str, os.PathLike)) for one in given):
        return [os.fspath(one) for one in given]
    return None
