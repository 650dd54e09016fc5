"""The DAGs of a folder of spec files: two for each spec, `<name>__train` and `<name>__forecast`.

A file that cannot be used becomes a DAG `<file stem>__broken`, whose description and only task report the problem.
Airflow hides every DAG of a Python file that has an import error. An import error for one spec would therefore hide
the forecasts of all others.
"""

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, Param, chain, task
from airflow.sdk.exceptions import AirflowFailException, AirflowTimetableInvalid
from croniter import CroniterBadDateError, croniter

from forecasting.errors import SpecError
from forecasting.spec.spec import NETWORKS, Spec, read_spec
from workers.airflow.operator import FleetcastJobOperator
from workers.arguments import FLOWS, Flow, JobName

CUTOFF_PATTERNS = {
    "timestamp": r"^(\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?)?$",
    "step": r"^(-?\d+)?$",
}
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
        except SpecError as error:
            dags.append(_make_broken_dag(path, error))
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
        SpecError: Airflow cannot use the schedule.
    """
    with DAG(
        f"{spec.name}__{flow}",
        description=spec.description or None,
        doc_md=_describe(spec, flow),
        schedule=_timetable(spec, flow),
        catchup=False,
        max_active_runs=1,
        default_args=_task_options(spec),
        params=_form(spec, flow),
        tags=["fleetcast", flow],
    ) as dag:
        filters = {name: dag.param(name) for name in dag.params if name != "cutoff"} | operator_options
        first, *rest = FLOWS[flow]
        head = FleetcastJobOperator(job=first, flow=flow, spec=spec, cutoff=dag.param("cutoff"), **filters)

        def follow(job: JobName) -> FleetcastJobOperator:
            return FleetcastJobOperator(job=job, flow=flow, spec=spec, cutoff=head.output["cutoff"], **filters)

        tasks = {job: follow(job) for job in rest}
        chain(head, *tasks.values())
        if publishes(spec, flow):  # beside the scores, so that neither waits for the other or fails with it
            chain(tasks["predict"], follow("publish"))
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


def _timetable(spec: Spec, flow: Flow) -> CronTriggerTimetable | None:
    cron = getattr(spec.schedule, flow)
    if cron is None:
        return None
    # Contrary to Airflow's documentation, False would start a run that was due within the last tenth of an interval.
    timetable = CronTriggerTimetable(cron, timezone=spec.schedule.timezone, run_immediately=timedelta())
    try:
        timetable.validate()
        croniter(timetable.expression).get_next()  # only this finds a date that never comes, such as 30 February
    except (AirflowTimetableInvalid, CroniterBadDateError) as error:
        raise SpecError(f"spec '{spec.name}'", [f"schedule.{flow} = '{cron}' cannot be scheduled: {error}"]) from error
    return timetable


def _form(spec: Spec, flow: Flow) -> dict[str, Param]:
    example = "2024-12-29T23:00:00" if spec.clock == "timestamp" else "700"
    fields = {
        "cutoff": Param(
            None,
            type=["null", "string"],
            pattern=CUTOFF_PATTERNS[spec.clock],
            title="Cutoff",
            description=f"The last `ds` that the run may know, such as `{example}`, on the clock of the source. "
            "Empty: the newest observation that is not after the run's time.",
        ),
        "models": Param(
            list(spec.models),
            type="array",
            items={"type": "string", "enum": list(NETWORKS)},
            examples=list(NETWORKS),
            uniqueItems=True,
            title="Models",
            description="The networks to train, compare or forecast with.",
        ),
        "series": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Series",
            description="The `unique_id` of each series to run for, one per line. Empty: all of them.",
        ),
    }
    work, last = ("Train", "training") if flow == "train" else ("Forecast", "forecast")
    fields["changed_only"] = Param(
        False,
        type="boolean",
        title="Changed only",
        description=f"{work} only the series with new or restated rows since their last {last}. The others keep their "
        + ("models." if flow == "train" else "forecasts."),
    )
    if spec.source.modified is not None:
        fields["full_read"] = Param(
            False,
            type="boolean",
            title="Full read",
            description="Read all rows of the source instead of those that have changed since the last run.",
        )
    if flow == "train":
        fields["from_scratch"] = Param(
            False,
            type="boolean",
            title="From scratch",
            description="Train every network from random weights instead of the newest weights of an earlier cutoff.",
        )
    return fields


def _describe(spec: Spec, flow: Flow) -> str:
    cron = getattr(spec.schedule, flow)
    facts = {
        "Source": f"`{spec.source}`",
        "Frequency": f"`{spec.freq}`",
        "Season lengths": ", ".join(map(str, spec.season_lengths)),
        "Horizon": f"{spec.horizon} steps",
        "Models": ", ".join(spec.models),
        "Recipe": spec.recipe,
        **({"Publishes to": ", ".join(f"`{sink}`" for sink in spec.publish)} if publishes(spec, flow) else {}),
        "Schedule": f"`{cron}` ({spec.schedule.timezone})" if cron else "only when triggered",
        "Cluster": f"connection `{spec.airflow.connection}`" if spec.airflow.connection else "that of the settings",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    steps = " → ".join(f"**{job}**" for job in FLOWS[flow]) + (" and **publish**" if publishes(spec, flow) else "")
    return f"{spec.description}\n\n{steps}\n\n| `{spec.name}` | |\n|---|---|\n{rows}\n".strip()


def _read(path: Path) -> Spec | SpecError:
    try:
        return read_spec(path)
    except SpecError as error:
        return error


def _make_broken_dag(path: Path, error: SpecError) -> DAG:
    message = str(error)
    stem = re.sub(r"[^A-Za-z0-9_.\-]+", "-", path.stem)
    with DAG(
        f"{stem}__broken",
        description=f"{path.name} is not a usable spec",
        doc_md=f"`{path.name}` makes no DAGs until this is corrected:\n\n```\n{message}\n```",
        schedule=None,
        tags=["fleetcast", "broken"],
    ) as dag:

        @task(task_id="say_what_is_wrong", retries=0)
        def say_what_is_wrong() -> None:
            raise AirflowFailException(message)

        say_what_is_wrong()
    return dag
