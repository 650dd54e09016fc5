"""Types and values of other libraries that Polars does not have."""

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecasting.errors import SourceError
from forecasting.series.frames import read_frame
from forecasting.series.ingest import Ingested, ingest
from forecasting.series.inputs import Input
from forecasting.series.native import NativeTypes, native_types
from forecasting.series.read import reading, scan_frame, scan_source
from forecasting.series.reasons import Reason
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec

HOURS = [datetime(2024, 1, 1, hour) for hour in range(4)]


def at_offset(offset: str, **columns: Any) -> pa.Table:
    times = pa.array(HOURS, pa.timestamp("us")).cast(pa.timestamp("us", offset))
    return pa.table({"unique_id": ["a"] * 4, "ds": times, "y": [1.0, 2.0, 3.0, 4.0]} | columns)


def read(frame: pl.DataFrame, freq: str) -> Ingested:
    source = Source(uri="x.parquet", allow_rejects=1)
    spec = make_spec({"name": "x", "freq": freq, "season_lengths": [7], "horizon": 2, "source": source}, subject="x")
    return ingest(spec, rows=scan_frame(frame, source, "timestamp"))


@pytest.mark.parametrize(("offset", "zone"), [("+05:30", "Asia/Kolkata"), ("-09:30", "Pacific/Marquesas")])
def test_times_of_a_file_at_a_part_of_an_hour_are_in_a_zone_that_has_it(tmp_path: Path, offset: str, zone: str) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(at_offset(offset, other=[1, 2, 3, 4]), path)
    rows = scan_source(Source(uri=str(path)), "timestamp").collect()
    assert rows.schema["ds"] == pl.Datetime("us", zone)
    assert rows["ds"].dt.convert_time_zone("UTC").dt.replace_time_zone(None).to_list() == HOURS
    assert rows["source_row"].to_list() == [1, 2, 3, 4]
    frame, _ = read_frame(at_offset(offset), id=None, time="ds", target="y")
    assert frame["ds"].equals(rows["ds"])
    given = Input(Source(uri=str(path)))
    assert native_types(given, "timestamp", "1h") == NativeTypes(pl.String(), pl.Datetime("us", zone))


def test_an_offset_without_a_zone_is_refused_by_name(tmp_path: Path) -> None:
    pq.write_table(at_offset("+01:15"), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"x.parquet: column 'ds' has the time zone \+01:15, which no IANA zone"):
        scan_source(Source(uri=str(tmp_path / "x.parquet")), "timestamp")
    with pytest.raises(SourceError, match=r"<frame>: column 'ds' has the time zone \+01:15"):
        read_frame(at_offset("+01:15"), id=None, time="ds", target="y")


def test_decimals_of_256_bits_are_numbers() -> None:
    table = at_offset("UTC", y=pa.array([Decimal("1.25")] * 4, pa.decimal256(50, 2)))
    assert read_frame(table, id=None, time="ds", target="y")[0]["y"].to_list() == [1.25] * 4


@pytest.mark.parametrize(
    ("dtype", "freq"),
    [
        (pl.Datetime("us"), "1h"),
        (pl.Datetime("us", "Europe/Berlin"), "1h"),
        (pl.Datetime("us", "Asia/Tokyo"), "1d"),
        (pl.Datetime("ms"), "1h"),
        (pl.Date(), "1d"),
    ],
)
def test_infinite_times_are_refused_rows(dtype: pl.DataType, freq: str) -> None:
    width = timedelta(hours=1) if freq == "1h" else timedelta(days=1)
    known = pl.Series([datetime(2024, 1, 1) + width * number for number in range(30)]).cast(dtype)
    infinite = pl.Series([2**31 - 1, -(2**31) + 1] if dtype == pl.Date else [2**63 - 1, -(2**63) + 1])
    times = pl.concat([known, infinite.cast(pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype)])
    ingested = read(pl.DataFrame({"unique_id": "a", "ds": times, "y": range(32)}), freq)
    assert ingested.observations.height == 30
    assert ingested.rejects["reason"].to_list() == [Reason.OUT_OF_RANGE] * 2
    assert ingested.rejects["ds"].to_list() == ["infinity", "-infinity"]


def test_infinity_of_a_duckdb_relation_is_a_refused_row() -> None:
    relation = duckdb.sql(
        "SELECT 'a' AS unique_id, unnest([TIMESTAMP '2024-01-01', TIMESTAMP '2024-01-02', TIMESTAMP 'infinity']) AS ds,"
        " 1.0 AS y"
    )
    frame, _ = read_frame(relation, id=None, time="ds", target="y")
    assert read(frame, "1d").rejects["ds"].to_list() == ["infinity"]


def test_a_panic_of_polars_is_an_error_of_the_source() -> None:
    for uri in ("x.parquet", "s3://bucket/x.parquet"):
        with pytest.raises(SourceError, match=f"{uri} cannot be read: unexpected"), reading(uri):
            raise pl.exceptions.PanicException("unexpected")
