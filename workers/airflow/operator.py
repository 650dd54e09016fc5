"""The operator that runs one step of a flow on Ray: its task waits for the step's end, and returns its result."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Any, get_args

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from pydantic import ValidationError

from forecasting.errors import FleetcastError, JobFailed, JobLost, SpecError, UserError
from forecasting.spec.problems import describe_problems
from forecasting.spec.spec import Spec
from workers.airflow.assets import inlets_of, inputs_of, outlets_of
from workers.airflow.client import RayJobsClient, Submission, await_step, find_job, read_log, stop_job, submit_job
from workers.airflow.cluster import Cluster, cluster_of_settings
from workers.airflow.form import refuse_unknown_fields
from workers.airflow.hook import FleetcastRayHook
from workers.airflow.lineage import describe_lineage
from workers.airflow.links import RayJobLink
from workers.airflow.runs import TaskRun, name_run, read_run, start_run, write_run
from workers.airflow.schedules import moment_of
from workers.airflow.trigger import JobEndTrigger
from workers.arguments import (
    ARGUMENTS_VARIABLE,
    FLOWS,
    RESULT_PREFIX,
    Flow,
    JobName,
    RunArguments,
    RunResult,
    find_progress,
)
from workers.steps import (
    STEPS_VARIABLE,
    Step,
    find_step,
    fits_one_job,
    job_before,
    jobs_after,
    parse_steps,
    steps_variable,
)

ENTRYPOINTS: Mapping[JobName, str] = {job: f"python -m workers.jobs.{job}" for job in get_args(JobName)}
"""What Ray runs for each job. Ray passes it to a shell, so it never contains a value of a form."""
FLOW_ENTRYPOINT = "python -m workers.jobs.flow"
"""What Ray runs for several steps."""

ERROR_PREFIX = "error: "
NOTE_KEY = "note"
"""XCom with what a run has done, of the last task of a flow, or of a task that was skipped."""
JOB_KEY = "fleetcast_job"
"""XCom with the submission id of the job that runs a task's step, and that step and the following ones."""
NUM_LOG_LINES = 50
MAX_VARIABLE_BYTES = 120_000
JOBS_OF_SCENARIO: tuple[JobName, ...] = ("features", "predict")
"""The jobs that a run with a scenario has; features only names the cutoff."""
SCORED_LATER = "the next run that is not of a backfill scores all of its forecasts together"
"""Why a run of a backfill has no scores: forecasts of other cutoffs, which it would score, are made beside it."""


