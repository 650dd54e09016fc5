"""The files behind a URI, on disk and in an object store."""

import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import ServiceError, SourceError
from forecasting.series.files import describe_skipped, list_files, list_remote
from forecasting.spec.source import Source
from tests.object_store import KEY, SECRET, serve_buckets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.csv",
        "a.parquet",
        "deep/c.csv.gz",
        "deep/d.pq",
        ".hidden.csv",
        "_started.csv",
        "_tmp/x.csv",
        "deep/E.CSV",
        "notes.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def _names(files: list[str], folder: Path) -> list[str]:
    return [str(Path(file).relative_to(folder)) for file in files]


def test_existing_file_is_not_expanded_as_a_glob(tmp_path: Path) -> None:
    file = tmp_path / "[1].csv"
    file.touch()
    assert list_files(str(file), storage_options={}) == [str(file)]
    assert list_files(f"file://{file}", storage_options={}) == [str(file)]


def test_folder_has_all_files_below_it_sorted_and_without_hidden_ones(folder: Path) -> None:
    expected = ["a.parquet", "b.csv", "deep/E.CSV", "deep/c.csv.gz", "deep/d.pq"]
    for uri in (f"{folder}/", str(folder), f"file://{folder}/"):
        assert _names(list_files(uri, storage_options={}), folder) == expected


def test_files_that_are_skipped_are_named_but_hidden_ones(folder: Path) -> None:
    for name in ("x.tsv", "deep/x.csv.zip", "deep/_SUCCESS", ".x.csv.crc", "_tmp/x.txt"):
        (folder / name).touch()
    expected = (
        f"source {folder}/: files that do not end in .parquet, .pq, .csv, .csv.gz are not read:"
        f" {folder}/deep/x.csv.zip, {folder}/notes.md, {folder}/x.tsv"
    )
    assert describe_skipped(Source(uri=f"{folder}/")) == expected
    said = describe_skipped(Source(uri=(f"{folder}/deep/x*", f"{folder}/x*", f"{folder}/a.parquet")))
    assert said is not None
    assert said.endswith(f"not read: {folder}/deep/x.csv.zip, {folder}/x.tsv")
    for uri in (f"{folder}/*.csv", f"{folder}/b.csv", "s3://bucket/sales/", "<frame>"):
        assert describe_skipped(Source(uri=uri)) is None


def test_objects_that_are_skipped_are_named_as_local_files_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("x.tsv", "deep/x.csv.zip", "deep/_SUCCESS", ".x.csv.crc", "deep/Y.Csv"):
        (folder / name).touch()
    with serve_buckets(folder.parent) as url:
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_region": "x"}
        options = {"endpoint_url": url, "allow_http": "true", **keys}
        bucket = f"s3://{folder.name}"
        said = describe_skipped(Source(uri=f"{bucket}/"), options)
        assert said is not None
        names = ("deep/Y.Csv", "deep/x.csv.zip", "notes.md", "x.tsv")
        assert said.endswith(f"are not read: {', '.join(f'{bucket}/{name}' for name in names)}")
        said = describe_skipped(Source(uri=f"{bucket}/de*/"), options)
        assert said is not None
        assert said.endswith(f"are not read: {bucket}/deep/Y.Csv, {bucket}/deep/x.csv.zip")
        for uri in (f"{bucket}/*.csv", f"{bucket}/other/", "gs://other/"):
            assert describe_skipped(Source(uri=uri), options) is None
        (folder / "only").mkdir()
        (folder / "only" / "x.tsv").touch()
        with pytest.raises(SourceError, match=rf"has no file that ends in .*; it has {bucket}/only/x\.tsv"):
            list_files(f"{bucket}/only/", storage_options=options)
        assert describe_skipped(Source(uri=f"{bucket}/"), options | {"aws_access_key_id": "other"}) is None


def test_folder_of_other_files_alone_is_refused_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "x.tsv").touch()
    with pytest.raises(SourceError, match=r"has no file that ends in .*; it has \S+x\.tsv"):
        list_files(f"{tmp_path}/", storage_options={})


def test_glob_has_the_files_that_it_matches(folder: Path) -> None:
    assert _names(list_files(f"{folder}/b*.csv", storage_options={}), folder) == ["b.csv"]
    assert _names(list_files(f"{folder}/**/[cd].*", storage_options={}), folder) == ["deep/c.csv.gz", "deep/d.pq"]


def test_relative_glob_starts_in_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert list_files("deep/*.pq", storage_options={}) == ["deep/d.pq"]


def test_source_without_files_is_reported_with_its_uri(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"sales\.csv does not exist"):
        list_files(str(tmp_path / "sales.csv"), storage_options={})
    for uri in (f"{tmp_path}/*.csv", f"{tmp_path}/"):
        with pytest.raises(SourceError, match=r"has no file that ends in \.parquet"):
            list_files(uri, storage_options={})


def test_object_store_is_listed_by_polars(tmp_path: Path) -> None:
    rows = pl.DataFrame({"unique_id": ["a"], "ds": [1], "y": [1.0]})
    rows.write_parquet(tmp_path / "a.parquet")
    (tmp_path / "deep").mkdir()
    rows.write_csv(tmp_path / "deep" / "b.csv")
    root = f"file://{tmp_path}"
    expected = [f"{root}/a.parquet", f"{root}/deep/b.csv"]
    assert list_remote(f"{root}/", storage_options={}) == expected
    assert list_remote(f"{root}/*.parquet", storage_options={}) == expected[:1]
    assert list_remote(f"{root}/deep/b.csv", storage_options={}) == expected[1:]
    with pytest.raises(SourceError, match="has no file"):
        list_remote(f"{root}/*.pq", storage_options={})


def test_object_store_that_does_not_answer_raises_service_error(no_object_store: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match="cannot be listed"):
        list_files("s3://bucket/sales/*.parquet", storage_options=no_object_store)


@pytest.mark.parametrize(
    ("mark", "name"),
    [(".hoodie/x", "Hudi"), ("metadata/v1.metadata.json", "Iceberg")],
)
def test_table_with_versions_is_refused_because_of_its_older_files(tmp_path: Path, mark: str, name: str) -> None:
    for file in (mark, "a.parquet", "data/day=2024-01-01/b.parquet"):
        (tmp_path / "sales" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sales" / file).touch()
    table = tmp_path / "sales"
    for uri in (str(tmp_path), f"{table}/", f"{table}/*.parquet", f"{table}/data/day=*/*.parquet"):
        with pytest.raises(SourceError, match=rf"^source {re.escape(uri)}: {table} is a {name} table, .*scan_iceberg"):
            list_files(uri, storage_options={})
    assert list_files(f"{table}/a.parquet", storage_options={}) == [f"{table}/a.parquet"]
