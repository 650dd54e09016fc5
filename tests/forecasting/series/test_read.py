"""Sources scanned as one frame, and sources that are refused."""

import gzip
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import ServiceError, SourceError, UserError
from forecasting.series.read import require_series, scan_source
from forecasting.series.reasons import Reason
from forecasting.series.validate import validate
from forecasting.spec.source import Source

COLUMNS = ["source_file", "source_row", "unique_id", "ds", "y", "written_id"]
CSV = "unique_id,ds,y\na,2024-01-01,1\nb,2024-01-02,\n"


def _source(path: Path | str, **columns: str) -> Source:
    return Source(uri=str(path), **columns)


@pytest.fixture
def frame() -> pl.DataFrame:
    return pl.DataFrame({"unique_id": ["a", "b"], "ds": [datetime(2024, 1, 1), datetime(2024, 1, 2)], "y": [1.0, None]})


def test_parquet_keeps_its_dtypes_and_numbers_its_rows_from_one(tmp_path: Path, frame: pl.DataFrame) -> None:
    file = tmp_path / "x.parquet"
    frame.write_parquet(file)
    rows = scan_source(_source(file), "timestamp").collect()
    assert rows.columns == COLUMNS
    assert rows["source_file"].to_list() == [str(file)] * 2
    assert rows["source_row"].to_list() == [1, 2]
    assert rows.select("unique_id", "ds", "y").equals(frame)


def test_csv_is_read_as_text_plain_and_compressed(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\ufeff" + CSV)
    (tmp_path / "y.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    for name in ("x.csv", "y.csv.gz"):
        rows = scan_source(_source(tmp_path / name), "timestamp").collect()
        assert rows.columns == COLUMNS
        assert rows.select("source_row", "unique_id", "ds", "y").rows() == [
            (1, "a", "2024-01-01", "1"), (2, "b", "2024-01-02", None)
        ]  # fmt: skip


def test_columns_are_found_by_the_names_of_the_source(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"y": ["s"], "store": [7], "row": [1], "day": [date(2024, 1, 1)], "sold": [3], "source_row": [9]}
    )
    frame.write_parquet(tmp_path / "x.parquet")
    source = _source(tmp_path / "x.parquet", id="store", time="day", target="sold")
    rows = scan_source(source, "timestamp").collect()
    assert rows.select("source_row", "unique_id", "ds", "y").rows() == [(1, "7", date(2024, 1, 1), 3)]


def test_every_file_of_a_folder_numbers_its_own_rows(tmp_path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_parquet(tmp_path / "b.parquet")
    rows = scan_source(_source(f"{tmp_path}/"), "timestamp").collect()
    assert rows["source_row"].to_list() == [1, 2, 1, 2]
    assert [Path(file).name for file in rows["source_file"]] == ["a.parquet"] * 2 + ["b.parquet"] * 2


def test_files_of_different_dtypes_are_read_as_one(tmp_path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(tmp_path / "a.parquet")
    frame.with_columns(pl.col("ds").cast(pl.Datetime("ns")), pl.col("y").cast(pl.Int32)).write_parquet(
        tmp_path / "b.parquet"
    )
    rows = scan_source(_source(f"{tmp_path}/*.parquet"), "timestamp").collect()
    assert rows.schema["ds"] == pl.Datetime("us")
    assert rows["y"].to_list() == [1.0, None, 1.0, None]
    (tmp_path / "c.csv").write_text(CSV + "b,soon,x\n")
    validated = validate(scan_source(_source(f"{tmp_path}/"), "timestamp"), freq="1d")
    assert validated.accepted.collect().equals(frame)
    assert ("b", "soon", "x", Reason.BAD_TIME) in validated.rejects.select(
        "unique_id", "ds", "y", "reason"
    ).collect().rows()


def test_unreadable_times_and_numbers_affect_only_their_rows(tmp_path: Path) -> None:
    text = 'unique_id,ds,y\na,2024-01-01,1\na,soon,2,too,many,fields\na,2024-01-02,N/A\n\na,2024-01-03,"3"\nä\n'
    (tmp_path / "x.csv").write_text(text)
    validated = validate(scan_source(_source(tmp_path / "x.csv"), "timestamp"), freq="1d")
    accepted, rejects = pl.collect_all([validated.accepted, validated.rejects])
    assert accepted["y"].to_list() == [1.0, 3.0]
    assert rejects.select("source_row", "reason").rows() == [
        (2, Reason.MORE_FIELDS), (3, Reason.NOT_A_NUMBER), (6, Reason.FEWER_FIELDS)
    ]  # fmt: skip


def test_missing_column_is_reported_with_its_file_and_existing_columns(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("shop,ds,amount\n1,2,3\n")
    with pytest.raises(SourceError) as caught:
        scan_source(_source(tmp_path / "x.csv"), "timestamp")
    message = str(caught.value)
    assert "x.csv lacks its id column 'unique_id' and its target column 'y'" in message
    assert "it has the columns 'shop', 'ds', 'amount'" in message


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("unique_id,ds,y,y", "its target column 'y' 2 times; every column"),
        ("ds,ds,y,unique_id,ds", "its time column 'ds' 3 times"),
        ('unique_id,unique_id,ds,y,"y"', "its id column 'unique_id' 2 times and its target column 'y' 2 times"),
    ],
)
def test_repeated_column_of_a_csv_is_refused_by_its_name(tmp_path: Path, header: str, says: str) -> None:
    (tmp_path / "x.csv").write_text(f"\ufeff{header}\n" + ",".join("1" * 5) + "\n")
    with pytest.raises(SourceError, match=f"x.csv has {says}"):
        scan_source(_source(tmp_path / "x.csv"), "step")


def test_repeated_columns_that_are_not_read_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("unique_id,,,note,note,ds,y,y_duplicated_0\na,,,,,1,2,3\n")
    assert scan_source(_source(tmp_path / "x.csv"), "step").collect()["y"].to_list() == ["2"]


@pytest.mark.parametrize("name", ["X.CSV", "x.Csv.Gz", "X.PARQUET", "x.PQ"])
def test_suffix_may_have_any_case(tmp_path: Path, frame: pl.DataFrame, name: str) -> None:
    if "csv" in name.lower():
        content = frame.write_csv().encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("Gz") else content)
    else:
        frame.write_parquet(tmp_path / name)
    for uri in (tmp_path / name, f"{tmp_path}/"):
        validated = validate(scan_source(_source(uri), "timestamp"), freq="1d")
        assert validated.accepted.collect().equals(frame)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.csv", b"", "is empty; it needs a header"),
        ("x.csv", b"unique_id,ds,y\n", "has no rows"),
        ("x.csv.gz", gzip.compress(b"", mtime=0), "is empty; it needs a header"),
        ("x.parquet", b"not parquet at all", "cannot be read: parquet"),
        ("x.parquet", b"", "cannot be read: parquet"),
    ],
)
def test_file_without_rows_is_reported_by_its_name(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name} {says}"):
        scan_source(_source(tmp_path / name), "timestamp")


