"""PostgreSQL as a source, on a server of the tests: types, snapshots, the part that is read, and errors."""

import json
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

import forecasting as fc
from forecasting.errors import FleetcastError, ServiceError, SourceError
from forecasting.series import database
from forecasting.series import postgres as module
from forecasting.series.database import read_database
from forecasting.series.ingest import ingest
from forecasting.series.once import reading_once
from forecasting.series.read import scan_source
from forecasting.series.zone import clock_zone
from forecasting.spec.place import Scope, find_end
from forecasting.spec.source import Source
from forecasting.spec.spec import make_spec
from tests.postgres import PASSWORD, USER, Server

pytestmark = pytest.mark.postgres
TYPES = {
    "small": "int2", "whole": "int4", "big": "int8", "single": "float4", "double": "float8",
    "amount": "numeric(12, 2)", "flag": "bool", "words": "text", "code": "uuid", "kind": "sort", "day": "date",
    "local": "timestamp", "instant": "timestamptz", "price": "money", "doc": "json",
}  # fmt: skip
KILL = "pg_terminate_backend(pg_backend_pid())"
VALUES = (
    "1, 2, 9007199254740993, 1.5, 0.1, 12.50, true, 'é', 'c0ffee00-0000-4000-8000-000000000001', 'x', '2024-01-31',"
    " '2024-01-31 05:00', '2024-01-31 05:00+09', 3.5::numeric::money, '{}'"
)


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@pytest.fixture
def sales(postgres: Server) -> str:
    """The URI of a database that has a table with a column of each type, one row and one of NULLs."""
    postgres.execute(
        "DROP TABLE IF EXISTS sales",
        "DROP TYPE IF EXISTS sort",
        "CREATE TYPE sort AS ENUM ('x', 'y')",
        f"CREATE TABLE sales ({', '.join(f'{name} {type}' for name, type in TYPES.items())})",
        f"INSERT INTO sales VALUES ({VALUES})",
        "INSERT INTO sales (small) VALUES (NULL)",
    )
    return postgres.uri


