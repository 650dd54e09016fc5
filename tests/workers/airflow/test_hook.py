import asyncio
import json
from functools import partial
from typing import Any

import httpx
import pytest

from forecasting.errors import UserError
from workers.airflow import cluster as cluster_module
from workers.airflow.client import RayJobsClient
from workers.airflow.hook import FleetcastRayHook

SECRET = "hunter2"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A cluster in memory that knows one token, and a connection to it in the environment."""
    state: dict[str, Any] = {"version": {"ray_version": "2.60.0"}, "token": SECRET}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/version":  # which needs no token
            return httpx.Response(200, json=state["version"])
        if request.headers.get("authorization") != f"Bearer {state['token']}":
            return httpx.Response(401, text="Unauthorized")
        return httpx.Response(404, text="Job fleetcast-connection-test does not exist")

    monkeypatch.setattr(cluster_module, "RayJobsClient", partial(RayJobsClient, transport=httpx.MockTransport(answer)))
    fields = {"conn_type": "fleetcast_ray", "host": "http://ray.test", "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_BIG", json.dumps(fields))
    return state


def test_connection_is_tested_by_asking_the_cluster(cluster: dict[str, Any]) -> None:
    assert FleetcastRayHook("big").test_connection() == (
        True,
        "Ray 2.60.0 answers at http://ray.test and accepts the token",
    )


def test_refused_token_and_another_server_fail_the_test_without_the_token(cluster: dict[str, Any]) -> None:
    cluster["token"] = "another"
    is_good, message = FleetcastRayHook("big").test_connection()
    assert (is_good, SECRET in message) == (False, False)
    assert "refuses the token (401)" in message
    cluster["version"] = {}
    assert FleetcastRayHook("big").test_connection() == (
        False,
        "http://ray.test/api/version does not answer as Ray's Jobs API does: no version",
    )


def test_unknown_connection_is_named_with_the_places_where_it_may_be(cluster: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"connection 'small' is not known to Airflow; .* AIRFLOW_CONN_SMALL"):
        FleetcastRayHook("small").get_conn()
    with pytest.raises(UserError, match="connection 'small' is not known"):
        asyncio.run(FleetcastRayHook("small").acluster())


def test_event_loop_gets_the_same_cluster(cluster: dict[str, Any]) -> None:
    hook = FleetcastRayHook("big")
    assert asyncio.run(hook.acluster()) == hook.cluster()
