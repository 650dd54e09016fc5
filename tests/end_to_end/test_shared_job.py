"""Steps that share a Ray job, through Airflow: a death and a mistake in a middle step, and a cleared middle task."""

import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecasting.schemas import table as declared_table
from forecasting.store.query import query
from forecasting.store.tables import Store
from tests.end_to_end.held_flow import HOLD, REFUSE
from tests.end_to_end.service import PATIENCE, Airflow
from tests.end_to_end.test_airflow_standalone import write_parcels
from workers.airflow.client import RayJobsClient, stop_job

pytestmark = [pytest.mark.ray, pytest.mark.airflow, pytest.mark.timeout(900)]

FIRST, SECOND = "2024-02-07T23:00:00", "2024-02-08T23:00:00"
SPEC = """
name = "{name}"
freq = "1h"
season_lengths = [24]
horizon = 24
recipe = "fast"

[source]
uri = "../../../shared.csv"
id = "depot"
time = "hour"
target = "parcels"

[airflow]
shared_job_rows = {rows}
"""
DAG_FILE = """
from datetime import timedelta
from pathlib import Path

from workers.airflow.factory import make_dags

held = {"flow_entrypoint": "python -m tests.end_to_end.held_flow"}
globals().update(make_dags(Path(__file__).parent / "specs", retry_delay=timedelta(seconds=1), interval=0.5, **held))
"""
DAG_ID = "shared__forecast"


def lay_dags(root: Path) -> None:
    """Write a DAG file, the specs and their data into a checkout, before Airflow starts there."""
    (root / "dags" / "shared" / "specs").mkdir(parents=True, exist_ok=True)
    (root / "dags" / "shared" / "shared_dags.py").write_text(DAG_FILE)
    for name, rows in (("shared", 1_000_000), ("separate", 5_000)):
        (root / "dags" / "shared" / "specs" / f"{name}.toml").write_text(SPEC.format(name=name, rows=rows))
    write_parcels(root / "shared.csv")


@pytest.fixture(scope="module")
def root(running_airflow: Any) -> Path:
    return Path(running_airflow.root)


@pytest.fixture(scope="module")
def airflow(running_airflow: Any) -> Airflow:
    airflow = Airflow(running_airflow.http)
    airflow.wait_for_dags(DAG_ID, "separate__forecast")
    return airflow


def job_of(airflow: Airflow, path: str, task_id: str) -> str:
    """Return the submission id of the job that has a task's step."""
    entry = airflow.http.get(f"{path}/taskInstances/{task_id}/xcomEntries/fleetcast_job?deserialize=true")
    return str(entry.raise_for_status().json()["value"]["submission_id"])


def rows_of(root: Path, name: str, table: str) -> pl.DataFrame:
    """Return the rows of a spec, without what differs between two specs or runs."""
    rows = query(Store(root / "store"), f"SELECT * EXCLUDE (spec, run_id) FROM {table} WHERE spec = '{name}'")
    keys = [key for key in declared_table(table).key if key != "spec"]
    return rows.drop("data_version", "forecast_run_id", strict=False).sort(keys)


def runs_of(root: Path, name: str) -> list[tuple[str, str]]:
    rows = query(Store(root / "store"), f"SELECT job, status FROM runs WHERE spec = '{name}' ORDER BY started_at")
    return list(rows.iter_rows())


def wait_for(what: str, is_so: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"not {what} after {PATIENCE:.0f} s"
        time.sleep(0.3)


def test_job_that_dies_in_a_middle_step_is_submitted_again_from_that_step_on(
    airflow: Airflow, root: Path, ray_jobs_url: str
) -> None:
    (root / HOLD).touch()
    path = airflow.trigger(DAG_ID, cutoff=FIRST)

    def task(name: str) -> Any:
        return airflow.http.get(f"{path}/taskInstances/{name}").raise_for_status().json()

    wait_for("at predict", lambda: task("predict")["state"] in ("running", "deferred"))
    assert task("features")["state"] == "success"
    first = job_of(airflow, path, "features")
    wait_for("adopted", lambda: airflow.http.get(f"{path}/taskInstances/predict/xcomEntries/fleetcast_job").is_success)
    assert job_of(airflow, path, "predict") == first
    RayJobsClient(ray_jobs_url).run(stop_job(first))
    (root / HOLD).unlink()
    wait_for("ended", lambda: airflow.http.get(path).json()["state"] in ("success", "failed"))
    assert {name: task(name)["state"] for name in ("features", "predict", "score")} == {
        "features": "success",
        "predict": "success",
        "score": "skipped",  # there is nothing to score yet
    }
    assert (task("features")["try_number"], task("predict")["try_number"]) == (1, 2)
    assert job_of(airflow, path, "score") == job_of(airflow, path, "predict") != first
    assert runs_of(root, "shared") == [("features", "success"), ("predict", "success"), ("score", "skipped")]


def test_mistake_in_a_middle_step_fails_its_task_once_and_a_cleared_task_goes_on_from_there(
    airflow: Airflow, root: Path
) -> None:
    (root / REFUSE).touch()
    path = airflow.trigger(DAG_ID, cutoff=SECOND)
    assert airflow.wait_for_end(path) == {"features": "success", "predict": "failed", "score": "upstream_failed"}
    log = airflow.http.get(f"{path}/taskInstances/predict/logs/1").raise_for_status().text
    assert "models = 'planted': is refused here" in log
    features = job_of(airflow, path, "features")
    (root / REFUSE).unlink()
    clear(airflow, path, "predict", include_downstream=True)
    assert airflow.wait_for_success(DAG_ID, path) == dict.fromkeys(("features", "predict", "score"), "success")
    assert job_of(airflow, path, "score") == job_of(airflow, path, "predict") != features

    scored = job_of(airflow, path, "score")
    clear(airflow, path, "predict", include_downstream=False)
    assert airflow.wait_for_success(DAG_ID, path) == dict.fromkeys(("features", "predict", "score"), "success")
    assert job_of(airflow, path, "score") == scored
    assert job_of(airflow, path, "predict") != scored
    jobs = [job for job, status in runs_of(root, "shared") if status == "success"]
    assert jobs == ["features", "predict", "features", "predict", "score", "predict"]


def clear(airflow: Airflow, path: str, task_id: str, *, include_downstream: bool) -> None:
    _, dags, dag_id, _, run_id = path.split("/")
    wanted = {"dag_run_id": run_id, "task_ids": [task_id], "include_downstream": include_downstream}
    switches = {"dry_run": False, "only_failed": False, "reset_dag_runs": True}
    airflow.http.post(f"/{dags}/{dag_id}/clearTaskInstances", json=wanted | switches).raise_for_status()
    wait_for("cleared", lambda: airflow.http.get(path).json()["state"] not in ("success", "failed"))


def test_larger_spec_has_a_job_for_each_step_and_the_same_rows(airflow: Airflow, root: Path) -> None:
    """Follows the tests above; three series of 900 hours, times two networks, are more than 5,000."""
    for cutoff in (FIRST, SECOND):
        path = airflow.trigger("separate__forecast", cutoff=cutoff)
        airflow.wait_for_success("separate__forecast", path)
    jobs = {job_of(airflow, path, name) for name in ("features", "predict", "score")}
    assert len(jobs) == 3
    for table in ("forecasts", "scores", "features", "observations"):
        rows = rows_of(root, "separate", table)
        assert rows.height
        assert rows.equals(rows_of(root, "shared", table)), table
