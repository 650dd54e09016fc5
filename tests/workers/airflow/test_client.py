import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from forecasting.errors import ClusterError, JobLost, UserError
from workers.airflow.client import (
    Pause,
    RayJobsClient,
    Submission,
    await_step,
    find_job,
    read_log,
    stop_job,
    submit_job,
)
from workers.arguments import RunResult

Answer = Callable[[httpx.Request], httpx.Response]

UNKNOWN = httpx.Response(404, text="Job nyc.1 does not exist")


def client(answer: Answer, **options: object) -> RayJobsClient:
    return RayJobsClient("http://ray.test:8265/", token="secret", transport=httpx.MockTransport(answer), **options)


def job(status: str, **fields: object) -> httpx.Response:
    return httpx.Response(200, json={"submission_id": "nyc.1", "status": status, **fields})


def in_turn(*answers: httpx.Response | Exception) -> tuple[Answer, list[httpx.Request]]:
    """Answer each request but those for logs with the next response, repeating the last one; return the requests."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/logs"):
            return httpx.Response(200, json={"logs": ""})
        requests.append(request)
        chosen = answers[min(len(requests), len(answers)) - 1]
        if isinstance(chosen, Exception):
            raise chosen
        return httpx.Response(chosen.status_code, content=chosen.content, headers=chosen.headers)

    return answer, requests


def test_submission_carries_everything_but_the_entrypoint_in_its_environment() -> None:
    answer, requests = in_turn(httpx.Response(200, json={"submission_id": "nyc.1"}))
    client(answer).run(submit_job(Submission("nyc.1", "python -m job", {"FLEETCAST_RUN": "{}"}, {"spec": "nyc"})))
    (request,) = requests
    assert (request.method, request.url.path) == ("POST", "/api/jobs/")
    assert request.headers["authorization"] == "Bearer secret"
    assert json.loads(request.content) == {
        "submission_id": "nyc.1",
        "entrypoint": "python -m job",
        "runtime_env": {"env_vars": {"FLEETCAST_RUN": "{}"}},
        "metadata": {"spec": "nyc"},
        "entrypoint_num_cpus": 0,
    }


def test_submission_that_the_cluster_has_already_is_left_as_it_is() -> None:
    answer, requests = in_turn(httpx.Response(500, text="ValueError: Job with submission_id nyc.1 already exists."))
    assert client(answer).run(submit_job(Submission("nyc.1", "python -m job"))) is None
    assert len(requests) == 1


def test_refused_submission_is_a_cluster_error_with_the_reason() -> None:
    answer, _ = in_turn(httpx.Response(500, text="Traceback\nNo available agent to submit job"))
    with pytest.raises(ClusterError, match="answers 500: No available agent"):
        client(answer).run(submit_job(Submission("nyc.1", "python -m job")))


def test_job_has_its_exit_code_and_whether_it_was_the_users_mistake() -> None:
    failed = client(lambda _: job("FAILED", driver_exit_code=1, message="boom")).run(find_job("nyc.1"))
    refused = client(lambda _: job("FAILED", driver_exit_code=2)).run(find_job("nyc.1"))
    assert failed is not None
    assert (failed.status, failed.exit_code, failed.message) == ("FAILED", 1, "boom")
    assert failed.is_terminal
    assert not failed.is_user_error
    assert refused is not None
    assert refused.is_user_error


def test_job_that_the_cluster_does_not_know_is_none() -> None:
    assert client(lambda _: UNKNOWN).run(find_job("nyc.1")) is None


def test_404_page_of_something_else_is_not_taken_for_a_lost_job() -> None:
    with pytest.raises(ClusterError, match="404"):
        client(lambda _: httpx.Response(404, text="<html>no backend</html>")).run(find_job("nyc.1"))


def test_submission_id_cannot_leave_its_place_in_the_path() -> None:
    answer, requests = in_turn(UNKNOWN)
    client(answer).run(find_job("../../secrets?x=1"))
    assert requests[0].url.raw_path == b"/api/jobs/..%2F..%2Fsecrets%3Fx%3D1"


@pytest.mark.parametrize("body", ["<html>hello</html>", "[1, 2]", "{}"])
def test_answer_of_another_server_is_a_cluster_error(body: str) -> None:
    with pytest.raises(ClusterError, match="does not answer as Ray's Jobs API does"):
        client(lambda _: httpx.Response(200, text=body)).run(find_job("nyc.1"))


@pytest.mark.parametrize("code", [401, 403])
def test_refused_token_is_the_users_mistake_and_says_where_it_is_looked_for(code: int) -> None:
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH") as refused:
        client(lambda _: httpx.Response(code, text="Unauthorized")).run(find_job("nyc.1"))
    assert "secret" not in str(refused.value)


def test_unreachable_cluster_is_named_with_its_address() -> None:
    answer, _ = in_turn(httpx.ConnectError("Connection refused"))
    with pytest.raises(ClusterError, match=r"http://ray\.test:8265 cannot be reached: Connection refused"):
        client(answer).run(find_job("nyc.1"))


def test_log_comes_as_lines_and_a_lost_jobs_log_is_lost() -> None:
    assert client(lambda _: httpx.Response(200, json={"logs": "a\nb\n"})).run(read_log("nyc.1")) == ["a", "b"]
    assert client(lambda _: httpx.Response(200, json={"logs": None})).run(read_log("nyc.1")) == []
    with pytest.raises(JobLost):
        client(lambda _: UNKNOWN).run(read_log("nyc.1"))


def test_stop_asks_again_until_the_job_has_ended() -> None:
    stopping = httpx.Response(200, json={"stopped": False})
    answer, requests = in_turn(job("PENDING"), stopping, job("RUNNING"), stopping, job("STOPPED"))
    ended = client(answer).run(stop_job("nyc.1", interval=0))
    assert ended is not None
    assert ended.status == "STOPPED"
    assert [request.method for request in requests] == ["GET", "POST", "GET", "POST", "GET"]


def test_stop_of_an_ended_or_unknown_job_asks_for_nothing() -> None:
    answer, requests = in_turn(job("SUCCEEDED"))
    client(answer).run(stop_job("nyc.1"))
    assert [request.method for request in requests] == ["GET"]
    assert client(lambda _: UNKNOWN).run(stop_job("nyc.1")) is None


def test_stop_gives_up_on_a_job_that_does_not_end() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return job("RUNNING") if request.method == "GET" else httpx.Response(200, json={"stopped": True})

    with pytest.raises(ClusterError, match="still RUNNING"):
        client(answer).run(stop_job("nyc.1", patience=0.05, interval=0.01))


def test_waiting_survives_a_short_loss_of_the_connection() -> None:
    answer, requests = in_turn(
        job("RUNNING"), httpx.ConnectError("refused"), httpx.Response(502, text="bad gateway"), job("SUCCEEDED")
    )
    assert asyncio.run(client(answer).arun(await_step("nyc.1", "r", interval=0.001)))
    assert len(requests) == 4


def test_end_is_seen_late_by_half_a_second_and_a_fifth_of_the_time_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: (low + high) / 2)
    talk, elapsed, pauses = await_step("nyc.1", "r", interval=5.0), 0.0, []
    next(talk)
    for _ in range(30):
        talk.send(job("RUNNING"))
        pause = talk.send(httpx.Response(200, json={"logs": ""}))
        assert isinstance(pause, Pause)
        assert pause.seconds <= 0.5 + elapsed / 5 + 1e-9
        elapsed += pause.seconds
        pauses.append(pause.seconds)
        next(talk)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (0.5, 5.0)


def test_loss_is_counted_from_the_last_answer_and_not_in_all() -> None:
    refused = httpx.ConnectError("refused")
    answer, _ = in_turn(*[refused, job("RUNNING")] * 40, job("SUCCEEDED"))
    assert client(answer).run(await_step("nyc.1", "r", interval=0.005, patience=0.2))


def test_cluster_that_stays_silent_means_a_lost_job() -> None:
    answer, requests = in_turn(job("RUNNING"), httpx.ConnectError("refused"))
    with pytest.raises(JobLost, match=r"nyc\.1 is lost.*not answered for 0 s.*refused"):
        asyncio.run(client(answer).arun(await_step("nyc.1", "r", interval=0.001, patience=0.05)))
    assert len(requests) > 3


def test_new_cluster_that_does_not_know_the_job_means_a_lost_job_at_once() -> None:
    answer, requests = in_turn(job("RUNNING"), UNKNOWN)
    with pytest.raises(JobLost, match="the head that ran it is gone"):
        client(answer).run(await_step("nyc.1", "r", interval=0.001))
    assert len(requests) == 2


def test_blocking_and_asynchronous_driver_hold_the_same_conversation() -> None:
    said = []
    for drive in (lambda c, talk: c.run(talk), lambda c, talk: asyncio.run(c.arun(talk))):
        answer, requests = in_turn(job("RUNNING"), httpx.ReadTimeout("slow"), job("FAILED", driver_exit_code=137))
        said.append((drive(client(answer), await_step("nyc.1", "r", interval=0.001)), [str(r.url) for r in requests]))
    assert said[0] == said[1]


def test_step_is_over_before_its_job_and_a_line_that_is_half_written_does_not_count() -> None:
    result = RunResult(run_id="r", job="predict", status="success", cutoff="7").model_dump_json()
    logs = [
        "fleetcast-step: q\nnot mine\n",
        f"fleetcast-step: r\nmine\nfleetcast-result: {result[:20]}",
        f"fleetcast-step: r\nmine\nfleetcast-result: {result}\nfleetcast-step: s\n",
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"logs": logs.pop(0)}) if request.url.path.endswith("/logs") else job("RUNNING")

    lines: list[str] = []
    assert client(answer).run(await_step("nyc.1", "r", interval=0.001, on_line=lines.append))
    assert not logs
    assert lines[0] == "mine"
    assert "not mine" not in lines


def test_waiting_ends_when_its_time_is_over() -> None:
    answer, _ = in_turn(job("RUNNING"))
    assert not client(answer).run(await_step("nyc.1", "r", interval=0.01, most_seconds=0.05))
