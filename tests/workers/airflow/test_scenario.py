"""A run of the forecast DAG with a scenario: it has two steps, and no table that others wait for changes."""

from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, ParamValidationError

from tests.workers.airflow.test_operator import fake_ray, make_context, make_operator, sent, small_spec, submit
from tests.workers.airflow.test_shared_job import Forecast, jobs_of, play_when_submitted
from workers.airflow.form import make_form
from workers.airflow.operator import NOTE_KEY, FleetcastJobOperator
from workers.arguments import JobName

__all__ = ["fake_ray"]

COVARIATES = {"covariates": {"future": ["price"]}}
SCENARIO = {"scenario": "dearer", "plan": "/plans/dearer.parquet"}


def operator(job: JobName, **options: Any) -> FleetcastJobOperator:
    return make_operator(**{"job": job, "flow": "forecast", "spec": small_spec(**COVARIATES)} | SCENARIO | options)


def test_form_of_forecasts_with_covariates_alone_has_a_scenario() -> None:
    assert set(SCENARIO) <= set(make_form(small_spec(**COVARIATES), "forecast"))
    assert not set(SCENARIO) & set(make_form(small_spec(**COVARIATES), "train"))
    assert not set(SCENARIO) & set(make_form(small_spec(), "forecast"))


@pytest.mark.parametrize("name", ["forecast", "a b", "_a", "x" * 61])
def test_form_refuses_names_that_a_scenario_cannot_have(name: str) -> None:
    form = ParamsDict(make_form(small_spec(**COVARIATES), "forecast"))
    for good in ("dearer", "Dearer-2", "forecast_2", "", None):
        form["scenario"] = good
    with pytest.raises(ParamValidationError, match="a name of letters, digits, _ and -, other than forecast"):
        form["scenario"] = name


def test_scenario_and_its_plan_reach_the_job(fake_ray: dict[str, Any]) -> None:
    submit(operator("features"), make_context())
    arguments = sent(fake_ray)
    assert {name: getattr(arguments, name) for name in SCENARIO} == SCENARIO
    assert arguments.is_explicit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plan": None}, "scenario needs plan too"),
        ({"scenario": ""}, "plan needs scenario too"),
        ({"plan": "plans/dearer.parquet"}, "plan = 'plans/dearer.parquet' must be a URI or an absolute path"),
        ({"scenario": "forecast"}, "scenario = 'forecast' cannot be 'forecast'"),
        ({"spec": small_spec()}, "needs covariates that are known ahead; spec 'small' has none"),
        ({"changed_only": True}, "changed_only cannot be combined with scenario"),
        ({"flow": "train"}, "cannot be given to job 'features' of flow 'train'"),
    ],
)
def test_half_of_a_scenario_fails_without_a_job(
    options: dict[str, Any], message: str, fake_ray: dict[str, Any]
) -> None:
    with pytest.raises(AirflowFailException, match=message):
        operator("features", **options).execute(make_context())
    assert not fake_ray["submissions"]


@pytest.mark.parametrize("job", ["score", "publish"])
def test_scores_and_copies_are_skipped(job: JobName, fake_ray: dict[str, Any]) -> None:
    with pytest.raises(AirflowSkipException, match=f"scenario 'dearer' is not the forecast, so that {job} is skipped"):
        operator(job).execute(make_context())
    assert not fake_ray["submissions"]


def test_shared_job_of_a_scenario_forecasts_and_ends(fake_ray: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    forecast = Forecast(fake_ray, **COVARIATES, publish=[{"uri": "/tmp/out.parquet"}])
    play_when_submitted(forecast, monkeypatch, "success", "success")
    forecast.run("features", **SCENARIO)
    assert jobs_of(fake_ray) == ["features", "predict"]
    task, context = forecast.task("predict", **SCENARIO), forecast.context("predict")
    context["ti"].xcoms = forecast.xcoms["predict"] = {}
    task.execute(context)
    assert list(task.outlets) == [], "Airflow reports no update of the forecasts"
    assert not context["outlet_events"]
    assert "- predict: predict is done" in forecast.xcoms["predict"][NOTE_KEY]
