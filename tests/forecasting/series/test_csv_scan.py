"""CSV files in dialects of their own."""

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SourceError
from forecasting.series.read import scan_source
from forecasting.series.reasons import Reason
from forecasting.series.validate import validate
from forecasting.spec.source import Source

EUROPEAN = "unique_id;ds;y\nKöln;2024-01-01;1.231,17\nKöln;2024-01-02;n/a\nKöln;2024-01-03;1,5\nKöln;2024-01-04;1.5\n"
DIALECT: dict[str, Any] = {"separator": ";", "decimal": ",", "thousands": ".", "null": ["n/a"]}


def _read(path: Path, csv: dict[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    validated = validate(scan_source(Source(uri=str(path), csv=csv), "timestamp"), freq="1d")
    accepted, rejects = pl.collect_all([validated.accepted, validated.rejects])
    return accepted, rejects


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_file_is_read_in_its_dialect_and_encoding(tmp_path: Path, encoding: str, name: str) -> None:
    content = EUROPEAN.encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    accepted, rejects = _read(tmp_path / name, DIALECT | {"encoding": encoding})
    assert accepted["unique_id"].unique().to_list() == ["Köln"]
    assert accepted["y"].to_list() == [1231.17, None, 1.5]
    assert rejects.select("source_row", "y", "reason").rows() == [(4, "1.5", Reason.NOT_A_NUMBER)]


def test_encoding_that_the_file_does_not_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(EUROPEAN.encode("utf-16"))
    with pytest.raises(SourceError, match=r"x\.csv is not utf-32: .*; --csv-encoding \(source\.csv\.encoding\)"):
        _read(tmp_path / "x.csv", DIALECT | {"encoding": "utf-32"})
    with pytest.raises(SourceError, match=r"remote CSV files must be UTF-8, not latin-1"):
        scan_source(Source(uri=f"s3://bucket/{tmp_path.name}.csv", csv={"encoding": "latin-1"}), "timestamp")


def test_null_words_are_gaps_and_other_words_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("unique_id,ds,y\nNA,2024-01-01, NA \nNA,2024-01-02,-\nNA,2024-01-03,5\n")
    accepted, rejects = _read(tmp_path / "x.csv", {"null": "NA"})
    assert accepted.select("unique_id", "y").rows() == [("NA", None), ("NA", 5.0)]
    assert rejects["reason"].to_list() == [Reason.NOT_A_NUMBER]


def test_quotes_are_text_where_the_file_has_none(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('unique_id\tds\ty\n"a\t2024-01-01\t5\nb"c\t2024-01-01\t6\n"d"\t2024-01-01\n')
    accepted, rejects = _read(tmp_path / "x.csv", {"separator": "tab", "quote": "none"})
    assert accepted.select("unique_id", "y").rows() == [('"a', 5.0), ('b"c', 6.0)]
    assert rejects["reason"].to_list() == [Reason.FEWER_FIELDS]


@pytest.mark.parametrize("rest", ["", "short\n"])
def test_dialect_of_csv_files_does_not_change_numbers_of_parquet_files_beside_them(tmp_path: Path, rest: str) -> None:
    (tmp_path / "a.csv").write_text(f"unique_id;ds;y\na;2024-01-01;1,5\n{rest}")
    rows = {"unique_id": ["a"], "ds": ["2024-01-02"], "y": [2.5]}
    pl.DataFrame(rows).write_parquet(tmp_path / "b.parquet")
    validated = validate(
        scan_source(Source(uri=f"{tmp_path}/", csv={"separator": ";", "decimal": ","}), "timestamp"), freq="1d"
    )
    assert validated.accepted.collect()["y"].to_list() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"PK\x03\x04\x14\x00", "a zip archive, as workbooks of Excel"),
        (b"PAR1\x15", "a parquet"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    ],
)
def test_file_of_another_kind_with_the_suffix_of_csv_is_named(tmp_path: Path, begin: bytes, kind: str) -> None:
    (tmp_path / "x.csv").write_bytes(begin + b"\nunique_id,ds,y\n")
    with pytest.raises(SourceError, match=rf"x\.csv is {kind}.*, not a CSV file"):
        scan_source(Source(uri=str(tmp_path / "x.csv")), "timestamp")
