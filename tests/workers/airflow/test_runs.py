import re

from hypothesis import given
from hypothesis import strategies as st

from workers.airflow.runs import RUN_KEY, TaskRun, read_run, start_run, write_run
from workers.arguments import RunArguments

PATTERN = next(m.pattern for m in RunArguments.model_fields["run_id"].metadata if hasattr(m, "pattern"))


class Store(dict):
    """Airflow's task state store, as a dict."""

    def set(self, key: str, value: object) -> None:
        self[key] = value


def run(max_tries: int = 3, **fields: object) -> TaskRun:
    return start_run(dag_id="nyc__train", dag_run_id="manual__1", task_id="train", max_tries=max_tries, **fields)


def test_run_id_says_dag_task_and_generation() -> None:
    assert re.fullmatch(r"nyc__train\.train\.1700000000123\.[0-9a-f]{6}", run(now=1700000000.123).run_id)


def test_runs_of_two_dag_runs_in_the_same_millisecond_differ() -> None:
    one, other = (
        start_run(dag_id="d", dag_run_id=dag_run_id, task_id="t", max_tries=0, now=1.0) for dag_run_id in ("a", "b")
    )
    assert one.run_id != other.run_id


@given(dag_id=st.text(max_size=250), task_id=st.text(max_size=250), dag_run_id=st.text(max_size=50))
def test_any_dag_and_task_gives_a_run_id_that_jobs_accept(dag_id: str, task_id: str, dag_run_id: str) -> None:
    made = start_run(dag_id=dag_id, dag_run_id=dag_run_id, task_id=task_id, max_tries=0)
    assert re.fullmatch(PATTERN, made.run_id)


def test_generation_rises_even_where_the_clock_goes_back() -> None:
    first = run(now=2000.0)
    assert run(now=1000.0, previous=first).generation == first.generation + 1
    assert run(now=3000.0, previous=first).generation == 3_000_000


def test_stored_run_is_read_back_whole() -> None:
    store = Store()
    assert read_run(store) is None
    write_run(store, run())
    assert read_run(store) == run(now=store[RUN_KEY]["generation"] / 1000)


def test_submitting_again_keeps_run_and_generation_under_a_new_submission_id() -> None:
    first = run()
    second = first.submitted_again()
    assert (second.run_id, second.generation) == (first.run_id, first.generation)
    assert second.submission_id != first.submission_id


@given(retries=st.integers(0, 5), tries_before_clear=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_clear_is_distinguished_from_retry_however_often_both_happen(
    retries: int, tries_before_clear: list[int]
) -> None:
    """Follows Airflow's rule: clearing sets max_tries to try_number + retries, retrying changes nothing."""
    try_number, max_tries, stored = 0, retries, None
    for tries in tries_before_clear:
        for attempt in range(min(tries, retries + 1)):
            try_number += 1
            assert (stored is not None and stored.was_cleared(max_tries)) == (stored is not None and attempt == 0)
            if attempt == 0:
                stored = run(max_tries=max_tries, previous=stored)
        max_tries = try_number + retries
