"""The DAG `fleetcast__delete_run`, one of an installation: it deletes a run by a job on the cluster."""

import hashlib
import time
from typing import Any

from airflow.sdk import DAG, BaseOperator, Context, Param
from pydantic import ValidationError

from forecasting.errors import FleetcastError, JobFailed, JobLost, SpecError, UserError
from forecasting.spec.problems import describe_problems
from workers.airflow.client import Job, RayJobsClient, Submission, find_job, read_log, stop_job, submit_job
from workers.airflow.cluster import Cluster, cluster_of_settings
from workers.airflow.form import refuse_unknown_fields
from workers.airflow.hook import FleetcastRayHook
from workers.airflow.links import RayJobLink
from workers.airflow.operator import NOTE_KEY, split_error, user_errors_are_not_retried
from workers.arguments import ARGUMENTS_VARIABLE, RESULT_PREFIX
from workers.deletion import DeletionArguments, find_deletion

DAG_ID = "fleetcast__delete_run"
ENTRYPOINT = "python -m workers.jobs.delete"
_DOC = """Deletes what a run, and the jobs of its flow after it, wrote to all tables. Rows that they replaced come back.

It does what `fleetcast runs delete` does, on the cluster. A **dry run**, the default, only shows what would change: the
note of its task has the runs and the rows of each table.
"""


def make_delete_dag(**operator_options: Any) -> DAG:
    """Return the DAG; it has no schedule and is not paused, so that a triggered run begins.

    Args:
        **operator_options: Options of its task, as DeleteRunOperator takes them.

    Returns:
        The DAG.
    """
    with DAG(
        DAG_ID,
        description="Deletes a run from all tables",
        doc_md=_DOC,
        schedule=None,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        params=make_deletion_form(),
        tags=["fleetcast", "maintenance"],
    ) as dag:
        fields = {name: dag.param(name) for name in dag.params if name != "run_id"}
        DeleteRunOperator(
            task_id="delete", task_display_name="Delete a run", target=dag.param("run_id"), **fields | operator_options
        )
    return dag


def make_deletion_form() -> dict[str, Param]:
    """Return the fields of the DAG's form, of which the run is required."""

    def switch(title: str, text: str, *, value: bool = False) -> Param:
        return Param(value, type="boolean", title=title, description_md=text)

    return {
        "run_id": Param(
            type="string",
            minLength=1,
            title="Run",
            description_md="The run id of a job, as the table `runs` and `fleetcast runs --format csv` have it, such as"
            " `sales__forecast.predict.1735689600000.0a1b2c`. The jobs of its flow that came after it are deleted too.",
        ),
        "dry_run": switch("Dry run", "Show what would change, and **change nothing**.", value=True),
        "with_later": switch("With later runs", "Delete later runs too that **build on** this one."),
        "without_restoring": switch(
            "Without restoring", "Delete the run also where rows that it replaced can **no longer be restored**."
        ),
        "reason": Param("", type=["null", "string"], title="Reason", description_md="Why, for the record in `runs`."),
        "connection": Param(
            None,
            type=["null", "string"],
            title="Connection",
            description_md="Airflow's connection of type `fleetcast_ray` whose cluster has the store. Empty: the"
            " cluster of the settings.",
        ),
    }


