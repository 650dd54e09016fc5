"""Forecasts in files and Delta tables: replaced as a whole, or a spec's rows of them."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from forecasting.errors import SinkError, UserError
from forecasting.sinks.files import OLDEST_PART, replace_delta, replace_file
from tests.forecasting.sinks.conftest import make_rows


@pytest.mark.parametrize("name", ["forecasts.parquet", "forecasts.csv"])
def test_file_is_replaced(tmp_path: Path, rows: pl.DataFrame, name: str) -> None:
    uri = str(tmp_path / "new" / name)
    for level in (1.0, 4.0):
        replace_file(make_rows(level=level), uri=uri, storage_options={})
    stored = pl.read_parquet(uri) if name.endswith("parquet") else pl.read_csv(uri)
    assert (stored.height, stored["forecast"].max()) == (rows.height, 12.0)
    assert [path.name for path in Path(uri).parent.iterdir()] == [name]


def test_file_uri_is_a_path(tmp_path: Path, rows: pl.DataFrame) -> None:
    replace_file(rows, uri=f"file://{tmp_path}/forecasts.csv", storage_options={})
    assert (tmp_path / "forecasts.csv").is_file()


def test_parts_of_killed_publishers_are_deleted(tmp_path: Path, rows: pl.DataFrame) -> None:
    old, new, other = (tmp_path / f"{name}.tmp" for name in ("out.csv.old", "out.csv.new", "another.csv.old"))
    for part in (old, new, other):
        part.write_text("")
    for part in (old, other):
        os.utime(part, (time.time() - 2 * OLDEST_PART,) * 2)
    replace_file(rows, uri=str(tmp_path / "out.csv"), storage_options={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another.csv.old.tmp", "out.csv", "out.csv.new.tmp"]


def test_rows_of_the_spec_are_replaced_in_a_delta_table_and_others_stay(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    replace_delta(make_rows("other's"), uri=uri, spec="other's", storage_options={})
    replace_delta(make_rows(num_series=3), uri=uri, spec="sales", storage_options={})
    newer = make_rows(level=5.0).with_columns(q33=pl.lit(0.5))
    replace_delta(newer, uri=uri, spec="sales", storage_options={})
    stored = pl.read_delta(uri)
    counts = stored.group_by("spec").agg(pl.len(), pl.col("forecast").max(), pl.col("q33").count()).sort("spec")
    assert counts.rows() == [("other's", 6, 3.0, 0), ("sales", 6, 15.0, 6)]
    replace_delta(newer.clear(), uri=uri, spec="sales", storage_options={})
    assert pl.read_delta(uri)["spec"].unique().to_list() == ["other's"]


def test_steps_and_timestamps_need_a_delta_table_each(tmp_path: Path, rows: pl.DataFrame) -> None:
    uri = str(tmp_path / "table")
    replace_delta(rows, uri=uri, spec="sales", storage_options={})
    clocks = [name for name, dtype in rows.schema.items() if dtype == pl.Datetime]
    steps = rows.with_columns(pl.col(clocks).dt.epoch("d").cast(pl.Int64), spec=pl.lit("steps"))
    with pytest.raises(UserError, match=r"table cannot be written: its column run_cutoff is Datetime.*a table each"):
        replace_delta(steps, uri=uri, spec="steps", storage_options={})
    assert pl.read_delta(uri)["spec"].unique().to_list() == ["sales"]


def test_publishers_of_a_delta_table_that_race_leave_the_rows_of_one(tmp_path: Path) -> None:
    uri = str(tmp_path / "table")
    replace_delta(make_rows(), uri=uri, spec="sales", storage_options={})
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda level: replace_delta(make_rows(level=level), uri=uri, spec="sales", storage_options={}),
                (2.0, 3.0, 4.0, 5.0),
            )
        )
    assert pl.read_delta(uri).height == 6


def test_table_that_another_publisher_has_just_created_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(tmp_path / "table")
    replace_delta(make_rows("other"), uri=uri, spec="other", storage_options={})
    answers, is_table = [False], DeltaTable.is_deltatable
    monkeypatch.setattr(
        DeltaTable, "is_deltatable", lambda *given, **options: answers.pop() if answers else is_table(*given, **options)
    )
    replace_delta(make_rows(), uri=uri, spec="sales", storage_options={})
    assert answers == []
    assert sorted(pl.read_delta(uri)["spec"].unique()) == ["other", "sales"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path, rows: pl.DataFrame) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"file/forecasts.csv cannot be written: .*is a file"):
        replace_file(rows, uri=str(tmp_path / "file" / "forecasts.csv"), storage_options={})
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SinkError, match=r"folder.csv cannot be written: .*Is a directory"):
        replace_file(rows, uri=str(tmp_path / "folder.csv"), storage_options={})
    with pytest.raises(SinkError, match="cannot be written"):
        replace_delta(rows, uri=str(tmp_path / "file" / "table"), spec="sales", storage_options={})
