"""A real Airflow on a free port, with a real Ray Jobs server: DAG runs, retries, clears, kills, and an end in order."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from forecasting.errors import UserError
from workers.airflow import standalone
from workers.airflow.client import Job, RayJobsClient, find_job

ROOT = Path(__file__).resolve().parents[3]
FAKE_JOB = Path(__file__).with_name("fake_job.py")
Ended = subprocess.CompletedProcess[str]
PATIENCE = 120.0
DAG_FILE_NAME = "fake_dags.py"

SPEC = """
name = "{name}"
freq = "1h"
season_lengths = [24]
horizon = 24
airflow.shared_job_rows = 0
[source]
uri = "small.csv"
"""

DAILY = '[schedule]\nforecast = "0 3 * * *"\ntimezone = "Europe/Berlin"\n'
NOTIFY = """
airflow.deadline = "1s"
airflow.notify.notifier = "tests.workers.airflow.file_notifier.FileNotifier"
airflow.notify.options = {{ folder = '{folder}', name = '{name}' }}
"""
SPECS = {
    "echo_daily": f'{SPEC}{DAILY}train = "asset:file:///small.csv"\n',
    "echo_parts": f"{SPEC}{DAILY}partitioned = true\n",
    "user_error": NOTIFY + SPEC,
    "sleep": NOTIFY + SPEC,
}
"""Specs that have more than the others."""
DAILIES = ("echo_daily", "echo_parts")

DAG_FILE = """
import os
import signal
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from forecasting.spec.spec import read_spec
from workers.airflow.factory import make_dags
from workers.airflow.operator import ENTRYPOINTS, FleetcastJobOperator

COMMANDS = dict.fromkeys(ENTRYPOINTS, {command!r})
OPTIONS = dict(entrypoints=COMMANDS, retries=1, retry_delay=timedelta(seconds=1), interval=0.5, wait=0)


class DiesOnce(FleetcastJobOperator):
    def defer(self, **kwargs):
        if not (marker := Path(__file__).with_name("died")).exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().defer(**kwargs)


globals().update(make_dags(Path(__file__).parent / "specs", **OPTIONS))
with DAG("dies_once", schedule=None) as dies_once:
    spec = read_spec(Path(__file__).parent / "specs" / "echo.toml")
    DiesOnce(job="features", flow="train", spec=spec, **OPTIONS)
