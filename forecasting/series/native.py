"""Forecasts on the pipeline's clock go in; the same in the types of the input that they came from come out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import polars as pl

from forecasting.series.clock import is_day_or_coarser, parse_clock
from forecasting.series.files import is_csv, list_files
from forecasting.series.read import scan_source
from forecasting.spec.spec import Clock, Source, Spec


@dataclass(frozen=True)
class NativeTypes:
    """The dtypes that an input has for `unique_id` and `ds`; what has none of its own (CSV) is text and naive."""

    unique_id: pl.DataType
    ds: pl.DataType
    keeps_wall_clock: bool = False
    """Whether times with a zone are on its wall clock inside, as they are for frequencies of a day and coarser."""

    @property
    def zone(self) -> str | None:
        return self.ds.time_zone if isinstance(self.ds, pl.Datetime) else None

    def restore(self, forecasts: pl.DataFrame) -> pl.DataFrame:
        """Give `unique_id`, `ds` and `cutoff` the input's types; a horizon that leaves a type's range stays wide."""
        return forecasts.with_columns(
            _narrow(forecasts["unique_id"], self.unique_id) if self.unique_id.is_integer() else pl.col("unique_id"),
            *(self.restore_time(forecasts[name]) for name in ("ds", "cutoff") if name in forecasts.columns),
        )

    def restore_time(self, times: pl.Series) -> pl.Series:
        """Turn the pipeline's times (naive, UTC or wall clock where the input has a zone; or steps) into the input's.

        Wall-clock times that a clock change leaves out make the whole stay naive.
        """
        if self.zone and self.keeps_wall_clock:
            local = times.dt.replace_time_zone(self.zone, ambiguous="earliest", non_existent="null")
            return times if local.null_count() > times.null_count() else _narrow(local, self.ds)
        # Polars casts a naive time to a zone as if it were in UTC, which is what `read_times` made it.
        return _narrow(times, self.ds)

    def parse_cutoff(self, text: str, clock: Clock) -> datetime | int:
        """Read a cutoff as a person means it: without an offset, it is on the wall clock of the input's own zone."""
        if not self.zone or clock == "step":
            return parse_clock(text, clock, subject="--cutoff")
        zone = ZoneInfo(self.zone)
        local = parse_clock(text, clock, zone=zone, subject="--cutoff")
        if self.keeps_wall_clock:
            return local
        assert isinstance(local, datetime)
        return local.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def native_types(spec: Spec, *, storage_options: Mapping[str, str] | None = None) -> NativeTypes:
    """Read an input's own types from its files' schemas; raises SourceError as `scan_source` does.

    Files that differ have no type in common: their ids stay text, their times naive.
    """
    time = scan_source(spec.source, spec.clock, storage_options=storage_options).collect_schema()["ds"]
    files = input_files(spec.source, storage_options=storage_options)
    ids = {_id_dtype(file, spec.source, storage_options) for file in files}
    is_typed = time.is_integer() if spec.clock == "step" else time in (pl.Date, pl.Datetime)
    plain = pl.Int64() if spec.clock == "step" else pl.Datetime("us")
    return NativeTypes(
        ids.pop() if len(ids) == 1 else pl.String(),
        time if is_typed else plain,
        keeps_wall_clock=is_day_or_coarser(spec.freq),
    )


def input_files(source: Source, *, storage_options: Mapping[str, str] | None = None) -> list[str]:
    """List every file of a source; raises SourceError where there is none."""
    options = dict(storage_options or {})
    return sorted({file for uri in source.uris for file in list_files(uri, storage_options=options)})


def _id_dtype(file: str, source: Source, storage_options: Mapping[str, str] | None) -> pl.DataType:
    if is_csv(file):
        return pl.String()
    return pl.scan_parquet(file, glob=False, storage_options=dict(storage_options or {})).collect_schema()[source.id]


def _narrow(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    narrowed = values.cast(dtype, strict=False)
    wide = pl.Int64() if values.dtype == pl.String else values.dtype
    is_same = narrowed.cast(wide, strict=False).eq_missing(values.cast(wide, strict=False)).all()
    return narrowed if is_same else values
