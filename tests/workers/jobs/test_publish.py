"""The publish job: the newest forecast of each series reaches every place, and a repeated run replaces it."""

import json
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest

from forecasting.errors import NothingStored, SinkError, UserError
from forecasting.spec.checks import ForecastJumpCheck, name_checks
from forecasting.spec.publish import Sink
from forecasting.store.tables import each_table
from tests.postgres import Server
from tests.workers.jobs.conftest import FIRST
from workers.arguments import ARGUMENTS_VARIABLE, RunArguments
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.predict import predict
from workers.jobs.publish import publish
from workers.jobs.run import main


def publishing(small: Any, *sinks: dict[str, Any]) -> None:
    small.spec = small.spec.model_copy(update={"publish": tuple(Sink(**sink) for sink in sinks)})


def forecast(small: Any, hours: int, **num_points: int) -> None:
    small.write(**num_points)
    small.read(hours)
    predict(small.run("predict", hours))


def test_newest_forecast_of_each_series_is_copied(small: Any, serial: Any, tmp_path: Any) -> None:
    publishing(small, {"uri": str(tmp_path / "out.csv")}, {"uri": str(tmp_path / "table")})
    for hours in (11, 15):
        forecast(small, hours, a=hours + 1, b=hours + 1)
        outcome = publish(small.run("publish", hours))
        assert outcome.message == "8 forecasts of 2 series copied to 2 places"
    stored = pl.read_csv(tmp_path / "out.csv")
    assert stored["run_cutoff"].unique().to_list() == ["2024-01-01T15:00:00.000000"]
    assert stored["forecast"].to_list() == [1, 2, 3, 4] * 2
    assert pl.read_delta(str(tmp_path / "table")).height == 8


def test_failed_place_fails_the_job_and_others_are_copied_to(small: Any, serial: Any, tmp_path: Any) -> None:
    (tmp_path / "file").write_text("")
    broken = {"uri": str(tmp_path / "file" / "table")}
    publishing(small, broken, {"uri": str(tmp_path / "out.csv")}, {"connection": "nowhere"})
    forecast(small, 11, a=12)
    with pytest.raises(SinkError, match=r"2 of 3 places failed: .*cannot be written.*'nowhere': is not known"):
        publish(small.run("publish", 11))
    assert pl.read_csv(tmp_path / "out.csv").height == 4
    publishing(small, {"connection": "nowhere"}, {"connection": "nowhere"})
    with pytest.raises(UserError, match="2 of 2 places failed"):  # which is not tried again
        publish(small.run("publish", 11))
    publishing(small, {"uri": str(tmp_path / "table")})
    assert publish(small.run("publish", 11)).num_rows == 4


def test_spec_without_forecasts_empties_no_place(small: Any, serial: Any, tmp_path: Any) -> None:
    (tmp_path / "out.csv").write_text("old")
    publishing(small, {"uri": str(tmp_path / "out.csv")})
    small.write(a=12)
    small.read(11)
    with pytest.raises(NothingStored, match="spec 'small' has no forecasts yet; run the predict job first"):
        publish(small.run("publish", 11))
    assert (tmp_path / "out.csv").read_text() == "old"


def test_held_forecast_is_copied_as_the_last_good_one_and_ended_series_with_a_reason(
    small: Any, serial: Any, tmp_path: Any
) -> None:
    publishing(small, {"uri": str(tmp_path / "out.parquet")})
    checks = name_checks((ForecastJumpCheck(kind="forecast_jump", max=20, on_failure="hold"),))
    source = small.spec.source.model_copy(update={"ended": "skip", "ended_after": 5})
    small.spec = small.spec.model_copy(update={"checks": checks, "source": source})
    forecast(small, 23, a=24, b=24, old=12)
    lines = [f"a,{FIRST + timedelta(hours=hour)},500" for hour in range(21, 25)]
    small.write(*lines, a=21, b=25, old=12)
    small.read(24)
    predict(small.run("predict", 24))
    publish(small.run("publish", 24))
    rows = pl.read_parquet(tmp_path / "out.parquet").with_columns(hour=pl.col("run_cutoff").dt.hour())
    of_a, of_b, old = (rows.filter(unique_id=name) for name in ("a", "b", "old"))
    assert set(of_a["hour"]) == {23}
    assert of_a["forecast"].max() < 5
    assert of_a["held"].str.contains("forecast_jump").all()
    assert (set(of_b["hour"]), of_b.height, of_b["held"].null_count()) == ({0}, 4, 4)
    assert old["forecast"].null_count() == old.height == 4
    assert old["reason"].str.contains("ended").all()


