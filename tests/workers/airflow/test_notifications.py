import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from forecasting.errors import ServiceError, SpecError
from forecasting.spec.spec import make_spec
from workers.airflow.factory import make_dag
from workers.airflow.notifications import report_late

FIELDS = {"name": "small", "source": {"uri": "/data/small.csv"}, "freq": "1d", "season_lengths": [7], "horizon": 7}
NOTIFIER = "tests.workers.airflow.file_notifier.FileNotifier"


def make(flow: Any = "forecast", **airflow: Any) -> Any:
    return make_dag(make_spec(FIELDS | {"airflow": airflow}, subject="spec"), flow)


def notice(folder: Path, **fields: Any) -> dict[str, Any]:
    return {"notifier": NOTIFIER, "options": {"folder": str(folder)}} | fields


def call_deadline(dag: Any, run_type: str = "scheduled") -> None:
    """Do what the triggerer does when a run has missed the deadline of a serialised DAG."""
    (alert,) = dag.deadline
    run = {"dag_id": dag.dag_id, "dag_run_id": "scheduled__1", "run_type": run_type}
    asyncio.run(report_late(context={"dag_run": run, "deadline": {}}, **alert.callback.kwargs))


def test_failed_task_is_reported_with_its_error(tmp_path: Path) -> None:
    dag = make(notify=notice(tmp_path))
    ti = SimpleNamespace(task_id="features", dag_id="small__forecast")
    for task in dag.tasks:
        (callback,) = task.on_failure_callback
    callback({"ti": ti, "exception": ValueError("the source is gone")})
    assert (
        tmp_path / "failure.txt"
    ).read_text() == "failure: features of small__forecast has failed: the source is gone"


def test_run_that_has_not_ended_by_its_deadline_is_reported_except_in_backfills(tmp_path: Path) -> None:
    dag = make(deadline={"forecast": "90m"}, notify=notice(tmp_path, on="late"))
    assert not any(task.on_failure_callback for task in dag.tasks)
    call_deadline(dag, "backfill")
    assert not (tmp_path / "late.txt").exists()
    call_deadline(dag)
    expected = "late: run scheduled__1 of small__forecast has not ended within 90m (airflow.deadline)"
    assert (tmp_path / "late.txt").read_text() == expected


def test_deadline_survives_the_metadata_database(tmp_path: Path) -> None:
    from airflow.serialization.decoders import decode_deadline_alert
    from airflow.serialization.encoders import encode_deadline_alert

    dag = make(deadline="6h", notify=notice(tmp_path))
    DagSerialization.to_dict(dag)
    alert = decode_deadline_alert({"__type": "deadline_alert", "__var": encode_deadline_alert(dag.deadline[0])})
    assert alert.interval.total_seconds() == 6 * 3600
    assert alert.callback.path == "workers.airflow.notifications.report_late"
    asyncio.run(
        report_late(
            context={"dag_run": {"dag_id": "a", "dag_run_id": "b", "run_type": "manual"}}, **alert.callback.kwargs
        )
    )
    assert (tmp_path / "late.txt").exists()


def test_deadline_may_be_of_one_flow_only() -> None:
    assert make("train", deadline={"forecast": "1h"}).deadline is None
    assert make("forecast", deadline={"forecast": "1h"}).deadline is not None


def test_notifier_that_fails_keeps_no_other_from_reporting(tmp_path: Path) -> None:
    dag = make(deadline="1h", notify=[notice(tmp_path / "nowhere"), notice(tmp_path)])
    with pytest.raises(ServiceError, match=rf"1 of 2 notifiers failed: {NOTIFIER}: FileNot"):
        call_deadline(dag)
    assert (tmp_path / "late.txt").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [("no.such.Notifier", "cannot be imported"), ("pathlib.Path", "must be a class that is derived from")],
)
def test_notifier_that_cannot_be_used_is_refused_when_dags_are_made(path: str, expected: str) -> None:
    with pytest.raises(SpecError, match=f"airflow.notify.0.notifier = '{path}' {expected}"):
        make(notify={"notifier": path})


def test_notifier_of_a_provider_takes_its_connection_by_name() -> None:
    notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    options = {"to": "ops@example.org", "smtp_conn_id": "mail", "subject": "{{ summary }}"}
    assert make(notify={"notifier": notifier, "options": options}).tasks[0].on_failure_callback
