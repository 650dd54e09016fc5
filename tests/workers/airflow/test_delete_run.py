"""The DAG that deletes runs: its form, and how its task starts and follows the job."""

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from forecasting.errors import JobFailed, JobLost
from workers.airflow import cluster as cluster_module
from workers.airflow.client import RayJobsClient
from workers.airflow.delete_run import DAG_ID, DeleteRunOperator, make_delete_dag
from workers.arguments import RESULT_PREFIX
from workers.deletion import DeletionArguments, DeletionResult

RESULT = DeletionResult(record="r", deleted=("wrong",), message="1 runs deleted")
LOG = f"deleting\n{RESULT_PREFIX}{RESULT.model_dump_json()}\n"


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A Jobs API in memory: `jobs` by submission id; a submitted job gets the next of `ends` after one check."""
    ray: dict[str, Any] = {"jobs": {}, "submissions": [], "ends": [], "stops": []}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and request.url.path == "/api/jobs/":
            body = json.loads(request.content)
            ray["submissions"].append(body)
            ray["jobs"][body["submission_id"]] = [{"status": "RUNNING"}, *ray["ends"]]
            return httpx.Response(200, json={})
        submission_id = request.url.path.split("/")[3]
        if submission_id not in ray["jobs"]:
            return httpx.Response(404, text=f"Job {submission_id} does not exist")
        states = ray["jobs"][submission_id]
        if request.url.path.endswith("/logs"):
            return httpx.Response(200, json={"logs": states[0].get("logs", "")})
        if request.url.path.endswith("/stop"):
            ray["stops"].append(submission_id)
            states[:] = [{"status": "STOPPED"}]
            return httpx.Response(200, json={"stopped": True})
        return httpx.Response(200, json=states.pop(0) if len(states) > 1 else states[0])

    client = partial(RayJobsClient, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(cluster_module, "RayJobsClient", client)
    return ray


class Instance(SimpleNamespace):
    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def context_of(attempt: int = 1) -> Any:
    ti = Instance(dag_id=DAG_ID, run_id="manual__1", task_id="delete", try_number=attempt, xcoms={})
    return {"ti": ti, "dag_run": SimpleNamespace(conf={})}


def operator_of(**options: Any) -> DeleteRunOperator:
    named = {"task_id": "delete", "target": "wrong", "ray_jobs_url": "http://ray.test", "interval": 0.0}
    return DeleteRunOperator(**named | options)


def sent(ray: dict[str, Any]) -> DeletionArguments:
    text = ray["submissions"][-1]["runtime_env"]["env_vars"]["FLEETCAST_RUN"]
    assert "$" not in text
    return DeletionArguments.model_validate_json(text)


def test_job_gets_the_form_and_its_result_becomes_the_note(ray: dict[str, Any]) -> None:
    ray["ends"] = [{"status": "SUCCEEDED", "logs": LOG}]
    context = context_of()
    operator = operator_of(target=" wrong ", dry_run=False, with_later=True, reason="$HOME was mistyped")
    assert operator.execute(context)["deleted"] == ["wrong"]
    assert context["ti"].xcoms["note"] == "1 runs deleted"
    assert context["ti"].xcoms["ray_job_link"].startswith("http://ray.test/#/jobs/fleetcast__delete_run.")
    arguments = sent(ray)
    assert (arguments.run_id, arguments.dry_run, arguments.with_later) == ("wrong", False, True)
    assert arguments.reason == "$HOME was mistyped"
    assert ray["submissions"][0]["submission_id"] == f"{arguments.record}.1"


def test_dry_run_is_the_default(ray: dict[str, Any]) -> None:
    ray["ends"] = [{"status": "SUCCEEDED", "logs": LOG}]
    operator_of().execute(context_of())
    assert sent(ray).dry_run


@pytest.mark.parametrize(
    ("end", "error", "problem"),
    [
        (
            {"status": "FAILED", "driver_exit_code": 2, "logs": "error: no run is named 'x'"},
            AirflowFailException,
            "no run",
        ),
        (
            {"status": "FAILED", "driver_exit_code": 1, "logs": "error: the store is gone"},
            JobFailed,
            "the store is gone",
        ),
        ({"status": "SUCCEEDED", "logs": "done"}, JobFailed, "without a result"),
    ],
)
def test_failed_job_is_retried_unless_the_user_was_mistaken(
    ray: dict[str, Any], end: dict[str, Any], error: type[Exception], problem: str
) -> None:
    ray["ends"] = [end]
    with pytest.raises(error, match=problem):
        operator_of().execute(context_of())


def test_retry_attaches_to_a_job_that_runs_and_otherwise_starts_another_of_the_same_record(ray: dict[str, Any]) -> None:
    ray["ends"] = [{"status": "SUCCEEDED", "logs": LOG}]
    operator_of().execute(context_of())
    record = sent(ray).record
    ray["jobs"][f"{record}.1"] = [{"status": "RUNNING"}, {"status": "SUCCEEDED", "logs": LOG}]
    operator_of().execute(context_of(2))
    assert len(ray["submissions"]) == 1
    ray["jobs"][f"{record}.2"] = [{"status": "FAILED"}]
    operator_of().execute(context_of(3))
    assert ray["submissions"][-1]["submission_id"] == f"{record}.3"
    assert sent(ray).record == record


def test_killed_task_stops_its_job_and_a_lost_one_is_reported(ray: dict[str, Any], monkeypatch: Any) -> None:
    operator = operator_of()
    monkeypatch.setattr("workers.airflow.delete_run.time.sleep", lambda _: ray["jobs"].clear())
    with pytest.raises(JobLost, match="its cluster does not know it"):
        operator.execute(context_of())
    submission_id = ray["submissions"][0]["submission_id"]
    ray["jobs"][submission_id] = [{"status": "RUNNING"}]
    operator.on_kill()
    assert ray["stops"] == [submission_id]


@pytest.mark.parametrize("target", [None, "", "  "])
def test_no_run_is_refused_before_anything_is_submitted(ray: dict[str, Any], target: Any) -> None:
    with pytest.raises(AirflowFailException, match="run_id = '': must not be empty"):
        operator_of(target=target).execute(context_of())
    assert not ray["submissions"]


def test_dag_has_a_form_and_no_schedule_and_begins_when_it_is_triggered() -> None:
    dag = make_delete_dag()
    dag.validate()
    assert DagSerialization.to_dict(dag) == DagSerialization.to_dict(make_delete_dag())
    assert not dag.timetable.can_be_scheduled
    assert dag.is_paused_upon_creation is False
    (task,) = dag.tasks
    assert task.target._name == "run_id"
    of_job = set(DeletionArguments.model_fields) - {"record", "store_connection"}
    assert set(dag.params) == of_job | {"connection"}
    assert {name: getattr(task, name)._name for name in dag.params if name != "run_id"} == {
        name: name for name in dag.params if name != "run_id"
    }
    with pytest.raises(ParamValidationError):
        dag.params["run_id"] = ""
    with pytest.raises(ParamValidationError):
        dag.params["dry_run"] = "no"
