"""Proposals of the dialect that a CSV file seems to have."""

from pathlib import Path
from typing import Any

import pytest

from forecasting.errors import SourceError
from forecasting.series.read import scan_source
from forecasting.series.validate import validate
from forecasting.spec.source import Source


def _scan(path: Path, **csv: Any) -> None:
    scan_source(Source(uri=str(path), csv=csv), "timestamp")


def _write(path: Path, values: list[str], separator: str = ",", encoding: str = "utf-8") -> Path:
    lines = ["unique_id,ds,y", *(f"ä,2024-01-{day:02},{value}" for day, value in enumerate(values, 1))]
    text = "\n".join(line.replace(",", separator, 2) for line in lines)
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("values", "separator", "encoding", "says"),
    [
        (["1,5", "2"], ";", "utf-8",
         "a semicolon-separated file with decimal commas: --csv-separator ';' --csv-decimal ',' (source.csv in"),
        (["1.5", "2"], "\t", "utf-8", "a tab-separated file: --csv-separator tab (source.csv"),
        (["1.231,17", "2,5"], ";", "cp1252",
         "a semicolon-separated file with decimal commas and thousands points: "
         "--csv-separator ';' --csv-decimal ',' --csv-thousands '.' (source.csv"),
        (["1.5"], ",", "utf-16", "a file in utf-16: --csv-encoding utf-16 (source.csv"),
        (["1,5"], ";", "utf-16",
         "a semicolon-separated file with decimal commas in utf-16: "
         "--csv-separator ';' --csv-decimal ',' --csv-encoding utf-16 (source.csv"),
    ],
)  # fmt: skip
def test_layout_with_the_missing_columns_is_proposed(
    tmp_path: Path, values: list[str], separator: str, encoding: str, says: str
) -> None:
    file = _write(tmp_path / "x.csv", values * 3, separator, encoding)
    with pytest.raises(SourceError, match=r"x\.csv lacks its id column 'unique_id'.*; it looks like") as caught:
        _scan(file)
    assert says in str(caught.value)


def test_separator_is_proposed_where_columns_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("shop;day;sold\na;2024-01-01;1\n")
    with pytest.raises(SourceError, match="it looks like a semicolon-separated file: --csv-separator ';'"):
        _scan(tmp_path / "x.csv")


def test_encoding_of_a_column_name_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("Händler;ds;y\na;2024-01-01;1\n".encode("latin-1"))
    with pytest.raises(SourceError, match="a file in cp1252: --csv-encoding cp1252 "):
        scan_source(Source(uri=str(tmp_path / "x.csv"), id="Händler", csv={"separator": ";"}), "timestamp")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["1,5", "22,75", "3"], "with decimal commas: --csv-decimal ',' (source.csv in a spec)"),
        (["1 231", "22 000.5"], "with thousands blanks: --csv-thousands space (source.csv"),
        (["1'231.5"], """with thousands apostrophes: --csv-thousands "'" """),
        (["1,231", "2,500"],
         "with thousands commas or a file with decimal commas: --csv-thousands ',' or --csv-decimal ',' (source.csv"),
    ],
)  # fmt: skip
def test_spelling_of_unreadable_measurements_is_proposed(tmp_path: Path, values: list[str], says: str) -> None:
    file = _write(tmp_path / "x.csv", values * 3, ";")
    with pytest.raises(SourceError, match=r"x\.csv: target column 'y' looks like a file") as caught:
        _scan(file, separator=";")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "values", [["1.5"] * 5 + ["1,5"] * 5, ["1,5"] * 3 + ["1.5"] * 4, ["many"] * 3, ["", "1,5", "1.5"], ["1.231"]]
)
def test_measurements_that_are_read_or_cannot_be_are_left_to_validation(tmp_path: Path, values: list[str]) -> None:
    _scan(_write(tmp_path / "x.csv", values, ";"), separator=";")


def test_first_series_in_another_spelling_does_not_stop_the_others(tmp_path: Path) -> None:
    rows = ["a;2024-01-01;1,5"] * 120 + ["b;2024-01-01;2.5"] * 150
    (tmp_path / "x.csv").write_text("\n".join(["unique_id;ds;y", *rows]))
    source = Source(uri=str(tmp_path / "x.csv"), csv={"separator": ";"})
    assert validate(scan_source(source, "timestamp"), freq="1d").accepted.collect()["y"].to_list() == [2.5]


def test_file_without_a_better_layout_is_refused_without_a_proposal(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("shop,day,sold\na,2024-01-01,1\n")
    with pytest.raises(SourceError) as caught:
        _scan(tmp_path / "x.csv")
    assert "looks like" not in str(caught.value)
