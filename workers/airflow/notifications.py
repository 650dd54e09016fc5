"""Notifications: a spec's notifiers, which report failed tasks, and runs that have not ended by their deadline.

Templates in the options of a notifier have the context of Airflow's callbacks, and two values besides: `event`, which
is `failure` or `late`, and `summary`, one sentence.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from airflow.sdk import BaseNotifier
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.sdk.module_loading import import_string

from forecasting.errors import ServiceError, SpecError, first_line
from forecasting.spec.notify import Event, duration_of
from forecasting.spec.spec import Spec
from workers.arguments import Flow

Notifiers = Sequence[Mapping[str, Any]]
"""Notifiers with their options, as Airflow's metadata database keeps them."""


def failure_callbacks(spec: Spec) -> list[Callable[[Any], None]]:
    """Return what a task of a spec calls when it has failed for good.

    Args:
        spec: The spec.

    Returns:
        The callbacks; none where the spec has no notifier for failures.

    Raises:
        SpecError: A notifier cannot be imported.
    """
    notifiers = _notifiers_of(spec, "failure")
    return [partial(report_failure, notifiers=notifiers)] if notifiers else []


def deadline_of(spec: Spec, flow: Flow) -> DeadlineAlert | None:
    """Return the deadline of the runs of a flow.

    It counts from the time at which a run is queued, which a run has regardless of what has started it.

    Args:
        spec: The spec.
        flow: The flow.

    Returns:
        The deadline; None for no deadline.

    Raises:
        SpecError: A notifier cannot be imported.
    """
    text: str | None = getattr(spec.airflow.deadline, flow)
    interval = duration_of(text)
    if interval is None:
        return None
    callback = AsyncCallback(report_late, {"within": text, "notifiers": _notifiers_of(spec, "late")})
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=interval, callback=callback, name=f"{flow} within {text}"
    )


def report_failure(context: Any, *, notifiers: Notifiers) -> None:
    """Report a task that has failed; Airflow calls it where the task ran.

    Args:
        context: Airflow's context of the task.
        notifiers: Who reports it.

    Raises:
        ServiceError: A notifier has failed; all others have reported.
    """
    ti, error = context["ti"], context.get("exception")
    reason = f": {error}" if error else ""
    context = {**context, "event": "failure", "summary": f"{ti.task_id} of {ti.dag_id} has failed{reason}"}
    _report(notifiers, lambda notifier: notifier(context))


async def report_late(context: Mapping[str, Any], *, within: str, notifiers: Notifiers) -> None:
    """Report a run that has not ended by its deadline; Airflow calls it in the triggerer.

    Runs of a backfill wait for one another, so that none of them is late.

    Args:
        context: The DAG run and its deadline, as `dag_run` and `deadline`.
        within: The longest time of a run, as the spec has it.
        notifiers: Who reports it.

    Raises:
        ServiceError: A notifier has failed; all others have reported.
    """
    run = context["dag_run"]
    if run["run_type"] == "backfill":
        return
    summary = f"run {run['dag_run_id']} of {run['dag_id']} has not ended within {within} (airflow.deadline)"
    known = {**context, "event": "late", "summary": summary}
    # A notifier may have no asynchronous form, and may wait for its network in any case.
    await asyncio.to_thread(_report, notifiers, lambda notifier: notifier(dict(known)))


def _report(notifiers: Notifiers, call: Callable[[BaseNotifier], None]) -> None:
    failed = []
    for each in notifiers:
        try:
            call(import_string(each["notifier"])(**each["options"]))
        except Exception as error:
            failed.append(f"{each['notifier']}: {type(error).__name__}: {first_line(error)}")
    if failed:
        raise ServiceError(f"{len(failed)} of {len(notifiers)} notifiers failed: {'; '.join(failed)}")


def _notifiers_of(spec: Spec, event: Event) -> list[dict[str, Any]]:
    chosen = []
    for number, notice in enumerate(spec.airflow.notify):
        try:
            notifier = import_string(notice.notifier)
        except ImportError as error:
            problem = f"cannot be imported: {error}"
            raise SpecError(
                f"spec '{spec.name}'", [f"airflow.notify.{number}.notifier = '{notice.notifier}' {problem}"]
            ) from error
        if not (isinstance(notifier, type) and issubclass(notifier, BaseNotifier)):
            problem = "must be a class that is derived from airflow.sdk.BaseNotifier"
            raise SpecError(
                f"spec '{spec.name}'", [f"airflow.notify.{number}.notifier = '{notice.notifier}' {problem}"]
            )
        if event in notice.on:
            chosen.append({"notifier": notice.notifier, "options": notice.options})
    return chosen
