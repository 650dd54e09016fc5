"""Databases as sources: what is read, how often, which part, and what errors say."""

import sqlite3
import sys
import tomllib
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import ServiceError, SourceError, SpecError, UserError
from forecasting.series import database, sqlite
from forecasting.series.database import read_database
from forecasting.series.inputs import Input
from forecasting.series.once import reading_once, temporary_folder
from forecasting.series.read import scan_source
from forecasting.spec.place import Scope
from forecasting.spec.source import Source, as_uri, make_source
from forecasting.spec.spec import make_spec, read_spec

OPTIONS = {"freq": 1, "season_lengths": 4, "horizon": 2, "recipe": "fast", "overrides": {"max_steps": 2}}
OPTIONS |= {"processes": 1, "progress": False}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with a table of forty steps of one series."""
    path = tmp_path / "sales.db"
    execute(path, "CREATE TABLE sales (unique_id, ds, y, extra)")
    rows = [("a", step, float(step % 4), b"bytes") for step in range(40)]
    execute(path, "INSERT INTO sales VALUES (?, ?, ?, ?)", rows)
    return path


def execute(path: Path, sql: str, rows: list[Any] | None = None) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql) if rows is None else connection.executemany(sql, rows)


def source_of(path: Path, **fields: Any) -> Source:
    return Source(**{"uri": f"sqlite:///{path}", **fields})


def values_of(path: Path, column: str) -> pl.Series:
    rows, _ = read_database(source_of(path, table="t", target=column))
    return rows.collect()[column]


def test_only_needed_columns_are_read_from_a_table_or_a_query(path: Path) -> None:
    rows, name = read_database(source_of(path, table="sales"))
    assert rows.collect().columns == ["unique_id", "ds", "y"]
    assert name == f"sqlite:///{path} (table sales)"
    query = "SELECT *, y * 2 AS double FROM sales WHERE ds < 3 -- the first ones\n;"
    scanned = scan_source(source_of(path, query=query, target="double"), "step").collect()
    assert scanned["y"].to_list() == [0, 2, 4]
    assert scanned["source_file"].unique().to_list() == [f"sqlite:///{path} (query)"]
    assert scanned["source_row"].to_list() == [1, 2, 3]


def test_columns_of_sqlite_have_the_types_of_their_values(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    execute(path, "CREATE TABLE t (unique_id, ds, whole, number, mixed, late, absent)")
    rows: list[Any] = [("a", 1, 2**60 + 1, 1, 0.1, None, None)] * 1200 + [("a", 2, None, 0.1, "x", 2.5, None)]
    execute(path, f"INSERT INTO t VALUES ({', '.join('?' * 7)})", rows)
    assert values_of(path, "whole").to_list()[-2:] == [2**60 + 1, None]
    assert values_of(path, "number").to_list()[-2:] == [1.0, 0.1]
    assert [float(text) for text in values_of(path, "mixed")[:2]] == [0.1, 0.1]
    assert values_of(path, "mixed")[-1] == "x"
    assert values_of(path, "late").to_list()[-2:] == [None, 2.5]
    assert values_of(path, "absent").dtype == pl.String


def test_a_run_reads_a_database_once_and_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    stream = sqlite.stream
    monkeypatch.setattr(database.sqlite, "stream", lambda uri, relation: read.append(uri) or stream(uri, relation))
    monkeypatch.setattr("tempfile.tempdir", str(path.parent))
    before = set(path.parent.iterdir())
    uri = f"sqlite:///{path}"
    result = fc.forecast(uri, source={"table": "sales"}, **OPTIONS)
    assert read == [uri]
    assert set(path.parent.iterdir()) == before
    assert result.forecasts["ds"].max() == 41
    execute(path, "INSERT INTO sales VALUES ('a', 40, 1.0, NULL)")
    result = fc.forecast(uri, source={"table": "sales"}, **OPTIONS)
    assert result.forecasts["ds"].max() == 42
    assert read == [uri, uri]


def test_categories_are_read_with_the_rows_that_give_the_frequency(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    stream = sqlite.stream
    monkeypatch.setattr(database.sqlite, "stream", lambda uri, relation: read.append(uri) or stream(uri, relation))
    execute(path, "ALTER TABLE sales ADD COLUMN shop")
    with pytest.warns(fc.DataWarning, match="frequency"):
        fc.forecast(
            f"sqlite:///{path}",
            source={"table": "sales"},
            static="shop",
            **{**OPTIONS, "freq": None, "recipe": "standard", "overrides": {"max_steps": 1, "prior_steps": 1}},
        )
    assert len(read) == 1


def test_temporary_rows_are_deleted_after_an_error_too(path: Path) -> None:
    folders: list[Path | None] = []

    def fail() -> None:
        with reading_once():
            scan_source(source_of(path, table="sales"), "step")
            folders.append(temporary_folder())
            assert [len(list(folder.iterdir())) for folder in folders if folder] == [1]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [folder.exists() for folder in folders if folder] == [False]


def test_rows_are_read_in_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "NUM_ROWS", 7)
    with reading_once():
        rows, _ = read_database(source_of(path, table="sales"))
        assert rows.collect()["ds"].to_list() == list(range(40))


def test_rows_have_one_order_however_the_database_stores_them(path: Path) -> None:
    execute(path, "CREATE TABLE twice (unique_id, ds, y)")
    rows = [("a", step, float(step % 4 + more)) for step in range(40) for more in (0, 1)]
    execute(path, "INSERT INTO twice VALUES (?, ?, ?)", rows[::-1])
    read = read_database(source_of(path, table="twice"))[0].collect()
    assert read.rows() == rows


def test_ids_keep_their_type(path: Path) -> None:
    execute(path, "CREATE VIEW numbered AS SELECT 7 AS unique_id, ds, y FROM sales")
    assert Input(source_of(path, table="main.numbered")).id_dtypes() == {"unique_id": pl.Int64()}
    assert Input(source_of(path, table="numbered")).files() == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"table": "nope"}, r"\(table nope\) cannot be read: no such table: nope"),
        ({"table": "sales", "time": "DS"}, r"\(table sales\) lacks its time column 'DS' \(is it 'ds'\?\)"),
        ({"table": "sales", "target": "extra"}, "target column 'extra' has bytes"),
        ({"query": "SELEC 1"}, r'\(query\) cannot be read: near "1": syntax error'),
        ({"query": "SELECT 'a' unique_id, 1 ds, 1 y, 2 y"}, "has several columns 'y'"),
        ({"query": "SELECT * FROM sales WHERE ds > 99"}, r"source .* \(query\) has no rows"),
        ({"table": "sales", "duplicates": "last"}, "rows of a table have no order"),
        (
            {"uri": "sqlite:///nope.db", "table": "sales"},
            "nope.db does not exist; an absolute path follows four slashes",
        ),
    ],
)
def test_what_cannot_be_read_is_named(path: Path, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(SourceError, match=problem):
        scan_source(source_of(path, **fields), "step")
    assert not Path("nope.db").exists()


def test_locked_database_may_be_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, **options, timeout=0))
    with closing(connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ServiceError, match="database is locked"):
            scan_source(source_of(path, table="sales"), "step")


@pytest.mark.parametrize(
    ("uri", "fields", "problem"),
    [
        ("sqlite:///a.db", {}, r"a database needs table \(--table\) or query \(--query\)"),
        ("sqlite:///a.db", {"table": "a", "query": "SELECT 1"}, "exclude each other"),
        (
            "a.csv",
            {"table": "a"},
            r"table \(--table\) needs a database, .*, and '.*a\.csv' is not one",
        ),
        ("a.csv", {"query": "SELECT 1"}, r"query \(--query\) needs a database"),
        (["sqlite:///a.db", "a.csv"], {"table": "a"}, "must be the only URI"),
        ("postgresql://host/db", {"table": "a", "connection": "w"}, "connection has a host and a database of its own"),
        ("sqlite:///a.db", {"table": "a", "version": 3}, "version .* needs the URI of one Delta table"),
    ],
)
def test_fields_that_contradict_the_place_are_refused(uri: Any, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        make_source([uri] if isinstance(uri, str) else uri, fields, subject="source")


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("mysql://host/db", "must be a path or begin with postgresql://, sqlite:/// or s3://, not with mysql://"),
        ("postgresql+psycopg2://host/db", "not with postgresql\\+psycopg2://"),
        ("sqlite://sales.db", "not with sqlite://"),
        ("sales.db", "must begin with sqlite:/// where it is a SQLite database"),
    ],
)
def test_place_of_an_unknown_kind_is_refused(uri: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        make_source([uri], {"table": "sales"}, subject="source")


def test_driver_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    needed = [f'{name}; extra == "{extra}"' for extra, names in extras.items() for name in names]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: needed)
    monkeypatch.setitem(sys.modules, "adbc_driver_manager", None)
    with pytest.raises(UserError, match=r"adbc_driver_manager is needed, .*: pip install 'fleetcast\[sources\]'"):
        scan_source(Source(uri="postgresql://host/db", table="sales"), "step")


def test_connection_alone_is_a_place(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        'name = "a"\nfreq = 1\nseason_lengths = [1]\nhorizon = 1\n[source]\nconnection = "warehouse"\ntable = "x.y"\n'
    )
    source = read_spec(tmp_path / "a.toml").source
    assert str(source) == "connection warehouse (table x.y)"
    assert Source.model_validate(source.model_dump(mode="json")) == source
    with pytest.raises(SpecError, match="connection 'warehouse': is not known; set AIRFLOW_CONN_WAREHOUSE"):
        scan_source(source, "step")
    with pytest.raises(SpecError, match="a database needs table"):
        make_spec({"name": "a", "freq": 1, "source": {"connection": "warehouse"}}, subject="spec")


def test_path_of_a_database_is_relative_to_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_uri("sqlite:///a.db") == f"sqlite:///{tmp_path}/a.db"
    assert as_uri("sqlite:////data/a.db") == "sqlite:////data/a.db"


def test_part_that_is_read_is_not_a_field(path: Path) -> None:
    source = source_of(path, table="sales")
    part = source.within(Scope(until=datetime(2024, 1, 1)))
    assert part.scope.until == datetime(2024, 1, 1)
    assert source.scope.until is None
    assert part.model_dump() == source.model_dump()


def test_first_rows_check_a_database(path: Path) -> None:
    part = source_of(path, table="sales").within(Scope(most_rows=3))
    with reading_once():
        assert read_database(part)[0].collect().height == 3
        assert read_database(source_of(path, table="sales"))[0].collect().height == 40
