"""Tasks whose steps share one Ray job: who submits, who adopts, and what is stopped; against a Jobs API in memory."""

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from forecasting.errors import JobFailed, JobLost
from tests.workers.airflow.test_operator import fake_ray, make_context, make_operator, sent, small_spec, submit
from workers.airflow.operator import FLOW_ENTRYPOINT, JOB_KEY, FleetcastJobOperator
from workers.airflow.runs import read_run
from workers.arguments import JobName, RunResult
from workers.steps import STEPS_VARIABLE, arguments_of, parse_steps

__all__ = ["fake_ray"]

RESULTS = {"cutoff": "2024-01-05T00:00:00", "num_rows": 100}


class Forecast:
    """The tasks of one run of a forecast DAG, each with its own context, and XComs that all see."""

    def __init__(self, ray: dict[str, Any], **spec: Any) -> None:
        self.ray = ray
        self.spec = small_spec(**spec)
        self.xcoms: dict[str, dict[str, Any]] = {}
        self.states: dict[str, str | None] = {}
        self.contexts: dict[str, Any] = {}

    def context(self, job: JobName) -> Any:
        if job not in self.contexts:
            self.contexts[job] = context = make_context()
            context["ti"].task_id = job
            context["ti"].dag_id = "small__forecast"
            context["ti"].states = self.states
            context["ti"].results = self.xcoms
        return self.contexts[job]

    def task(self, job: JobName, **options: Any) -> FleetcastJobOperator:
        filters = {"cutoff": None if job == "features" else RESULTS["cutoff"]}
        named = {"job": job, "flow": "forecast", "spec": self.spec, "wait": 5.0}
        return make_operator(**named | filters | options)

    def run(self, job: JobName, **options: Any) -> Any:
        """Run a task to its end, as a try of Airflow does, and return what it returns."""
        context = self.context(job)
        context["ti"].xcoms = self.xcoms[job] = {}
        self.states[job] = "running"
        try:
            returned = self.task(job, **options).execute(context)
        except AirflowSkipException:
            self.states[job] = "skipped"
            raise
        except Exception:
            self.states[job] = "failed"
            raise
        self.states[job] = "success"
        self.xcoms[job] |= returned
        return returned

    def clear(self, *jobs: JobName) -> None:
        """Clear tasks as Airflow does: they have no state, and more tries."""
        for job in jobs:
            self.states[job] = None
            self.context(job)["ti"].max_tries += 1

    def stored(self, job: JobName) -> Any:
        return read_run(self.context(job)["task_state_store"])

    def play(self, *ends: str, status: str = "SUCCEEDED", number: int = -1) -> None:
        """Make every later look at a submitted job find that its steps have ended so, in turn; "" is not over."""
        body = self.ray["submissions"][number]
        first = sent(self.ray, number)
        following = json.loads(body["runtime_env"]["env_vars"].get(STEPS_VARIABLE, "[]"))
        steps = [(first.job, first.run_id), *((step["job"], step["run_id"]) for step in following)]
        lines: list[str] = []
        for (job, run_id), end in zip(steps, ends, strict=False):
            lines += [f"fleetcast-step: {run_id}", f"{job} begins"]
            if end in ("success", "skipped"):
                result = RunResult(run_id=run_id, job=job, status=end, message=f"{job} is done", **RESULTS)
                lines += [result.message, f"fleetcast-result: {result.model_dump_json()}"]
            elif end:
                lines += [f"error: {job} has an error", f"fleetcast-failure: {end}"]
        fields = {"driver_exit_code": 2 if "2" in ends else 1} if status == "FAILED" else {}
        self.ray["jobs"][body["submission_id"]] = {"status": status, "logs": "\n".join(lines) + "\n", **fields}


