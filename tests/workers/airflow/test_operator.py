import asyncio
import json
import shlex
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferralError, TaskDeferred
from airflow.sdk.execution_time.xcom import XCom

from forecasting.errors import ClusterError, JobFailed, JobLost, UserError
from forecasting.spec.spec import Spec, make_spec
from workers.airflow import cluster as cluster_module
from workers.airflow import trigger as trigger_module
from workers.airflow.assets import table_asset
from workers.airflow.client import RayJobsClient, find_job, read_log, stop_job
from workers.airflow.links import RayJobLink
from workers.airflow.operator import (
    ENTRYPOINTS,
    MAX_VARIABLE_BYTES,
    FleetcastJobOperator,
    as_of,
    as_variable,
    outlet_extra,
)
from workers.airflow.runs import RUN_KEY, read_run, start_run
from workers.arguments import RunArguments, RunResult

FAKE_JOB = Path(__file__).with_name("fake_job.py")


def small_spec(**fields: Any) -> Spec:
    return make_spec(
        {"name": "small", "source": {"uri": "/tmp/small.csv"}, "freq": "1h", "season_lengths": [24], "horizon": 24}
        | fields,
        subject="spec",
    )


class Store(dict):
    """Airflow's task state store, as a dict."""

    def set(self, key: str, value: object) -> None:
        self[key] = json.loads(json.dumps(value))


class Instance(SimpleNamespace):
    """Airflow's task instance, with its XComs in a dict."""

    def xcom_push(self, key: str, value: object) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> object:
        return self.results.get(task_ids, {}).get(key)

    def get_task_states(self, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        return {run_id: {name: self.states.get(name) for name in task_ids} for run_id in run_ids}


def make_context(**dag_run: Any) -> Any:
    moments = {
        "conf": {},
        "data_interval_end": None,
        "logical_date": None,
        "run_type": "scheduled",
        "partition_key": None,
        "partition_date": None,
        "run_after": datetime(2024, 1, 8, 12, tzinfo=UTC),
    }
    return {
        "ti": Instance(
            dag_id="small__train", task_id="features", run_id="manual__1", max_tries=3, xcoms={}, results={}, states={}
        ),
        "dag_run": SimpleNamespace(**moments | dag_run),
        "task_state_store": Store(),
        "outlet_events": defaultdict(lambda: SimpleNamespace(extra={})),
    }


def cleared(context: Any) -> Any:
    """What Airflow does to a task's tries when it is cleared after its first try."""
    context["ti"].max_tries += 1
    return context


def make_operator(
    behaviour: str = "succeed", url: str | None = "http://ray.test", **options: Any
) -> FleetcastJobOperator:
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(FAKE_JOB))} {behaviour}"
    options = {"job": "features", "flow": "train", "spec": small_spec(airflow={"shared_job_rows": 0})} | options
    options = {"entrypoints": dict.fromkeys(ENTRYPOINTS, command), "wait": 0} | options
    return FleetcastJobOperator(ray_jobs_url=url, interval=0.2, patience=1.0, **options)


