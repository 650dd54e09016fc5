"""The DAGs of a folder of spec files: two for each spec, `<name>__train` and `<name>__forecast`.

A file that cannot be used becomes a DAG `<file stem>__broken`, whose description and only task report the problem.
Airflow hides every DAG of a Python file that has an import error. An import error for one spec would therefore hide
the forecasts of all others.
"""

import re
import traceback
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TaskGroup, chain, task
from airflow.sdk.exceptions import AirflowFailException

from forecasting.errors import SpecError
from forecasting.spec.spec import Spec, read_spec
from workers.airflow.form import make_form
from workers.airflow.notifications import deadline_of, failure_callbacks
from workers.airflow.operator import FleetcastJobOperator
from workers.airflow.schedules import describe_schedule, schedule_of
from workers.arguments import FLOWS, Flow, JobName

TASKS: Mapping[JobName, tuple[str, str]] = {
    "features": (
        "Read and check",
        "Reads the source once, refuses rows that cannot be read, and writes `observations`, `rejects` and `features`."
        " It finds the cutoff of the run. Without new data it is skipped, and the tasks after it.",
    ),
    "train": ("Train networks", "Trains the networks of every series, and writes `models` and `priors`."),
    "backtest": (
        "Backtest and choose",
        "Compares networks, statistical models and naives at past origins. Writes `backtests`, `champions` and"
        " `calibrations`.",
    ),
    "predict": ("Forecast", "Forecasts every series with each requested model, and writes `forecasts`."),
    "score": ("Score", "Compares earlier forecasts with the actuals that have arrived since, and writes `scores`."),
    "publish": ("Publish", "Copies the newest forecasts to every place of `[[publish]]`."),
}
"""Display name and documentation of each task."""
RUN_AFTER_IDLE: frozenset[JobName] = frozenset({"backtest", "score"})
"""Jobs that may have work although the one before had none: earlier trainings to compare, or actuals to score with."""
AFTER_IDLE = "none_failed_min_one_success"
"""Their trigger rule; if features was skipped, all tasks are."""
GROUPS: Mapping[Flow, tuple[str, str, frozenset[JobName]]] = {
    "train": ("models", "networks and the choice among them", frozenset({"train", "backtest"})),
    "forecast": (
        "after_forecast",
        "what follows a forecast; neither task waits for the other",
        frozenset({"score", "publish"}),
    ),
}
"""The task group of each flow: its id, its tooltip and its jobs."""
RETRIES: dict[str, Any] = {
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=15),
}


def make_dags(specs_folder: Path, **operator_options: Any) -> dict[str, DAG]:
    """Return the DAGs of all spec files of a folder.

    Args:
        specs_folder: Folder of `*.toml` files.
        **operator_options: Options of every task, as FleetcastJobOperator takes them.

    Returns:
        DAGs by their id.
    """
    specs: dict[Path, Spec | SpecError] = {path: _read(path) for path in sorted(specs_folder.glob("*.toml"))}
    names = Counter(spec.name for spec in specs.values() if isinstance(spec, Spec))
    dags = []
    for path, spec in specs.items():
        if isinstance(spec, Spec) and names[spec.name] > 1:
            others = [p.name for p, s in specs.items() if p != path and isinstance(s, Spec) and s.name == spec.name]
            spec = SpecError(f"spec {path}", [f"name = '{spec.name}' is also the name in {', '.join(others)}"])
        try:
            if isinstance(spec, SpecError):
                raise spec
            dags += [make_dag(spec, flow, **operator_options) for flow in FLOWS]
        except Exception as error:
            dags.append(_make_broken_dag(path, _as_spec_error(path, error)))
    return {dag.dag_id: dag for dag in dags}


