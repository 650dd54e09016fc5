"""Planted secrets are found nowhere: after DAG runs that use them, everything that Airflow and Ray have is searched."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PLANTED, connection_to
from tests.end_to_end.service import Airflow
from tests.end_to_end.test_airflow_standalone import write_parcels
from tests.object_store import KEY, serve_buckets
from workers.airflow import standalone
from workers.airflow.ray_token import read_token
from workers.arguments import FLOWS

pytestmark = [pytest.mark.ray, pytest.mark.airflow, pytest.mark.timeout(900)]

IN_FILE = PLANTED + " of/the file&"  # whose last characters URIs escape
DECOY = "A decoy, which every search finds"
DAG_IDS = ("planted__train", "planted__forecast")

SPEC = f"""
name = "planted"
description = "{DECOY}"
freq = "1h"
season_lengths = [24]
horizon = 4
recipe = "fast"

[source]
uri = "s3://vault/parcels.csv"
connection = "mounted"
id = "depot"
time = "hour"
target = "parcels"
timezone = "UTC"

[airflow]
connection = "cluster"
retries = 1

[overrides]
max_steps = 4
hidden_size = 4

[backtest]
origins = 1

[[publish]]
connection = "unreachable"

[[publish]]
connection = "mounted"
"""

DAG_FILE = """
from datetime import timedelta
from pathlib import Path

from workers.airflow.factory import make_dags

globals().update(make_dags(Path(__file__).parent / "specs", retry_delay=timedelta(seconds=1), interval=0.5))
"""

STATE_MAY_BE_EMPTY = ("tasks", "actors", "objects", "runtime_envs", "placement_groups")  # short work needs no actors
STATE_API = ("jobs", "workers", "nodes")
OTHER_ENDPOINTS = (
    "/api/v0/tasks/summarize",
    "/api/v0/actors/summarize",
    "/api/v0/objects/summarize",
    "/api/v0/tasks/timeline",
    "/api/cluster_status",
    "/api/cluster_metadata",
    "/api/serve/applications/",
    "/api/progress",
    "/events",
    "/logical/actors",
    "/nodes?view=summary",
    "/nodes?view=details",
    "/nodes?view=hostNameList",
)


def lay_dags(root: Path) -> None:
    """Write a DAG file and its spec into a checkout, before Airflow starts there."""
    (root / "dags" / "planted" / "specs").mkdir(parents=True, exist_ok=True)
    (root / "dags" / "planted" / "planted_dags.py").write_text(DAG_FILE)
    (root / "dags" / "planted" / "specs" / "planted.toml").write_text(SPEC)


@pytest.fixture(scope="module")
def runs(running_airflow: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The path of an ended run of each DAG. Its source opens with a mounted secret; no place of its copies does."""
    root, buckets = running_airflow.root, tmp_path_factory.mktemp("buckets")
    airflow = Airflow(running_airflow.http)
    (buckets / "vault").mkdir()
    write_parcels(buckets / "vault" / "parcels.csv")
    (root / "connections").mkdir()
    with serve_buckets(buckets) as url:
        extra = {"region_name": "x", "endpoint_url": url}
        connection = {"conn_type": "aws", "login": KEY, "password": IN_FILE, "extra": extra}
        (root / "connections" / "mounted").write_text(json.dumps(connection))
        airflow.wait_for_dags(*DAG_IDS)
        paths = {dag_id: airflow.trigger(dag_id) for dag_id in DAG_IDS}
        assert set(airflow.wait_for_success("planted__train", paths["planted__train"]).values()) == {"success"}
        states = airflow.wait_for_end(paths["planted__forecast"])  # there are no actuals yet
        assert states == {"features": "success", "predict": "success", "score": "skipped", "publish": "failed"}
        yield paths


def planted() -> list[str]:
    """What must be found nowhere: the planted text, which all secrets begin with, and the token of Ray's Jobs API."""
    return [PLANTED, *filter(None, [read_token()])]


def search(places: Mapping[str, str], *, decoy: str) -> None:
    """Fail where a place has a secret, or where none has the decoy: the search then reaches nothing of a run."""
    assert any(decoy in text for text in places.values()), f"{decoy!r} is in none of {', '.join(places)}"
    for place, text in places.items():
        if found := [secret for secret in planted() if secret in text]:
            at = text.index(found[0])
            pytest.fail(f"{place} has {found[0]!r}: …{text[max(0, at - 300) : at + 100]}…")


