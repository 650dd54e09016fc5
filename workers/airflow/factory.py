"""The DAGs of a folder of spec files: two for each spec, `<name>__train` and `<name>__forecast`.

A file that cannot be used becomes a DAG `<file stem>__broken`, whose description and only task report the problem. With
the setting `last_good`, its last good version still makes the spec's DAGs, which say so.
Airflow hides every DAG of a Python file that has an import error. An import error for one spec would therefore hide
the forecasts of all others.
"""

import hashlib
import logging
import os
import re
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TaskGroup, chain, get_parsing_context, task
from airflow.sdk.exceptions import AirflowFailException

from forecasting.errors import SpecError
from forecasting.spec.spec import Spec, read_spec
from workers.airflow.form import make_form
from workers.airflow.last_good import MOST_STEM, LastGood, Seen
from workers.airflow.notifications import deadline_of, failure_callbacks
from workers.airflow.operator import FleetcastJobOperator
from workers.airflow.schedules import describe_schedule, schedule_of
from workers.arguments import FLOWS, Flow, JobName
from workers.settings import WorkerSettings
from workers.steps import RUN_AFTER_IDLE

log = logging.getLogger(__name__)

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
AFTER_IDLE = "none_failed_min_one_success"
"""Trigger rule of RUN_AFTER_IDLE; if features was skipped, all tasks are."""
GROUPS: Mapping[Flow, tuple[str, str, frozenset[JobName]]] = {
    "train": ("models", "networks and the choice among them", frozenset({"train", "backtest"})),
    "forecast": (
        "after_forecast",
        "what follows a forecast; neither task waits for the other",
        frozenset({"score", "publish"}),
    ),
}
"""The task group of each flow: its id, its tooltip and its jobs."""
MOST_CHARACTERS = 10_000
"""Of an error in a DAG; that of a long file may repeat its values."""
RETRIES: dict[str, Any] = {
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=15),
}


@dataclass(frozen=True)
class Notice:
    """Why a spec's DAGs are not those of its file.

    Attributes:
        file: Name of the file.
        changed_at: When the version that they are made of was last changed.
        problem: What is wrong with the file.
    """

    file: str
    changed_at: datetime
    problem: str

    def __str__(self) -> str:
        return (
            f"runs the version of {self.changed_at:%Y-%m-%d %H:%M} UTC, the last good one, because `{self.file}` is"
            f" broken: {self.problem}"
        )


def make_dags(specs_folder: Path, *, last_good: Path | None = None, **operator_options: Any) -> dict[str, DAG]:
    """Return the DAGs of all spec files of a folder; files whose names begin with a point are not specs.

    Args:
        specs_folder: Folder of `*.toml` files.
        last_good: Folder of this folder's last good versions; that of the settings where not given, if they name one.
        **operator_options: Options of every task, as FleetcastJobOperator takes them.

    Returns:
        DAGs by their id.
    """
    kept = _open_last_good(last_good)
    # A task may read an earlier version of a bundle, whose specs are not the last good ones.
    is_of_task = get_parsing_context().dag_id is not None
    paths = [path for path in sorted(specs_folder.glob("*.toml")) if not path.name.startswith(".")]
    seen = {path: now for path in paths if (now := Seen.now(path)) is not None}
    specs: dict[Path, Spec | SpecError] = {path: _read(path) for path in seen}
    names = Counter(spec.name for spec in specs.values() if isinstance(spec, Spec))
    dags: list[DAG] = []
    broken: dict[Path, SpecError] = {}
    for path, spec in specs.items():
        if isinstance(spec, Spec) and names[spec.name] > 1:
            others = [p.name for p, s in specs.items() if p != path and isinstance(s, Spec) and s.name == spec.name]
            spec = SpecError(f"spec {path}", [f"name = '{spec.name}' is also the name in {', '.join(others)}"])
        try:
            if isinstance(spec, SpecError):
                raise spec
            dags += [make_dag(spec, flow, **operator_options) for flow in FLOWS]
        except Exception as error:
            broken[path] = _as_spec_error(path, error)
        else:
            if kept is not None and not is_of_task:
                kept.keep(seen[path], spec)
    dags += _revive(broken, kept, taken={dag.dag_id for dag in dags}, **operator_options)
    for path, dag_id in _name_broken(broken).items():
        since = None if kept is None or is_of_task else kept.broken_since(path, broken[path])
        dags.append(_make_broken_dag(dag_id, path, broken[path], since or seen[path].changed_at))
    return {dag.dag_id: dag for dag in dags}