def make_dag(spec: Spec, flow: Flow, **operator_options: Any) -> DAG:
    """Return the DAG of one flow of a spec: its jobs one after the other, all for the cutoff that the first one finds.

    Args:
        spec: The spec.
        flow: The flow.
        **operator_options: Options of every task, as FleetcastJobOperator takes them.

    Returns:
        The DAG.

    Raises:
        SpecError: Airflow cannot use the schedule or a notifier.
    """
    with DAG(
        f"{spec.name}__{flow}",
        description=spec.description or None,
        doc_md=_describe(spec, flow),
        schedule=schedule_of(spec, flow),
        catchup=False,
        max_active_runs=1,
        default_args=_task_options(spec),
        params=make_form(spec, flow),
        deadline=deadline_of(spec, flow),
        tags=["fleetcast", flow],
    ) as dag:
        filters = {name: dag.param(name) for name in dag.params if name != "cutoff"} | operator_options
        callbacks = {"on_failure_callback": failure_callbacks(spec)} if spec.airflow.notify else {}
        group_id, tooltip, grouped = GROUPS[flow]
        group = TaskGroup(group_id, prefix_group_id=False, tooltip=tooltip)

        def make_task(job: JobName, cutoff: Any) -> FleetcastJobOperator:
            name, text = TASKS[job]
            inside = {"task_group": group} if job in grouped else {}
            rule = {"trigger_rule": AFTER_IDLE} if job in RUN_AFTER_IDLE else {}
            options: dict[str, Any] = {
                "task_display_name": name,
                "doc_md": text,
                **inside,
                **rule,
                **callbacks,
                **filters,
            }
            return FleetcastJobOperator(job=job, flow=flow, spec=spec, cutoff=cutoff, **options)

        first, *rest = FLOWS[flow]
        head = make_task(first, dag.param("cutoff"))
        tasks = {job: make_task(job, head.output["cutoff"]) for job in rest}
        chain(head, *tasks.values())
        if publishes(spec, flow):  # beside the scores, so that neither waits for the other or fails with it
            chain(tasks["predict"], make_task("publish", head.output["cutoff"]))
    return dag


def publishes(spec: Spec, flow: Flow) -> bool:
    """Return whether the flow of a spec copies forecasts to other places."""
    return flow == "forecast" and bool(spec.publish)


def _task_options(spec: Spec) -> dict[str, Any]:
    """Return the options of every task; a spec without a pool leaves the choice to Airflow."""
    options = spec.airflow
    return {
        **RETRIES,
        "owner": options.owner,
        "retries": options.retries,
        "execution_timeout": options.timeout,
        "priority_weight": options.priority_weight,
        **({"pool": options.pool} if options.pool else {}),
    }


def _describe(spec: Spec, flow: Flow) -> str:
    facts = {
        "Source": f"`{spec.source}`",
        "Frequency": f"`{spec.freq}`",
        "Season lengths": ", ".join(map(str, spec.season_lengths)),
        "Horizon": f"{spec.horizon} steps",
        "Models": ", ".join(spec.models),
        "Recipe": spec.recipe,
        **({"Publishes to": ", ".join(f"`{sink}`" for sink in spec.publish)} if publishes(spec, flow) else {}),
        "Schedule": describe_schedule(spec, flow),
        "Cluster": f"connection `{spec.airflow.connection}`" if spec.airflow.connection else "that of the settings",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    steps = " → ".join(f"**{job}**" for job in FLOWS[flow]) + (" and **publish**" if publishes(spec, flow) else "")
    return f"{spec.description}\n\n{steps}\n\n| `{spec.name}` | |\n|---|---|\n{rows}\n".strip()


def _read(path: Path) -> Spec | SpecError:
    """Read a spec file, and return any error: one file must not take the DAGs of all others away."""
    try:
        return read_spec(path)
    except Exception as error:
        return _as_spec_error(path, error)


def _as_spec_error(path: Path, error: Exception) -> SpecError:
    """Return an error of a spec as it is, and of any other one only its kind, because its text may have a secret."""
    if isinstance(error, SpecError):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1].name
    return SpecError(f"spec {path}", [f"cannot be used: {type(error).__name__} in {place}"])


def _make_broken_dag(path: Path, error: SpecError) -> DAG:
    """Return a DAG that is not paused and fails once for each modification time of the file, so that it is red."""
    from airflow.timetables.events import EventsTimetable  # of Airflow 3.3's SDK, the same cannot be deserialised

    changed = datetime.fromtimestamp(int(path.lstat().st_mtime), UTC)
    message = str(error)
    stem = re.sub(r"[^A-Za-z0-9_.\-]+", "-", path.stem)
    with DAG(
        f"{stem}__broken",
        description=f"{path.name} is not a usable spec",
        doc_md=f"`{path.name}` makes no DAGs until this is corrected:\n\n```\n{message}\n```",
        schedule=EventsTimetable([changed], description="once for each change of the file"),
        start_date=changed,
        catchup=True,  # the change lies in the past
        is_paused_upon_creation=False,
        tags=["fleetcast", "broken"],
    ) as dag:

        @task(task_id="say_what_is_wrong", retries=0)
        def say_what_is_wrong() -> None:
            raise AirflowFailException(message)

        say_what_is_wrong()
    return dag
