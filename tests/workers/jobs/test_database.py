"""The features job on a database: one query a run, whose rows are those that the run may know."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from forecasting.series import database
from forecasting.series import postgres as module
from forecasting.spec.spec import Spec
from forecasting.store.tables import Store
from tests.postgres import Server
from workers.arguments import ARGUMENTS_VARIABLE, RunArguments, find_result
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.run import main

pytestmark = pytest.mark.postgres


def test_features_job_reads_once_and_nothing_long_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres: Server
) -> None:
    read: list[int] = []
    write = database.pq.ParquetWriter.write_batch
    monkeypatch.setattr(
        database.pq.ParquetWriter, "write_batch", lambda self, batch: read.append(batch.num_rows) or write(self, batch)
    )
    streams: list[str] = []
    stream = module.stream
    monkeypatch.setattr(
        database.postgres, "stream", lambda uri, relation: streams.append(relation.name) or stream(uri, relation)
    )
    days = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(60)]
    rows = pl.DataFrame({"shop": 7, "item": "a/b", "ds": days, "y": [float(day % 7) for day in range(60)]})
    postgres.write("daily", rows.with_columns(kind=pl.lit("x")))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", postgres.secret_uri)
    source = {"connection": "warehouse", "table": "daily", "id": ["shop", "item"]}
    spec = Spec(
        name="daily", source=source, freq="1d", season_lengths=(7,), horizon=3, categories={"static": ("kind",)}
    )
    arguments = RunArguments(job="features", flow="train", spec=spec, as_of="2024-01-20T00:00:00+00:00", run_id="one")
    monkeypatch.setenv("FLEETCAST_STORE", str(tmp_path / "store"))
    monkeypatch.setenv(ARGUMENTS_VARIABLE, arguments.model_dump_json())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main("features", write_features, find_cutoff) == 0
    printed = capsys.readouterr()
    result = find_result(printed.out.splitlines())
    assert result is not None
    assert result.cutoff == "2024-01-19T00:00:00"
    assert "(table daily): rows after 2024-01-25 00:00:00 are not read" in printed.out
    assert streams == ["connection warehouse (table daily)"]
    assert sum(read) == 25
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    names = Store(tmp_path / "store").scan("names", "timestamp").collect()
    assert [key["type"] for key in names["keys"][0]] == ["integer", "text"]


def test_refused_login_ends_the_job_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres: Server
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", postgres.secret_uri.replace("hunter2", "hunter3"))
    spec = Spec(
        name="daily", source={"connection": "warehouse", "table": "x"}, freq="1d", season_lengths=(7,), horizon=3
    )
    monkeypatch.setenv("FLEETCAST_STORE", str(tmp_path / "store"))
    run = RunArguments(job="features", flow="train", spec=spec, run_id="one")
    monkeypatch.setenv(ARGUMENTS_VARIABLE, run.model_dump_json())
    assert main("features", write_features, find_cutoff) == 2
    printed = capsys.readouterr()
    runs = Store(tmp_path / "store").scan("runs", "timestamp").collect()
    assert "password authentication failed" in printed.err
    assert "hunter3" not in printed.out + printed.err + str(runs.to_dicts())
