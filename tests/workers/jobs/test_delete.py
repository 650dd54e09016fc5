"""A run is deleted by a job as by the command, once, and a dry run changes nothing."""

import polars as pl
import pytest

from workers.arguments import ARGUMENTS_VARIABLE
from workers.deletion import DeletionArguments, find_deletion
from workers.jobs.delete import main


@pytest.fixture
def delete(small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the job by its entry point; return its exit code, its result and its last line of errors."""

    def run(target, **options):
        arguments = DeletionArguments(run_id=target, **{"record": "fleetcast__delete_run.1"} | options)
        monkeypatch.setenv(ARGUMENTS_VARIABLE, arguments.model_dump_json())
        monkeypatch.setenv("FLEETCAST_STORE", small.store.root)
        code = main()
        printed = capsys.readouterr()
        return code, find_deletion(printed.out.splitlines()), (printed.err.splitlines() or [""])[-1]

    return run


def newest(small):
    return small.store.scan("features", "timestamp").select(pl.col("ds").max()).collect().item()


def test_dry_run_shows_what_would_change_and_the_deletion_changes_it_and_is_recorded_once(small, delete):
    small.write(a=12, b=12)
    small.read(9, run_id="first")
    kept = newest(small)
    small.read(11, run_id="wrong")
    code, result, _ = delete("wrong")
    assert (code, result.record, result.deleted) == (0, None, ("wrong",))
    assert result.message.startswith("dry run, nothing is changed; without dry_run, 1 run would be deleted")
    assert "features: 24 rows to delete, 20 to restore of version 1" in result.message
    assert newest(small) > kept
    code, result, _ = delete("wrong", dry_run=False, reason="mistyped")
    assert (code, result.record, result.deleted) == (0, "fleetcast__delete_run.1", ("wrong",))
    assert newest(small) == kept
    runs = small.store.scan("runs", "timestamp").filter(pl.col("job") == "delete").collect()
    assert runs["run_id"].to_list() == ["fleetcast__delete_run.1"]
    assert "mistyped" in runs["message"][0]
    code, again, _ = delete("wrong", dry_run=False, reason="mistyped")  # a retry of a job that was lost
    assert (code, again.message) == (0, runs["message"][0])
    code, result, error = delete("wrong", dry_run=False, record="fleetcast__delete_run.2")
    assert (code, result) == (2, None)
    assert "run 'wrong' has been deleted already" in error


@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("nobody", {}, "no run is named 'nobody'"),
        ("first", {"dry_run": False}, "--with-later (with_later) deletes them too"),
    ],
)
def test_what_cannot_be_deleted_ends_with_exit_code_2(small, delete, target, options, problem):
    small.write(a=12, b=12)
    small.read(9, run_id="first")
    small.do(lambda run: run_of_nothing(), "predict", 9, run_id="uses")
    code, result, error = delete(target, **options)
    assert (code, result) == (2, None)
    assert problem in error


def run_of_nothing():
    from workers.jobs.run import Outcome

    return Outcome("done")
