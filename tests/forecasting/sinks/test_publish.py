"""Forecasts in an object store, whose keys a connection has."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from forecasting.errors import SinkError, SpecError
from forecasting.sinks.publish import copy_to
from forecasting.spec.publish import Sink
from tests.forecasting.sinks.conftest import make_rows
from tests.object_store import KEY, SECRET

PROGRAM = """
import sys
from pathlib import Path
from tests.object_store import serve_buckets
with serve_buckets(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a bucket `lake`, which a connection of the same name opens."""
    (tmp_path / "lake").mkdir()
    # deltalake holds the lock of the interpreter, so that a server in this process could not answer it.
    words = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        extra = {"endpoint_url": server.stdout.readline().strip(), "region_name": "eu-central-1"}
        fields = {"conn_type": "aws", "login": KEY, "password": SECRET, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(fields))
        monkeypatch.setenv("AIRFLOW_CONN_STRANGER", json.dumps(fields | {"login": "somebody"}))
        yield tmp_path / "lake"
        server.kill()


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_object_is_replaced(lake: Path, scheme: str) -> None:
    sink = Sink(uri=f"{scheme}://lake/out/forecasts.parquet", connection="lake")
    for level in (1.0, 4.0):
        copy_to(sink, make_rows(level=level), spec="sales", storage_options={"aws_access_key_id": "of the store"})
    assert pl.read_parquet(lake / "out" / "forecasts.parquet")["forecast"].max() == 12.0
    assert [path.name for path in (lake / "out").iterdir()] == ["forecasts.parquet"]


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_delta_table_of_an_object_store_keeps_other_specs(lake: Path, scheme: str) -> None:
    sink = Sink(uri=f"{scheme}://lake/table", connection="lake")
    copy_to(sink, make_rows("other's"), spec="other's", storage_options={})
    for level in (1.0, 4.0):
        copy_to(sink, make_rows(level=level), spec="sales", storage_options={})
    stored = pl.read_delta(str(lake / "table"))
    assert stored.group_by("spec").agg(pl.len(), pl.col("forecast").max()).sort("spec").rows() == [
        ("other's", 6, 3.0),
        ("sales", 6, 12.0),
    ]


@pytest.mark.parametrize("uri", ["s3://lake/forecasts.csv", "s3://lake/table/"])
def test_refused_keys_are_an_error_without_them(lake: Path, uri: str) -> None:
    with pytest.raises(SinkError, match=f"{uri} cannot be written: ") as refused:
        copy_to(Sink(uri=uri, connection="stranger"), make_rows(), spec="sales", storage_options={})
    assert SECRET not in str(refused.value)
    with pytest.raises(SpecError, match="connection 'nobody': is not known"):
        copy_to(Sink(uri=uri, connection="nobody"), make_rows(), spec="sales", storage_options={})