def test_missing_file_is_reported_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.csv does not exist"):
        scan_source(_source(tmp_path / "nowhere.csv"), "timestamp")


def test_object_store_that_does_not_answer_raises_service_error(no_object_store: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match=r"sales\.parquet cannot be read"):
        scan_source(_source("s3://bucket/sales.parquet"), "timestamp", storage_options=no_object_store)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("ds", [1, 2], "time column 'ds' has Int64 but needs timestamps"),
        ("y", [True, False], "target column 'y' has Boolean but needs numbers"),
        ("unique_id", [1.5, 2.5], "id column 'unique_id' has Float64 but needs text"),
    ],
)
def test_column_of_another_kind_is_refused_with_its_file(
    tmp_path: Path, frame: pl.DataFrame, column: str, values: list[object], says: str
) -> None:
    frame.with_columns(pl.Series(column, values)).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=rf"x\.parquet: {says}"):
        scan_source(_source(tmp_path / "x.parquet"), "timestamp")


def test_csv_of_the_other_clock_is_refused_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text("unique_id,ds,y\na,,1\na,1,1\na,2,2\n")
    with pytest.raises(SourceError, match="times such as '1' but needs timestamps"):
        scan_source(_source(tmp_path / "steps.csv"), "timestamp")
    (tmp_path / "times.csv").write_text(CSV)
    with pytest.raises(SourceError, match="times such as '2024-01-01' but needs whole numbers"):
        scan_source(_source(tmp_path / "times.csv"), "step")


def test_csv_with_a_few_times_of_the_other_clock_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("unique_id,ds,y\na,17,1\na,2024-01-01,1\na,soon,1\n")
    rejects = validate(scan_source(_source(tmp_path / "x.csv"), "timestamp"), freq="1d").rejects.collect()
    assert rejects["source_row"].to_list() == [1, 3]


def test_filter_of_series_keeps_their_rows_with_their_numbers(tmp_path: Path) -> None:
    pl.DataFrame({"unique_id": [1, 2, 1], "ds": [1, 1, 2], "y": [0.0, 1.0, 2.0]}).write_parquet(tmp_path / "x.parquet")
    rows = scan_source(_source(tmp_path / "x.parquet"), "step", series=["1"]).collect()
    assert rows["unique_id"].to_list() == ["1", "1"]
    assert rows["source_row"].to_list() == [1, 3]


def test_unknown_series_are_named_with_similar_names() -> None:
    rows = pl.LazyFrame({"unique_id": ["EWR/UA", "JFK", None]})
    require_series(rows, ["JFK"])
    with pytest.raises(UserError) as caught:
        require_series(rows, ["JFK", "ewr/ua", "Q7", *(f"none {number:02}" for number in range(20))])
    message = str(caught.value)
    assert message.startswith("22 of 23 series are not among the 2 known: 'Q7', 'ewr/ua' (is it 'EWR/UA'?), 'none 00'")
    assert message.endswith("'none 07' and 12 more")
