"""Whole files or none."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from forecasting.cli.files import refuse_path, whole_file, write_frame
from forecasting.errors import SpecError


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a.json", "must end in .parquet or .csv"),
        ("a", "must end in .parquet or .csv"),
        ("nowhere/a.csv", "there is no folder"),
        ("folder.csv", "is a folder"),
    ],
)
def test_path_that_could_not_be_written_is_refused(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SpecError, match=problem):
        refuse_path(tmp_path / name, option="--out")


def test_csv_has_plain_iso_times(tmp_path: Path) -> None:
    whole, part = datetime(2024, 1, 1, 5), datetime(2024, 1, 1, 5, 0, 0, 250_000)
    rows = pl.DataFrame({"whole": [whole, None], "part": [whole, part], "aware": [whole.replace(tzinfo=UTC), None]})
    write_frame(rows, tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "whole,part,aware"
    assert lines[1].startswith("2024-01-01 05:00:00,2024-01-01 05:00:00")
    assert lines[1].endswith(",2024-01-01 05:00:00+00:00")
    assert lines[2].startswith(",2024-01-01 05:00:00.25")


def test_parquet_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    write_frame(rows, tmp_path / "a.parquet")
    assert pl.read_parquet(tmp_path / "a.parquet").equals(rows)


def test_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")

    def fail_halfway() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [("a.csv", "old")]