def read_files(folder: Path) -> dict[str, str]:
    """Return the text of every file below a folder, with its path."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): path.read_text(errors="replace") for path in files}


def test_search_finds_what_is_there_and_notices_that_it_searches_nothing() -> None:
    with pytest.raises(pytest.fail.Exception, match="a place has"):
        search({"a place": f"decoy, and {IN_FILE} after"}, decoy="decoy")
    with pytest.raises(AssertionError, match="'decoy' is in none of a place"):
        search({"a place": "nothing"}, decoy="decoy")


def test_no_table_of_airflows_database_has_a_secret(running_airflow: Any, runs: dict[str, str]) -> None:
    """XComs, rendered templates, states and notes of tasks, serialised DAGs with their documentation, and the rest."""
    database = standalone.airflow_home(running_airflow.root) / "airflow.db"
    rows: dict[str, str] = {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows[table] = "\n".join(map(str, connection.execute(f'SELECT * FROM "{table}"')))
    for table in ("xcom", "rendered_task_instance_fields", "task_instance", "serialized_dag", "dag_run", "log"):
        search({table: rows[table]}, decoy="planted__")
    search(rows, decoy=DECOY)


def test_no_answer_of_airflow_has_a_secret(running_airflow: Any, runs: dict[str, str]) -> None:
    http: httpx.Client = running_airflow.http
    answers: dict[str, str] = {}

    def get(path: str) -> Any:
        answers[path] = http.get(path).raise_for_status().text
        return json.loads(answers[path])

    for dag_id, path in runs.items():
        get(path)
        search({dag_id: json.dumps(get(f"/dags/{dag_id}/details"))}, decoy=DECOY)
        for task in get(f"{path}/taskInstances")["task_instances"]:  # with their rendered fields and notes
            at = f"{path}/taskInstances/{task['task_id']}"
            for entry in get(f"{at}/xcomEntries")["xcom_entries"]:
                get(f"{at}/xcomEntries/{entry['key']}")
            (link,) = get(f"{at}/links")["extra_links"].values()
            steps = [*FLOWS["train" if dag_id.endswith("__train") else "forecast"], "publish"]
            shared = "|".join(steps[: steps.index(task["task_id"]) + 1])  # a job is named after its first step
            assert re.fullmatch(rf"http://127.0.0.1:\d+/#/jobs/{dag_id}\.({shared})\.\S+", link)
            log = f"{at}/logs/{task['try_number']}"
            get(log)
            search({log: answers[log]}, decoy="waiting for ")
    search(answers, decoy="connection 'unreachable'")


def test_connection_is_tested_from_the_form_and_a_wrong_token_is_refused(
    running_airflow: Any, ray_jobs_url: str, runs: dict[str, str]
) -> None:
    token = connection_to(ray_jobs_url)["password"]
    for given, is_good, said in ((token, True, "accepts the token"), ("wrong", False, "refuses the token")):
        body = {"connection_id": "tried", "conn_type": "fleetcast_ray", "host": ray_jobs_url, "password": given}
        answer = running_airflow.http.post("/connections/test", json=body).raise_for_status().json()
        assert answer["status"] == is_good, answer
        assert said in answer["message"]


def test_no_file_of_airflow_has_a_secret(running_airflow: Any, runs: dict[str, str]) -> None:
    search(read_files(standalone.airflow_home(running_airflow.root)), decoy="connection 'unreachable'")


def test_no_answer_of_rays_apis_has_a_secret(ray_jobs_url: str, runs: dict[str, str]) -> None:
    """Anyone who may list jobs sees their runtime environments, entry points and metadata."""
    answers: dict[str, str] = {}
    with httpx.Client(base_url=ray_jobs_url, timeout=60, trust_env=False) as ray:
        ray.headers["Authorization"] = f"Bearer {read_token()}"
        jobs = ray.get("/api/jobs/").raise_for_status()
        answers["/api/jobs/"] = jobs.text
        ours = [job for job in jobs.json() if str(job["submission_id"]).startswith("planted__")]
        assert len(ours) >= 3, "one for each run, and one more for each further try of a task"
        for job in ours:
            arguments = json.loads(job["runtime_env"]["env_vars"]["FLEETCAST_RUN"])
            names = (arguments["spec"]["source"]["connection"], arguments["store_connection"])
            assert names == ("mounted", "mounted"), "a job carries the names of connections"
            for path in (f"/api/jobs/{job['submission_id']}", f"/api/jobs/{job['submission_id']}/logs"):
                answers[path] = ray.get(path).raise_for_status().text
        for resource in (*STATE_API, *STATE_MAY_BE_EMPTY):
            listed = ray.get(f"/api/v0/{resource}", params={"detail": "true", "limit": 10_000}).raise_for_status()
            assert listed.json()["data"]["result"]["result"] or resource in STATE_MAY_BE_EMPTY, resource
            answers[resource] = listed.text
        for path in OTHER_ENDPOINTS:
            answers[path] = ray.get(path).text
    search({name: answers[name] for name in ("/api/jobs/", "jobs")}, decoy=DECOY)
    search(answers, decoy="connection 'unreachable'")


def test_no_file_of_rays_session_has_a_secret(shared_ray_head: Any, runs: dict[str, str]) -> None:
    search(read_files(shared_ray_head.folder), decoy="connection 'unreachable'")


def test_no_file_of_the_store_has_a_secret(running_airflow: Any, runs: dict[str, str]) -> None:
    """The tables, their Delta logs, staged shards and weights; Parquet files compress what they hold."""
    search(read_files(running_airflow.root / "store"), decoy="planted__")
