"""Connections to databases and object stores, by name: addresses and secrets that no spec holds.

A connection is what Airflow reads from `AIRFLOW_CONN_<NAME>`, a URI or JSON. The same text may be a file of its name in
the folder that the setting `connections` names, such as mounted secrets. The environment takes precedence.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import BaseModel, Field, Secret, SecretStr, ValidationError

from forecasting.errors import SpecError
from forecasting.settings import Settings
from forecasting.spec.problems import describe_problems

PREFIX = "AIRFLOW_CONN_"
_EXTRA = "__extra__"
_OF_AIRFLOW = frozenset(
    {"client_log_level", "cursor", "enable_log_db_messages", "sqlalchemy_query", "sqlalchemy_scheme"}
)
"""Extras of a PostgreSQL connection that only Airflow's own hook reads."""
_OTHER_LOGINS = frozenset({"aws_conn_id", "azure_conn_id", "iam", "redshift"})
"""Extras with which Airflow's hook fetches a password elsewhere."""
_OPTIONS = {
    "aws_access_key_id": "aws_access_key_id",
    "aws_secret_access_key": "aws_secret_access_key",
    "aws_session_token": "aws_session_token",
    "region_name": "aws_region",
    "endpoint_url": "endpoint_url",
}
"""Extras of an AWS connection, and the options of an object store that they are."""


class Connection(BaseModel, frozen=True, extra="ignore", hide_input_in_errors=True):
    """A database or an object store, and how to log in; no representation of it shows a secret.

    Attributes:
        name: Its name in specs.
        type: Airflow's type in lower case, such as `postgres` or `aws`.
        host: Host name or address, or the folder of a Unix socket.
        port: TCP port.
        database: Name of the database, which Airflow calls the schema.
        login: User, or the key of an object store.
        password: Password, or the secret key of an object store.
        extra: What else the type needs, such as `sslmode` or `region_name`.
    """

    name: str
    type: str = Field(validation_alias="conn_type", min_length=1)
    host: str | None = None
    port: int | None = Field(None, ge=1, le=65535)
    database: str | None = Field(None, validation_alias="schema")
    login: SecretStr | None = None
    password: SecretStr | None = None
    extra: Secret[dict[str, Any]] = Secret({})

    def postgres_uri(self) -> SecretStr:
        """Return the URI by which libpq connects to PostgreSQL.

        Returns:
            The URI, with the password.

        Raises:
            SpecError: The connection is of another type, or its password is to be fetched elsewhere.
        """
        self._require("postgres")
        extra = self._extra(refused=_OTHER_LOGINS)
        parameters = {
            "host": self.host,
            "port": self.port,
            "user": _plain(self.login),
            "password": _plain(self.password),
            **{name: value for name, value in extra.items() if name not in _OF_AIRFLOW},
        }
        given = {name: value for name, value in parameters.items() if value not in (None, "")}
        return SecretStr(f"postgresql:///{quote(self.database or '', safe='')}?{urlencode(given, quote_via=quote)}")

    def storage_options(self) -> dict[str, str]:
        """Return the options by which Polars and deltalake connect to an object store.

        Returns:
            The options, with the secret key. Without a login, they name no key, and the environment's applies.

        Raises:
            SpecError: The connection is of another type, or has an extra that has no such option.
        """
        self._require("aws")
        extra = self._extra()
        unknown = [name for name in extra if name not in _OPTIONS]
        if unknown or self.host:
            what = f"extra '{unknown[0]}'" if unknown else "a host"
            raise self._refusal(f"has {what}, which is not supported; it may have the extras {', '.join(_OPTIONS)}")
        options = {_OPTIONS[name]: str(value) for name, value in extra.items()}
        options |= {"aws_access_key_id": _plain(self.login) or options.get("aws_access_key_id", "")}
        options |= {"aws_secret_access_key": _plain(self.password) or options.get("aws_secret_access_key", "")}
        if options.get("endpoint_url", "").startswith("http://"):
            options["allow_http"] = "true"
        return {name: value for name, value in options.items() if value}

    def _require(self, type: str) -> None:
        if self.type != type:
            raise self._refusal(f"is of type {self.type}; it must be of type {type}")

    def _extra(self, *, refused: frozenset[str] = frozenset()) -> Mapping[str, Any]:
        unset = (None, "", "false", False)
        extra = {name: value for name, value in self.extra.get_secret_value().items() if value not in unset}
        if wrong := sorted(refused & extra.keys()):
            raise self._refusal(f"has extra '{wrong[0]}', by which Airflow fetches a password; it must have one itself")
        return extra

    def _refusal(self, problem: str) -> SpecError:
        return SpecError(f"connection '{self.name}'", [problem])


