"""Which time a requested cutoff means to a job, and that a later one is refused before anything is done."""

from datetime import timedelta

import polars as pl
import pytest

from forecasting.errors import SpecError
from workers.arguments import ARGUMENTS_VARIABLE, RunArguments, find_result
from workers.jobs.cutoffs import stored_cutoff
from workers.jobs.features import find_cutoff, write_features
from workers.jobs.run import Outcome, main

from .conftest import FIRST


@pytest.fixture
def run_job(small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a job by its entry point; return its exit code, its result and its last line of errors."""

    def run(job, work, resolve, **options):
        arguments = RunArguments(**{"job": job, "flow": "train", "spec": small.spec, "run_id": f"{job}.1"} | options)
        monkeypatch.setenv(ARGUMENTS_VARIABLE, arguments.model_dump_json())
        monkeypatch.setenv("FLEETCAST_STORE", small.store.root)
        code = main(job, work, resolve)
        printed = capsys.readouterr()
        return code, find_result(printed.out.splitlines()), (printed.err.splitlines() or [""])[-1]

    return run


def test_typed_cutoff_within_an_hour_is_that_of_the_hour_and_said(small, run_job):
    small.write(a=12, b=9)
    code, result, _ = run_job("features", write_features, find_cutoff, cutoff="2024-01-01T05:40")
    assert code == 0
    assert (result.cutoff, result.requested) == ("2024-01-01T05:00:00", "2024-01-01T05:40:00")
    assert "cutoff 2024-01-01T05:40:00 means 2024-01-01T05:00:00" in result.message
    (row,) = small.store.scan("runs", "timestamp").collect().iter_rows(named=True)
    assert (row["run_cutoff"], row["message"]) == (result.cutoff, result.message)
    assert small.store.scan("features", "timestamp").select(pl.col("ds").max()).collect().item().hour == 5
    # A lost job is found as it was recorded.
    assert run_job("features", write_features, find_cutoff, cutoff="2024-01-01T05:40")[1] == result


def test_typed_cutoff_at_the_beginning_of_an_aggregated_day_is_that_of_its_last_row(small, run_job):
    small.write(a=48, b=48)
    source = small.spec.source.model_copy(update={"aggregate": "sum"})
    spec = small.spec.model_copy(update={"freq": "1d", "source": source})
    _, result, _ = run_job("features", write_features, find_cutoff, cutoff="2024-01-01", spec=spec)
    assert (result.cutoff, result.requested) == ("2024-01-01T23:00:00", "2024-01-01T00:00:00")
    assert "means its whole period, up to 2024-01-01T23:00:00" in result.message


def test_typed_cutoff_on_the_grid_is_not_mentioned(small, run_job):
    small.write(a=12, b=9)
    _, result, _ = run_job("features", write_features, find_cutoff, cutoff="2024-01-01T05:00")
    assert (result.cutoff, result.requested) == ("2024-01-01T05:00:00", None)
    assert "means" not in result.message


@pytest.mark.parametrize("cutoff", ["2030-01-01", "2024-01-01T12:00"])
def test_typed_cutoff_in_the_future_is_refused_before_anything_is_written(small, run_job, cutoff):
    small.write(a=12, b=9)
    code, result, error = run_job("features", write_features, find_cutoff, cutoff=cutoff)
    assert (code, result) == (2, None)
    assert "lies after the newest finished period that is measured, 2024-01-01T11:00:00; type that" in error
    (row,) = small.store.scan("runs", "timestamp").collect().iter_rows(named=True)
    assert row["status"] == "failed"
    assert small.store.open("features", "timestamp") is None


def test_later_jobs_take_the_cutoff_of_the_features_job_and_refuse_later_ones(small, run_job):
    small.write(a=12, b=9)
    run_job("features", write_features, find_cutoff, cutoff="2024-01-01T11:00")
    done, cutoffs = Outcome("done"), []

    def work(run):
        cutoffs.append(run.cutoff)
        return done

    for number, typed in enumerate(["2024-01-01T11:00", "2024-01-01T11:59", "2024-01-01T05:30"]):
        assert run_job("train", work, stored_cutoff, cutoff=typed, run_id=f"train.{number}")[0] == 0
    assert cutoffs == [FIRST + timedelta(hours=hour) for hour in (11, 11, 5)]
    code, _, error = run_job("train", work, stored_cutoff, cutoff="2030-01-01", run_id="train.late")
    assert (code, len(cutoffs)) == (2, 3)
    assert "measured, 2024-01-01T11:00:00; type that or an earlier time" in error


def test_cutoff_that_the_features_job_has_settled_on_is_never_refused(small):
    small.write(a=12)
    small.read(13)  # as if a series that is set aside had the newest measurement
    arguments = small.run("train", 13, cutoff="2024-01-01T13:00").arguments
    assert stored_cutoff(arguments, small.store) == FIRST + timedelta(hours=13)
    with pytest.raises(SpecError, match="newer ones are read by the features job"):
        stored_cutoff(arguments.model_copy(update={"cutoff": "2024-01-01T14:00"}), small.store)