def submit(operator: FleetcastJobOperator, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    return deferred.value


def await_event(deferred: TaskDeferred) -> dict[str, Any]:
    async def first() -> Any:
        return await anext(deferred.trigger.run())

    return dict(asyncio.run(first()).payload)


def run_to_end(operator: FleetcastJobOperator, context: Any) -> Any:
    deferred = submit(operator, context)
    assert deferred.method_name == "finish"
    return operator.finish(context, event=await_event(deferred))


# --- without Ray -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A Jobs API in memory: `jobs` by submission id, `stops`, `submissions`; set `down` to have it refuse to answer."""
    ray: dict[str, Any] = {
        "jobs": {},
        "stops": [],
        "submissions": [],
        "requests": [],
        "down": False,
        "first_status": "RUNNING",
    }

    def answer(request: httpx.Request) -> httpx.Response:
        ray["requests"].append(request)
        if ray["down"]:
            raise httpx.ConnectError("refused")
        if request.method == "POST" and request.url.path == "/api/jobs/":
            body = json.loads(request.content)
            if body["submission_id"] in ray["jobs"]:
                return httpx.Response(500, text=f"Job with submission_id {body['submission_id']} already exists.")
            ray["submissions"].append(body)
            ray["jobs"][body["submission_id"]] = {"status": ray["first_status"]}
            return httpx.Response(200, json={})
        submission_id = request.url.path.split("/")[3]
        if submission_id not in ray["jobs"]:
            return httpx.Response(404, text=f"Job {submission_id} does not exist")
        if request.url.path.endswith("/stop"):
            ray["stops"].append(submission_id)
            ray["jobs"][submission_id]["status"] = "STOPPED"
            return httpx.Response(200, json={"stopped": True})
        if request.url.path.endswith("/logs"):
            return httpx.Response(200, json={"logs": ray["jobs"][submission_id].get("logs", "")})
        return httpx.Response(200, json=ray["jobs"][submission_id])

    transport = httpx.MockTransport(answer)
    for module in (cluster_module, trigger_module):
        monkeypatch.setattr(module, "RayJobsClient", partial(RayJobsClient, transport=transport))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token of the environment")
    return ray


def sent(ray: dict[str, Any], number: int = -1) -> RunArguments:
    return RunArguments.model_validate_json(ray["submissions"][number]["runtime_env"]["env_vars"]["FLEETCAST_RUN"])


def test_run_is_stored_before_the_job_is_submitted(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    fake_ray["down"] = True
    with pytest.raises(ClusterError):
        make_operator().execute(context)
    stored = read_run(context["task_state_store"])
    assert stored is not None
    fake_ray["down"] = False
    submit(make_operator(), context)
    assert list(fake_ray["jobs"]) == [stored.submission_id]


def test_job_knows_which_fields_of_the_spec_are_set(fake_ray: dict[str, Any]) -> None:
    """A field that is set to its default counts as stated, and turns off what is asked of others."""
    spec = small_spec()
    submit(make_operator(spec=spec), make_context())
    arrived = sent(fake_ray).spec
    assert arrived == spec
    assert arrived.source.model_fields_set == spec.source.model_fields_set
    assert arrived.source.csv.model_fields_set == set()


def test_retry_attaches_to_the_job_that_runs(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    first = submit(make_operator(), context)
    second = submit(make_operator(), context)
    assert len(fake_ray["submissions"]) == 1
    assert first.trigger.submission_id == second.trigger.submission_id


def test_retry_of_an_ended_job_reads_its_result_without_running_it_again(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    job_id = submit(make_operator(), context).trigger.submission_id
    fake_ray["jobs"][job_id]["status"] = "SUCCEEDED"
    assert submit(make_operator(), context).trigger.submission_id == job_id
    assert len(fake_ray["submissions"]) == 1


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_retry_of_a_failed_job_submits_again_under_the_same_run(status: str, fake_ray: dict[str, Any]) -> None:
    context = make_context()
    job_id = submit(make_operator(), context).trigger.submission_id
    fake_ray["jobs"][job_id]["status"] = status
    assert submit(make_operator(), context).trigger.submission_id != job_id
    assert (sent(fake_ray, 0).run_id, sent(fake_ray, 0).generation) == (
        sent(fake_ray).run_id,
        sent(fake_ray).generation,
    )
    assert len(fake_ray["submissions"]) == 2


def test_retry_of_a_lost_job_submits_again_under_the_same_run(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    submit(make_operator(), context)
    fake_ray["jobs"].clear()
    submit(make_operator(), context)
    assert len(fake_ray["submissions"]) == 2
    assert sent(fake_ray, 0).run_id == sent(fake_ray, 1).run_id


def test_cleared_task_stops_the_old_job_and_starts_a_run_of_a_higher_generation(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    old = submit(make_operator(), context).trigger.submission_id
    new = submit(make_operator(), cleared(context)).trigger.submission_id
    assert fake_ray["stops"] == [old]
    assert new != old
    assert sent(fake_ray, 1).generation > sent(fake_ray, 0).generation
    assert sent(fake_ray, 1).run_id != sent(fake_ray, 0).run_id
    assert submit(make_operator(), context).trigger.submission_id == new, "a retry after the clear keeps the new run"


def test_killed_task_stops_its_job(fake_ray: dict[str, Any]) -> None:
    operator = make_operator()
    job_id = submit(operator, make_context()).trigger.submission_id
    operator.on_kill()
    assert fake_ray["stops"] == [job_id]


def test_task_that_is_killed_while_it_submits_leaves_no_job_behind(fake_ray: dict[str, Any]) -> None:
    operator = make_operator()
    operator.on_kill()  # as the signal does before the answer to the submission arrives
    with pytest.raises(JobFailed, match="killed"):
        operator.execute(make_context())
    assert [job["status"] for job in fake_ray["jobs"].values()] == ["STOPPED"]


def test_killing_a_task_of_an_unreachable_cluster_says_that_the_job_may_run(
    fake_ray: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    operator = make_operator()
    submit(operator, make_context())
    fake_ray["down"] = True
    operator.on_kill()
    assert "may still run" in capsys.readouterr().out


def test_form_left_as_it_is_asks_for_nothing_in_particular(fake_ray: dict[str, Any]) -> None:
    submit(make_operator(cutoff=None, models=["gru", "lstm"], series=[]), make_context())
    arguments = sent(fake_ray)
    assert not arguments.is_explicit
    assert arguments.as_of == "2024-01-08T12:00:00+00:00"


def test_what_the_form_holds_reaches_the_job(fake_ray: dict[str, Any]) -> None:
    submit(
        make_operator(
            cutoff=" 2024-01-05T00:00:00 ",
            models=["gru"],
            series=["a; rm -rf /", "$(b)"],
            changed_only=True,
            full_read=True,
        ),
        make_context(),
    )
    arguments = sent(fake_ray)
    assert arguments.cutoff == "2024-01-05T00:00:00"
    assert arguments.as_of is None
    assert arguments.models == ("gru",)
    assert arguments.series == ("a; rm -rf /", "$(b)")
    assert not arguments.from_scratch
    assert arguments.changed_only
    assert arguments.full_read
    assert "rm" not in fake_ray["submissions"][0]["entrypoint"]


def test_more_series_than_an_environment_variable_holds_are_refused(fake_ray: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="series: 20000 ids take"):
        make_operator(series=[f"series {number}" for number in range(20_000)]).execute(make_context())
    assert not fake_ray["submissions"]


def test_refused_argument_fails_without_a_retry_and_without_a_job(fake_ray: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="models"):
        make_operator(models=["transformer"]).execute(make_context())
    assert not fake_ray["submissions"]


def test_spec_names_its_cluster_by_a_connection_whose_secrets_stay_out_of_the_job(
    fake_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "fleetcast_ray", "host": "http://big.test", "password": "hunter2"}
    extra = {"store_connection": "lake", "dashboard_url": "https://ray.example.org"}
    monkeypatch.setenv("AIRFLOW_CONN_BIG", json.dumps(fields | {"extra": extra}))
    context = make_context()
    operator = make_operator(url=None, spec=small_spec(airflow={"connection": "big"}))
    trigger = submit(operator, context).trigger
    assert (trigger.url, trigger.connection) == ("http://big.test", "big")
    assert fake_ray["requests"][0].url.host == "big.test"
    assert {request.headers["authorization"] for request in fake_ray["requests"]} == {"Bearer hunter2"}
    assert sent(fake_ray).store_connection == "lake"
    link = f"https://ray.example.org/#/jobs/{trigger.submission_id}"
    assert context["ti"].xcoms["ray_job_link"] == link
    assert RayJobLink().get_link(operator, ti_key=context["ti"]) == link
    for carried in (fake_ray["submissions"], trigger.serialize(), context["ti"].xcoms):
        assert "hunter2" not in str(carried)


def test_cluster_of_the_settings_gets_the_token_of_the_environment(
    fake_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETCAST_RAY_JOBS_URL", "http://settings.test")
    trigger = submit(make_operator(url=None), make_context()).trigger
    assert (trigger.url, trigger.connection) == ("http://settings.test", None)
    assert fake_ray["requests"][0].headers["authorization"] == "Bearer token of the environment"


def test_unknown_connection_fails_without_a_retry(fake_ray: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="connection 'nowhere' is not known to Airflow"):
        make_operator(url=None, ray_conn_id="nowhere").execute(make_context())
    assert not fake_ray["submissions"]


def test_link_of_a_resumed_task_is_the_one_that_its_submission_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = {"ray_job_link": "http://ray.test/#/jobs/a.1"}
    asked: list[Any] = []
    monkeypatch.setattr(XCom, "get_value", lambda *, key, ti_key: asked.append(key) or ti_key.xcoms.get(key))
    operator, key = make_operator(), SimpleNamespace(xcoms=left)
    assert RayJobLink().get_link(operator, ti_key=key) == ""
    assert not asked, "Airflow logs an error for an XCom that is missing"
    with pytest.raises(TaskDeferralError):
        operator.resume_execution("__fail__", {"error": "the trigger failed"}, make_context())
    assert RayJobLink().get_link(operator, ti_key=key) == left["ray_job_link"]


def test_job_that_takes_longer_than_the_execution_timeout_is_stopped_and_tried_again(fake_ray: dict[str, Any]) -> None:
    operator = make_operator(execution_timeout=timedelta(seconds=0.3))
    deferred = submit(operator, make_context())
    event = await_event(deferred)
    assert fake_ray["stops"] == [deferred.trigger.submission_id]
    with pytest.raises(JobFailed, match="has not ended within execution_timeout, 0 s, and was stopped"):
        operator.finish(make_context(), event=event)


def test_misspelt_field_of_the_conf_fails_without_a_retry_and_without_a_job(fake_ray: dict[str, Any]) -> None:
    operator = make_operator()
    with DAG("small__train", schedule=None, params={"cutoff": None, "series": []}) as dag:
        dag.add_task(operator)
    with pytest.raises(AirflowFailException, match=r"unknown fields: 'serie' \(is 'series' meant\?\)"):
        operator.execute(make_context(conf={"serie": ["a"], "cutoff": "2024-01-05"}))
    assert not fake_ray["submissions"]
    submit(operator, make_context(conf={"series": ["a"]}))


def finish_with(ray: dict[str, Any], operator: FleetcastJobOperator, context: Any, *lines: str, **job: Any) -> Any:
    """Resume a task whose job has ended with these lines."""
    job_id = submit(operator, context).trigger.submission_id
    ray["jobs"][job_id] = {"status": "SUCCEEDED", "logs": "\n".join(lines)} | job
    return operator.finish(context, event={"submission_id": job_id})


def test_result_is_logged_once_without_its_json(fake_ray: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    result = RunResult(run_id="r", job="features", status="success", cutoff="700", message="3 series read")
    lines = ("features: a note", "3 series read", f"fleetcast-result: {result.model_dump_json()}")
    finish_with(fake_ray, make_operator(), make_context(), *lines)
    logged = capsys.readouterr().out
    assert (logged.count("3 series read"), logged.count("features: a note")) == (1, 1)
    assert "fleetcast-result" not in logged


def test_error_of_a_job_is_the_last_line_and_stands_in_no_other_place(
    fake_ray: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ("reading", "Traceback (most recent call last):", "error: spec 'a' has 2 problems:", "  - one", "  - two")
    with pytest.raises(AirflowFailException) as failed:
        finish_with(fake_ray, make_operator(), make_context(), *lines, status="FAILED", driver_exit_code=2)
    assert str(failed.value).endswith("ended as FAILED with exit code 2: spec 'a' has 2 problems:\n  - one\n  - two")
    assert failed.value.__suppress_context__, "a second traceback would bury the message"
    logged = capsys.readouterr().out
    assert "reading" in logged
    assert "2 problems" not in logged


def test_job_that_printed_nothing_fails_with_the_reason_that_ray_has(fake_ray: dict[str, Any]) -> None:
    with pytest.raises(JobFailed, match="ended as FAILED: out of memory"):
        finish_with(fake_ray, make_operator(), make_context(), status="FAILED", message="out of memory")


def test_last_job_of_a_flow_leaves_a_note_of_what_the_run_did(
    fake_ray: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    context = make_context()
    read = {"message": "3 series; series: 2 forecast, 1 ended", "seconds": 1.5}
    context["ti"].results = {"features": {"return_value": read}, "predict": {"note": "nothing to forecast"}}
    result = RunResult(
        run_id="r", job="score", status="success", cutoff="2024-01-05", seconds=2.0, message="all scored"
    )
    operator = make_operator(job="score", flow="forecast")
    finish_with(fake_ray, operator, context, f"fleetcast-result: {result.model_dump_json()}")
    note = (
        "**small, forecast up to 2024-01-05**, 3.5 s of jobs\n\n"
        "- features: 3 series; series: 2 forecast, 1 ended\n- predict: skipped, nothing to forecast\n"
        "- score: all scored"
    )
    assert context["ti"].xcoms["note"] == note
    assert "2 forecast, 1 ended" in capsys.readouterr().out
    operator = make_operator(job="score", flow="forecast", notice="runs an earlier version")
    finish_with(fake_ray, operator, context, f"fleetcast-result: {result.model_dump_json()}")
    assert context["ti"].xcoms["note"] == f"This DAG runs an earlier version\n\n{note}"


def test_operator_knows_for_its_lineage_what_the_jobs_before_it_have_written(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    context["ti"].results = {"features": {"versions": {"features": 3}}, "score": {"versions": {"scores": 9}}}
    result = RunResult(run_id="r", job="predict", status="success", cutoff="700", versions={"forecasts": 7})
    operator = make_operator(job="predict", flow="forecast")
    finish_with(fake_ray, operator, context, f"fleetcast-result: {result.model_dump_json()}")
    assert (operator.read_versions, operator.result) == ({"features": 3}, result)


def test_last_job_without_work_is_skipped_and_leaves_the_note_of_the_whole_run(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    context["ti"].results = {"predict": {"return_value": {"message": "3 series forecast", "seconds": 1.0}}}
    result = RunResult(run_id="r", job="score", status="skipped", cutoff="700", message="nothing to score")
    with pytest.raises(AirflowSkipException, match="nothing to score"):
        finish_with(
            fake_ray,
            make_operator(job="score", flow="forecast"),
            context,
            f"fleetcast-result: {result.model_dump_json()}",
        )
    assert context["ti"].xcoms["note"].endswith("- predict: 3 series forecast\n- score: nothing to score")


def test_run_of_a_backfill_leaves_scores_to_a_later_run_and_says_so(fake_ray: dict[str, Any]) -> None:
    context = make_context(run_type="backfill")
    context["ti"].results = {"predict": {"return_value": {"message": "3 series forecast", "seconds": 1.0}}}
    with pytest.raises(AirflowSkipException, match="the next run that is not of a backfill scores all"):
        make_operator(job="score", flow="forecast", cutoff="2024-01-05").execute(context)
    begin, *_, last = context["ti"].xcoms["note"].splitlines()
    assert begin == "**small, forecast up to 2024-01-05**, 1.0 s of jobs"
    assert last.startswith("- score: skipped, the next run")
    submit(make_operator(job="predict", flow="forecast", cutoff="2024-01-05"), context)


def test_run_without_new_data_leaves_a_note_and_is_skipped(fake_ray: dict[str, Any]) -> None:
    context = make_context()
    result = RunResult(run_id="r", job="features", status="skipped", cutoff="700", message="nothing new since 700")
    with pytest.raises(AirflowSkipException, match="nothing new since 700"):
        finish_with(fake_ray, make_operator(), context, f"fleetcast-result: {result.model_dump_json()}")
    assert context["ti"].xcoms["note"] == "nothing new since 700"


def test_entrypoints_are_constants_that_name_one_module_each() -> None:
    jobs = ("features", "train", "backtest", "predict", "score", "publish")
    modules = {job: entrypoint.removeprefix("python -m ") for job, entrypoint in ENTRYPOINTS.items()}
    assert modules == {job: f"workers.jobs.{job}" for job in jobs}


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ({"data_interval_end": datetime(2024, 7, 1, 10, 30, tzinfo=UTC)}, "2024-07-01T06:30:00-04:00"),
        ({"data_interval_end": datetime(2024, 1, 1, 2, tzinfo=UTC)}, "2023-12-31T21:00:00-05:00"),
        ({"logical_date": datetime(2024, 1, 1, 12, tzinfo=UTC)}, "2024-01-01T07:00:00-05:00"),
        ({}, "2024-01-08T07:00:00-05:00"),
        ({"partition_key": "2024-03-09"}, "2024-03-10T00:00:00-05:00"),
        ({"partition_key": "2024-03-10"}, "2024-03-11T00:00:00-04:00"),
        ({"partition_key": "2024-03-09T04:30:00"}, "2024-03-09T04:30:00-05:00"),
        (
            {"partition_key": "2024-11-03T01:30:00", "partition_date": datetime(2024, 11, 3, 6, 30, tzinfo=UTC)},
            "2024-11-03T01:30:00-05:00",
        ),
    ],
)
def test_as_of_is_the_instant_that_the_run_stands_for(moments: dict[str, datetime], expected: str) -> None:
    spec = small_spec(schedule={"timezone": "America/New_York"})
    assert as_of(spec, make_context(**moments)) == expected


def test_partition_that_is_no_time_is_refused() -> None:
    with pytest.raises(UserError, match="partition key 'eu' is not a time such as 2024-12-29"):
        as_of(small_spec(), make_context(partition_key="eu"))


def test_integer_steps_have_no_as_of() -> None:
    assert as_of(small_spec(freq=1), make_context()) is None


def test_table_of_integer_steps_reports_its_own_version() -> None:
    result = RunResult(run_id="r", job="predict", status="success", cutoff="700", versions={"forecasts_by_step": 7})
    assert outlet_extra(table_asset(small_spec(freq=1), "forecasts"), result) == {
        "run_id": "r",
        "cutoff": "700",
        "version": 7,
    }


# --- against a real Ray Jobs server ----------------------------------------------------------------------------------


@pytest.mark.ray
def test_successful_job_returns_its_result_and_the_versions_of_its_tables(ray_jobs_url: str) -> None:
    context = make_context()
    operator = make_operator("echo", ray_jobs_url, cutoff="2024-01-05T00:00:00", series=["a b", "'\"; $HOME ü"])
    result = run_to_end(operator, context)
    stored = read_run(context["task_state_store"])
    assert stored is not None
    assert (result["status"], result["cutoff"], result["run_id"]) == ("success", "2024-01-05T00:00:00", stored.run_id)
    arrived = RunArguments.model_validate_json(result["message"].removeprefix("arguments: "))
    assert arrived.series == ("a b", "'\"; $HOME ü")
    assert arrived.spec == operator.spec
    extras = {asset.name: events.extra for asset, events in context["outlet_events"].items()}
    assert {name: extra["version"] for name, extra in extras.items()} == {
        "fleetcast/small/observations": 4,
        "fleetcast/small/rejects": 5,
        "fleetcast/small/features": 3,
    }
    assert {extra["cutoff"] for extra in extras.values()} == {"2024-01-05T00:00:00"}


@pytest.mark.ray
def test_failed_job_brings_its_last_lines_into_the_tasks_log(
    ray_jobs_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(JobFailed, match="FAILED with exit code 1: the last thing it said"):
        run_to_end(make_operator("fail", ray_jobs_url), make_context())
    logged = capsys.readouterr().out
    assert "line 79" in logged
    assert "line 29" not in logged


@pytest.mark.ray
def test_users_mistake_is_not_retried_and_is_reported(ray_jobs_url: str) -> None:
    with pytest.raises(AirflowFailException, match="freq = '0h': must be 1 or more"):
        run_to_end(make_operator("user_error", ray_jobs_url), make_context())


@pytest.mark.ray
def test_run_without_new_data_skips_and_says_so(ray_jobs_url: str) -> None:
    context = make_context()
    with pytest.raises(AirflowSkipException, match="skip it is"):
        run_to_end(make_operator("skip", ray_jobs_url), context)
    assert not context["outlet_events"]


@pytest.mark.ray
def test_job_without_a_result_has_failed(ray_jobs_url: str) -> None:
    operator = make_operator("succeed", ray_jobs_url)
    operator.entrypoints = dict.fromkeys(ENTRYPOINTS, "true")
    with pytest.raises(JobFailed, match="without a result"):
        run_to_end(operator, make_context())


@pytest.mark.ray
def test_retry_attaches_clear_starts_afresh_and_kill_stops(ray_jobs_url: str) -> None:
    client, context = RayJobsClient(ray_jobs_url), make_context()
    first = submit(make_operator("sleep", ray_jobs_url), context).trigger.submission_id
    assert submit(make_operator("sleep", ray_jobs_url), context).trigger.submission_id == first

    deferred = submit(make_operator("sleep", ray_jobs_url), cleared(context))
    second = deferred.trigger.submission_id
    assert second != first
    old, new = client.run(find_job(first)), client.run(find_job(second))
    assert old is not None
    assert old.status == "STOPPED"
    assert new is not None
    assert not new.is_terminal

    asyncio.run(deferred.trigger.on_kill())
    killed = client.run(find_job(second))
    assert killed is not None
    assert killed.status == "STOPPED"

    resumed = submit(make_operator("sleep", ray_jobs_url), context)
    assert read_run(context["task_state_store"]).generation == context["task_state_store"][RUN_KEY]["generation"]
    assert resumed.trigger.submission_id.rsplit(".", 1)[0] == second.rsplit(".", 1)[0], "same run, next submission"
    assert client.run(stop_job(resumed.trigger.submission_id)).status == "STOPPED"


@pytest.mark.ray
def test_job_of_a_head_that_is_gone_is_reported_as_lost(ray_jobs_url: str) -> None:
    from workers.cluster.ray_head import ray_head

    context = make_context()
    with ray_head(num_cpus=1, dashboard=True) as head:
        assert head.jobs_url is not None
        deferred = submit(make_operator("sleep", head.jobs_url), context)
        assert RayJobsClient(head.jobs_url).run(find_job(deferred.trigger.submission_id)) is not None
    operator = make_operator("sleep", head.jobs_url)
    with pytest.raises(JobLost, match="lost: its cluster has not answered for 1 s"):
        operator.finish(context, event=await_event(deferred))

    deferred.trigger.url = ray_jobs_url  # a new head at the same address
    with pytest.raises(JobLost, match="the head that ran it is gone"):
        operator.finish(context, event=await_event(deferred))


@pytest.mark.ray
def test_as_many_series_as_are_let_through_reach_the_job(ray_jobs_url: str) -> None:
    series = [f"$series {number}" for number in range(5_150)]
    operator = make_operator("echo", ray_jobs_url, series=series)
    arguments = operator.arguments(make_context(), start_run(dag_id="d", dag_run_id="r", task_id="t", max_tries=0))
    assert len(json.dumps(as_variable(arguments))) > 0.95 * MAX_VARIABLE_BYTES
    result = run_to_end(operator, make_context())
    arrived = RunArguments.model_validate_json(result["message"].removeprefix("arguments: "))
    assert arrived.series == tuple(series)


@pytest.mark.ray
def test_log_of_a_running_job_can_be_read(ray_jobs_url: str) -> None:
    client = RayJobsClient(ray_jobs_url)
    deferred = submit(make_operator("sleep", ray_jobs_url), make_context())
    try:
        lines: list[str] = []
        while not any("begins" in line for line in lines):
            lines = client.run(read_log(deferred.trigger.submission_id))
    finally:
        client.run(stop_job(deferred.trigger.submission_id))