"""


@dataclass
class Airflow:
    """A running Airflow's REST API, and the Jobs API that its tasks use."""

    root: Path
    port: int
    http: httpx.Client
    ray: RayJobsClient

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.is_success, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def dag_ids(self) -> set[str]:
        """The DAGs of this module; others may be there as well."""
        dags = self.get("/dags")["dags"]
        return {dag["dag_id"] for dag in dags if dag["relative_fileloc"] == f"fakes/{DAG_FILE_NAME}"}

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        self.http.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()
        answer = self.http.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        return str(answer.raise_for_status().json()["dag_run_id"])

    def task(self, dag_id: str, run_id: str, task_id: str) -> Any:
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int | None = None) -> str:
        """The log of one try; of the last one where none is named, as Airflow may count a try that it lost itself."""
        try_number = try_number or self.task(dag_id, run_id, task_id)["try_number"]
        return str(self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"))

    def run_state(self, dag_id: str, run_id: str) -> str:
        return wait_for(lambda: ended(self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"]))

    def submissions(self, dag_id: str) -> list[str]:
        """The submission ids of a DAG's jobs, oldest first."""
        headers = self.ray._options()["headers"]
        jobs = httpx.get(f"{self.ray.url}/api/jobs/", headers=headers).raise_for_status().json()
        ids = [job["submission_id"] for job in jobs if str(job["submission_id"]).startswith(f"{dag_id}.")]
        return sorted(ids, key=lambda submission_id: (submission_id.split(".")[2], submission_id))

    def job(self, submission_id: str) -> Job:
        job = self.ray.run(find_job(submission_id))
        assert job is not None
        return job


def ended(state: str) -> str | None:
    return state if state in ("success", "failed") else None


def wait_for(check: Callable[[], Any], patience: float = PATIENCE) -> Any:
    deadline = time.monotonic() + patience
    while not (seen := check()):
        assert time.monotonic() < deadline, f"nothing after {patience:.0f} s"
        time.sleep(0.3)
    return seen


def write_dags(folder: Path, *names: str) -> None:
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    for name in names:
        text = SPECS.get(name, SPEC).format(name=name, folder=folder)
        (folder / "specs" / f"{name}.toml").write_text(text)
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(FAKE_JOB))} as_named"
    (folder / DAG_FILE_NAME).write_text(DAG_FILE.format(command=command))


def lay_dags(root: Path) -> None:
    """Write one spec for each way in which a job can go; the specs' names are the ways."""
    write_dags(root / "dags" / "fakes", "echo", "fail", "user_error", "skip", "sleep", *DAILIES)


@pytest.fixture(scope="module")
def airflow(running_airflow: Any, ray_jobs_url: str) -> Airflow:
    here = Airflow(running_airflow.root, running_airflow.port, running_airflow.http, RayJobsClient(ray_jobs_url))
    wait_for(lambda: len(here.dag_ids()) == 15)
    return here


@pytest.fixture(scope="module")
def dags_tested(ray_jobs_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[list[Ended]]]:
    """Results of `airflow dags test`: twice the same DAG for the same time, then a DAG that fails.

    The command needs no running Airflow, and runs beside the other tests of this module, which mostly wait.
    """
    root = tmp_path_factory.mktemp("tested")
    write_dags(root / "dags", "echo", "user_error")
    environment = {
        **os.environ,
        **standalone.airflow_environment(root),
        "FLEETCAST_RAY_JOBS_URL": ray_jobs_url,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }

    def airflow(*arguments: str) -> Ended:
        return subprocess.run(["airflow", *arguments], env=environment, capture_output=True, text=True, timeout=200)

    def test_dags() -> list[Ended]:
        migrated = airflow("db", "migrate")
        again = ("dags", "test", "echo__forecast", "2024-01-06", "--conf", '{"series": ["only this"]}')
        return [migrated, airflow(*again), airflow(*again), airflow("dags", "test", "user_error__forecast")]

    with ThreadPoolExecutor(max_workers=1) as aside:
        yield aside.submit(test_dags)


@pytest.fixture(scope="module")
def runs(airflow: Airflow, dags_tested: Future[list[Ended]]) -> dict[str, str]:
    """One run of each train DAG and of the DAG whose worker dies, all triggered at once; run ids by DAG id."""
    dag_ids = ["dies_once", *(f"{name}__train" for name in ("echo", "fail", "user_error", "skip", "sleep"))]
    return {
        dag_id: airflow.trigger(dag_id, {"series": ["a", "$b"], "cutoff": "2024-01-05"} if "echo" in dag_id else None)
        for dag_id in dag_ids
    }


pytestmark = [pytest.mark.ray, pytest.mark.airflow, pytest.mark.timeout(420)]


def test_no_spec_and_no_dag_has_an_import_error(airflow: Airflow) -> None:
    assert airflow.get("/importErrors")["import_errors"] == []


def test_run_goes_to_the_end_and_its_assets_have_the_versions_of_tables(airflow: Airflow, runs: dict[str, str]) -> None:
    run_id = runs["echo__train"]
    assert airflow.run_state("echo__train", run_id) == "success"
    path = f"/dags/echo__train/dagRuns/{run_id}/taskInstances"
    assert airflow.get(f"{path}/features/xcomEntries/cutoff")["value"] == "2024-01-05"
    assert '"series": ["a", "$b"]' in airflow.log("echo__train", run_id, "backtest").replace("\\", "")
    (event,) = (
        event
        for event in airflow.get("/assets/events", source_dag_id="echo__train")["asset_events"]
        if event["name"] == "fleetcast/echo/features"
    )
    assert event["extra"]["version"] == 3
    assert event["extra"]["cutoff"] == "2024-01-05"


@pytest.fixture(scope="module")
def backfills(airflow: Airflow) -> list[int]:
    """A backfill of three days of each forecast DAG that has a schedule, three runs at a time."""
    ids = []
    for name in DAILIES:
        airflow.http.patch(f"/dags/{name}__forecast", json={"is_paused": False}).raise_for_status()
        days = {"from_date": "2024-03-30T00:00:00Z", "to_date": "2024-04-01T12:00:00Z", "max_active_runs": 3}
        body = {"dag_id": f"{name}__forecast", **days}
        ids.append(wait_for(lambda body=body: created(airflow.http.post("/backfills", json=body))))
    return ids


def created(answer: httpx.Response) -> int | None:
    """The id of a new backfill; None where SQLite was locked by the scheduler."""
    assert answer.is_success or answer.status_code == 503, answer.text
    return int(answer.json()["id"]) if answer.is_success else None


@pytest.mark.parametrize("number", [0, 1])
def test_backfill_makes_parallel_runs_that_know_the_source_as_of_their_times_and_leave_scores_to_others(
    airflow: Airflow, backfills: list[int], number: int
) -> None:
    dag_id = f"{DAILIES[number]}__forecast"
    wait_for(lambda: airflow.get(f"/backfills/{backfills[number]}")["completed_at"], patience=2 * PATIENCE)
    made = airflow.get(f"/dags/{dag_id}/dagRuns", run_type=["backfill"])["dag_runs"]
    assert [run["state"] for run in made] == ["success"] * 3
    begun, ended = ([run[time] for run in made] for time in ("start_date", "end_date"))
    assert max(begun) < min(ended), "all three at once"
    logs = [airflow.log(dag_id, run["dag_run_id"], "features").replace("\\", "") for run in made]
    moments = {re.search(r'"as_of": "([^"]+)"', log)[1] for log in logs}  # type: ignore[index]
    assert moments == {f"2024-0{moment}:00" for moment in ("3-30T03:00:00+01", "3-31T03:00:00+02", "4-01T03:00:00+02")}
    for run in made:
        states = {job: airflow.task(dag_id, run["dag_run_id"], job)["state"] for job in ("predict", "score")}
        assert states == {"predict": "success", "score": "skipped"}


def test_update_of_the_sources_asset_starts_the_flow(airflow: Airflow, backfills: list[int]) -> None:
    dag_id = "echo_daily__train"
    airflow.http.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()
    (asset,) = airflow.get("/assets", uri_pattern="file:///small.csv")["assets"]
    airflow.http.post("/assets/events", json={"asset_id": asset["id"]}).raise_for_status()
    (run,) = wait_for(lambda: airflow.get(f"/dags/{dag_id}/dagRuns")["dag_runs"])
    assert run["run_type"] == "asset_triggered"
    assert airflow.run_state(dag_id, run["dag_run_id"]) == "success"


def test_failed_job_is_tried_again_under_the_same_run_with_its_last_lines_in_the_log(
    airflow: Airflow, runs: dict[str, str]
) -> None:
    run_id = runs["fail__train"]
    assert airflow.run_state("fail__train", run_id) == "failed"
    assert airflow.task("fail__train", run_id, "features")["try_number"] == 2
    first, second = airflow.submissions("fail__train")
    assert (first[:-1], first[-1], second[-1]) == (second[:-1], "1", "2")
    for try_number in (1, 2):
        log = airflow.log("fail__train", run_id, "features", try_number)
        assert "the last thing it said" in log
        assert "line 79" in log


def test_users_mistake_is_not_tried_again(airflow: Airflow, runs: dict[str, str]) -> None:
    run_id = runs["user_error__train"]
    assert airflow.run_state("user_error__train", run_id) == "failed"
    assert airflow.task("user_error__train", run_id, "features")["try_number"] == 1
    assert "freq = '0h': must be 1 or more" in airflow.log("user_error__train", run_id, "features", 1)


def test_failed_and_late_runs_are_reported_by_the_notifiers_of_their_specs(
    airflow: Airflow, runs: dict[str, str]
) -> None:
    folder = airflow.root / "dags" / "fakes"
    failed = wait_for(lambda: (folder / "user_error.failure.txt").exists() and (folder / "user_error.failure.txt"))
    assert "features of user_error__train has failed: " in failed.read_text()
    assert "freq = '0h': must be 1 or more" in failed.read_text()
    late = wait_for(lambda: (folder / "sleep.late.txt").exists() and (folder / "sleep.late.txt"))
    expected = f"late: run {runs['sleep__train']} of sleep__train has not ended within 1s (airflow.deadline)"
    assert late.read_text() == expected


def test_run_without_new_data_skips_every_task(airflow: Airflow, runs: dict[str, str]) -> None:
    run_id = runs["skip__train"]
    airflow.run_state("skip__train", run_id)
    states = {job: airflow.task("skip__train", run_id, job)["state"] for job in ("features", "train", "backtest")}
    assert set(states.values()) == {"skipped"}
    assert "skip it is" in airflow.log("skip__train", run_id, "features")


def test_retry_after_a_workers_death_attaches_to_the_job(airflow: Airflow, runs: dict[str, str]) -> None:
    run_id = runs["dies_once"]
    assert airflow.run_state("dies_once", run_id) == "success"
    assert airflow.task("dies_once", run_id, "features")["try_number"] == 2
    assert len(airflow.submissions("dies_once")) == 1
    assert "attaching to job" in airflow.log("dies_once", run_id, "features", 2)


def test_clear_starts_a_new_job_and_kill_stops_it(airflow: Airflow, runs: dict[str, str]) -> None:
    run_id = runs["sleep__train"]

    def running(number: int) -> str | None:
        """The task's n-th job, once the task waits for it in the triggerer."""
        is_deferred = airflow.task("sleep__train", run_id, "features")["state"] == "deferred"
        ids = airflow.submissions("sleep__train")
        return ids[-1] if len(ids) == number and is_deferred and airflow.job(ids[-1]).status == "RUNNING" else None

    first = wait_for(lambda: running(1))
    clear = {"dag_run_id": run_id, "task_ids": ["features"], "dry_run": False, "only_failed": False}
    airflow.http.post("/dags/sleep__train/clearTaskInstances", json=clear).raise_for_status()
    second = wait_for(lambda: running(2))
    assert airflow.job(first).status == "STOPPED"
    assert int(second.split(".")[2]) > int(first.split(".")[2]), "a higher generation"

    task = f"/dags/sleep__train/dagRuns/{run_id}/taskInstances/features"
    airflow.http.patch(task, json={"new_state": "failed"}).raise_for_status()
    assert wait_for(lambda: airflow.job(second).is_terminal and airflow.job(second).status) == "STOPPED"
    assert airflow.run_state("sleep__train", run_id) == "failed"
    assert len(airflow.submissions("sleep__train")) == 2


def test_no_try_is_lost_but_that_of_the_killed_worker(airflow: Airflow, runs: dict[str, str]) -> None:
    """Airflow takes a task that is resumed too soon for a killed one: under load, each deferral cost a try."""
    for dag_id, run_id in runs.items():
        airflow.run_state(dag_id, run_id)
    lost = airflow.get("/eventLogs", event="state mismatch")["event_logs"]
    assert [(entry["dag_id"], entry["try_number"]) for entry in lost] == [("dies_once", 1)]


def test_form_value_that_no_job_could_use_is_refused_at_once(airflow: Airflow) -> None:
    for conf in ({"cutoff": "yesterday"}, {"models": ["transformer"]}):
        answer = airflow.http.post("/dags/echo__train/dagRuns", json={"logical_date": None, "conf": conf})
        assert answer.status_code == 400
        assert next(iter(conf)) in answer.text


def test_dropped_spec_appears_and_a_broken_one_takes_no_dag_away(airflow: Airflow) -> None:
    specs = airflow.root / "dags" / "fakes" / "specs"
    (specs / "fresh.toml").write_text(SPEC.format(name="fresh"))
    (specs / "odd.toml").write_text(SPEC.format(name="odd").replace("1h", "0h"))
    new = {"fresh__train", "fresh__forecast", "odd__broken"}
    wait_for(lambda: new <= airflow.dag_ids())
    assert len(airflow.dag_ids()) == 18
    assert airflow.get("/importErrors")["import_errors"] == []
    assert "freq = '0h'" in airflow.get("/dags/odd__broken/details")["doc_md"]


def test_second_up_starts_nothing_and_says_the_same(airflow: Airflow, running_airflow: Any) -> None:
    password = standalone.password(airflow.root)
    assert running_airflow.output == f"Airflow: http://127.0.0.1:{airflow.port}  user: admin  password: {password}"
    before = {process.pid for process in standalone._processes(standalone.airflow_home(airflow.root))}
    assert standalone.up(airflow.root, port=airflow.port + 1) == running_airflow.output
    main = standalone._main_process(standalone.airflow_home(airflow.root))
    assert main is not None
    assert main.pid in before


def test_down_ends_every_process_and_a_second_down_finds_none(airflow: Airflow) -> None:
    """The last test of this module: it ends the Airflow that the others use."""
    processes = standalone._processes(standalone.airflow_home(airflow.root))
    assert len(processes) > 4
    assert standalone.down(airflow.root)
    assert not [process for process in processes if psutil.pid_exists(process.pid)]
    assert not standalone.down(airflow.root)
    with pytest.raises(UserError, match="not up"):
        standalone.login(airflow.root)


def test_dag_is_run_without_a_scheduler_and_again_for_the_same_time(dags_tested: Future[list[Ended]]) -> None:
    migrated, *succeeded, failed = dags_tested.result()
    assert migrated.returncode == 0, migrated.stderr[-3000:]
    generations = []
    for tried in succeeded:
        assert tried.returncode == 0, tried.stdout[-3000:] + tried.stderr[-3000:]
        said = tried.stdout + tried.stderr
        assert '"series": ["only this"]' in said.replace("\\", "")
        assert '"as_of": "2024-01-06T00:00:00+00:00"' in said.replace("\\", "")
        generations.append(set(re.findall(r"of generation (\d+) begins", said)))
    assert [len(found) for found in generations] == [3, 3]
    assert not generations[0] & generations[1], "a repeated run starts runs of its own"
    assert failed.returncode != 0


def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "workers.airflow.standalone",
            "up",
            "--root",
            str(tmp_path),
            "--port",
            str(port),
        ]
        tried = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert tried.returncode == 2
    assert f"port {port} on 127.0.0.1 cannot be used" in tried.stderr
    assert not (tmp_path / ".fleetcast").exists()
