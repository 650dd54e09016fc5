"""Read-only SQL over tables and views."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from forecasting.errors import QueryError
from forecasting.schemas import TABLES, table
from forecasting.series.ids import lay_out_names
from forecasting.store.publish import append_run, publish
from forecasting.store.query import describe_tables, query
from forecasting.store.slices import Slice
from forecasting.store.stamp import stamp
from forecasting.store.tables import each_table

START = datetime(2024, 1, 1)
secret = pl.DataFrame({"word": ["a variable of this module"]})


def publish_run(store, rows, *, generation: int, **filters) -> None:
    clock = "step" if rows["run_cutoff"].dtype == pl.Int64 else "timestamp"
    publish(
        store, "forecasts", clock, rows,
        slice=Slice("demo", run_cutoff=rows["run_cutoff"][0], **filters), application="r", generation=generation,
    )  # fmt: skip


def test_query_reads_what_was_published(store, observations_of):
    rows = observations_of("a", "b")
    publish(store, "observations", "timestamp", rows, slice=Slice("demo"), application="r", generation=0)
    assert_frame_equal(query(store, "SELECT * FROM observations ORDER BY unique_id, ds"), rows)
    assert query(store, "FROM Observations SELECT count(*) AS n WHERE ds > '2024-01-01 00:30'")["n"].to_list() == [4]


def test_every_table_and_view_can_be_read_before_anything_is_stored(store):
    names = [declared.stored_as(clock) for declared, clock in each_table()]
    assert {"forecasts", "forecasts_by_step", "runs"} < set(names)
    for declared, clock in each_table():
        answer = query(store, f"SELECT * FROM {declared.stored_as(clock)}")
        assert answer.schema == declared.schema(clock)
    for clock, view in (("timestamp", "latest_forecasts"), ("step", "latest_forecasts_by_step")):
        local = {"ds_local": pl.Datetime("us")} if clock == "timestamp" else {}
        assert query(store, f"SELECT * FROM {view}").schema == TABLES["forecasts"].schema(clock) | local
    assert not Path(store.root).exists()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "SELECT 1 AS x;",
        "VALUES (1)",
        "DESCRIBE forecasts",
        "SUMMARIZE runs",
        "SHOW TABLES",
        "-- why\nSELECT 1",
    ],
)
def test_single_reading_statement_is_accepted(store, sql):
    assert query(store, sql).height > 0


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO runs (run_id) VALUES ('x')",
        "WITH a AS (SELECT 1) INSERT INTO runs (run_id) SELECT 'x' FROM a",
        "UPDATE runs SET job = 'x'",
        "DELETE FROM runs",
        "CREATE TABLE x AS SELECT 1",
        "CREATE OR REPLACE TEMP VIEW runs AS SELECT 1",
        "CREATE MACRO f() AS 1",
        "CREATE SECRET s (TYPE s3)",
        "DROP VIEW latest_forecasts",
        "ALTER TABLE runs ADD COLUMN x INT",
        "ATTACH 'x.db'",
        "DETACH memory",
        "USE memory",
        "COPY runs TO 'x.csv'",
        "COPY (SELECT 1) TO 'x.csv'",
        "EXPORT DATABASE 'x'",
        "PRAGMA database_list",
        "SET threads = 1",
        "RESET threads",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "BEGIN",
        "CHECKPOINT",
        "VACUUM",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
def test_anything_but_a_select_is_refused(store, sql, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QueryError, match=r"^a query is one SELECT statement; this is [A-Z_]+") as caught:
        query(store, sql)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sql", "number"), [("SELECT 1; SELECT 2", 2), ("SELECT 1; DROP VIEW runs", 2), ("", 0), ("-- x", 0)]
)
def test_several_statements_or_none_are_refused(store, sql, number):
    with pytest.raises(QueryError, match=f"this has {number} statements"):
        query(store, sql)


@pytest.mark.parametrize(
    "source",
    [
        "read_csv('{outside}/x.csv')",
        "read_csv_auto('{outside}/x.csv')",
        "sniff_csv('{outside}/x.csv')",
        "read_json('{outside}/x.json')",
        "read_parquet('{outside}/x.parquet')",
        "parquet_metadata('{outside}/x.parquet')",
        "read_text('{outside}/x.csv')",
        "read_blob('{outside}/x.csv')",
        "glob('{outside}/*')",
        "'{outside}/x.csv'",
        "'{outside}/x.parquet'",
        "'https://example.org/x.csv'",
        "read_csv('https://example.org/x.csv')",
        "query('FROM read_text(''{outside}/x.csv'')')",
        "duckdb_secrets()",
        "enable_logging()",
        "secret",
        "store",
    ],
)
def test_nothing_outside_the_store_can_be_read(store, source, tmp_path):
    (tmp_path / "x.csv").write_text("word\nhidden\n")
    (tmp_path / "x.json").write_text('{"word": "hidden"}')
    secret.write_parquet(tmp_path / "x.parquet")
    with pytest.raises(QueryError) as caught:
        query(store, f"SELECT * FROM {source.format(outside=tmp_path)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("expression", ["getenv('HOME')", "current_setting('no such')", "nextval('x')"])
def test_functions_that_read_outside_the_store_are_refused(store, expression):
    with pytest.raises(QueryError):
        query(store, f"SELECT {expression}")


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT uniqueid FROM forecasts", 'Candidate bindings: .*"unique_id"'),
        ("SELECT * FROM forcasts", 'Did you mean "forecasts"'),
        ("SELECT * FROM latest_forecast", 'Did you mean "latest_forecasts"'),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT cast('x' AS INT)", "Could not convert string 'x'"),
    ],
)
def test_error_is_one_line_that_keeps_the_hint(store, sql, hint):
    with pytest.raises(QueryError, match=hint) as caught:
        query(store, sql)
    assert "\n" not in str(caught.value)


def test_types_that_polars_lacks_become_text_and_repeated_names_are_numbered(store):
    assert query(store, "SELECT INTERVAL 1 DAY AS \"a day\", [INTERVAL 2 HOUR] AS l, '101'::BIT AS b").rows() == [
        ("1 day", "['02:00:00']", "101")
    ]
    assert query(store, "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a").columns == ["a", "a_2", "a_1", "a_3"]


def test_times_are_utc(store):
    append_run(store, {"run_id": "r", "started_at": datetime(2024, 7, 1, 12, tzinfo=UTC)})
    answer = query(store, "SELECT started_at, CAST(started_at AS VARCHAR) AS text FROM runs")
    assert answer.row(0) == (datetime(2024, 7, 1, 12, tzinfo=UTC), "2024-07-01 12:00:00+00")


def test_table_whose_name_is_composed_at_run_time_is_read(store, observations_of):
    publish(
        store, "observations", "timestamp", observations_of("a"), slice=Slice("demo"), application="r", generation=0
    )
    assert query(store, "SELECT * FROM query_table('obser' || 'vations')").height == 3


def test_count_over_one_spec_opens_only_its_files(store, observations_of):
    for generation, spec in enumerate(("one", "two")):
        publish(
            store, "observations", "timestamp", observations_of("a", spec=spec),
            slice=Slice(spec), application="r", generation=generation,
        )  # fmt: skip
    for path in Path(store.table_uri("observations", "timestamp"), "spec=two").rglob("*.parquet"):
        path.write_bytes(b"nobody may read this")
    sql = "SELECT count(*) AS n FROM observations WHERE spec = 'one' AND unique_id IN ('a', 'b') AND y > 0"
    assert query(store, sql)["n"].to_list() == [3]
    with pytest.raises(QueryError):
        query(store, "SELECT sum(y) FROM observations WHERE spec = 'two'")


def test_latest_forecasts_come_from_the_newest_run_that_reaches_each_timestamp(store, forecasts_of):
    hour = timedelta(hours=1)
    publish_run(store, forecasts_of("a", "b", forecast=1.0), generation=0)
    publish_run(store, forecasts_of("a", "b", run_cutoff=START + hour, forecast=2.0), generation=1)
    answer = query(store, "SELECT unique_id, ds, forecast, model FROM latest_forecasts ORDER BY ALL")
    per_series = [(START + hour, 1.0, "lstm"), (START + 2 * hour, 2.0, "lstm"), (START + 3 * hour, 2.0, "lstm")]
    assert answer.rows() == [(unique_id, *row) for unique_id in "ab" for row in per_series]


def test_newer_run_of_two_series_does_not_hide_the_others(store, forecasts_of):
    publish_run(store, forecasts_of(*"abc", forecast=1.0, horizon=3), generation=0)
    filtered = forecasts_of(*"ab", run_cutoff=START + timedelta(hours=1), forecast=2.0)
    publish_run(store, filtered, generation=1, unique_ids=("a", "b"))
    answer = query(store, "SELECT unique_id, list(forecast ORDER BY ds) FROM latest_forecasts GROUP BY 1 ORDER BY 1")
    assert answer.rows() == [("a", [1.0, 2.0, 2.0]), ("b", [1.0, 2.0, 2.0]), ("c", [1.0, 1.0, 1.0])]


def test_latest_forecasts_are_champions_with_each_timestamp_once(store, forecasts_of):
    publish_run(store, forecasts_of("a", champion="gru"), generation=0)
    publish_run(store, forecasts_of("a", run_cutoff=5, champion="gru", horizon=3), generation=1)
    assert query(store, "SELECT DISTINCT model, count(*) OVER () FROM latest_forecasts").rows() == [("gru", 2)]
    assert query(store, "SELECT ds, model FROM latest_forecasts_by_step ORDER BY ds").rows() == [
        (6, "gru"), (7, "gru"), (8, "gru"),
    ]  # fmt: skip


@pytest.mark.parametrize("later", ["lstm", "gru"])
def test_later_run_at_the_same_cutoff_takes_precedence(store, forecasts_of, later):
    earlier = {"lstm": "gru", "gru": "lstm"}[later]
    for hour, model in enumerate((earlier, later)):
        rows = forecasts_of("a", models=(model,), champion=model, run_id=f"run-{model}")
        publish_run(store, rows, generation=hour, models=(model,))
        append_run(store, {"run_id": f"run-{model}", "started_at": datetime(2024, 1, 1, hour, tzinfo=UTC)})
    assert query(store, "SELECT model FROM latest_forecasts")["model"].to_list() == [later, later]


def test_describe_tables_names_every_column_with_its_meaning(store, forecasts_of):
    publish_run(store, forecasts_of("a"), generation=0)
    publish_run(store, forecasts_of("a", run_cutoff=5), generation=1)
    described = describe_tables(store)
    assert described.columns == ["table", "meaning", "rows", "column", "dtype", "column_meaning"]
    assert described.null_count().row(0, named=True) | {"rows": 0} == dict.fromkeys(described.columns, 0)
    tables = dict(described.select("table", "rows").unique().iter_rows())
    assert tables["forecasts"] == tables["forecasts_by_step"] == 4
    assert tables["observations"] == 0
    assert tables["latest_forecasts"] is None
    assert "observations_by_step" not in tables
    ds = described.filter(pl.col("table") == "forecasts_by_step", pl.col("column") == "ds").row(0, named=True)
    assert (ds["dtype"], ds["column_meaning"]) == ("Int64", "time of the forecast value")


def test_latest_sample_paths_come_complete_from_each_series_newest_run(store):
    columns = ("unique_id", "model", "cutoff", "ds", "path", "y")
    schema = {column: table("sample_paths").schema("timestamp")[column] for column in columns}

    def publish_paths(*names: str, hour: int, y: float, horizon: int) -> None:
        cutoff = START + timedelta(hours=hour)
        rows = pl.DataFrame(
            [
                (name, "lstm", cutoff, cutoff + timedelta(hours=step), path, y * path)
                for name in names
                for step in range(1, horizon + 1)
                for path in (1, 2)
            ],
            schema,
            orient="row",
        )
        stamped = stamp(rows, "sample_paths", "timestamp", spec="demo", run_cutoff=cutoff, run_id=f"run-{hour}")
        slice = Slice("demo", run_cutoff=cutoff, unique_ids=names)
        publish(store, "sample_paths", "timestamp", stamped, slice=slice, application=f"run-{hour}", generation=0)

    publish_paths("a", "b", hour=0, y=1.0, horizon=3)
    publish_paths("a", hour=1, y=10.0, horizon=1)
    totals = query(
        store,
        "SELECT unique_id, quantile_cont(total, 0.5) AS half FROM (SELECT unique_id, path, sum(y) AS total"
        " FROM latest_sample_paths GROUP BY ALL) GROUP BY ALL ORDER BY 1",
    )
    assert totals.rows() == [("a", 15.0), ("b", 4.5)]
    assert query(store, "SELECT count(*) AS n FROM latest_sample_paths_by_step")["n"].to_list() == [0]


def test_views_have_the_local_time_of_rows_with_a_zone(store, forecasts_of):
    at = datetime(2024, 3, 30, 23)  # UTC; the clocks of Berlin change at 1:00
    zoned = forecasts_of("a", run_cutoff=at, horizon=3).with_columns(zone=pl.lit("Europe/Berlin"))
    publish_run(store, pl.concat([zoned, forecasts_of("b", run_cutoff=at, horizon=1)]), generation=0)
    rows = query(store, "SELECT unique_id, ds, ds_local FROM latest_forecasts ORDER BY unique_id, ds")
    assert [each.hour for each in rows["ds"]] == [0, 1, 2, 0]
    assert [each.hour for each in rows["ds_local"]] == [1, 3, 4, 0]
    assert rows.schema["ds_local"] == rows.schema["ds"]
    described = describe_tables(store).filter(pl.col("table") == "latest_forecasts")
    assert "ds_local" in described["column"].to_list()


def test_columns_that_name_series_together_are_columns_of_a_view_per_spec(store, forecasts_of):
    publish_run(store, forecasts_of("10/milk", "2/a\\/b"), generation=0)
    dtypes = {"store": pl.Int32(), "item": pl.String(), "model": pl.String()}
    rows = lay_out_names(["10/milk/x", "2/a\\/b/y"], dtypes).with_columns(pl.col("unique_id").str.head(-2))
    stamped = stamp(rows, "names", "timestamp", spec="demo", run_id="run")
    publish(store, "names", "timestamp", stamped, slice=Slice("demo"), application="r", generation=0)
    sql = "SELECT DISTINCT unique_id, store, item FROM demo__latest_forecasts WHERE store >= 2 ORDER BY store"
    answer = query(store, sql)
    assert answer.rows() == [("2/a\\/b", 2, "a/b"), ("10/milk", 10, "milk")]
    assert answer.schema["store"] == pl.Int64
    forecasts = query(store, "SELECT * FROM demo__forecasts")
    assert forecasts.columns.count("model") == 1
    assert forecasts.drop("store", "item").columns == [
        "unique_id",
        *(name for name in table("forecasts").schema("timestamp") if name not in ("spec", "unique_id")),
    ]
    assert forecasts.height == 8
    assert query(store, "SELECT * FROM demo__scores").is_empty()
    with pytest.raises(QueryError, match="other__forecasts"):
        query(store, "SELECT * FROM other__forecasts")


def test_views_of_a_spec_with_integer_steps_read_its_own_tables(store, forecasts_of):
    publish_run(store, forecasts_of("1/a", run_cutoff=7), generation=0)
    rows = lay_out_names(["1/a"], {"store": pl.Int64(), "item": pl.String()})
    stamped = stamp(rows, "names", "step", spec="demo", run_id="run")
    publish(store, "names", "step", stamped, slice=Slice("demo"), application="r", generation=0)
    assert query(store, "SELECT DISTINCT store, item FROM demo__forecasts").rows() == [(1, "a")]
    assert query(store, "SELECT DISTINCT ds FROM demo__latest_forecasts ORDER BY ds").rows() == [(8,), (9,)]