def jobs_of(ray: dict[str, Any], number: int = -1) -> list[str]:
    """Return the jobs that a submission runs, in order."""
    following = ray["submissions"][number]["runtime_env"]["env_vars"].get(STEPS_VARIABLE, "[]")
    return [sent(ray, number).job, *(step["job"] for step in json.loads(following))]


@pytest.fixture
def forecast(fake_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Forecast:
    """A forecast DAG whose first job runs all steps to their success as soon as it is submitted."""
    made = Forecast(fake_ray, publish=[{"uri": "/tmp/out.parquet"}])
    play_when_submitted(made, monkeypatch, "success", "success", "success", "success")
    return made


def play_when_submitted(forecast: Forecast, monkeypatch: pytest.MonkeyPatch, *ends: str, **job: Any) -> None:
    """Let each job that is submitted from now on come to these ends."""
    original = FleetcastJobOperator._submit

    def submit_and_play(self: FleetcastJobOperator, *arguments: Any) -> None:
        before = len(forecast.ray["submissions"])
        original(self, *arguments)
        if len(forecast.ray["submissions"]) > before:
            forecast.play(*ends, **job)

    monkeypatch.setattr(FleetcastJobOperator, "_submit", submit_and_play)


def test_first_task_submits_the_steps_of_all_and_later_ones_read_their_results(forecast: Forecast) -> None:
    assert forecast.run("features")["message"] == "features is done"
    (submission,) = forecast.ray["submissions"]
    assert submission["entrypoint"] == FLOW_ENTRYPOINT
    assert jobs_of(forecast.ray) == ["features", "predict", "score", "publish"]
    for job in ("predict", "score", "publish"):
        assert forecast.run(job)["message"] == f"{job} is done"
        assert forecast.stored(job).submission_id == submission["submission_id"]
        assert submission["submission_id"] in forecast.xcoms[job]["ray_job_link"]
    assert len(forecast.ray["submissions"]) == 1
    assert len({forecast.stored(job).run_id for job in ("features", "predict", "score", "publish")}) == 4


def test_step_of_a_shared_job_has_the_arguments_that_its_own_task_would_submit(forecast: Forecast) -> None:
    """A step that is recorded as done under these arguments is known as done when it is submitted again."""
    forecast.run("features", models=["lstm"], series=["a"], changed_only=True)
    features = sent(forecast.ray).model_copy(update={"cutoff": RESULTS["cutoff"], "as_of": None})
    (predict, *_) = parse_steps(forecast.xcoms["features"][JOB_KEY]["steps"][1:])
    forecast.run("predict")
    context, run = forecast.context("predict"), forecast.stored("predict")
    own = forecast.task("predict", models=["lstm"], series=["a"], changed_only=True).arguments(context, run)
    assert arguments_of(predict, features).model_dump_json() == own.model_dump_json()


def test_task_ends_with_its_own_step_while_its_job_goes_on(forecast: Forecast, monkeypatch: pytest.MonkeyPatch) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "", status="RUNNING")
    assert forecast.run("features")["message"] == "features is done"
    trigger = submit(forecast.task("predict", wait=0), forecast.context("predict")).trigger
    assert trigger.submission_id == forecast.stored("features").submission_id
    assert trigger.run_id == forecast.stored("predict").run_id
    assert forecast.ray["stops"] == []


def test_users_mistake_in_a_middle_step_fails_its_own_task_alone_and_without_a_retry(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "2", status="FAILED")
    forecast.run("features")
    with pytest.raises(AirflowFailException, match=r"predict in job .* with exit code 2: predict has an error"):
        forecast.run("predict")
    assert len(forecast.ray["submissions"]) == 1


def test_failed_step_is_submitted_again_under_its_run_with_the_steps_that_wait_for_it(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "1", status="FAILED")
    forecast.run("features")
    with pytest.raises(JobFailed, match="predict has an error"):
        forecast.run("predict")
    failed = forecast.stored("predict")
    play_when_submitted(forecast, monkeypatch, "success", "success", "success")
    forecast.run("predict")
    assert jobs_of(forecast.ray) == ["predict", "score", "publish"]
    assert (sent(forecast.ray).run_id, sent(forecast.ray).generation) == (failed.run_id, failed.generation)
    forecast.run("score")
    assert forecast.stored("score").submission_id == forecast.stored("predict").submission_id
    assert len(forecast.ray["submissions"]) == 2


