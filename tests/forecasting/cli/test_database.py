"""The commands on databases: options, errors and specs."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.postgres import PASSWORD, Server

Fleetcast = Callable[..., Any]
SPEC = """name = "stock"
freq = "1h"
season_lengths = [6]
horizon = 4
[source]
connection = "warehouse"
table = "stock"
"""


@pytest.fixture
def stock(tmp_path: Path, hourly: Callable[..., pl.DataFrame]) -> str:
    """The path of a SQLite database with a table of two series."""
    rows = hourly("b", "a").with_columns(pl.col("ds").cast(pl.String))
    with closing(sqlite3.connect(tmp_path / "stock.db")) as connection, connection:
        connection.execute("CREATE TABLE stock (unique_id, ds, y)")
        connection.executemany("INSERT INTO stock VALUES (?, ?, ?)", rows.rows())
    return "sqlite:///stock.db"


@pytest.mark.parametrize(
    "words",
    [("--table", "stock"), ("--source", "table=stock"), ("--query", "SELECT * FROM stock WHERE unique_id = 'a'")],
)
def test_table_or_query_is_forecast(fleetcast: Fleetcast, stock: str, quick: list[str], words: tuple[str, str]) -> None:
    ended = fleetcast("forecast", stock, *words, "--freq", "1h", *quick, "--recipe", "fast", "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    names = pl.read_parquet("out.parquet")["unique_id"].unique().sort().to_list()
    assert names == (["a"] if words[0] == "--query" else ["a", "b"])


def test_missing_table_is_an_error_in_one_line(fleetcast: Fleetcast, stock: str, quick: list[str]) -> None:
    ended = fleetcast("forecast", stock, *quick, "--freq", "1h", "--out", "out.parquet")
    assert ended.exit_code == 2
    assert ended.err == ("error: forecast: a database needs table (--table) or query (--query), which has the rows\n")
    ended = fleetcast("forecast", stock, "--table", "nope", *quick, "--freq", "1h", "--out", "out.parquet")
    assert ended.exit_code == 2
    assert ended.err.endswith("stock.db (table nope) cannot be read: no such table: nope\n")


def test_input_may_be_a_connection_alone(fleetcast: Fleetcast, quick: list[str]) -> None:
    ended = fleetcast(
        "forecast", "--connection", "nope", "--table", "x", *quick, "--freq", "1h", "--out", "out.parquet"
    )
    assert ended.exit_code == 2
    assert "connection 'nope': is not known; set AIRFLOW_CONN_NOPE" in ended.err


def test_rows_of_a_database_are_drawn_and_checked(fleetcast: Fleetcast, stock: str, quick: list[str]) -> None:
    words = ("--table", "stock", "--freq", "1h", *quick, "--recipe", "fast", "--cutoff", "2024-01-03 06:00")
    ended = fleetcast("forecast", stock, *words, "--evaluate", stock, "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    drawn = fleetcast(
        "plot", "a", "--forecasts", "out.parquet", "--actuals", stock, "--source", "table=stock", "--out", "fan.png"
    )
    assert drawn.exit_code == 0, drawn.err
    checked = fleetcast("check", stock, "--table", "stock")
    assert checked.exit_code == 0, checked.err


@pytest.mark.postgres
def test_spec_of_a_connection_is_checked_by_its_first_rows(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], monkeypatch: pytest.MonkeyPatch, postgres: Server
) -> None:
    postgres.write("stock", hourly("b", "a"))
    Path("stock.toml").write_text(SPEC)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", postgres.secret_uri)
    assert fleetcast("specs", "check", "stock.toml").out == "ok: stock.toml (stock)\n"
    Path("stock.toml").write_text(SPEC + 'target = "sold"\n')
    refused = fleetcast("specs", "check", "stock.toml")
    assert refused.exit_code == 2
    assert "connection warehouse (table stock) lacks its target column 'sold'" in refused.err
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", postgres.secret_uri.replace(f":{PASSWORD}@", ":wrong-hunter3@"))
    refused = fleetcast("specs", "check", "stock.toml", "--debug")
    assert 'password authentication failed for user "ada"' in refused.err
    assert "hunter3" not in refused.err
