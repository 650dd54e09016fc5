"""Files of one source that differ in clock, zone or type of names are refused by name."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.read import scan_source
from forecasting.spec.source import Source

NAIVE = pl.DataFrame({"unique_id": ["a"], "ds": [datetime(2024, 7, 1)], "y": [1.0]})


def in_zone(zone: str) -> pl.DataFrame:
    return NAIVE.with_columns(pl.col("ds").dt.replace_time_zone(zone))


def of_text(time: str) -> pl.DataFrame:
    return NAIVE.with_columns(ds=pl.lit(time))


def write(folder: Path, name: str, rows: pl.DataFrame) -> None:
    rows.write_csv(folder / name) if name.endswith(".csv") else rows.write_parquet(folder / name)


def scan(folder: Path) -> pl.DataFrame:
    return scan_source(Source(uri=f"{folder}/"), "timestamp").collect()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"1.parquet": NAIVE, "2.parquet": NAIVE, "3.parquet": in_zone("UTC")},
            r"times in \S+/1.parquet have no time zone, but those in \S+/3.parquet are in UTC; .* on one clock",
        ),
        (
            {"1.parquet": in_zone("Europe/Paris"), "2.parquet": in_zone("UTC")},
            r"1.parquet are in Europe/Paris, but those in \S+/2.parquet are in UTC",
        ),
        (
            {"1.csv": of_text("2024-07-01 00:00:00"), "2.csv": of_text("2024-07-01T01:00:00Z")},
            r"1.csv have no time zone, but those in \S+/2.csv have offsets or names of zones",
        ),
        (
            {"1.csv": of_text("2024-07-01 00:00:00 UTC"), "2.parquet": NAIVE},
            r"1.csv have offsets .* but those in \S+/2.parquet have no time zone",
        ),
        (
            {"1.parquet": NAIVE, "2.parquet": NAIVE.with_columns(unique_id=7)},
            r"names of series are text in \S+/1.parquet but whole numbers in \S+/2.parquet",
        ),
    ],
)
def test_files_that_differ_are_refused_by_name(tmp_path: Path, files: dict[str, pl.DataFrame], message: str) -> None:
    for name, rows in files.items():
        write(tmp_path, name, rows)
    with pytest.raises(SourceError, match=message):
        scan(tmp_path)


def test_files_that_mean_the_same_are_read_together(tmp_path: Path) -> None:
    write(tmp_path, "1.parquet", NAIVE.with_columns(pl.col("ds").cast(pl.Datetime("ms")), unique_id=pl.lit(7)))
    write(tmp_path, "2.parquet", NAIVE.with_columns(pl.col("ds").cast(pl.Date), unique_id=pl.lit(7, pl.Int16)))
    write(tmp_path, "3.csv", of_text("2024-07-02").with_columns(unique_id=pl.lit(7)))
    write(tmp_path, "4.csv", of_text("").with_columns(unique_id=pl.lit(7)))
    assert scan(tmp_path)["unique_id"].to_list() == ["7"] * 4


def test_offsets_of_texts_may_differ(tmp_path: Path) -> None:
    for number, time in enumerate(["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00"]):
        write(tmp_path, f"{number}.csv", of_text(time))
    write(tmp_path, "2.parquet", in_zone("UTC"))
    assert scan(tmp_path).height == 3