@pytest.fixture
def hours(postgres: Server) -> str:
    """The URI of a database that has ten days of hours of one series, in instants."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(hours=hour) for hour in range(240)]
    rows = pl.DataFrame({"unique_id": "a", "ds": times, "y": [float(hour % 24) for hour in range(240)]})
    postgres.write("hours", rows)
    return postgres.uri


def read(uri: str, **fields: Any) -> pl.DataFrame:
    columns = {"table": "sales", "id": "words", "time": "day", "target": "double"}
    return scan_source(Source(uri=uri, **columns | fields), "timestamp").collect()


@pytest.mark.parametrize(
    ("column", "dtype", "value"),
    [
        ("small", pl.Int16(), 1),
        ("big", pl.Int64(), 9007199254740993),
        ("single", pl.Float32(), 1.5),
        ("double", pl.Float64(), 0.1),
        ("amount", pl.Float64(), 12.5),
        ("words", pl.String(), "é"),
    ],
)
def test_measurements_have_the_types_of_parquet(sales: str, column: str, dtype: pl.DataType, value: Any) -> None:
    rows = read(sales, id="kind", target=column)
    assert rows.schema["y"] == dtype
    assert rows["y"].to_list() == [value, None]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("whole", "2"), ("big", "9007199254740993"), ("amount", "12.50"), ("kind", "x"), ("flag", None)),
        ("code", "c0ffee00-0000-4000-8000-000000000001"),
    ],
)
def test_names_and_categories_have_the_text_of_their_values(sales: str, column: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(SourceError, match=f"id column '{column}' has Boolean"):
            read(sales, id=column)
        return
    rows = scan_source(
        Source(uri=sales, table="sales", id="words", time="day", target="double"), "timestamp", static=[column]
    ).collect()
    assert read(sales, id=column)["unique_id"].to_list() == [value, None]
    assert rows["categories"][0][0]["value"] == value


@pytest.mark.parametrize(
    ("column", "dtype", "value"),
    [
        ("day", pl.Date(), "2024-01-31"),
        ("local", pl.Datetime("us"), "2024-01-31 05:00:00"),
        ("instant", pl.Datetime("us", "UTC"), "2024-01-30 20:00:00+00:00"),
    ],
)
def test_times_are_those_of_parquet_in_any_zone_of_the_session(
    sales: str, column: str, dtype: pl.DataType, value: str
) -> None:
    rows = read(sales, time=column)
    assert rows.schema["ds"] == dtype
    assert str(rows["ds"][0]) == value
    zone = clock_zone(Source(uri=sales, table="sales", time=column, id="words", target="big"), "timestamp", "1h")
    assert str(zone) == ("UTC" if column == "instant" else "None")


def test_zone_of_times_needs_no_rows(sales: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database.postgres, "stream", None)
    source = Source(uri=sales, table="sales", id="words", time="instant", target="big")
    assert str(clock_zone(source, "timestamp", "1h")) == "UTC"


def test_money_is_refused_because_its_cents_would_be_read(sales: str) -> None:
    with pytest.raises(SourceError, match=r"target column 'price' is of type money; --query .* \"price\"::numeric"):
        read(sales, target="price")
    query = "SELECT words, day, price::numeric AS y FROM sales"
    assert read(sales, table=None, query=query, target="y")["y"][0] == 3.5


def test_infinite_times_and_nan_are_what_they_are_in_parquet(postgres: Server) -> None:
    postgres.execute(
        "DROP TABLE IF EXISTS odd",
        "CREATE TABLE odd (unique_id text, ds timestamp, y numeric)",
        "INSERT INTO odd SELECT 'a', '2024-01-01'::timestamp + g * interval '1 day', g FROM generate_series(0, 20) g"
        " WHERE g <> 9",
        "INSERT INTO odd VALUES ('a', 'infinity', 1), ('a', '-infinity', 1), ('a', NULL, 1)",
        "INSERT INTO odd VALUES ('a', '2024-01-10 00:00', 'NaN')",
    )
    spec = {"name": "a", "freq": "1d", "season_lengths": [7], "horizon": 3}
    source = {"uri": postgres.uri, "table": "odd", "allow_rejects": 1}
    found = ingest(make_spec({**spec, "source": source}, subject="a"), now=datetime(2025, 1, 1))
    assert found.observations["ds"].max() == datetime(2024, 1, 21)
    assert found.observations.filter(ds=datetime(2024, 1, 10)).is_empty()
    reasons = dict(found.rejects["reason"].value_counts().iter_rows())
    assert reasons.pop("time is missing") == reasons.pop("y is NaN") == 1
    assert list(reasons.values()) == [2]
    assert found.counts is not None
    assert found.counts.read == 24


def test_rows_after_a_cutoff_are_not_read_but_those_without_a_time_are(hours: str, postgres: Server) -> None:
    postgres.execute("INSERT INTO hours VALUES ('a', NULL, 1)")
    source = Source(uri=hours, table="hours").within(Scope(until=find_end("2024-01-02T12:00+09:00", "1h")))
    rows = read_database(source)[0].collect()
    assert rows["ds"].max() == datetime(2024, 1, 5, 5, tzinfo=UTC)
    assert rows["ds"].null_count() == 1
    query = source.model_copy(update={"table": None, "query": "SELECT * FROM hours ORDER BY ds -- all"})
    assert read_database(query.within(source.scope))[0].collect().height == rows.height


def test_forecast_up_to_a_cutoff_says_what_it_did_not_read(hours: str) -> None:
    given = {"freq": "1h", "season_lengths": 24, "horizon": 3, "recipe": "fast", "overrides": {"max_steps": 2}}
    given |= {"processes": 1, "progress": False, "cutoff": "2024-01-05"}
    with pytest.warns(fc.DataWarning, match=r"\(table hours\): rows after 2024-01-08 02:00:00 are not read"):
        result = fc.forecast(hours, source={"table": "hours"}, **given)
    evaluation = result.evaluate(hours)
    assert evaluation.num_compared == 3
    expected = fc.forecast(read(hours, table="hours", id="unique_id", time="ds", target="y"), **given, target="y")
    assert result.forecasts["forecast"].to_list() == expected.forecasts["forecast"].to_list()


def test_fleet_reads_newer_rows_of_its_database(hours: str) -> None:
    given = {"freq": "1h", "season_lengths": 24, "horizon": 3, "recipe": "fast", "overrides": {"max_steps": 2}}
    given |= {"processes": 1, "progress": False, "cutoff": "2024-01-05"}
    with pytest.warns(fc.DataWarning, match="rows after 2024-01-08 02:00:00 are not read"):
        fleet = fc.fit(hours, source={"table": "hours"}, **given)
    result = fleet.predict(hours)  # a warning would be an error
    assert result.forecasts["ds"].max() == datetime(2024, 1, 11, 2, tzinfo=UTC)


def test_a_run_reads_one_snapshot_and_two_runs_read_the_newest_rows(
    hours: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    stream = module.stream
    monkeypatch.setattr(database.postgres, "stream", lambda uri, relation: read.append(uri) or stream(uri, relation))
    source = Source(uri=hours, table="hours")
    with reading_once():
        assert scan_source(source, "timestamp").collect().height == 240
        postgres.execute("INSERT INTO hours VALUES ('a', '2024-01-11', 1)")
        assert scan_source(source, "timestamp").collect().height == 240
        assert len(read) == 1
    assert scan_source(source, "timestamp").collect().height == 241


def test_connection_has_the_database(hours: str, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> None:
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", postgres.secret_uri)
    source = Source(connection="warehouse", table="hours")
    assert scan_source(source, "timestamp").collect()["source_file"][0] == "connection warehouse (table hours)"
    socket = {"conn_type": "postgres", "host": str(postgres.folder), "port": postgres.port, "schema": "postgres"}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({**socket, "login": USER, "password": PASSWORD}))
    assert scan_source(source, "timestamp").collect().height == 240


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        (SourceError, {"table": "nope"}, r'\(table nope\) cannot be read: relation "nope" does not exist'),
        (SourceError, {"table": "no.pe"}, r'relation "no.pe" does not exist'),
        (SourceError, {"time": "Day"}, r"lacks its time column 'Day' \(is it 'day'\?\)"),
        (SourceError, {"query": "SELEC 1"}, r"\(query\) cannot be read: syntax error"),
        (SourceError, {"query": "SELECT 1; DROP TABLE sales"}, r"\(query\) cannot be read: syntax error"),
        (SourceError, {"query": "SELECT words, day, 1 AS double, 2 AS double FROM sales"}, "several columns 'double'"),
        (SourceError, {"query": "SELECT words, day, 1 / (small - 1) AS double FROM sales"}, "division by zero"),
        (SourceError, {"target": "doc"}, "cannot cast type json to double precision"),
        (ServiceError, {"query": "SELECT words, day, pg_sleep(9)::text AS double FROM sales"}, "statement timeout"),
        (SourceError, {"query": "SELECT words, day, nextval('n') AS double FROM sales"}, "read-only transaction"),
        (ServiceError, {"query": f"SELECT words, day, {KILL}::int AS double FROM sales"}, "terminating connection"),
    ],
)
def test_what_postgresql_refuses_is_named(
    sales: str, postgres: Server, kind: type[FleetcastError], fields: dict[str, Any], problem: str
) -> None:
    postgres.execute("CREATE SEQUENCE IF NOT EXISTS n")
    uri = sales + "?options=-cstatement_timeout%3D200"
    with pytest.raises(kind, match=problem) as refused:
        read(uri, **{"table": None} | fields if "query" in fields else fields)
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("kind", "uri", "problem"),
    [
        (ServiceError, "postgresql://ada@127.0.0.1:1/postgres", "Connection refused"),
        (SourceError, "postgresql://ada@127.0.0.1:{port}/nope", 'database "nope" does not exist'),
        (SourceError, "postgresql://eve@127.0.0.1:{port}/postgres", 'authentication failed for user "eve"'),
        (SourceError, "postgresql://ada@127.0.0.1:{port}/postgres?nope=1", "invalid URI query parameter"),
    ],
)
@pytest.mark.parametrize("has_connection", [False, True])
def test_server_that_is_not_reached_is_named_without_the_password(
    postgres: Server,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[FleetcastError],
    uri: str,
    problem: str,
    has_connection: bool,
) -> None:
    uri = uri.format(port=postgres.port)
    source = Source(uri=uri, table="sales")
    if has_connection:
        monkeypatch.delenv("PGPASSWORD")
        monkeypatch.setenv("AIRFLOW_CONN_W", uri.replace("@", f":{PASSWORD}@"))
        source = Source(connection="w", table="sales")
    with pytest.raises(kind, match=problem) as refused:
        scan_source(source, "timestamp")
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


def test_batches_are_read_one_after_the_other(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    query = "SELECT 'a' || g AS unique_id, g AS ds, g::float8 AS y FROM generate_series(1, 2000000) g"
    sizes: list[int] = []
    writer = database.pq.ParquetWriter

    class Counting(writer):  # type: ignore[misc, valid-type]
        def write_batch(self, batch: Any, *rest: Any) -> None:
            sizes.append(batch.nbytes)
            super().write_batch(batch, *rest)

    monkeypatch.setattr(database.pq, "ParquetWriter", Counting)
    with reading_once():
        rows, _ = read_database(Source(uri=postgres.uri, query=query))
        assert rows.select(pl.len()).collect().item() == 2_000_000
    assert len(sizes) > 1
    assert max(sizes) < 40 * 2**20
