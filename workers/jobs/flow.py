"""The job that the steps of a flow share: it runs them one after the other, each as a job of its own would.

The first step is that of the job's arguments; `workers/steps.py` has the following ones and the marks in the log. A
step that fails or is skipped ends those that wait for it. After the features, the job ends where a spec is too large
to share one: its later tasks then submit a job for each step.
"""

import sys
from importlib import import_module

from forecasting.errors import UserError
from workers.arguments import JobName, read_arguments
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.run import Resolve, Work, in_job_log, report_failure, run_step
from workers.steps import (
    BEGIN_PREFIX,
    FAILURE_PREFIX,
    Step,
    arguments_of,
    fits_one_job,
    is_reached,
    read_steps,
)


def main() -> int:
    """Run the steps of this process's environment.

    Returns:
        The exit code: 0 where no step has failed, else that of the first one that has.
    """
    return in_job_log(_run_steps)


def _run_steps() -> int:
    try:
        first, following = read_arguments(), read_steps()
    except UserError as error:
        return report_failure(error)
    statuses: dict[JobName, str | None] = {}
    exit_codes: list[int] = []
    arguments = first
    for step in (Step(job=first.job, run_id=first.run_id, generation=first.generation), *following):
        statuses[step.job] = None
        if not is_reached(step.job, first.flow, statuses):
            continue
        if step.job != first.job:
            arguments = arguments_of(step, arguments)
        print(f"{BEGIN_PREFIX}{step.run_id}", flush=True)
        ended = run_step(arguments, *_find_work(step.job))
        if isinstance(ended, int):
            print(f"{FAILURE_PREFIX}{ended}", flush=True)
            exit_codes.append(ended)
            continue
        statuses[step.job] = ended.status
        arguments = arguments.model_copy(update={"cutoff": ended.cutoff, "as_of": None})
        if step.job == "features" and following and not fits_one_job(first, ended.num_rows):
            limit = first.spec.airflow.shared_job_rows
            what = f"{ended.num_rows:,} grid points times the networks exceed airflow.shared_job_rows = {limit:,}"
            print(f"{what}: each later step has a job of its own", flush=True)
            break
    return exit_codes[0] if exit_codes else 0


def _find_work(job: JobName) -> tuple[Work, Resolve]:
    """Return the function of a job, and that of its cutoff; its module is imported when its turn comes."""
    module = import_module(f"workers.jobs.{job}")
    if job == "features":
        return module.write_features, module.find_cutoff
    return getattr(module, job), stored_cutoff


if __name__ == "__main__":
    sys.exit(main())
