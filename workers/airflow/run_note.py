"""The note of a DAG run, which the UI shows on its page: what its tasks have left about it in their XCom `note`.

A task cannot write it: Airflow gives tasks no access to their run's note. A listener can. It runs in the scheduler, in
the session in which a run ends, and the scheduler commits what it sets. Every process of Airflow imports this module,
so that it imports little.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from sqlalchemy.orm import object_session

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

MOST_CHARACTERS = 1000
"""Longest note that Airflow's table holds."""
WRITER = "fleetcast"
"""What the note has in the place of its user."""


class RunNotes:
    """Listener that writes the note of each run of Fleetcast's DAGs that succeeds; a note that a user wrote stays."""

    @hookimpl
    def on_dag_run_success(self, dag_run: "DagRun", msg: str) -> None:
        """Write the note of a run that has succeeded."""
        write_note(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: "DagRun", msg: str) -> None:
        """Take back the note of a run that had succeeded, was cleared and has failed now."""
        written = dag_run.dag_run_note
        if written is not None and written.user_id == WRITER:
            written.content = None


class RunNotePlugin(AirflowPlugin):
    """Registers the listener in every process of Airflow, through the entry point `airflow.plugins`.

    Airflow loads plugins that a provider names only if `core.lazy_load_providers` is off.
    """

    name = "fleetcast_run_note"
    listeners: ClassVar[list[Any]] = [RunNotes()]


def write_note(dag_run: "DagRun") -> None:
    """Write a run's note, unless a user has written one or no task has left any.

    Args:
        dag_run: The run, attached to a session that its owner commits.
    """
    from workers.arguments import FLOWS

    if dag_run.dag_id.rpartition("__")[2] not in (*FLOWS, "delete_run"):
        return
    written = dag_run.dag_run_note
    session = object_session(dag_run)
    if session is None or (written is not None and written.user_id != WRITER):
        return
    text = _find_note(dag_run, session)
    if not text:
        return
    text = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
    if written is None:
        dag_run.note = {"content": text, "user_id": WRITER}
    else:
        written.content = text


def _find_note(dag_run: "DagRun", session: Any) -> str | None:
    """Return the newest note of the run's tasks."""
    from airflow.models.xcom import XComModel

    from workers.airflow.operator import NOTE_KEY

    found = XComModel.get_many(run_id=dag_run.run_id, key=NOTE_KEY, dag_ids=dag_run.dag_id, limit=1)
    entry = session.scalars(found).first()
    return None if entry is None else str(XComModel.deserialize_value(entry)).replace("\0", "")
