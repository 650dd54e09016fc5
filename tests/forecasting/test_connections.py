"""Connections are read as Airflow reads them, and no message or representation has their secrets."""

import json
import pickle
import traceback
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from forecasting.connections import Connection, find_connection
from forecasting.errors import SpecError

URI = "postgresql://ada:p%40ss%2Fword@Warehouse.example.org:6543/sales%20db?sslmode=require&cursor=dictcursor"
JSON = json.dumps(
    {
        "conn_type": "postgresql",
        "login": "ada",
        "password": "p@ss/word",
        "host": "Warehouse.example.org",
        "port": "6543",
        "schema": "sales db",
        "extra": {"sslmode": "require", "cursor": "dictcursor"},
    }
)
SECRETS = ("p@ss", "p%40ss", "hunter2")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLEETCAST_CONNECTIONS", "FLEETCAST_SETTINGS", "AIRFLOW_CONN_WAREHOUSE"):
        monkeypatch.delenv(name, raising=False)


def parts_of(connection: Connection) -> tuple[str, dict[str, list[str]]]:
    uri = urlsplit(connection.postgres_uri().get_secret_value())
    return unquote(uri.path), parse_qs(uri.query)


@pytest.mark.parametrize("text", [URI, JSON])
def test_uri_and_json_of_airflow_are_read(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", text)
    found = find_connection("warehouse")
    assert (found.type, found.host, found.port, found.database) == (
        "postgres",
        "Warehouse.example.org",
        6543,
        "sales db",
    )
    assert parts_of(found) == (
        "/sales db",
        {
            "host": ["Warehouse.example.org"],
            "port": ["6543"],
            "user": ["ada"],
            "password": ["p@ss/word"],
            "sslmode": ["require"],
        },
    )


def test_extra_may_be_json_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    as_text = {"conn_type": "postgres", "host": "h", "extra": '{"sslmode": "require"}'}
    monkeypatch.setenv("AIRFLOW_CONN_A", json.dumps(as_text))
    monkeypatch.setenv("AIRFLOW_CONN_B", "postgres://h/?__extra__=%7B%22sslmode%22%3A+%22require%22%7D")
    assert (
        parts_of(find_connection("a"))
        == parts_of(find_connection("b"))
        == (
            "/",
            {"host": ["h"], "sslmode": ["require"]},
        )
    )


@pytest.mark.parametrize(
    "uri",
    [
        URI,
        "postgres://%2Ftmp%2FSockets:5433/db",
        "postgres://ada@[2001:db8::1]:5433/db",
        "postgres://ada@host",
        "aws://AKIA:se%2Fcret@/?region_name=eu-central-1&endpoint_url=http%3A%2F%2Flocalhost%3A9000",
        "aws://?__extra__=%7B%22region_name%22%3A+%22x%22%7D",
    ],
)
@pytest.mark.airflow
def test_uris_are_read_as_by_airflow(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    airflow = pytest.importorskip("airflow.sdk.definitions.connection")
    theirs = airflow.Connection.from_uri(uri, conn_id="c")
    monkeypatch.setenv("AIRFLOW_CONN_C", uri)
    ours = find_connection("c")
    assert (ours.type, ours.port, ours.database) == (theirs.conn_type, theirs.port, theirs.schema or None)
    assert (ours.host or "").lower() == (theirs.host or "").lower()
    for secret, text in ((ours.login, theirs.login), (ours.password, theirs.password)):
        assert (secret and secret.get_secret_value()) == (text or None)
    assert ours.extra.get_secret_value() == json.loads(theirs.extra or "{}")


def test_folder_has_connections_and_the_environment_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "warehouse").write_text(URI + "\n")
    monkeypatch.setenv("FLEETCAST_CONNECTIONS", str(tmp_path))
    assert find_connection("warehouse").port == 6543
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://other/db")
    assert find_connection("warehouse").host == "other"


def test_unknown_connection_names_where_it_may_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"'warehouse': is not known; set AIRFLOW_CONN_WAREHOUSE or .*FLEETCAST_CONN"):
        find_connection("warehouse")
    monkeypatch.setenv("FLEETCAST_CONNECTIONS", str(tmp_path))
    with pytest.raises(SpecError, match=f"set AIRFLOW_CONN_WAREHOUSE or write it to {tmp_path}/warehouse"):
        find_connection("warehouse")
    (tmp_path / "warehouse").mkdir()
    with pytest.raises(SpecError, match="warehouse cannot be read: Is a directory"):
        find_connection("warehouse")


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "postgres:hunter2",
        "postgres://ada:hunter2@host:x/db",
        "postgres://ada:hunter2@[host/db",
        "postgres://host:hunter2/db",
        '{"password": "hunter2"',
        '{"password": "hunter2"}',
        '{"conn_type": "postgres", "password": ["hunter2"]}',
        '{"conn_type": "postgres", "port": "hunter2"}',
        '{"conn_type": "postgres", "extra": "hunter2"}',
        '{"conn_type": "postgres", "extra": "[\\"hunter2\\"]"}',
        '["hunter2"]',
    ],
)
def test_connection_that_cannot_be_read_is_refused_without_its_text(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", text)
    with pytest.raises(SpecError, match="AIRFLOW_CONN_WAREHOUSE") as refused:
        find_connection("warehouse").postgres_uri()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_no_representation_has_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", URI + "&sslpassword=hunter2")
    found = find_connection("warehouse")
    shown = f"{found!r} {found} {found.model_dump_json()} {found.model_dump()} {found.postgres_uri()!r}"
    assert not [secret for secret in SECRETS if secret in shown]
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize("extra", ["iam=true", "aws_conn_id=x"])
def test_login_that_airflow_fetches_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f"postgres://host/db?{extra}")
    with pytest.raises(SpecError, match=f"has extra '{extra.partition('=')[0]}'"):
        find_connection("warehouse").postgres_uri()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgres://host/db?iam=false")
    assert parts_of(find_connection("warehouse")) == ("/db", {"host": ["host"]})


def test_storage_options_of_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = "region_name=eu-central-1&endpoint_url=http%3A%2F%2Flocalhost%3A9000"
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", f"aws://AKIA:se%2Fcret@/?{extra}")
    assert find_connection("lake").storage_options() == {
        "aws_access_key_id": "AKIA",
        "aws_secret_access_key": "se/cret",
        "aws_region": "eu-central-1",
        "endpoint_url": "http://localhost:9000",
        "allow_http": "true",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("aws://?role_arn=arn", "has extra 'role_arn', which is not supported"),
        ("aws://key:hunter2@host", "has a host"),
        ("mysql://host/db", "is of type mysql; it must be of type aws"),
    ],
)
def test_connection_that_is_not_of_an_object_store_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", text)
    with pytest.raises(SpecError, match=problem) as refused:
        find_connection("lake").storage_options()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))
