"""Keys of paths as columns."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.inputs import Input
from forecasting.series.native import native_types
from forecasting.series.partitions import is_whole, path_keys
from forecasting.series.read import scan_source
from forecasting.spec.source import Source

DAYS = [date(2024, 1, 1), date(2024, 1, 2)]


def write(path: Path, rows: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        rows.write_csv(path)
    else:
        rows.write_parquet(path)


def test_only_folders_with_a_key_and_a_sign_are_keys() -> None:
    assert path_keys("/data/store=1/=2/x/store=3/part=4.parquet") == {"store": "3"}
    assert path_keys("a/k=__HIVE_DEFAULT_PARTITION__/b=/x.csv") == {"k": None, "b": ""}
    assert path_keys("a/city=S%C3%A3o%20Paulo%2FBR/x.csv") == {"city": "São Paulo/BR"}


@pytest.mark.parametrize("name", ["part.parquet", "part.csv"])
def test_keys_are_names_times_and_categories(tmp_path: Path, name: str) -> None:
    for store in (2, 10):
        for day in DAYS:
            write(tmp_path / f"region=north/store={store}/day={day}" / name, pl.DataFrame({"sold": [float(store)]}))
    source = Source(uri=f"{tmp_path}/", id="store", time="day", target="sold")
    rows = scan_source(source, "timestamp", static=["region"]).collect()
    assert rows.schema["ds"] == (pl.Date if name == "part.parquet" else pl.String)
    rows = rows.with_columns(pl.col("ds").cast(pl.String), pl.col("y").cast(pl.Float64)).sort("y", "ds")
    assert rows.select("unique_id", "ds", "y").rows() == [
        (store, str(day), float(store)) for store in ("2", "10") for day in DAYS
    ]
    assert rows["categories"].explode().struct.field("value").unique().to_list() == ["north"]


def test_whole_numbers_in_paths_of_parquet_files_come_back_as_numbers(tmp_path: Path) -> None:
    for store in ("2", "10"):
        write(tmp_path / f"store={store}/x.parquet", pl.DataFrame({"ds": DAYS, "y": [1.0, 2.0]}))
    given = Input(Source(uri=f"{tmp_path}/", id="store"))
    assert native_types(given, "timestamp", "1d").unique_id == pl.Int64
    write(tmp_path / "store=007/x.parquet", pl.DataFrame({"ds": DAYS, "y": [1.0, 2.0]}))
    assert native_types(given, "timestamp", "1d").unique_id == pl.String
    assert [is_whole(value) for value in ("7", "-7", "0", "007", "7.0", "", None)] == [True] * 3 + [False] * 3 + [True]


@pytest.mark.parametrize("name", ["x.parquet", "x.csv"])
def test_a_key_that_the_file_has_too_must_be_the_same(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"store": [1, 1], "ds": DAYS, "y": [1.0, 2.0]})
    write(tmp_path / "store=1" / name, frame)
    source = Source(uri=f"{tmp_path}/", id="store")
    assert scan_source(source, "timestamp").collect()["unique_id"].to_list() == ["1", "1"]
    write(tmp_path / "store=2" / name, frame)
    with pytest.raises(SourceError, match=r"store=2.* has a column 'store' with '1', but its path says '2'"):
        scan_source(source, "timestamp")


def test_a_column_that_neither_file_nor_path_has_is_refused_with_the_keys(tmp_path: Path) -> None:
    write(tmp_path / "store=1/x.parquet", pl.DataFrame({"day": DAYS, "y": [1.0, 2.0]}))
    with pytest.raises(SourceError, match="lacks its time column 'ds'; it has the columns 'day', 'y', 'store'"):
        scan_source(Source(uri=f"{tmp_path}/", id="store"), "timestamp")
