"""Forecasts in PostgreSQL: types, the swap of a spec's rows, races, privileges, kills and secrets."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest

from forecasting.errors import SinkError, UserError
from forecasting.sinks.postgres import replace_rows
from tests.forecasting.sinks.conftest import make_rows
from tests.postgres import PASSWORD, Server

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(postgres: Server) -> Iterator[Server]:
    """A server whose schema `out` is empty."""
    postgres.execute("DROP SCHEMA IF EXISTS out CASCADE", "CREATE SCHEMA out")
    yield postgres
    postgres.execute("DROP SCHEMA IF EXISTS out CASCADE")


def fetch(server: Server, sql: str) -> pl.DataFrame:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(server.secret_uri) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return pl.DataFrame(cursor.fetch_arrow_table())


def copy(server: Server, rows: pl.DataFrame, *, spec: str = "sales") -> None:
    replace_rows(rows, uri=server.secret_uri, spec=spec, table="out.forecasts")


def test_all_columns_arrive(database: Server, rows: pl.DataFrame) -> None:
    copy(database, rows)
    stored = fetch(database, "SELECT * FROM out.forecasts ORDER BY unique_id, ds")
    plain = [name for name, dtype in rows.schema.items() if not dtype.is_nested()]
    assert stored.select(plain).equals(rows.select(plain).cast(stored.select(plain).schema))
    assert json.loads(stored["unseen"][0]) == ['shop=Łódź, "1"']
    served = fetch(database, "SELECT DISTINCT unique_id FROM out.latest_forecasts")
    assert served["unique_id"].to_list() == ["s0"]


def test_rows_of_the_spec_are_replaced_and_others_stay(database: Server) -> None:
    copy(database, make_rows("other"), spec="other")
    copy(database, make_rows(num_series=3))
    copy(database, make_rows(level=5.0))
    counts = fetch(
        database, "SELECT spec, count(*) AS num, max(forecast) AS top FROM out.forecasts GROUP BY 1 ORDER BY 1"
    )
    assert counts.rows() == [("other", 6, 3.0), ("sales", 6, 15.0)]
    copy(database, make_rows().clear())
    assert fetch(database, "SELECT spec FROM out.forecasts")["spec"].unique().to_list() == ["other"]


def test_new_quantiles_become_columns(database: Server, rows: pl.DataFrame) -> None:
    copy(database, rows)
    copy(database, rows.with_columns(q33=pl.lit(0.5)))
    assert fetch(database, "SELECT q33 FROM out.forecasts")["q33"].to_list() == [0.5] * rows.height
    assert fetch(database, "SELECT q33 FROM out.latest_forecasts")["q33"].to_list() == [0.5] * 3


def test_view_that_somebody_has_changed_stays(database: Server, rows: pl.DataFrame) -> None:
    copy(database, rows)
    database.execute(
        "DROP VIEW out.latest_forecasts", "CREATE VIEW out.latest_forecasts AS SELECT spec FROM out.forecasts"
    )
    copy(database, rows.with_columns(q33=pl.lit(0.5)))
    assert fetch(database, "SELECT * FROM out.latest_forecasts").columns == ["spec"]
    database.execute("CREATE VIEW out.latest_others AS SELECT 1 AS one")
    with pytest.raises(UserError, match=r"out\.latest_others exists, but table out\.others does not"):
        replace_rows(rows, uri=database.secret_uri, spec="sales", table="out.others")


@pytest.mark.parametrize(
    ("column", "type", "message"),
    [
        ("ds", "timestamptz", "timestamp with time zone, but forecasts have timestamp without time zone"),
        ("ds", "timestamp(0)", r"timestamp\(0\) without time zone, but"),
        ("forecast", "integer", "integer, but forecasts have double precision"),
        ("forecast", "numeric(9,2)", r"numeric\(9,2\), but"),
    ],
)
def test_column_that_would_change_values_is_refused(
    database: Server, rows: pl.DataFrame, column: str, type: str, message: str
) -> None:
    copy(database, rows.clear())
    database.execute("DROP VIEW out.latest_forecasts", f"ALTER TABLE out.forecasts ALTER {column} TYPE {type}")
    with pytest.raises(UserError, match=f"column {column} of table out.forecasts is of type {message}"):
        copy(database, rows)


def test_wider_types_and_names_with_capitals_are_used(database: Server, rows: pl.DataFrame) -> None:
    replace_rows(rows.clear(), uri=database.secret_uri, spec="sales", table="out.Sales")
    database.execute(
        'DROP VIEW out."latest_Sales"',
        'ALTER TABLE out."Sales" ALTER forecast TYPE numeric, ALTER step TYPE bigint, ALTER model TYPE varchar(9)',
    )
    level = rows.with_columns(forecast=pl.when(pl.col("forecast") > 2).then(float("inf")).otherwise("forecast"))
    replace_rows(level, uri=database.secret_uri, spec="sales", table="out.Sales")
    stored = fetch(database, 'SELECT forecast::float8 AS y FROM out."Sales" ORDER BY unique_id, ds')
    assert stored["y"].to_list() == level.sort("unique_id", "ds")["forecast"].to_list()
    with pytest.raises(UserError, match="value too long"):
        replace_rows(
            rows.with_columns(model=pl.lit("x" * 10)), uri=database.secret_uri, spec="sales", table="out.Sales"
        )


def test_steps_and_timestamps_need_a_table_each(database: Server, rows: pl.DataFrame) -> None:
    copy(database, rows)
    clocks = [name for name, dtype in rows.schema.items() if dtype == pl.Datetime]
    steps = rows.with_columns(pl.col(clocks).dt.epoch("d").cast(pl.Int64))
    with pytest.raises(UserError, match="integer steps and timestamps need a table each; set another table"):
        copy(database, steps, spec="steps")
    replace_rows(steps, uri=database.secret_uri, spec="steps", table="out.steps")
    assert fetch(database, "SELECT min(ds) AS ds FROM out.latest_steps")["ds"][0] == steps["ds"].min()


def test_refused_rows_are_not_tried_again(database: Server, rows: pl.DataFrame) -> None:
    with pytest.raises(UserError, match="cannot be written: duplicate key value") as refused:
        copy(database, pl.concat([rows, rows]))
    assert "INSERT" not in str(refused.value)
    with pytest.raises(UserError, match='schema "nowhere" does not exist'):
        replace_rows(rows, uri=database.secret_uri, spec="sales", table="nowhere.forecasts")


def test_publishers_that_race_leave_the_rows_of_one(database: Server) -> None:
    def publish(number: int) -> None:
        copy(database, make_rows(level=float(number), num_series=20), spec="sales")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(publish, range(1, 9)))
    steps = fetch(database, "SELECT unique_id, step, forecast FROM out.forecasts WHERE unique_id = 's1'")
    assert steps.height == 3
    levels = (steps["forecast"] / (1 + steps["step"])).unique()
    assert len(levels) == 1


def test_specs_that_create_a_table_at_once_wait_for_each_other(database: Server) -> None:
    database.execute("ALTER ROLE ada SET search_path = out")

    def publish(number: int) -> None:
        table = "forecasts" if number % 2 else "out.forecasts"
        rows = make_rows(f"spec{number}")
        replace_rows(rows, uri=database.secret_uri, spec=f"spec{number}", table=table)

    for _ in range(3):
        database.execute("DROP TABLE IF EXISTS out.forecasts CASCADE")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(publish, range(4)))
        assert fetch(database, "SELECT count(DISTINCT spec) AS num FROM out.forecasts")["num"][0] == 4
    database.execute("ALTER ROLE ada RESET search_path")


def test_least_privileges_are_enough_once_the_table_exists(database: Server, rows: pl.DataFrame) -> None:
    copy(database, rows)
    database.execute(
        "DROP ROLE IF EXISTS writer",
        f"CREATE ROLE writer LOGIN PASSWORD '{PASSWORD}'",
        "GRANT USAGE ON SCHEMA out TO writer",
        "GRANT SELECT, INSERT, DELETE ON out.forecasts TO writer",
    )
    uri = database.secret_uri.replace("ada:", "writer:")
    replace_rows(make_rows(level=7.0), uri=uri, spec="sales", table="out.forecasts")
    assert fetch(database, "SELECT max(forecast) AS top FROM out.forecasts")["top"][0] == 21.0
    with pytest.raises(UserError, match="permission denied") as refused:
        replace_rows(rows, uri=uri, spec="sales", table="out.others")
    assert PASSWORD not in str(refused.value)
    database.execute("DROP OWNED BY writer", "DROP ROLE writer")


def test_killed_publisher_leaves_the_old_rows(database: Server, rows: pl.DataFrame) -> None:
    copy(database, rows)
    # It is killed between its DELETE and its commit.
    program = f"""
        import sys
        from forecasting.sinks import postgres
        from tests.forecasting.sinks.conftest import make_rows
        def prepare(cursor, rows, table, real=postgres._prepare):
            real(cursor, rows, table)
            cursor.execute("DELETE FROM out.forecasts")
            print("deleted", flush=True)
            import time; time.sleep(60)
        postgres._prepare = prepare
        postgres.replace_rows(make_rows(level=9.0), uri={database.secret_uri!r}, spec="sales", table="out.forecasts")
    """
    words = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "deleted\n"
        os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    stored: Any = None
    while time.monotonic() < deadline:
        stored = fetch(database, "SELECT max(forecast) AS top, count(*) AS num FROM out.forecasts").row(0)
        if stored == (3.0, rows.height):
            break
    assert stored == (3.0, rows.height)
    copy(database, make_rows(level=2.0))
    assert fetch(database, "SELECT max(forecast) AS top FROM out.forecasts")["top"][0] == 6.0


def test_unreachable_server_may_be_tried_again_and_its_password_is_masked(rows: pl.DataFrame) -> None:
    with pytest.raises(SinkError, match=r"postgresql://ada:\*\*\*@127\.0\.0\.1:1/db cannot be written") as refused:
        replace_rows(rows, uri="postgresql://ada:hunter2@127.0.0.1:1/db", spec="sales", table="t")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