class DeleteRunOperator(BaseOperator):
    """Deletes a run by a job on the Ray cluster, and waits for its end in its worker slot.

    A retry attaches to a job that still runs. The deletion has one name in a DAG run, so that a repetition of one that
    has been recorded returns what is recorded.

    Args:
        target: The run to delete.
        with_later: Whether later runs that build on it are deleted too.
        without_restoring: Whether it is deleted also where replaced rows cannot come back.
        dry_run: Whether nothing is changed.
        reason: Why it is deleted.
        connection: Airflow's connection of type `fleetcast_ray`; the settings name the cluster where empty.
        ray_jobs_url: URL of the Jobs API, which takes precedence over both.
        entrypoint: Command of the job.
        interval: Seconds between two checks of the job.
        **kwargs: Arguments of BaseOperator.
    """

    operator_extra_links = (RayJobLink(),)
    template_fields = ("target", "with_later", "without_restoring", "dry_run", "reason", "connection")

    def __init__(
        self,
        *,
        target: Any,
        with_later: Any = False,
        without_restoring: Any = False,
        dry_run: Any = True,
        reason: Any = "",
        connection: Any = None,
        ray_jobs_url: str | None = None,
        entrypoint: str = ENTRYPOINT,
        interval: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.with_later = with_later
        self.without_restoring = without_restoring
        self.dry_run = dry_run
        self.reason = reason
        self.connection = connection
        self.ray_jobs_url = ray_jobs_url
        self.entrypoint = entrypoint
        self.interval = interval
        self.job_link: str | None = None
        self._submission_id: str | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit the job, or find the one of an earlier try, and wait for its end.

        Args:
            context: Airflow's context of the task.

        Returns:
            The fields of the DeletionResult.
        """
        ti = context["ti"]
        record = _name_record(ti.dag_id, ti.run_id)
        with user_errors_are_not_retried():
            if self.has_dag():
                refuse_unknown_fields(context["dag_run"].conf or {}, self.dag.params)
            cluster = self._cluster()
            arguments = self._arguments(record, cluster.store_connection)
            client = cluster.client()
            self._submission_id = self._submit(client, arguments, attempt=ti.try_number)
            self.job_link = cluster.link(self._submission_id)
            ti.xcom_push(RayJobLink().xcom_key, self.job_link)
            lines = self._await_end(client, self._submission_id)
        result = find_deletion(lines)
        if result is None:
            raise JobFailed(f"job {self._submission_id} ended without a result in its log")
        ti.xcom_push(NOTE_KEY, result.message)
        return result.model_dump(mode="json")

    def on_kill(self) -> None:
        """Stop the job; what it has not deleted yet stays, and the same deletion completes it."""
        if self._submission_id is None:
            return
        try:
            self._cluster().client().run(stop_job(self._submission_id))
        except FleetcastError as error:
            self.log.warning("job %s may still run: %s", self._submission_id, error)

    def _cluster(self) -> Cluster:
        if self.ray_jobs_url:
            return Cluster(self.ray_jobs_url)
        return FleetcastRayHook(str(self.connection)).cluster() if self.connection else cluster_of_settings()

    def _arguments(self, record: str, store_connection: str | None) -> DeletionArguments:
        try:
            return DeletionArguments(
                run_id=str(self.target or "").strip(),
                with_later=self.with_later or False,
                without_restoring=self.without_restoring or False,
                dry_run=self.dry_run,
                reason=str(self.reason or "").strip(),
                store_connection=store_connection,
                record=record,
            )
        except ValidationError as error:
            raise SpecError("the conf", describe_problems(error)) from error

    def _submit(self, client: RayJobsClient, arguments: DeletionArguments, *, attempt: int) -> str:
        """Return the submission id of the job of this try, or of the try before where that still runs."""
        before, own = (f"{arguments.record}.{number}" for number in (attempt - 1, attempt))
        known = client.run(find_job(before)) if attempt > 1 else None
        if known is not None and not known.is_terminal:
            self.log.info("attaching to job %s (%s)", before, known.status)
            return before
        # Ray expands `$NAME` in environment variables; JSON can escape the dollar sign.
        variables = {ARGUMENTS_VARIABLE: arguments.model_dump_json().replace("$", r"\u0024")}
        metadata = {"job": "delete", "run_id": arguments.record}
        client.run(submit_job(Submission(own, self.entrypoint, env_vars=variables, metadata=metadata)))
        self.log.info("waiting for job %s at %s", own, client.url)
        return own

    def _await_end(self, client: RayJobsClient, submission_id: str) -> list[str]:
        """Return the lines of the job when it has succeeded."""
        job: Job | None = client.run(find_job(submission_id))
        while job is not None and not job.is_terminal:
            time.sleep(self.interval)
            job = client.run(find_job(submission_id))
        if job is None:
            raise JobLost(f"job {submission_id} is lost: its cluster does not know it")
        lines = client.run(read_log(submission_id))
        said, reason = split_error(lines) if job.status != "SUCCEEDED" else (lines, "")
        for line in said:
            if not line.startswith(RESULT_PREFIX):
                self.log.info("%s", line)
        if job.status != "SUCCEEDED":
            report = f"job {submission_id} ended as {job.status}: {reason or job.message or 'it printed nothing'}"
            raise UserError(report) if job.is_user_error else JobFailed(report)
        return lines


def _name_record(dag_id: str, dag_run_id: str) -> str:
    """Return the name of the deletion of a DAG run, in tables and on the cluster."""
    return f"{dag_id}.{hashlib.sha256(dag_run_id.encode()).hexdigest()[:16]}"
