"""The same rows from every kind of place: the same observations, refused rows and forecasts."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake

import forecasting as fc
from forecasting.series.ingest import Ingested, ingest
from forecasting.spec.spec import make_spec
from tests.object_store import KEY, SECRET, serve_buckets
from tests.postgres import PASSWORD, Server

FILES = ("parquet", "csv", "csv.gz", "hive", "delta", "s3.parquet", "s3.csv", "s3.delta")
KINDS = [*FILES, "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
FIELDS = {"name": "a", "freq": "1d", "season_lengths": [7], "horizon": 3, "recipe": "fast"}
Place = Callable[[str, pl.DataFrame], dict[str, Any]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Write rows to a place of a kind; returns the fields of a source there."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    lake = tmp_path / "lake"
    lake.mkdir()

    def write(kind: str, rows: pl.DataFrame) -> dict[str, Any]:
        path = lake / f"rows.{kind.removeprefix('s3.')}"
        if kind == "sqlite":
            return {"uri": _write_sqlite(tmp_path / "rows.db", rows), "table": "sales"}
        if kind == "postgres":
            server: Server = request.getfixturevalue("postgres")
            monkeypatch.setenv("PGPASSWORD", PASSWORD)
            server.write("sales", rows)
            return {"uri": server.uri, "table": "sales"}
        if kind == "hive":
            for name, part in rows.partition_by("unique_id", as_dict=True, include_key=False).items():
                (folder := lake / "hive" / f"unique_id={name[0]}").mkdir(parents=True)
                part.write_parquet(folder / "a.parquet")
            return {"uri": f"{lake}/hive/"}
        if kind.endswith("delta"):
            write_deltalake(path, rows, partition_by=["unique_id"])
        elif kind.endswith("parquet"):
            rows.write_parquet(path)
        else:
            rows.write_csv(path, compression="gzip" if kind.endswith("gz") else "uncompressed")
        slash = "/" * path.is_dir()
        if not kind.startswith("s3."):
            return {"uri": f"{path}{slash}"}
        return {"uri": f"s3://lake/{path.name}{slash}", "connection": "lake"}

    with serve_buckets(tmp_path) as url:
        endpoint = url.replace(":", "%3A").replace("/", "%2F")
        monkeypatch.setenv("AIRFLOW_CONN_LAKE", f"aws://{KEY}:{SECRET}@/?region_name=x&endpoint_url={endpoint}")
        yield write


def _write_sqlite(path: Path, rows: pl.DataFrame) -> str:
    texts = [name for name, dtype in rows.schema.items() if dtype in (pl.Date, pl.Datetime)]
    rows = rows.with_columns(pl.col(texts).cast(pl.String))
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE sales ({', '.join(rows.columns)})")
        marks = ", ".join("?" * rows.width)
        connection.executemany(f"INSERT INTO sales VALUES ({marks})", rows.rows())
    connection.close()
    return f"sqlite:///{path}"


def sales() -> pl.DataFrame:
    """Two series of 40 days with a gap, and refused rows: one without a name and one without a day."""
    days = [date(2024, 1, 1) + timedelta(days=day) for day in range(40)]
    rows = [(item, day, 10.0 + place % 7 + item / 3) for item in (7, 12) for place, day in enumerate(days)]
    rows[5] = (7, days[5], None)
    odd = [(None, days[1], 1.0), (7, None, 1.0)]
    schema = {"unique_id": pl.Int64, "ds": pl.Date, "y": pl.Float64}
    return pl.DataFrame(rows + odd, schema=schema, orient="row")


def read(source: dict[str, Any], **fields: Any) -> Ingested:
    spec = make_spec({**FIELDS, "source": {"allow_rejects": 1, **source}, **fields}, subject="spec")
    return ingest(spec, now=datetime(2025, 1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_same_rows_are_the_same_observations_and_refused_rows(place: Place, kind: str) -> None:
    rows = sales()
    if kind == "hive":  # a folder has no name that is missing
        rows = rows.filter(pl.col("unique_id").is_not_null())
    found, expected = read(place(kind, rows)), read(place("parquet", rows))
    assert found.cutoff == expected.cutoff == datetime(2024, 2, 9)
    assert found.observations.equals(expected.observations)
    assert found.features.equals(expected.features)
    reasons = [each.rejects.select("unique_id", "reason").sort("reason") for each in (found, expected)]
    assert reasons[0].equals(reasons[1])
    assert found.counts == expected.counts


@pytest.mark.parametrize("kind", KINDS)
def test_same_rows_have_the_same_forecast(place: Place, kind: str) -> None:
    rows = sales().drop_nulls(["unique_id", "ds"])
    given = {name: FIELDS[name] for name in ("freq", "season_lengths", "horizon", "recipe")}
    options = {**given, "overrides": {"max_steps": 4}, "processes": 1, "progress": False}
    source = place(kind, rows)
    result = fc.forecast(source.pop("uri"), source=source, **options)
    expected = fc.forecast(rows, **options)
    columns = [pl.col("unique_id").cast(pl.String), pl.exclude("unique_id", "ds", "cutoff")]
    found, wanted = (each.forecasts.sort("unique_id", "ds").select(columns) for each in (result, expected))
    assert found.sort("unique_id", maintain_order=True).equals(wanted.sort("unique_id", maintain_order=True))
    has_types = kind not in ("csv", "csv.gz", "s3.csv")
    assert result.forecasts.schema["unique_id"] == (pl.Int64 if has_types else pl.String)


@pytest.mark.parametrize("kind", KINDS)
def test_instants_are_the_same_in_every_place(place: Place, kind: str) -> None:
    hours = [datetime(2024, 3, 30, 20) + timedelta(hours=hour) for hour in range(12)]
    rows = pl.DataFrame({"unique_id": "a", "ds": hours, "y": [float(hour) for hour in range(12)]})
    zoned = rows.with_columns(pl.col("ds").dt.replace_time_zone("UTC"))
    if kind in ("csv", "csv.gz", "s3.csv", "sqlite"):
        zoned = zoned.with_columns(pl.col("ds").dt.to_string("%Y-%m-%dT%H:%M:%S%:z"))
    found = read(place(kind, zoned), freq="1h", season_lengths=[4])
    assert found.observations["ds"].to_list() == hours
    assert found.observations["zone"].unique().to_list() == ["UTC"]
    assert read(place("parquet", rows), freq="1h", season_lengths=[4]).observations["zone"].null_count() == 12


def test_environment_has_no_secret_of_these_tests() -> None:
    assert not {name for name in os.environ if name.startswith("AIRFLOW_CONN_") or name == "PGPASSWORD"}
