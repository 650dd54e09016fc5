"""Logs of jobs as JSON lines: each says to which run it belongs, and Airflow's side reads the text back."""

import json
import sys
import threading
from datetime import UTC, datetime

import httpx
import pytest

from forecasting.spec.spec import Spec
from workers.airflow.client import RayJobsClient, read_log
from workers.arguments import RunArguments, find_result
from workers.jobs.run import Outcome, Run, main
from workers.log_lines import as_text, job_log, log_fields

ARGUMENTS = RunArguments(
    job="score",
    flow="forecast",
    spec=Spec(name="small", source={"uri": "x.csv"}, freq="1h", season_lengths=(4,), horizon=4),
    run_id="small__forecast.7",
    generation=2,
)


def entries(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: pytest.CaptureFixture[str]):
    """Run a job whose work is a function, and return its exit code, standard output and standard error."""
    monkeypatch.setenv("FLEETCAST_RUN", ARGUMENTS.model_dump_json())
    monkeypatch.setenv("FLEETCAST_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("FLEETCAST_LOG_FORMAT", "json")

    def run(work) -> tuple[int, str, str]:
        code = main("score", work, lambda arguments, store: datetime(2024, 1, 1))
        return code, *capsys.readouterr()

    return run


def test_each_line_of_a_job_names_its_run_and_airflow_reads_its_text(job) -> None:
    def work(run: Run) -> Outcome:
        print("score: warning: the source has no rows\nof Sunday", flush=True)
        actor = threading.Thread(target=lambda: print("(actor) 3 of 4"))  # as Ray prints lines of actors
        actor.start()
        actor.join()
        return Outcome("4 series „ä“")

    code, out, _ = job(work)
    assert code == 0
    lines = entries(out)
    names = {"spec": "small", "job": "score", "flow": "forecast", "run_id": "small__forecast.7", "generation": 2}
    assert all(names.items() <= line.items() for line in lines)
    assert [line["level"] for line in lines] == ["warning", "info", "info", "info"]
    assert lines[0]["message"] == "score: warning: the source has no rows\nof Sunday"
    assert abs(datetime.fromisoformat(str(lines[0]["time"])) - datetime.now(UTC)).total_seconds() < 60

    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"logs": out}))
    read = RayJobsClient("http://ray.test", token="", transport=transport).run(read_log("a"))
    assert read[:4] == ["score: warning: the source has no rows", "of Sunday", "(actor) 3 of 4", "4 series „ä“"]
    result = find_result(read)
    assert result is not None
    assert (result.run_id, result.message) == ("small__forecast.7", "4 series „ä“")


def test_traceback_is_one_entry_and_the_error_is_the_last(job) -> None:
    def work(run: Run) -> Outcome:
        raise RuntimeError("the disk is full")

    code, _, err = job(work)
    assert code == 1
    failed = [line for line in entries(err) if line["level"] == "error"]
    assert [str(line["message"]).split(" ")[0] for line in failed] == ["Traceback", "error:"]
    assert failed[-1]["message"] == "error: RuntimeError: the disk is full"
    assert {line["run_id"] for line in failed} == {"small__forecast.7"}, "the handler runs inside the step"


def test_lines_outside_of_a_step_have_no_fields_and_an_unfinished_one_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with job_log("json"):
        with log_fields(run_id="r"):
            print("inside")
        sys.stdout.write("out")
        sys.stdout.write("side")
    print("plain")
    *structured, plain = capsys.readouterr().out.splitlines()
    assert [(line["message"], line.get("run_id")) for line in map(json.loads, structured)] == [
        ("inside", "r"),
        ("outside", None),
    ]
    assert plain == "plain"


@pytest.mark.parametrize(
    "line", ['{"time": "x"\n', '{"time": "x", "other": 1}\n', '{"time": "x", "message": "cut', "3\n"]
)
def test_line_that_is_no_entry_stays_as_it_is(line: str) -> None:
    whole = '{"time": "x", "message": "m"}\n'
    assert as_text(whole + line) == f"m\n{line}"