def test_job_that_dies_in_a_step_fails_that_task_and_its_retry_goes_on_from_there(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "", status="FAILED")
    forecast.run("features")
    with pytest.raises(JobFailed, match="ended as FAILED with exit code 1: predict begins"):
        forecast.run("predict")
    forecast.ray["jobs"].clear()  # with its cluster
    play_when_submitted(forecast, monkeypatch, "success", "success", "success")
    forecast.run("predict")
    assert jobs_of(forecast.ray) == ["predict", "score", "publish"]


@pytest.mark.parametrize("status", ["SUCCEEDED", "STOPPED"])
def test_step_that_its_job_has_not_reached_gets_a_job_of_its_own_in_the_same_try(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", status=status)
    forecast.run("features")
    run_id = parse_steps(forecast.xcoms["features"][JOB_KEY]["steps"])[1].run_id
    forecast.run("predict")
    assert jobs_of(forecast.ray) == ["predict"]
    assert forecast.ray["submissions"][-1]["entrypoint"] != FLOW_ENTRYPOINT
    assert sent(forecast.ray).run_id == run_id


def test_step_of_a_job_that_its_cluster_no_longer_knows_is_submitted(forecast: Forecast) -> None:
    forecast.run("features")
    forecast.ray["jobs"].clear()
    forecast.run("predict")
    assert jobs_of(forecast.ray) == ["predict", "score", "publish"]


def test_job_that_is_lost_while_a_task_waits_for_its_step_is_lost(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "", status="RUNNING")
    forecast.run("features")
    deferred = submit(forecast.task("predict", wait=0), forecast.context("predict"))
    event = {"submission_id": deferred.trigger.submission_id, "run_id": deferred.trigger.run_id}
    forecast.ray["jobs"].clear()
    with pytest.raises(JobLost, match="no longer knows it"):
        forecast.task("predict").finish(forecast.context("predict"), event=event)


def test_try_that_died_reads_the_result_of_its_step_although_the_job_failed_later(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "success", "1", status="FAILED")
    forecast.run("features")
    forecast.run("predict")
    assert forecast.run("predict")["message"] == "predict is done"
    assert len(forecast.ray["submissions"]) == 1


def test_retry_of_the_first_task_announces_the_steps_of_the_job_that_it_attaches_to(forecast: Forecast) -> None:
    forecast.run("features")
    before = forecast.xcoms["features"][JOB_KEY]
    forecast.run("features")
    assert forecast.xcoms["features"][JOB_KEY] == before
    assert len(forecast.ray["submissions"]) == 1


def test_cleared_middle_task_submits_from_its_own_step_on_and_stops_the_job_that_runs_a_later_one(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "success", "", status="RUNNING")
    forecast.run("features")
    forecast.run("predict")
    old = forecast.stored("predict")
    forecast.clear("predict", "score", "publish")
    play_when_submitted(forecast, monkeypatch, "success", "success", "success")
    forecast.run("predict")
    assert forecast.ray["stops"] == [old.submission_id]
    assert jobs_of(forecast.ray) == ["predict", "score", "publish"]
    assert forecast.stored("predict").generation > old.generation
    forecast.run("score")
    assert forecast.stored("score").submission_id == forecast.stored("predict").submission_id


def test_cleared_task_whose_later_tasks_are_kept_submits_its_own_step_alone_and_stops_nothing(
    forecast: Forecast,
) -> None:
    for job in ("features", "predict", "score", "publish"):
        forecast.run(job)
    kept = forecast.stored("score")
    forecast.ray["jobs"][kept.submission_id]["status"] = "RUNNING"  # the job is winding down
    forecast.clear("predict")
    forecast.run("predict")
    assert jobs_of(forecast.ray) == ["predict"]
    assert forecast.ray["stops"] == []
    forecast.clear("score")
    forecast.run("score")
    assert jobs_of(forecast.ray) == ["score"]
    assert forecast.stored("score").generation > kept.generation


def test_later_task_that_was_cleared_with_the_first_one_adopts_the_new_run(forecast: Forecast) -> None:
    for job in ("features", "predict", "score", "publish"):
        forecast.run(job)
    before = {job: forecast.stored(job) for job in ("predict", "score", "publish")}
    forecast.clear("features", "predict", "score", "publish")
    for job in ("features", "predict", "score", "publish"):
        forecast.run(job)
    assert len(forecast.ray["submissions"]) == 2
    for job, old in before.items():
        assert forecast.stored(job).generation > old.generation


def test_first_task_that_is_cleared_stops_the_job_that_a_later_one_has_submitted(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "1", status="FAILED")
    forecast.run("features")
    with pytest.raises(JobFailed):
        forecast.run("predict")
    play_when_submitted(forecast, monkeypatch, "success", "", status="RUNNING")
    forecast.run("predict")
    running = forecast.stored("predict").submission_id
    assert jobs_of(forecast.ray) == ["predict", "score", "publish"]
    forecast.clear("features", "predict", "score", "publish")
    play_when_submitted(forecast, monkeypatch, "success", "success", "success", "success")
    forecast.run("features")
    assert forecast.ray["stops"] == [running]


def test_task_without_work_is_skipped_and_the_next_one_still_finds_the_job(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_when_submitted(forecast, monkeypatch, "success", "skipped", "success")
    forecast.run("features")
    with pytest.raises(AirflowSkipException, match="predict is done"):
        forecast.run("predict")
    assert forecast.run("score")["message"] == "score is done"
    assert len(forecast.ray["submissions"]) == 1


def test_larger_spec_submits_each_cleared_step_alone(fake_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    forecast = Forecast(fake_ray, airflow={"shared_job_rows": 2 * RESULTS["num_rows"] - 1})
    play_when_submitted(forecast, monkeypatch, "success")
    forecast.run("features")
    assert jobs_of(forecast.ray) == ["features", "predict", "score"], "its size is not known before"
    forecast.run("predict")
    forecast.clear("predict", "score")
    forecast.run("predict")
    assert jobs_of(forecast.ray) == ["predict"]


def test_job_of_a_backfill_has_no_scores_because_their_task_leaves_them_to_a_later_run(forecast: Forecast) -> None:
    forecast.context("features")["dag_run"].run_type = "backfill"
    forecast.run("features")
    assert jobs_of(forecast.ray) == ["features", "predict", "publish"]


def test_spec_that_shares_no_job_submits_each_step_alone(
    fake_ray: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forecast = Forecast(fake_ray, airflow={"shared_job_rows": 0})
    play_when_submitted(forecast, monkeypatch, "success")
    for job in ("features", "predict", "score"):
        forecast.run(job)
        assert jobs_of(forecast.ray) == [job]
    assert len(forecast.ray["submissions"]) == 3


def test_short_step_is_awaited_without_a_deferral_and_its_progress_is_logged_once(
    forecast: Forecast, capsys: pytest.CaptureFixture[str]
) -> None:
    forecast.run("features")
    (job,) = forecast.ray["jobs"].values()
    job["logs"] = job["logs"].replace("predict begins", "predict: 1 of 2 series · 3.0 series/s\npredict begins")
    capsys.readouterr()
    forecast.run("predict")
    logged = capsys.readouterr().out
    assert logged.count("predict: 1 of 2 series") == 1
    assert logged.count("predict begins") == 1
    assert "features begins" not in logged, "the log of a task is that of its own step"
