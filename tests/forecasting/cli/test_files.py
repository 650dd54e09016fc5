"""Files that are complete or absent."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from forecasting.cli.files import refuse_path, whole_file, write_frame, write_frames
from forecasting.errors import SpecError


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a.json", "must end in .parquet or .csv"),
        ("a", "must end in .parquet or .csv"),
        ("nowhere/a.csv", "does not exist"),
        ("folder.csv", "is a folder"),
    ],
)
def test_path_that_cannot_be_written_is_refused(tmp_path: Path, name: str, problem: str) -> None:
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


def test_parquet_is_read_back_unchanged(tmp_path: Path) -> None:
    rows = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    write_frame(rows, tmp_path / "a.parquet")
    assert pl.read_parquet(tmp_path / "a.parquet").equals(rows)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_several_frames_make_the_same_file_as_one_frame(tmp_path: Path, suffix: str) -> None:
    times = [datetime(2024, 1, day) for day in (1, 2, 3)]
    rows = pl.DataFrame({"a": pl.Series([1, 2, 3], dtype=pl.Int16), "b": ["x", "y", "ü"], "ds": times}).with_columns(
        pl.col("ds").dt.cast_time_unit("ms"), zoned=pl.col("ds").dt.replace_time_zone("America/New_York")
    )
    whole, parts = tmp_path / f"whole.{suffix}", tmp_path / f"parts.{suffix}"
    write_frame(rows, whole)
    write_frames((rows[first:last] for first, last in ((0, 0), (0, 2), (2, 3))), parts)
    if suffix == "csv":
        assert parts.read_bytes() == whole.read_bytes()
    else:
        assert pl.read_parquet(parts).equals(rows)
        assert pl.read_parquet(parts).schema == rows.schema


def test_failure_between_frames_leaves_no_file(tmp_path: Path) -> None:
    def fail_halfway() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"a": [1]})
        raise KeyboardInterrupt

    for name in ("a.csv", "a.parquet"):
        with pytest.raises(KeyboardInterrupt):
            write_frames(fail_halfway(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old", encoding="utf-8")

    def fail_halfway() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert [(file.name, file.read_text(encoding="utf-8")) for file in tmp_path.iterdir()] == [("a.csv", "old")]