class FleetcastJobOperator(BaseOperator):
    """Runs one step of a flow on the Ray cluster.

    The steps of a small spec share one Ray job. The first task submits it, and settles the runs of the following steps.
    A later task finds its step in that job, and submits a job of its own only where that one has not reached it. A task
    that is cleared, or tried again after a failure, submits a job from its own step on, for the tasks that run next.
    Each task ends with its own step, not with the job: the states of tasks then show what is being done, assets are
    updated when their tables are, and Airflow starts the next task while its step is already running.

    The submission id is chosen and stored before the job is submitted, so that a retry attaches to a running job
    instead of starting a second one. A cleared task starts a new run; a killed task stops its job. Before a step is
    submitted, the job that may still run it is stopped.

    The task first waits by itself. A step that takes longer than `wait` is awaited in the triggerer, without a worker
    slot. To defer a task takes ten seconds, which a small spec does not pay.

    It raises JobFailed (with the step's last log lines), JobLost and ClusterError, which Airflow retries;
    AirflowFailException for the user's mistakes, which Airflow does not retry; and AirflowSkipException where there is
    nothing to do.

    Args:
        job: Name of the job.
        flow: The flow that the job belongs to.
        spec: The spec.
        cutoff: The last `ds` that the run may know, as text; decided by the job where empty.
        models: Networks to run for; the spec's where empty.
        series: Series to run for; all where empty.
        from_scratch: Whether training ignores earlier weights.
        changed_only: Whether only series with new or restated rows are trained or forecast.
        full_read: Whether all rows are read of a source with `modified`.
        scenario: Name of the scenario that is made instead of the forecast; none where empty.
        plan: URI of the scenario's plan.
        notice: What the note of a run begins with, such as that its spec is an earlier version of a broken file.
        ray_jobs_url: URL of the Jobs API, which takes precedence over the connection.
        ray_conn_id: Airflow's connection of type `fleetcast_ray`; the spec's by default. Without one, the settings name
            the cluster.
        entrypoints: Command of each job.
        flow_entrypoint: Command of a job of several steps.
        wait: Seconds for which the task waits before it is deferred.
        interval: Seconds between two checks of the job.
        patience: Seconds for which the cluster may fail to answer.
        **kwargs: Arguments of BaseOperator.
    """

    operator_extra_links = (RayJobLink(),)
    template_fields = ("cutoff", "models", "series", "from_scratch", "changed_only", "full_read", "scenario", "plan")

    def __init__(
        self,
        *,
        job: JobName,
        flow: Flow,
        spec: Spec,
        cutoff: Any = None,
        models: Any = None,
        series: Any = None,
        from_scratch: Any = False,
        changed_only: Any = False,
        full_read: Any = False,
        scenario: Any = None,
        plan: Any = None,
        notice: str = "",
        ray_jobs_url: str | None = None,
        ray_conn_id: str | None = None,
        entrypoints: Mapping[JobName, str] = ENTRYPOINTS,
        flow_entrypoint: str = FLOW_ENTRYPOINT,
        wait: float = 60.0,
        interval: float = 5.0,
        patience: float = 60.0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("task_id", job)
        kwargs.setdefault("inlets", inlets_of(job, flow, spec))
        kwargs.setdefault("outlets", outlets_of(job, spec))
        super().__init__(multiple_outputs=True, **kwargs)
        self.job: JobName = job
        self.flow: Flow = flow
        self.spec = spec
        self.cutoff = cutoff
        self.models = models
        self.series = series
        self.from_scratch = from_scratch
        self.changed_only = changed_only
        self.full_read = full_read
        self.scenario = scenario
        self.plan = plan
        self.notice = notice
        self.ray_jobs_url = ray_jobs_url
        self.ray_conn_id = None if ray_jobs_url else ray_conn_id or spec.airflow.connection
        self.entrypoints = entrypoints
        self.flow_entrypoint = flow_entrypoint
        self.wait = wait
        self.interval = interval
        self.patience = patience
        self.job_link: str | None = None
        self.result: RunResult | None = None
        self.read_versions: dict[str, int] = {}
        self.is_resumed = False
        self._submission_id: str | None = None
        self._cluster: Cluster | None = None
        self._is_killed = False

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit the job, or find the one that has the step, and wait for the step's end.

        Args:
            context: Airflow's context of the task.

        Returns:
            The fields of the step's RunResult, each as an XCom.
        """
        if self.notice:
            self.log.warning("this DAG %s", self.notice)
        with user_errors_are_not_retried():
            if self.job == "score" and is_backfill(context):
                note = self._describe_run(context, str(self.cutoff), f"skipped, {SCORED_LATER}")
                context["ti"].xcom_push(NOTE_KEY, note)
                raise AirflowSkipException(SCORED_LATER)
            if self.scenario and self.job not in JOBS_OF_SCENARIO:
                raise AirflowSkipException(
                    f"scenario '{self.scenario}' is not the forecast, so that {self.job} is skipped"
                )
            if self.has_dag():
                refuse_unknown_fields(context["dag_run"].conf or {}, self.dag.params)
            client = self.cluster().client()
            run = self._settle_run(context, client)
            self._submission_id = run.shared_job
            if run.shared_job is None:
                self._submit(context, client, run)
        return self._follow(context, run)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume the task after its trigger has fired or failed; its link is then already stored."""
        self.is_resumed = True
        return super().resume_execution(next_method, next_kwargs, context)

    def finish(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step's result after a deferral; Airflow resumes the task here.

        Args:
            context: Airflow's context of the task.
            event: The payload of the trigger's event.

        Returns:
            The fields of the step's RunResult, each as an XCom.
        """
        self._submission_id = str(event["submission_id"])
        message = str(event.get("message", ""))
        with user_errors_are_not_retried():
            if event.get("error") == UserError.__name__:
                raise UserError(message)
        if event.get("error"):
            raise (JobFailed if event["error"] == JobFailed.__name__ else JobLost)(message)
        return self._conclude(context, self._submission_id, str(event.get("run_id", "")))

    def _follow(self, context: Context, run: TaskRun) -> dict[str, Any]:
        """Wait for the end of the task's step, here or deferred."""
        began, cluster = time.monotonic(), self.cluster()
        client = cluster.client()
        self._submission_id = run.submission_id
        self.job_link = cluster.link(run.submission_id)
        context["ti"].xcom_push(RayJobLink().xcom_key, self.job_link)
        own = Step(job=self.job, run_id=run.run_id, generation=run.generation)
        steps = [step.model_dump() for step in (own, *run.steps)]
        context["ti"].xcom_push(JOB_KEY, {"submission_id": run.submission_id, "steps": steps})
        self.log.info("waiting for %s in job %s at %s", self.job, run.submission_id, client.url)
        end = await_step(
            run.submission_id,
            run.run_id,
            interval=self.interval,
            patience=self.patience,
            most_seconds=self.wait,
            on_line=self._log_progress,
        )
        with user_errors_are_not_retried():
            is_over = self.wait > 0 and client.run(end)
        if not is_over:
            timeout = self.execution_timeout and self.execution_timeout.total_seconds() - (time.monotonic() - began)
            self.defer(
                trigger=JobEndTrigger(
                    client.url, run.submission_id, run.run_id, self.interval, self.patience, self.ray_conn_id, timeout
                ),
                method_name="finish",
            )
        return self._conclude(context, run.submission_id, run.run_id)

    def _conclude(self, context: Context, submission_id: str, run_id: str) -> dict[str, Any]:
        """Log the step's last lines and return its result; submit the step where its job has not reached it.

        The last job of a flow also leaves a note about the run, as an XCom and in its log. A listener makes it that of
        the DAG run (`workers.airflow.run_note`).
        """
        with user_errors_are_not_retried():
            result = self._read_result(submission_id, run_id)
            if result is None:
                self.log.info("job %s has ended without %s, which now gets a job of its own", submission_id, self.job)
                run = self._resubmit(context)
        if result is None:
            return self._follow(context, run)
        is_last = self.job == (JOBS_OF_SCENARIO if self.scenario else FLOWS[self.flow])[-1]
        if is_last or result.status == "skipped":
            note = (
                self._describe_run(context, result.cutoff, result.message, result.seconds)
                if is_last
                else result.message
            )
            note = f"This DAG {self.notice}\n\n{note}" if self.notice else note
            context["ti"].xcom_push(NOTE_KEY, note)
            if is_last:  # the job itself has printed its own message
                self.log.info("%s", note)
        if result.status == "skipped":
            raise AirflowSkipException(result.message)
        self.result = result
        if self.scenario:
            self.outlets.clear()  # no table that other DAGs wait for has changed
        for job in takewhile(lambda before: before != self.job, FLOWS[self.flow]):
            self.read_versions |= context["ti"].xcom_pull(task_ids=job, key="versions") or {}
        for asset in self.outlets:
            context["outlet_events"][asset].extra = outlet_extra(asset, result)
        return result.model_dump()

    def on_kill(self) -> None:
        """Stop the job and wait until it has ended."""
        self._is_killed = True
        if self._submission_id is None:
            return
        try:
            self.cluster().client().run(stop_job(self._submission_id))
        except FleetcastError as error:
            self.log.warning("job %s may still run: %s", self._submission_id, error)

    def get_openlineage_facets_on_start(self) -> Any:
        """Return the lineage that is known before the job; OpenLineage's provider calls this where it is installed."""
        return describe_lineage(inputs_of(self.job, self.flow, self.spec), self.outlets)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the lineage of the job that has ended, with versions, counts of rows and verdicts of checks.

        Args:
            task_instance: Airflow's task instance.

        Returns:
            Inputs and outputs.
        """
        return describe_lineage(
            inputs_of(self.job, self.flow, self.spec), self.outlets, self.result, self.read_versions
        )

    def cluster(self) -> Cluster:
        """Return the cluster that the task submits to, which it asks Airflow for once.

        Returns:
            The cluster of the URL, of the connection, or of the settings.

        Raises:
            UserError: Airflow does not know the connection, or it is refused.
        """
        if self._cluster is None:
            if self.ray_jobs_url:
                self._cluster = Cluster(self.ray_jobs_url)
            elif self.ray_conn_id:
                self._cluster = FleetcastRayHook(self.ray_conn_id).cluster()
            else:
                self._cluster = cluster_of_settings()
        return self._cluster

    def arguments(self, context: Context, run: TaskRun, *, store_connection: str | None = None) -> RunArguments:
        """Return the arguments of the job.

        Args:
            context: Airflow's context of the task.
            run: The task's run.
            store_connection: Name of the connection, on the cluster's nodes, that has the keys of the store.

        Returns:
            The arguments.

        Raises:
            SpecError: A value of the form is refused.
        """
        cutoff = str(self.cutoff).strip() if self.cutoff else None
        models = tuple(self.models or ())
        try:
            return RunArguments(
                job=self.job,
                flow=self.flow,
                spec=self.spec,
                cutoff=cutoff,
                as_of=None if cutoff else as_of(self.spec, context),
                # The form is preset with the spec's models; unchanged, it is not a filter.
                models=None if not models or set(models) == set(self.spec.models) else models,
                series=tuple(self.series) if self.series else None,
                from_scratch=self.from_scratch or False,
                changed_only=self.changed_only or False,
                full_read=self.full_read or False,
                scenario=str(self.scenario).strip() if self.scenario else None,
                plan=str(self.plan).strip() if self.plan else None,
                store_connection=store_connection,
                run_id=run.run_id,
                generation=run.generation,
            )
        except ValidationError as error:
            raise SpecError(f"task {self.task_id}", describe_problems(error)) from error

    def _settle_run(self, context: Context, client: RayJobsClient) -> TaskRun:
        """Return the run of this try, and store it: adopted, attached to, tried again or new."""
        store, ti = context["task_state_store"], context["ti"]
        previous = read_run(store)
        adopted = self._find_adopted(context, previous)
        if adopted:
            if previous:
                self._stop_others(context, client, previous)
            is_known = client.run(find_job(adopted.submission_id)) is not None
            run = adopted if is_known else adopted.submitted_again()
        elif previous and not previous.was_cleared(ti.max_tries):
            if self._is_attachable(client, previous):
                return previous
            run = replace(previous.submitted_again(), steps=self._following(context, previous.steps))
        else:
            new = start_run(
                dag_id=ti.dag_id, dag_run_id=ti.run_id, task_id=ti.task_id, max_tries=ti.max_tries, previous=previous
            )
            run = replace(new, steps=self._following(context, self._name_steps(context, new)))
            if previous:
                self.log.info("the task was cleared: a job that still runs its step is stopped")
                self._stop_others(context, client, previous, run)
        write_run(store, run)
        return run

    def _find_adopted(self, context: Context, previous: TaskRun | None) -> TaskRun | None:
        """Return the run that the task before has settled for this one since its last run; None where it has none."""
        before = job_before(self.flow, self.job)
        left = context["ti"].xcom_pull(task_ids=before, key=JOB_KEY) if before else None
        if not left:
            return None
        steps = parse_steps(left["steps"])
        own = next((step for step in steps if step.job == self.job), None)
        if own is None or (previous and own.generation <= previous.generation):
            return None
        after = jobs_after(self.flow, self.job, publishes=True)
        following = tuple(step for step in steps if step.job in after)
        max_tries = context["ti"].max_tries
        return TaskRun(own.run_id, own.generation, 0, max_tries, following, shared_job=left["submission_id"])

    def _name_steps(self, context: Context, run: TaskRun) -> list[Step]:
        """Return new runs of all steps after this one, if the spec is small enough for them to share a job."""
        ti = context["ti"]
        jobs = jobs_after(self.flow, self.job, publishes=bool(self.spec.publish))
        if self.scenario:
            jobs = tuple(job for job in jobs if job in JOBS_OF_SCENARIO)
        if is_backfill(context):
            jobs = tuple(job for job in jobs if job != "score")
        num_rows = ti.xcom_pull(task_ids=FLOWS[self.flow][0], key="num_rows") if jobs and self.job != "features" else 0
        if not self.spec.airflow.shared_job_rows or not fits_one_job(self.arguments(context, run), num_rows or 0):
            return []
        return [
            Step(job=job, run_id=name_run(ti.dag_id, ti.run_id, job, run.generation), generation=run.generation)
            for job in jobs
        ]

    def _following(self, context: Context, steps: Sequence[Step]) -> tuple[Step, ...]:
        """Keep the steps whose tasks run after this one: those without a state, as of a new or a cleared task."""
        if not steps:
            return ()
        ti, wanted = context["ti"], [step.job for step in steps]
        found = ti.get_task_states(dag_id=ti.dag_id, task_ids=wanted, run_ids=[ti.run_id])
        states = found.get(ti.run_id, {})
        kept: list[Step] = []
        for step in steps:
            is_after = job_before(self.flow, step.job) in {self.job, *(one.job for one in kept)}
            if is_after and states.get(step.job) is None:
                kept.append(step)
        return tuple(kept)

    def _is_attachable(self, client: RayJobsClient, run: TaskRun) -> bool:
        """Return whether the job of an earlier try runs the step, has its result, or was not submitted yet."""
        job = client.run(find_job(run.submission_id))
        if job is None:
            return run.shared_job is None
        step = find_step(client.run(read_log(run.submission_id)), run.run_id)
        is_attachable = step.result is not None or (step.exit_code is None and not job.has_failed)
        if is_attachable:
            self.log.info("attaching to job %s (%s)", run.submission_id, job.status)
        return is_attachable

    def _stop_others(
        self, context: Context, client: RayJobsClient, previous: TaskRun, run: TaskRun | None = None
    ) -> None:
        """Stop the jobs that may still run the steps of a new run: this task's last one, and those of later tasks."""
        jobs = [step.job for step in run.steps] if run else []
        own = Step(job=self.job, run_id=previous.run_id, generation=previous.generation)
        known = [(previous.submission_id, (own, *previous.steps))]
        left = (context["ti"].xcom_pull(task_ids=job, key=JOB_KEY) for job in jobs)
        known += [(each["submission_id"], parse_steps(each["steps"])) for each in left if each]
        running: dict[str, set[str]] = {}
        for submission_id, steps in known:
            of_run = {step.run_id for step in steps if step.job in (self.job, *jobs)}
            running.setdefault(submission_id, set()).update(of_run)
        for submission_id, run_ids in running.items():
            state = client.run(find_job(submission_id))
            if state is None or state.is_terminal:
                continue
            lines = client.run(read_log(submission_id))
            if not all(find_step(lines, run_id).is_over for run_id in run_ids):
                client.run(stop_job(submission_id))

    def _submit(self, context: Context, client: RayJobsClient, run: TaskRun) -> None:
        """Submit the job of a run; one that the cluster already has is left as it is."""
        arguments = self.arguments(context, run, store_connection=self.cluster().store_connection)
        self._submission_id = run.submission_id
        following = {STEPS_VARIABLE: steps_variable(run.steps)} if run.steps else {}
        client.run(
            submit_job(
                Submission(
                    run.submission_id,
                    self.flow_entrypoint if run.steps else self.entrypoints[self.job],
                    env_vars={ARGUMENTS_VARIABLE: as_variable(arguments), **following},
                    metadata={"spec": self.spec.name, "job": self.job, "run_id": run.run_id},
                )
            )
        )
        if self._is_killed:  # the task was killed before its job existed
            self.on_kill()
            raise JobFailed(f"job {run.submission_id} was stopped because its task was killed")

    def _resubmit(self, context: Context) -> TaskRun:
        """Submit a job of its own for a step that the job of an earlier task has not reached."""
        previous = read_run(context["task_state_store"])
        assert previous is not None, "the step of another task's job is stored as the run of this task"
        run = replace(previous.submitted_again(), steps=())
        write_run(context["task_state_store"], run)
        self._submit(context, self.cluster().client(), run)
        return run

    def _read_result(self, submission_id: str, run_id: str) -> RunResult | None:
        """Return the result of a step that is over; None where its job has ended without reaching it."""
        client = self.cluster().client()
        job = client.run(find_job(submission_id))
        if job is None:
            raise JobLost(f"job {submission_id} is lost: its cluster no longer knows it")
        step = find_step(client.run(read_log(submission_id)), run_id)
        if step.result is not None:
            self._log(step.lines)
            return step.result
        if not step.has_begun:
            return None
        if step.exit_code is None and not job.has_failed:
            raise JobFailed(f"job {submission_id} ended without a result in its log")
        said, reason = split_error(step.lines)
        self._log(said)
        what = f"job {submission_id}"
        if step.exit_code is not None:  # the job may go on with steps that do not wait for this one
            job, what = replace(job, status="FAILED", exit_code=step.exit_code), f"{self.job} in {what}"
        code = "" if job.exit_code is None else f" with exit code {job.exit_code}"
        report = f"{what} ended as {job.status}{code}: {reason or job.message or 'it printed nothing'}"
        raise UserError(report) if job.is_user_error else JobFailed(report)

    def _log_progress(self, line: str) -> None:
        """Log the step's progress while it runs; all other lines are logged at its end."""
        if find_progress(line):
            self.log.info("%s", line)

    def _log(self, lines: Sequence[str]) -> None:
        """Log the last lines of a step, except progress, which is logged as it comes, and the result's JSON."""
        for line in lines[-NUM_LOG_LINES:]:
            if find_progress(line) is None and not line.startswith(RESULT_PREFIX):
                self.log.info("%s", line)

    def _describe_run(self, context: Context, cutoff: str | None, report: str, seconds: float = 0.0) -> str:
        """Return what each job of the run reports, in Markdown, and the seconds that they took together."""
        pull = context["ti"].xcom_pull
        reports = []
        for job in takewhile(lambda before: before != self.job, FLOWS[self.flow]):
            if known := pull(task_ids=job):
                seconds += float(known["seconds"])
                reports.append(f"- {job}: {known['message']}")
            elif reason := pull(task_ids=job, key=NOTE_KEY):
                reports.append(f"- {job}: skipped, {reason}")
        reports.append(f"- {self.job}: {report}")
        return f"**{self.spec.name}, {self.flow} up to {cutoff}**, {seconds:.1f} s of jobs\n\n" + "\n".join(reports)


def as_of(spec: Spec, context: Context) -> str | None:
    """Return the time as of which a DAG run knows the source; see `moment_of`.

    The job converts it to the clock of the source, which only the job reads.

    Args:
        spec: The spec.
        context: Airflow's context of the task.

    Returns:
        ISO text with an offset, in the zone of the schedule; None for integer steps.
    """
    if spec.clock == "step":
        return None
    return moment_of(context, spec.schedule.zone).astimezone(spec.schedule.zone).isoformat(timespec="seconds")


def is_backfill(context: Context) -> bool:
    """Return whether a run is one of a backfill, whose forecasts are scored later."""
    return bool(context["dag_run"].run_type == "backfill")


def as_variable(arguments: RunArguments) -> str:
    """Return the arguments as JSON for an environment variable of a Ray job.

    Fields that nobody has set are left out, because a job warns differently where a field of the source is set.
    Ray expands `$NAME` in environment variables, so a dollar sign is written as its JSON escape. Linux limits a
    variable to 128 KiB, and Ray also sends all variables in one, quoted once more.

    Args:
        arguments: The arguments.

    Returns:
        The value of the variable.

    Raises:
        SpecError: The arguments are too long for one variable.
    """
    text = arguments.model_dump_json(exclude_unset=True).replace("$", r"\u0024")
    if (size := len(json.dumps(text))) > MAX_VARIABLE_BYTES:
        problem = f"{len(arguments.series or ())} ids take {size} bytes but {MAX_VARIABLE_BYTES} can be sent to a job"
        raise SpecError("run arguments", [f"series: {problem}; leave it empty for all series, or run it in parts"])
    return text


def outlet_extra(asset: Asset, result: RunResult) -> dict[str, Any]:
    """Return the extra fields of an asset's event: the run, its cutoff and the new version of the table."""
    table = str(asset.name).rsplit("/", 1)[-1]
    version = result.versions.get(table, result.versions.get(f"{table}_by_step"))
    return {"run_id": result.run_id, "cutoff": result.cutoff, "version": version}


def split_error(lines: Sequence[str]) -> tuple[Sequence[str], str]:
    r"""Split the lines of a failed job into its last error, which jobs print as `error: …`, and all lines before.

    Args:
        lines: The job's log.

    Returns:
        The lines before the error, and the error; the last line is the error where none is marked.

    >>> split_error(["reading", "error: spec 'a' has 2 problems:", "  - one", "  - two"])
    (['reading'], "spec 'a' has 2 problems:\n  - one\n  - two")
    >>> split_error(["reading", "Killed"]), split_error([])
    ((['reading'], 'Killed'), ([], ''))
    """
    marked = [number for number, line in enumerate(lines) if line.startswith(ERROR_PREFIX)]
    begin = marked[-1] if marked else max(0, len(lines) - 1)
    return lines[:begin], "\n".join(lines[begin:]).removeprefix(ERROR_PREFIX).rstrip()


@contextmanager
def user_errors_are_not_retried() -> Iterator[None]:
    """Turn the user's mistakes into failures that Airflow does not retry."""
    try:
        yield
    except UserError as error:
        raise AirflowFailException(str(error)) from None  # a second traceback would bury the message
