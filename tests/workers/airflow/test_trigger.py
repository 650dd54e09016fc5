import asyncio
import time
from functools import partial
from typing import Any

import httpx
import pytest

from workers.airflow import trigger as trigger_module
from workers.airflow.client import RayJobsClient
from workers.airflow.trigger import JobEndTrigger


def events_of(trigger: JobEndTrigger) -> list[dict[str, Any]]:
    async def collect() -> list[dict[str, Any]]:
        return [event.payload async for event in trigger.run()]

    return asyncio.run(collect())


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response]:
    """Answers of the Jobs API in turn, to be filled by the test."""
    waiting: list[httpx.Response] = []
    logs: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/logs"):
            logs.append(f"train: {len(logs)} of 9 series · 1.0 series/s\n")
            return httpx.Response(200, json={"logs": "starting\n" + "".join(logs)})
        return waiting.pop(0)

    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(trigger_module, "RayJobsClient", partial(RayJobsClient, transport=transport, token="secret"))
    return waiting


def test_trigger_is_rebuilt_from_what_it_serialises_to_and_holds_no_token() -> None:
    trigger = JobEndTrigger("http://ray.test", "nyc.1", interval=2.0, patience=30.0)
    path, arguments = trigger.serialize()
    assert path == "workers.airflow.trigger.JobEndTrigger"
    assert JobEndTrigger(**arguments).serialize() == (path, arguments)
    assert set(arguments) == {"url", "submission_id", "run_id", "interval", "patience", "connection", "timeout"}


def test_end_of_the_job_fires_one_event(answers: list[httpx.Response]) -> None:
    answers += [httpx.Response(200, json={"status": status}) for status in ("PENDING", "RUNNING", "FAILED")]
    assert events_of(JobEndTrigger("http://ray.test", "nyc.1", interval=0.001)) == [
        {"submission_id": "nyc.1", "run_id": ""}
    ]
    assert not answers


def test_progress_of_the_job_reaches_the_log_as_it_comes(
    answers: list[httpx.Response], capsys: pytest.CaptureFixture[str]
) -> None:
    answers += [httpx.Response(200, json={"status": status}) for status in ("RUNNING", "RUNNING", "SUCCEEDED")]
    trigger = JobEndTrigger("http://ray.test", "nyc.1", interval=0.001)
    lines: list[str] = []
    trigger._log_progress = lines.append  # type: ignore[method-assign]
    events_of(trigger)
    assert lines == ["starting", *(f"train: {number} of 9 series · 1.0 series/s" for number in range(3))]
    capsys.readouterr()
    JobEndTrigger._log_progress(trigger, "starting")
    JobEndTrigger._log_progress(trigger, lines[-1])
    logged = capsys.readouterr().out
    assert lines[-1] in logged
    assert "starting" not in logged


def test_lost_job_and_refused_token_fire_their_reason(answers: list[httpx.Response]) -> None:
    answers += [httpx.Response(404, text="Job nyc.1 does not exist"), httpx.Response(403, text="Forbidden")]
    trigger = JobEndTrigger("http://ray.test", "nyc.1", interval=0.001)
    (lost,), (refused,) = events_of(trigger), events_of(trigger)
    assert lost["error"] == "JobLost"
    assert "gone" in lost["message"]
    assert refused["error"] == "UserError"
    assert "secret" not in str(refused)


def test_event_waits_until_airflow_has_noticed_that_the_task_was_deferred(
    answers: list[httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "SETTLE_SECONDS", 0.3)
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0.4")  # so long a supervisor may miss the end
    answers.append(httpx.Response(200, json={"status": "SUCCEEDED"}))
    trigger = JobEndTrigger("http://ray.test", "nyc.1")
    trigger.trigger_id = 7  # as a triggerer does
    begin = time.monotonic()
    assert len(events_of(trigger)) == 1
    assert time.monotonic() - begin >= 0.7


def test_kill_waits_until_the_job_has_ended(answers: list[httpx.Response]) -> None:
    stopped = httpx.Response(200, json={"stopped": True})
    running, ended = (httpx.Response(200, json={"status": status}) for status in ("RUNNING", "STOPPED"))
    answers += [running, stopped, ended]
    asyncio.run(JobEndTrigger("http://ray.test", "nyc.1").on_kill())
    assert not answers


def test_waiting_leaves_the_event_loop_to_others(answers: list[httpx.Response]) -> None:
    answers += [httpx.Response(200, json={"status": status}) for status in ["RUNNING"] * 3 + ["SUCCEEDED"]]

    async def both() -> list[str]:
        order = []

        async def wait() -> None:
            await anext(JobEndTrigger("http://ray.test", "nyc.1", interval=0.05).run())
            order.append("job")

        async def other() -> None:
            await asyncio.sleep(0.02)
            order.append("other")

        await asyncio.gather(wait(), other())
        return order

    assert asyncio.run(both()) == ["other", "job"]
