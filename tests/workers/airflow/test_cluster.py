import json
from typing import Any

import pytest
from airflow.sdk import Connection

from forecasting.errors import SpecError
from workers.airflow.cluster import Cluster, cluster_of, cluster_of_settings

URL = "https://ray.example.org:8265"
SECRET = "hunter2"


def connection(**fields: Any) -> Connection:
    extra = json.dumps(fields.pop("extra", {}))
    return Connection(**{"conn_id": "big", "conn_type": "fleetcast_ray", "host": URL, "extra": extra} | fields)


def test_connection_has_url_token_and_what_jobs_need() -> None:
    extra = {"verify": False, "dashboard_url": "http://localhost:1/", "store_connection": "lake"}
    found = cluster_of(connection(host=f"{URL}/", password=SECRET, extra=extra))
    assert found == Cluster(URL, SECRET, False, "http://localhost:1/", "lake")
    assert found.link("a.1") == "http://localhost:1/#/jobs/a.1"
    assert SECRET not in repr(found)


def test_connection_with_a_url_alone_verifies_tls_and_sends_no_token_of_another_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another cluster")
    found = cluster_of(connection(extra={"verify": None, "store_connection": ""}))
    assert (found.verify, found.store_connection, found.link("a.1")) == (True, None, f"{URL}/#/jobs/a.1")
    assert found.client()._options()["headers"] == {}
    assert cluster_of_settings().client()._options()["headers"] == {"Authorization": "Bearer of another cluster"}


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "https://ray.example.org", "port": 8265}, URL),
        ({"host": "https://ray.example.org/", "port": 8265}, URL),
        ({"host": "http://[::1]/ray", "port": 8265}, "http://[::1]:8265/ray"),
        ({"port": 8265}, URL),
        ({"port": 0}, URL),  # what Airflow's form sends for none
    ],
)
def test_port_is_that_of_the_url_or_of_its_own_field(fields: dict[str, Any], url: str) -> None:
    assert cluster_of(connection(**fields)).url == url
    in_json = {"conn_type": "fleetcast_ray", "host": URL} | fields
    assert cluster_of(Connection.from_json(json.dumps(in_json), conn_id="big")).url == url


@pytest.mark.parametrize(("text", "verify"), [("true", True), ("False", False)])
def test_switch_in_a_uri_is_text(text: str, verify: bool) -> None:
    uri = f"fleetcast-ray://:{SECRET}@https%3A%2F%2Fray.example.org%3A8265/?verify={text}"
    found = cluster_of(Connection(conn_id="big", uri=uri))
    assert (found.url, found.token, found.verify) == (URL, SECRET, verify)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"conn_type": "http"}, "is of type 'http'; it must be of type 'fleetcast_ray'"),
        ({"host": None}, "must have the URL of Ray's Jobs API as its host, such as https://"),
        ({"host": "ray.example.org"}, "must have the URL"),
        ({"host": f"https://ada:{SECRET}@ray.example.org"}, "must have the URL"),
        ({"host": f"https://ray.example.org?password={SECRET}"}, "must have the URL"),
        ({"login": SECRET}, "must not have a login"),
        ({"port": 8266}, "has the port 8265 in its URL, but 8266 as its port; give one of them"),
        ({"host": "https://ray.example.org:many", "port": 8265}, "must have the URL"),
        ({"extra": {"verify": "perhaps"}}, "extra 'verify' must be true or false"),
        ({"extra": {"dashboard_url": "dashboard"}}, "extra 'dashboard_url' must be a URL"),
        ({"extra": {"store_connection": f"aws://a:{SECRET}@"}}, "extra 'store_connection' must be the name"),
        ({"extra": {"storage_options": SECRET}}, "has the extra 'storage_options', which is not known; it may have"),
    ],
)
def test_refused_connection_says_what_it_must_be_without_a_secret(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match="connection 'big'") as refused:
        cluster_of(connection(**{"password": SECRET} | fields))
    assert problem in str(refused.value)
    assert SECRET not in str(refused.value)
