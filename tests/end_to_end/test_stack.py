"""The stack of the compose file as processes: a training that loses a Ray worker, a forecast, and a clean end."""

import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import psutil
import pytest

from forecasting.store.query import query
from forecasting.store.tables import Store
from infra.local import stack
from infra.local.postgres import find_programs
from infra.local.programs import RAY_WORKERS, Place
from tests.end_to_end.service import PATIENCE, Airflow
from tests.end_to_end.test_airflow_standalone import CUTOFF, END, HORIZON, SERIES
from tests.end_to_end.test_airflow_standalone import lay_dags as lay_parcels
from tests.prometheus import scrape
from workers.airflow.standalone import marked_processes

pytestmark = [
    pytest.mark.ray,
    pytest.mark.airflow,
    pytest.mark.postgres,
    pytest.mark.s3,
    pytest.mark.faults,
    pytest.mark.timeout(900),
]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if find_programs() is None:
        pytest.skip("PostgreSQL's programs are not installed; apt install postgresql")
    root = tmp_path_factory.mktemp("stack")
    lay_parcels(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setattr(stack, "START_TIMEOUT", 600.0)  # on a busy machine
        said = stack.up(root, airflow_port=0, ray_port=0)
        try:
            found = stack.find_place(root)
            assert found is not None
            assert said == stack.login(found) == stack.up(root)  # a second one changes nothing
            yield found
        finally:
            stack.down(root)


@pytest.fixture(scope="module")
def airflow(place: Place) -> Iterator[Airflow]:
    password = stack.login(place).partition("password: ")[2].split()[0]
    login = {"username": "admin", "password": password}
    token = httpx.post(f"{place.url('airflow')}/auth/token", json=login).raise_for_status().json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{place.url('airflow')}/api/v2", headers=headers, timeout=120) as http:
        service = Airflow(http)
        service.wait_for_dags("depots__train", "depots__forecast")
        yield service


def process_ids(place: Place) -> dict[str, int]:
    """The process of each program, as the supervisor knows it."""
    with stack.supervisor_of(place.folder) as supervisor:
        return {info["name"]: info["pid"] for info in supervisor.getAllProcessInfo()}


def kill_a_worker_that_trains(place: Place) -> str:
    """Kill a Ray node with all of its processes as soon as an actor on it runs a unit; returns the node's program."""
    deadline = time.monotonic() + PATIENCE
    nodes = {name: psutil.Process(pid) for name, pid in process_ids(place).items() if name in RAY_WORKERS}
    while time.monotonic() < deadline:
        for name, node in nodes.items():
            below = node.children(recursive=True)
            if any(process.name().startswith("ray::_Worker.ru") for process in below if process.is_running()):
                for process in (node, *below):
                    os.kill(process.pid, signal.SIGKILL)
                return name
        time.sleep(0.02)
    raise AssertionError("no actor has run a unit")


def wait_for_metrics(place: Place, step: str) -> None:
    """Wait until Ray exports the end of a step, as it does for some twenty seconds."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = scrape(place.folder / "head" / "prom_metrics_service_discovery.json")
        if step in {labels["step"] for labels, _ in found["ray_fleetcast_success_timestamp_seconds"]}:
            return
        time.sleep(2)
    raise AssertionError(f"no metric of {step}")


def test_training_that_loses_a_worker_and_a_forecast_succeed_and_their_tables_are_complete(
    place: Place, airflow: Airflow
) -> None:
    before = process_ids(place)
    path = airflow.trigger("depots__train", cutoff=CUTOFF)
    killed = kill_a_worker_that_trains(place)
    assert set(airflow.wait_for_success("depots__train", path).values()) == {"success"}
    path = airflow.trigger("depots__forecast", cutoff=CUTOFF)
    wait_for_metrics(place, "predict")
    airflow.wait_for_success("depots__forecast", path)
    after = process_ids(place)
    assert [name for name in before if before[name] != after[name]] == [killed]

    variables = dict(line.split("=", 1) for line in (place.folder / "environment").read_text().splitlines())
    options = {name: value for name, value in variables.items() if name.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": place.url("s3"),
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }
    store = Store("s3://fleetcast/store", options)

    def ask(sql: str) -> pl.DataFrame:
        return query(store, sql)

    runs = ask("SELECT job, status FROM runs")
    assert set(runs["job"]) >= {"features", "train", "backtest", "predict"}
    assert set(runs["status"]) <= {"success", "skipped"}
    models = ask("SELECT unique_id, model, member, role, status FROM models")
    assert models.is_unique().all()
    assert set(models["status"]) == {"trained"}
    for role in ("candidate", "serving"):
        assert set(models.filter(role=role).select("unique_id", "model").iter_rows()) == {
            (name, network) for name in SERIES for network in ("lstm", "gru")
        }
    assert sorted(ask("SELECT unique_id FROM champions")["unique_id"]) == sorted(SERIES)
    latest = ask("SELECT unique_id, ds, forecast, q10, q90 FROM latest_forecasts ORDER BY unique_id, ds")
    lengths = latest.group_by("unique_id", maintain_order=True).len()
    assert lengths.rows() == [(name, HORIZON) for name in sorted(SERIES)]
    assert latest["ds"].max() == END
    assert (latest["q10"] <= latest["q90"]).all()
    measured = pl.read_csv(place.root / "parcels.csv", infer_schema=False).select(
        unique_id="depot",
        ds=pl.col("hour").str.to_datetime(time_unit="us"),
        y=pl.col("parcels").cast(pl.Float64, strict=False),
    )
    errors = latest.join(measured.drop_nulls(), on=["unique_id", "ds"]).select((pl.col("forecast") - pl.col("y")).abs())
    assert errors.height == latest.height
    assert errors.to_series().mean() < 6  # the source's noise, in the middle of values up to 130


def test_servers_are_on_loopback_and_files_are_private(place: Place) -> None:
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")  # of a socket for both versions of IP
        for process in marked_processes(stack.MARK, place.folder)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    for folder in (place.folder / "secrets", place.root / ".fleetcast" / "stack"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private = [place.folder / name for name in ("settings.toml", "environment", "supervisord.conf")]
    private += [path for path in (place.folder / "secrets").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}


def test_end_leaves_no_process_and_no_file_but_logs(place: Place) -> None:
    """Follows the tests above, and ends the stack."""
    processes = marked_processes(stack.MARK, place.folder)
    assert len(processes) > 10
    assert stack.down(place.root)
    assert [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert marked_processes(stack.MARK, place.folder) == []
    assert not place.folder.exists()
    assert {path.name for path in (place.root / ".fleetcast" / "stack").iterdir()} == {"logs"}
    assert not stack.down(place.root)
