"""Notes of DAG runs, in a metadata database of the test's own."""

import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dagrun import DagRun, DagRunNote
from airflow.models.xcom import XComModel
from airflow.plugins_manager import is_valid_plugin
from airflow.utils.types import DagRunType
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tests.metadata import ROOT
from workers.airflow.run_note import MOST_CHARACTERS, RunNotePlugin

(LISTENER,) = RunNotePlugin.listeners
MakeRun = Callable[..., DagRun]


@pytest.fixture
def session() -> Iterator[Session]:
    import_all_models()
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


@pytest.fixture
def make_run(session: Session) -> MakeRun:
    """Add a run whose tasks have left notes, in their order."""

    def make(dag_id: str = "shops__train", *notes: Any, **fields: Any) -> DagRun:
        run = DagRun(dag_id, "manual", run_type=DagRunType.MANUAL, run_after=datetime(2026, 1, 1, tzinfo=UTC), **fields)
        session.add(run)
        session.flush()
        for hour, text in enumerate(notes):
            add_note(session, run, f"task-{hour}", text, hour)
        session.commit()
        return run

    return make


def add_note(session: Session, run: DagRun, task_id: str, text: str, hour: int) -> None:
    row: dict[str, Any] = {
        "dag_run_id": run.id,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": task_id,
        "key": "note",
    }
    row |= {"map_index": -1, "value": text, "timestamp": datetime(2026, 1, 1, hour, tzinfo=UTC)}
    session.execute(XComModel.__table__.insert().values(**row))


def test_a_run_that_ends_gets_the_newest_note_of_its_tasks(session: Session, make_run: MakeRun) -> None:
    run = make_run("shops__train", "nothing new", "shops, train up to 2026-01-01")
    LISTENER.on_dag_run_success(run, "success")
    session.commit()
    session.expire_all()
    assert run.note == "shops, train up to 2026-01-01"
    add_note(session, run, "again", "shops, train again", 5)  # a cleared run ends once more
    LISTENER.on_dag_run_success(run, "success")
    session.commit()
    assert run.note == "shops, train again"
    assert session.query(DagRunNote).count() == 1


def test_a_cleared_run_that_fails_loses_the_note_of_its_success(session: Session, make_run: MakeRun) -> None:
    run = make_run("shops__train", "shops, train up to 2026-01-01")  # the task that left it does not run again
    LISTENER.on_dag_run_success(run, "success")
    session.commit()
    LISTENER.on_dag_run_failed(run, "task_failure")
    session.commit()
    session.expire_all()
    assert run.note is None


def test_a_note_fits_into_the_column(session: Session, make_run: MakeRun) -> None:
    run = make_run("fleetcast__delete_run", "x" * 999 + "\0" + "y" * 5)
    LISTENER.on_dag_run_success(run, "success")
    session.commit()
    assert run.note == "x" * 999 + "…"
    assert len(run.note) == MOST_CHARACTERS


@pytest.mark.parametrize("user", [None, "ann"])
def test_a_note_that_a_user_wrote_stays(session: Session, make_run: MakeRun, user: str | None) -> None:
    run = make_run("shops__forecast", "shops, forecast")
    run.note = {"content": "for the meeting", "user_id": user}
    session.commit()
    LISTENER.on_dag_run_success(run, "success")
    assert run.note == "for the meeting"


def test_other_dags_and_runs_without_a_note_get_none(session: Session, make_run: MakeRun) -> None:
    other, without = make_run("sales", "theirs"), make_run("shops__forecast")
    for run in (other, without):
        LISTENER.on_dag_run_success(run, "success")
        LISTENER.on_dag_run_failed(run, "task_failure")
        assert run.note is None


def test_entry_point_of_the_package_leads_to_a_plugin_that_airflow_accepts() -> None:
    ((name, path),) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
        "airflow.plugins"
    ].items()
    plugin = EntryPoint(name, path, "airflow.plugins").load()
    assert is_valid_plugin(plugin)
    assert plugin.name == name