def _open_last_good(folder: Path | None) -> LastGood | None:
    """Return the folder of last good versions, if there is one."""
    if folder is not None:
        return LastGood(folder)
    try:
        named = WorkerSettings.load().last_good
    except SpecError as error:  # which every task then reports
        log.warning("no last good versions are kept: %s", error)
        return None
    return None if named is None else LastGood(Path(named))


def _revive(
    broken: Mapping[Path, SpecError], kept: LastGood | None, *, taken: Set[str], **operator_options: Any
) -> list[DAG]:
    """Return the DAGs of the last good versions of broken files, unless another file has the spec's name."""
    found = {} if kept is None else {path: version for path in broken if (version := kept.find(path)) is not None}
    names = Counter(version.spec.name for version in found.values())
    dags: list[DAG] = []
    for path, version in found.items():
        spec = version.spec
        if names[spec.name] > 1 or f"{spec.name}__{next(iter(FLOWS))}" in taken:
            continue
        notice = Notice(_printable(path.name), version.changed_at, _printable(str(broken[path])))
        try:
            dags += [make_dag(spec, flow, notice=notice, **operator_options) for flow in FLOWS]
        except Exception as error:
            log.warning("the last good version of %s cannot be used: %s", path, _as_spec_error(path, error))
    return dags


def make_dag(spec: Spec, flow: Flow, *, notice: Notice | None = None, **operator_options: Any) -> DAG:
    """Return the DAG of one flow of a spec: its jobs one after the other, all for the cutoff that the first one finds.

    Args:
        spec: The spec.
        flow: The flow.
        notice: Why it is not the spec of its file, where the DAG is to say so.
        **operator_options: Options of every task, as FleetcastJobOperator takes them.

    Returns:
        The DAG.

    Raises:
        SpecError: Airflow cannot use the schedule or a notifier.
    """
    with DAG(
        f"{spec.name}__{flow}",
        description=spec.description or None,
        doc_md=_describe(spec, flow) if notice is None else f"**This DAG {notice}**\n\n{_describe(spec, flow)}",
        schedule=schedule_of(spec, flow),
        catchup=False,
        max_active_runs=1,
        default_args=_task_options(spec),
        params=make_form(spec, flow),
        deadline=deadline_of(spec, flow),
        tags=["fleetcast", flow, *([] if notice is None else ["last-good"])],
    ) as dag:
        filters = {name: dag.param(name) for name in dag.params if name != "cutoff"} | operator_options
        filters |= {} if notice is None else {"notice": str(notice)}
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


def _name_broken(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the id of each file's broken DAG, which Airflow accepts and no other file has."""
    stems = {path: re.sub(r"[^A-Za-z0-9_.\-]+", "-", path.stem)[:MOST_STEM] for path in paths}
    counts = Counter(stems.values())
    digests = {path: hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8] for path in stems}
    is_own = {path: path.stem == stem or counts[stem] == 1 for path, stem in stems.items()}
    return {path: f"{stem}{'' if is_own[path] else '-' + digests[path]}__broken" for path, stem in stems.items()}


def _printable(text: str) -> str:
    """Return a text that databases can store, also of a file name that is not UTF-8; long ones are cut."""
    shown = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]} …"


def _make_broken_dag(dag_id: str, path: Path, error: SpecError, since: datetime) -> DAG:
    """Return a DAG that is not paused and fails once for each time since when the file is broken, so that it is red."""
    from airflow.timetables.events import EventsTimetable  # of Airflow 3.3's SDK, the same cannot be deserialised

    message, name = _printable(str(error)), _printable(path.name)
    with DAG(
        dag_id,
        description=f"{name} is not a usable spec",
        doc_md=f"`{name}` is not used until this is corrected:\n\n```\n{message}\n```",
        schedule=EventsTimetable([since], description="once for each change of the file"),
        start_date=since,
        catchup=True,  # the change lies in the past
        is_paused_upon_creation=False,
        tags=["fleetcast", "broken"],
    ) as dag:

        @task(task_id="say_what_is_wrong", retries=0)
        def say_what_is_wrong() -> None:
            raise AirflowFailException(message)

        say_what_is_wrong()
    return dag
