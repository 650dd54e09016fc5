"""Delta tables are read by their logs: versions, partitions, deleted rows, and never as loose files."""

import base64
import json
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from forecasting.errors import ServiceError, SourceError, SpecError
from forecasting.series.files import describe_skipped
from forecasting.series.inputs import Input
from forecasting.series.once import reading_once
from forecasting.series.read import scan_source
from forecasting.spec.source import Source, make_source
from tests.object_store import KEY, SECRET, serve_buckets

DAYS = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 3), "1d", eager=True)
ROWS = pl.DataFrame({"unique_id": [7] * 3, "ds": DAYS, "y": [1.0, 2.0, 3.0]})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Version 0 has three rows; version 1 has other measurements in their place, and version 2 has those of 8 too."""
    root = tmp_path / "lake" / "sales"
    root.parent.mkdir()
    write_deltalake(root, ROWS, partition_by=["unique_id"])
    write_deltalake(root, ROWS.with_columns(pl.col("y") * 10), mode="overwrite")
    write_deltalake(root, ROWS.with_columns(unique_id=pl.lit(8, pl.Int64)), mode="append")
    return root


def read(uri: Any, **fields: Any) -> pl.DataFrame:
    return scan_source(Source(uri=str(uri), **fields), "timestamp").collect().sort("unique_id", "ds")


def test_newest_version_or_the_named_one_is_read(table: Path) -> None:
    for uri in (table, f"{table}/", f"file://{table}"):
        rows = read(uri)
        assert rows["y"].to_list() == [10, 20, 30, 1, 2, 3]
        assert rows["unique_id"].to_list() == ["7"] * 3 + ["8"] * 3
    assert rows["source_file"].unique().to_list() == [f"{table}@v2"]
    assert sorted(rows["source_row"]) == [1, 2, 3, 4, 5, 6]
    assert read(table, version=0)["y"].to_list() == [1, 2, 3]
    assert read(table, version="1")["source_file"][0] == f"{table}@v1"
    assert read(table, version="2999-01-01")["source_file"][0] == f"{table}@v2"
    assert describe_skipped(Source(uri=str(table))) is None


def test_types_of_columns_are_those_of_the_table(table: Path) -> None:
    given = Input(Source(uri=str(table)))
    assert given.id_dtypes() == {"unique_id": pl.Int64()}
    assert given.files() == [f"{table}/"]


def test_version_that_does_not_exist_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"sales has no version 3 \(source.version\); its newest one is 2"):
        read(table, version=3)
    with pytest.raises(SourceError, match=r"sales has no version of 2020-01-01 00:00:00 .*; its oldest one is of 20"):
        read(table, version="2020-01-01")
    ROWS.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a.parquet has a version \(source.version\), but is not a Delta table"):
        read(tmp_path / "a.parquet", version=3)


@pytest.mark.parametrize("version", [-1, "yesterday", True, 1.5])
def test_text_that_is_not_a_version_is_refused(version: Any) -> None:
    with pytest.raises(SpecError, match=r"version = .*: must be a whole number from 0, or a time in ISO 8601"):
        make_source(["t/"], {"version": version}, subject="source")
    with pytest.raises(SpecError, match=r"version .* needs the URI of one Delta table, and nothing else"):
        make_source(["t/", "u/"], {"version": 1}, subject="source")


def test_files_of_a_table_are_never_read_as_loose_files(table: Path) -> None:
    (part,) = (table / "unique_id=8").glob("*.parquet")
    ROWS.write_parquet(table.parent / "loose.parquet")
    for uri in (f"{table.parent}/", f"{table}/unique_id=8/", f"{table}/**/*.parquet", f"{table.parent}/*/*/*", part):
        with pytest.raises(SourceError, match=rf"has files of the Delta table {table}, .* name the table itself"):
            read(uri)
    assert read(f"{table.parent}/*.parquet").height == 3


def test_path_that_uris_escape_is_refused_because_its_files_are_not_found(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "my table", ROWS)
    with pytest.raises(SourceError, match="my table cannot be read as a Delta table, because its path has blanks"):
        read(tmp_path / "my table")


def test_table_and_file_together_are_one_source(table: Path, tmp_path: Path) -> None:
    ROWS.with_columns(unique_id=pl.lit(9, pl.Int64)).write_parquet(tmp_path / "more.parquet")
    rows = scan_source(Source(uri=(str(table), str(tmp_path / "more.parquet"))), "timestamp").collect()
    assert sorted(rows["unique_id"].unique()) == ["7", "8", "9"]


def test_rows_of_a_table_have_no_order_so_that_the_last_one_needs_an_age(table: Path) -> None:
    with pytest.raises(SourceError, match=r'duplicates = "last" .* needs --source newer=COLUMN .* have no order'):
        read(table, duplicates="last")
    assert read(table, duplicates="last", newer="y").height == 6


def test_missing_column_is_named_with_the_version(table: Path) -> None:
    with pytest.raises(SourceError, match=r"sales@v2 lacks its id column 'shop'"):
        read(table, id="shop")


def test_a_run_reads_one_version_though_others_write(table: Path) -> None:
    with reading_once():
        assert read(table)["source_file"][0] == f"{table}@v2"
        write_deltalake(table, ROWS, mode="overwrite")
        assert read(table)["source_file"][0] == f"{table}@v2"
        assert read(table).height == 6
    assert read(table)["source_file"][0] == f"{table}@v3"


def test_column_that_older_rows_lack_is_null_there(table: Path) -> None:
    more = ROWS.with_columns(sold=pl.lit(5.0), unique_id=pl.lit(9, pl.Int64))
    write_deltalake(table, more, mode="append", schema_mode="merge")
    assert read(table, target="sold")["y"].to_list() == [None] * 6 + [5.0] * 3


def test_times_of_tables_are_zoned_as_in_parquet(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", ROWS.with_columns(pl.col("ds").dt.replace_time_zone("Europe/Berlin")))
    assert read(tmp_path / "t").schema["ds"] == pl.Datetime("us", "UTC")
    assert read(tmp_path / "t")["ds"][0].isoformat() == "2023-12-31T23:00:00+00:00"


def append_to_log(table: Path, *actions: dict[str, Any]) -> None:
    number = DeltaTable(table).version() + 1
    (table / "_delta_log" / f"{number:020}.json").write_text("\n".join(json.dumps(action) for action in actions))


def actions_of(table: Path, kind: str) -> list[dict[str, Any]]:
    logs = sorted((table / "_delta_log").glob("*.json"))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return [line[kind] for line in lines if kind in line]


def inline_vector(*rows: int) -> dict[str, Any]:
    """Return a deletion vector, as the protocol of Delta stores it in a log: a roaring bitmap in Z85."""
    container = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16) + struct.pack(f"<{len(rows)}H", *rows)
    bitmap = struct.pack("<IQI", 1681511377, 1, 0) + container
    padded = bitmap + b"\0" * (-len(bitmap) % 4)
    rfc_1924 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
    z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    text = base64.b85encode(padded).translate(bytes.maketrans(rfc_1924, z85)).decode()
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(bitmap), "cardinality": len(rows)}


def test_rows_that_a_deletion_vector_removes_are_not_read(tmp_path: Path) -> None:
    table = tmp_path / "t"
    write_deltalake(table, ROWS)
    (added,) = actions_of(table, "add")
    features = {name: ["deletionVectors", "timestampNtz"] for name in ("readerFeatures", "writerFeatures")}
    removed = {"path": added["path"], "deletionTimestamp": 1, "dataChange": True}
    append_to_log(
        table,
        {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}},
        {"remove": removed},
        {"add": {**added, "deletionVector": inline_vector(0, 2)}},
    )
    rows = read(table)
    assert rows["y"].to_list() == [2.0]
    assert rows["source_row"].to_list() == [1]


@pytest.mark.parametrize("feature", [None, "columnMapping", "typeWidening", "fromTheFuture"])
def test_table_whose_features_cannot_be_read_is_refused(tmp_path: Path, feature: str | None) -> None:
    table = tmp_path / "t"
    write_deltalake(table, ROWS.with_columns(pl.col("ds").dt.replace_time_zone("UTC")))
    protocol: dict[str, Any] = {"minReaderVersion": 2, "minWriterVersion": 5}  # the first one with column mapping
    if feature is not None:
        features = {name: [feature] for name in ("readerFeatures", "writerFeatures")}
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, **features}
    append_to_log(table, {"protocol": protocol})
    with pytest.raises(SourceError, match=rf"/t cannot be read.*({feature or 'column mapping'})"):
        read(table)


@pytest.fixture
def store(table: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The folder `lake` of the table as a bucket of an object store; its options."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ROWS.write_parquet(table.parent / "loose.parquet")
    with serve_buckets(table.parent.parent) as url:
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_region": "x"}
        yield {"endpoint_url": url, "allow_http": "true", **keys}


def test_tables_in_an_object_store_are_read_alike(store: dict[str, str], table: Path) -> None:
    def read_remote(uri: str, **fields: Any) -> pl.DataFrame:
        return scan_source(Source(uri=uri, **fields), "timestamp", storage_options=store).collect().sort("y")

    DeltaTable(table).create_checkpoint()
    assert read_remote("s3://lake/sales")["y"].to_list() == [1, 2, 3, 10, 20, 30]
    assert read_remote("s3://lake/sales/", version=0)["source_file"][0] == "s3://lake/sales@v0"
    (part,) = (path.relative_to(table.parent) for path in (table / "unique_id=8").glob("*.parquet"))
    for uri in ("s3://lake/", "s3://lake/sales/unique_id=8/", "s3://lake/**/*.parquet", f"s3://lake/{part}"):
        with pytest.raises(SourceError, match="has files of the Delta table s3://lake/sales,"):
            read_remote(uri)
    assert read_remote("s3://lake/*.parquet")["y"].to_list() == [1, 2, 3]


def test_table_that_cannot_be_reached_may_be_tried_again(no_object_store: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match="s3://lake/sales cannot be read"):
        scan_source(Source(uri="s3://lake/sales"), "timestamp", storage_options=no_object_store)
