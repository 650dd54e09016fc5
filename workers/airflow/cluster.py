"""The Ray cluster that tasks submit to, as one of Airflow's connections describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from forecasting.errors import SpecError
from forecasting.spec.connection import check_connection_name, has_password
from workers.airflow.client import RayJobsClient
from workers.settings import WorkerSettings

CONNECTION_TYPE = "fleetcast_ray"
EXTRAS = ("verify", "dashboard_url", "store_connection")
"""Fields of a connection besides its URL and its token."""


class AirflowConnection(Protocol):
    """The part of Airflow's connections that is used here."""

    conn_id: str
    conn_type: str | None
    host: str | None
    port: int | None
    login: str | None
    password: str | None
    schema: str | None

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The extra fields."""


@dataclass(frozen=True)
class Cluster:
    """A cluster's Jobs API, and what its jobs need besides their arguments.

    Attributes:
        url: URL of the Jobs API.
        token: Bearer token; None for the one that Ray's own clients would send, empty for none.
        verify: Whether the certificate of an `https://` URL is verified.
        dashboard_url: URL of the dashboard in a browser.
        store_connection: Name of the connection, on the cluster's nodes, that has the keys of the tables' object store.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    verify: bool = True
    dashboard_url: str = ""
    store_connection: str | None = None

    def client(self) -> RayJobsClient:
        """Return a client of the Jobs API."""
        return RayJobsClient(self.url, token=self.token, verify=self.verify)

    def link(self, submission_id: str) -> str:
        """Return the dashboard's page of a job."""
        return f"{(self.dashboard_url or self.url).rstrip('/')}/#/jobs/{submission_id}"


def cluster_of_settings() -> Cluster:
    """Return the cluster that the settings name, with the token of Ray's own settings."""
    return Cluster(WorkerSettings.load().ray_jobs_url)


def cluster_of(connection: AirflowConnection) -> Cluster:
    """Return the cluster that a connection describes.

    A connection without a token sends none, because the token of the environment is that of another cluster.

    Args:
        connection: A connection of type `fleetcast_ray`.

    Returns:
        The cluster.

    Raises:
        SpecError: The connection is of another type, or has fields that are refused; no message has a secret.
    """
    problems = []
    if connection.conn_type != CONNECTION_TYPE:
        problems.append(f"is of type '{connection.conn_type}'; it must be of type '{CONNECTION_TYPE}'")
    url = (connection.host or "").rstrip("/")
    if not _is_url(url):
        problems.append("must have the URL of Ray's Jobs API as its host, such as https://ray.example.org:8265")
    elif connection.port:  # Airflow's UI sends 0 for none
        own, url = _split_port(url, connection.port)
        if own not in (None, connection.port):
            problems.append(f"has the port {own} in its URL, but {connection.port} as its port; give one of them")
    problems += [f"must not have a {name}" for name in ("login", "schema") if getattr(connection, name)]
    extra = {name: value for name, value in connection.extra_dejson.items() if value not in (None, "")}
    problems += [
        f"has the extra '{name}', which is not known; it may have {', '.join(EXTRAS)}"
        for name in extra
        if name not in EXTRAS
    ]
    verify = _read_switch(extra.get("verify", True))
    if verify is None:
        problems.append("extra 'verify' must be true or false")
    dashboard_url = str(extra.get("dashboard_url", ""))
    if dashboard_url and not _is_url(dashboard_url):
        problems.append("extra 'dashboard_url' must be a URL without a password, such as https://ray.example.org")
    store_connection = _read_name(extra, problems)
    if problems:
        raise SpecError(f"connection '{connection.conn_id}'", problems)
    return Cluster(
        url,
        token=connection.password or "",
        verify=verify is not False,
        dashboard_url=dashboard_url,
        store_connection=store_connection,
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is not a number
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and not has_password(text)
    )


def _split_port(url: str, port: int) -> tuple[int | None, str]:
    """Return the port that a URL has, and the URL with `port` where it has none."""
    parts = urlsplit(url)
    if parts.port is not None:
        return parts.port, url
    return None, parts._replace(netloc=f"{parts.netloc.rstrip(':')}:{port}").geturl()


def _read_switch(value: Any) -> bool | None:
    """Return a switch, which the URI of a connection has as text; None where it is none."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(value).strip().lower())


def _read_name(extra: Mapping[str, Any], problems: list[str]) -> str | None:
    if "store_connection" not in extra:
        return None
    try:
        return check_connection_name(str(extra["store_connection"]))
    except ValueError as error:
        problems.append(f"extra 'store_connection' {error}")
        return None