def find_connection(name: str, *, folder: str | None = None) -> Connection:
    """Read the connection of a name from the environment, or else from a folder of files.

    Args:
        name: The name, as Airflow's `conn_id`.
        folder: The folder; by default the one that the setting `connections` names.

    Returns:
        The connection.

    Raises:
        SpecError: There is no such connection, or it cannot be read; the message has no part of its text.
    """
    variable = f"{PREFIX}{name.upper()}"
    if text := os.environ.get(variable, "").strip():
        return _parse(name, text, place=variable)
    folder = folder or Settings.load().connections
    if folder is None:
        elsewhere = f"put it into a file '{name}' of a folder that FLEETCAST_CONNECTIONS names"
    else:
        path = Path(folder) / name
        try:
            return _parse(name, path.read_text(encoding="utf-8").strip(), place=str(path))
        except FileNotFoundError:
            elsewhere = f"write it to {path}"
        except (OSError, UnicodeDecodeError) as error:
            reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise SpecError(f"connection '{name}'", [f"{path} cannot be read: {reason}"]) from None
    raise SpecError(f"connection '{name}'", [f"is not known; set {variable} or {elsewhere}"])


def _parse(name: str, text: str, *, place: str) -> Connection:
    # `from None` throughout, because the other errors have parts of the text.
    try:
        fields = _read_json(text) if text.startswith("{") else _read_uri(text)
    except ValueError:
        form = "a URI such as postgresql://user:password@host/database, with other characters as %XX, or JSON"
        raise SpecError(f"connection '{name}'", [f"{place} cannot be read; it must be {form}, as in Airflow"]) from None
    try:
        return Connection.model_validate({**fields, "name": name})
    except ValidationError as error:
        raise SpecError(f"connection '{name}' of {place}", describe_problems(error, secrets=fields.keys())) from None


def _read_json(text: str) -> dict[str, Any]:
    fields = dict(json.loads(text))
    extra = fields.get("extra") or {}
    fields["extra"] = json.loads(extra) if isinstance(extra, str) else extra
    return _normalize(fields)


def _read_uri(text: str) -> dict[str, Any]:
    parts = urlsplit(text)
    if not parts.scheme or not text.startswith(f"{parts.scheme}://"):
        raise ValueError(text)
    host = parts.netloc.rpartition("@")[2]
    if parts.port is not None:
        host = host.rpartition(":")[0]
    extra: Any = dict(parse_qsl(parts.query, keep_blank_values=True))
    if _EXTRA in extra:
        extra = json.loads(extra[_EXTRA])
    fields = {
        "conn_type": parts.scheme,
        "host": unquote(host.strip("[]")),  # `hostname` would be in lower case, and may be the path of a socket
        "port": parts.port,
        "schema": unquote(parts.path.removeprefix("/")),
        "login": parts.username and unquote(parts.username),
        "password": parts.password and unquote(parts.password),
        "extra": extra,
    }
    return _normalize(fields)


def _normalize(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are given, with Airflow's name of a type."""
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    if isinstance(given.get("conn_type"), str):
        type = given["conn_type"].lower().replace("-", "_")
        given["conn_type"] = "postgres" if type == "postgresql" else type
    return given


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