@pytest.mark.postgres
@pytest.mark.parametrize("freq", ["1h", 1])
def test_rows_of_a_store_reach_postgres(small: Any, serial: Any, postgres: Server, monkeypatch: Any, freq: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", postgres.secret_uri)
    postgres.execute("DROP SCHEMA IF EXISTS jobs CASCADE", "CREATE SCHEMA jobs")
    publishing(small, {"connection": "warehouse", "table": "jobs.Sales"})
    small.spec = type(small.spec).model_validate(small.spec.model_dump() | {"freq": freq})
    if freq == 1:
        small.source.write_text("unique_id,ds,y\n" + "".join(f'a\'s "b",{step},{step % 4}\n' for step in range(12)))
        small.read(11)
        predict(small.run("predict", 11))
    else:
        forecast(small, 11, a=12, b=12)
    for _ in range(2):  # a retry
        outcome = publish(small.run("publish", 11))
    served = postgres.fetch('SELECT unique_id, ds FROM jobs."latest_Sales" ORDER BY 1, 2')
    assert served.height == outcome.num_rows == (4 if freq == 1 else 8)
    assert served["ds"][0] == (12 if freq == 1 else FIRST + timedelta(hours=12))
    postgres.execute("DROP SCHEMA jobs CASCADE")


SECRET = "s3cr3t w/rd&"  # whose characters URIs escape


@pytest.mark.postgres
@pytest.mark.parametrize("failure", ["none", "login", "type", "port", "extra", "kind"])
def test_password_of_a_connection_is_written_nowhere(
    small: Any, serial: Any, tmp_path: Any, monkeypatch: Any, capfd: Any, postgres: Server, failure: str
) -> None:
    postgres.execute(
        "DROP SCHEMA IF EXISTS jobs CASCADE",
        "CREATE SCHEMA jobs",
        "DROP ROLE IF EXISTS eve",
        f"CREATE ROLE eve LOGIN SUPERUSER PASSWORD '{SECRET}'",
        *(["CREATE TABLE jobs.forecasts (spec int)"] if failure == "type" else []),
    )
    small.write(a=12)
    rows = pl.read_csv(small.source, try_parse_dates=True).cast({"y": pl.Float64})
    postgres.write("rows_of_jobs", pl.concat([rows, rows.head(2).with_columns(y=pl.lit(float("nan")))]))
    login = {
        "conn_type": "aws" if failure == "kind" else "postgres",
        "host": "127.0.0.1",
        "port": 1 if failure == "port" else postgres.port,
        "schema": "postgres",
        "login": "eve",
        "password": SECRET + ("x" if failure == "login" else ""),
        "extra": {"nosuch": SECRET} if failure == "extra" else {},
    }
    reading = login | {"conn_type": "postgres", "port": postgres.port, "password": SECRET, "extra": {}}
    monkeypatch.setenv("AIRFLOW_CONN_READER", json.dumps(reading))
    monkeypatch.setenv("AIRFLOW_CONN_WRITER", json.dumps(login))
    monkeypatch.setenv("FLEETCAST_STORE", small.store.root)
    fields = small.spec.model_dump() | {
        "source": {"connection": "reader", "table": "rows_of_jobs", "ended": "forecast"}
    }
    small.spec = type(small.spec).model_validate(
        fields | {"publish": [{"connection": "writer", "table": "jobs.forecasts"}]}
    )

    def run_job(job: str, work: Any, resolve: Any) -> int:
        arguments = RunArguments(job=job, flow="forecast", spec=small.spec, run_id=job)
        monkeypatch.setenv(ARGUMENTS_VARIABLE, arguments.model_dump_json())
        return main(job, work, resolve)

    assert run_job("features", write_features, find_cutoff) == 0
    assert run_job("predict", predict, stored_cutoff) == 0
    expected = {"none": 0, "port": 1}.get(failure, 2)
    assert run_job("publish", publish, stored_cutoff) == expected
    written = "".join(capfd.readouterr())
    for declared, clock in each_table():
        written += str(small.store.scan(declared.name, clock).collect().to_dicts())
    written += "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*.json"))
    assert "jobs.forecasts" in written
    assert [secret for secret in (SECRET, quote(SECRET, safe=""), "s3cr3t") if secret in written] == []
    postgres.execute("DROP SCHEMA jobs CASCADE", "DROP ROLE eve")
