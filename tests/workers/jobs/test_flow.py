"""Steps of one job: which run, what they leave, and what a failure ends; without Ray."""

import json
from datetime import timedelta
from typing import Any

import pytest

from forecasting.schemas import table as declared_table
from tests.workers.jobs.conftest import FIRST, Small
from workers.arguments import ARGUMENTS_VARIABLE, JobName, RunArguments
from workers.jobs import flow, score
from workers.jobs.run import Outcome
from workers.steps import STEPS_VARIABLE, Step, StepLog, find_step, steps_variable

pytestmark = pytest.mark.usefixtures("serial")

CUTOFF = (FIRST + timedelta(hours=15)).isoformat()
TABLES = ("forecasts", "scores", "features", "observations")


class Flow:
    """A forecast flow of a small source, whose jobs run in this process."""

    def __init__(self, small: Small, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.small, self.patch, self.capsys = small, patch, capsys
        small.write(a=24, b=24)
        patch.setenv("FLEETCAST_STORE", small.store.root)

    def run(
        self, *jobs: JobName, number: int = 1, spec: dict[str, Any] | None = None, **arguments: Any
    ) -> tuple[int, dict[JobName, StepLog]]:
        """Run steps of the runs of a number in one job; return its exit code and what its log says of each step."""
        first, *following = (Step(job=job, run_id=f"{job}.{number}", generation=1) for job in jobs)
        asked = {"spec": self.small.spec.model_copy(update=spec or {}), "cutoff": CUTOFF} | arguments
        run = RunArguments(job=first.job, flow="forecast", run_id=first.run_id, generation=1, **asked)
        self.patch.setenv(ARGUMENTS_VARIABLE, run.model_dump_json())
        self.patch.setenv(STEPS_VARIABLE, steps_variable(following))
        code = flow.main()
        lines = self.capsys.readouterr().out.splitlines()
        return code, {job: find_step(lines, f"{job}.{number}") for job in jobs}

    def rows(self, table: str) -> Any:
        """Return the rows of a table without what differs between two stores."""
        rows = self.small.store.scan(table, "timestamp").collect()
        return rows.drop("data_version", strict=False).sort(declared_table(table).key)


@pytest.fixture
def forecast(small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Flow:
    return Flow(small, monkeypatch, capsys)


def test_steps_of_one_job_leave_the_same_rows_as_jobs_of_their_own(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = []
    for name in ("shared", "separate"):
        (tmp_path / name).mkdir()
        one = Flow(Small(tmp_path / name), monkeypatch, capsys)
        groups: list[list[JobName]] = [["features", "predict", "score"]]
        if name == "separate":
            groups = [["features"], ["predict"], ["score"]]
        for hours in (11, 15):
            cutoff = (FIRST + timedelta(hours=hours)).isoformat()
            for jobs in groups:
                code, logs = one.run(*jobs, cutoff=cutoff, number=hours)
                assert code == 0
                assert all(log.result for log in logs.values())
        left.append({table: one.rows(table) for table in TABLES})
        arguments = one.small.store.scan("runs", "timestamp").sort("run_id").collect()["arguments"]
        left[-1]["arguments"] = [json.loads(text) | {"spec": None} for text in arguments]
    shared, separate = left
    assert shared["scores"].height
    for table in TABLES:
        assert shared[table].equals(separate[table]), table
    assert shared["arguments"] == separate["arguments"]


def test_cutoff_that_the_first_step_has_found_is_that_of_all(forecast: Flow) -> None:
    code, logs = forecast.run("features", "predict", "score", cutoff=None, as_of=f"{CUTOFF}+00:00")
    assert code == 0
    results = [log.result for log in logs.values()]
    assert {result.cutoff for result in results if result} == {results[0].cutoff} != {None}


def test_step_that_fails_ends_the_steps_that_wait_for_it(forecast: Flow) -> None:
    code, logs = forecast.run("features", "predict", "score", series=("nobody",))
    assert code == 2
    assert logs["features"].exit_code == 2
    assert not logs["predict"].has_begun
    assert not logs["score"].has_begun


def test_failed_scores_do_not_keep_forecasts_from_being_published(
    forecast: Flow, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def fail(run: Any) -> Outcome:
        raise OSError("no space")

    monkeypatch.setattr(score, "score", fail)
    out = tmp_path / "out.parquet"
    publishing = forecast.small.spec.model_validate(forecast.small.spec.model_dump() | {"publish": [{"uri": str(out)}]})
    code, logs = forecast.run("features", "predict", "score", "publish", spec={"publish": publishing.publish})
    assert code == 1
    assert logs["score"].exit_code == 1
    assert logs["publish"].result
    assert out.exists()
    statuses = forecast.small.store.scan("runs", "timestamp").collect()
    assert dict(statuses.select("job", "status").iter_rows())["score"] == "failed"


def test_steps_of_a_run_without_new_data_are_not_reached(forecast: Flow) -> None:
    as_of = {"cutoff": None, "as_of": f"{CUTOFF}+00:00"}
    forecast.run("features", "predict", "score", **as_of)
    code, logs = forecast.run("features", "predict", "score", number=2, **as_of)
    assert code == 0
    assert logs["features"].result
    assert logs["features"].result.status == "skipped"
    assert not logs["predict"].has_begun
    assert not logs["score"].has_begun, "it may run after a predict without work, but not after no features"


def test_scores_follow_a_forecast_without_work(forecast: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.jobs.predict.predict", lambda run: Outcome("nothing", is_idle=True))
    _, logs = forecast.run("features", "predict", "score", "publish")
    assert logs["predict"].result
    assert logs["predict"].result.status == "skipped"
    assert logs["score"].result
    assert not logs["publish"].has_begun


@pytest.mark.parametrize("num_rows", [63, 64])
def test_job_ends_after_the_features_of_a_spec_that_is_too_large(forecast: Flow, num_rows: int) -> None:
    """Two series of 16 hours, times two networks."""
    airflow = forecast.small.spec.airflow.model_copy(update={"shared_job_rows": num_rows})
    code, logs = forecast.run("features", "predict", "score", spec={"airflow": airflow})
    assert code == 0
    assert logs["predict"].has_begun == (num_rows == 64)
    assert any("exceed airflow.shared_job_rows = 63" in line for line in logs["features"].lines) == (num_rows == 63)


def test_job_that_is_submitted_again_goes_on_from_its_own_step(forecast: Flow) -> None:
    forecast.run("features", "predict", "score")
    before = forecast.small.store.version("forecasts", "timestamp")
    code, logs = forecast.run("predict", "score")
    assert code == 0
    assert logs["predict"].result
    assert logs["score"].result
    assert forecast.small.store.version("forecasts", "timestamp") == before, (
        "what is recorded as done is not done again"
    )


def test_refused_steps_are_the_users_mistake(forecast: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STEPS_VARIABLE, '[{"job": "deploy"}]')
    monkeypatch.setenv(
        ARGUMENTS_VARIABLE,
        RunArguments(job="features", flow="forecast", spec=forecast.small.spec, run_id="r").model_dump_json(),
    )
    assert flow.main() == 2
