"""The command on an object store from the settings: a local server that answers like S3."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

import forecasting as fc
from tests.object_store import KEY, SECRET, serve_buckets

Fleetcast = Callable[..., Any]

SPEC = """name = "remote"
freq = "1h"
season_lengths = [6]
horizon = 4
[source]
uri = "s3://bucket/sales.parquet"
"""


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are the objects of s3://bucket, for a client with these settings."""
    root = tmp_path / "bucket"
    root.mkdir()

    with serve_buckets(tmp_path) as url:
        options = {"endpoint_url": url, "allow_http": "true"}
        options |= {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "aws_region": "x"}
        monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", json.dumps(options))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield root


@pytest.fixture
def lake(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, whose keys are in the connection `lake` alone."""
    options = json.loads(os.environ["FLEETCAST_STORAGE_OPTIONS"])
    monkeypatch.setenv("FLEETCAST_STORAGE_OPTIONS", "{}")
    extra = quote(options["endpoint_url"], safe="")
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", f"aws://{KEY}:{SECRET}@/?region_name=x&endpoint_url={extra}")
    return bucket


def test_source_and_actuals_in_an_object_store_are_read_with_the_storage_options(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], bucket: Path
) -> None:
    known, actuals = "s3://bucket/sales.parquet", "s3://bucket/later.parquet"
    rows = hourly("b", "a")
    last = rows["ds"].max()
    rows.filter(pl.col("ds") < last).write_parquet(bucket / "sales.parquet")
    rows.write_parquet(bucket / "later.parquet")
    ended = fleetcast("forecast", known, "--freq", "1h", *quick, "--evaluate", actuals, "--out", "out.parquet")
    assert ended.exit_code == 0, ended.err
    assert pl.read_parquet("out.parquet")["ds"].min() == last
    assert "forecast points without an actual: 6 of 8" in ended.err
    drawn = fleetcast("plot", "a", "--forecasts", "out.parquet", "--actuals", actuals, "--out", "fan.png")
    assert drawn.exit_code == 0, drawn.err


def test_specs_with_sources_in_an_object_store_are_checked_with_the_storage_options(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], bucket: Path
) -> None:
    Path("remote.toml").write_text(SPEC)
    missing = fleetcast("specs", "check", "remote.toml")
    assert missing.exit_code != 0
    assert "s3://bucket/sales.parquet" in missing.err
    hourly().write_parquet(bucket / "sales.parquet")
    assert fleetcast("specs", "check", "remote.toml").out == "ok: remote.toml (remote)\n"


@pytest.mark.parametrize("uri", ["s3://bucket/sales/*.csv", "s3://bucket/sales/", "s3://bucket/sales"])
def test_folders_and_globs_of_csv_files_are_read_with_the_keys_of_a_connection(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], lake: Path, uri: str
) -> None:
    rows = hourly("b", "a")
    (lake / "sales").mkdir()
    for name, part in rows.group_by("unique_id"):
        part.write_csv(lake / "sales" / f"{name[0]}.csv")
    (lake / "sales" / "c.tsv").touch()
    ended = fleetcast(
        "forecast", uri, "--source", "connection=lake", "--freq", "1h", *quick, "--recipe", "fast", "--out", "o.csv"
    )
    assert ended.exit_code == 0, ended.err
    assert sorted(pl.read_csv("o.csv")["unique_id"].unique()) == ["a", "b"]
    assert ("are not read: s3://bucket/sales/c.tsv" in ended.err) == (not uri.endswith(".csv"))


def test_keys_of_a_connection_open_the_actuals_in_the_same_store_too(
    fleetcast: Fleetcast, hourly: Callable[..., pl.DataFrame], quick: list[str], lake: Path
) -> None:
    rows = hourly("b")
    rows.write_parquet(lake / "sales.parquet")
    uri, cutoff = "s3://bucket/sales.parquet", ("--cutoff", "2024-01-03 06:00")
    ended = fleetcast(
        "forecast",
        uri,
        "--source",
        "connection=lake",
        "--freq",
        "1h",
        *quick,
        *cutoff,
        "--evaluate",
        uri,
        "--out",
        "o.csv",
    )
    assert ended.exit_code == 0, ended.err
    rows.write_csv("actuals.csv")
    ended = fleetcast(
        "forecast",
        uri,
        "--source",
        "connection=lake",
        "--freq",
        "1h",
        *quick,
        *cutoff,
        "--evaluate",
        "actuals.csv",
        "--out",
        "o.csv",
    )
    assert ended.exit_code == 0, ended.err


def test_python_reads_with_the_keys_of_a_connection_and_names_an_unknown_one(lake: Path) -> None:
    rows = pl.DataFrame({"ds": range(40), "y": [float(step % 4) for step in range(40)]})
    rows.with_columns(unique_id=pl.lit("a")).write_parquet(lake / "a.parquet")
    given = {"freq": 1, "season_lengths": 4, "horizon": 2, "recipe": "fast", "overrides": {"max_steps": 2}}
    result = fc.forecast("s3://bucket/a.parquet", source={"connection": "lake"}, **given)
    assert result.forecasts.height == 2
    with pytest.raises(fc.SpecError, match="connection 'pond': is not known; set AIRFLOW_CONN_POND"):
        fc.forecast("s3://bucket/a.parquet", source={"connection": "pond"}, **given)


def test_wrong_keys_of_a_connection_are_refused_without_them(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = os.environ["AIRFLOW_CONN_LAKE"].replace(f"{KEY}:", "theirs:")
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", wrong)
    with pytest.raises(fc.ServiceError, match=r"s3://bucket/a\.parquet cannot be read") as refused:
        fc.forecast("s3://bucket/a.parquet", freq=1, season_lengths=4, horizon=2, source={"connection": "lake"})
    assert SECRET not in str(refused.value)
