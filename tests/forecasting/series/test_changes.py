"""Changed rows of a database or a Delta table: those at or after a value and those without one; the source's extent."""

import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

from forecasting.errors import SourceError
from forecasting.series.changes import read_changes
from forecasting.series.relation import Extent
from forecasting.spec.source import Source
from tests.postgres import Server

DAYS = [datetime(2024, 1, day) for day in (1, 2, 3, 4)]
ROWS = pl.DataFrame({"unique_id": "a", "ds": [4, 3, 2, 1], "y": 1.0})
VALUES = {
    "naive": pl.Series([*DAYS[:3], None]),
    "zoned": pl.Series([*DAYS[:3], None]).dt.replace_time_zone("Asia/Tokyo"),  # nine hours before those in UTC
    "day": pl.Series([*DAYS[:3], None]).cast(pl.Date),
    "number": pl.Series([1, 2, 3, None]),
    "decimal": pl.Series([1.0, 2.0, float("nan"), None]),
}
SINCE: list[tuple[str, Any, int]] = [
    ("naive", DAYS[1], 3),
    ("naive", DAYS[1] + timedelta(microseconds=1), 2),
    ("zoned", DAYS[1] - timedelta(hours=9), 3),
    ("zoned", DAYS[1], 2),
    ("day", DAYS[1] + timedelta(hours=7), 3),
    ("number", 2, 3),
    ("number", 2.5, 2),
    ("decimal", 2, 3),
    ("number", DAYS[0], 4),  # the column had times before, so that all rows are read
]


def num_changed(source: Source, since: Any, path: Path) -> int:
    changes = read_changes(source, (), since, path=path / "changes.parquet")
    assert changes.extent == Extent(4, 1)
    return changes.rows.collect().height


@pytest.mark.parametrize(("column", "since", "expected"), SINCE)
def test_delta_table_has_changed_rows_by_any_type_of_modification(
    column: str, since: Any, expected: int, tmp_path: Path
) -> None:
    write_deltalake(tmp_path / "lake", ROWS.with_columns(changed=VALUES[column]))
    source = Source(uri=f"{tmp_path}/lake/", modified="changed")
    assert num_changed(source, since, tmp_path) == expected


@pytest.mark.postgres
def test_postgres_has_changed_rows_by_any_type_of_modification(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    postgres.write("typed", ROWS.with_columns(**VALUES))
    for column, since, expected in SINCE:
        source = Source(uri=postgres.uri, table="typed", modified=column)
        assert num_changed(source, since, tmp_path) == expected, column


@pytest.mark.parametrize(
    ("values", "since", "expected"),
    [
        (["2024-01-01", "2024-01-02 00:00:00", "2024-01-03T00:00:00+00:00", None], DAYS[1], 3),
        (["2024-01-02 08:59:00+09:00", "2024-01-02T09:01:00+09:00", "soon", None], DAYS[1], 3),
        ([1, 2, 3, None], 2, 3),
    ],
)
def test_sqlite_compares_texts_as_instants(values: list[Any], since: Any, expected: int, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "sales.db")) as connection, connection:
        connection.execute("CREATE TABLE sales (unique_id, ds, y, changed)")
        rows = [("a", 4 - place, 1.0, value) for place, value in enumerate(values)]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
    source = Source(uri=f"sqlite:///{tmp_path}/sales.db", table="sales", modified="changed")
    assert num_changed(source, since, tmp_path) == expected


def test_column_of_modifications_that_is_lacking_is_named(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "lake", ROWS.with_columns(changed=date(2024, 1, 1)))
    source = Source(uri=f"{tmp_path}/lake/", modified="Changed")
    with pytest.raises(SourceError, match=r"lacks its modified column 'Changed' \(is it 'changed'\?\)"):
        read_changes(source, (), None, path=tmp_path / "changes.parquet")
