"""The programs of the stack: the services of the compose file, with their commands and variables, on this machine.

Everything that differs from the containers is here: hosts, ports and paths, one Ray node beside the other on loopback,
and two services that are images, PostgreSQL and the object store.
"""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from infra.local.postgres import Postgres
from workers.cluster.ray_head import HEAD_SETTINGS, LOOPBACK, client_settings, path_with_python

INFRA = Path(__file__).resolve().parents[1]
RAY_WORKERS = ("ray-worker-1", "ray-worker-2")
PORTS = ("airflow", "dashboard", "postgres", "s3", "gcs", "scheduler", "ray-head", *RAY_WORKERS)
"""What has a port; that of a Ray node is its agent's."""


@dataclass(frozen=True)
class Program:
    """A program of the stack.

    Attributes:
        name: Name of the service in the compose file; workers have a number.
        command: The program and its arguments.
        environment: Variables that it has beside those of the supervisor.
        waits_for: The programs that must be ready before it starts.
        is_task: Whether it ends by itself, and others wait for that.
        user: The user that it runs as; None for the one that starts the stack.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    waits_for: tuple[str, ...] = ()
    is_task: bool = False
    user: str | None = None


@dataclass(frozen=True)
class Place:
    """Where a stack runs.

    Attributes:
        root: The checkout, with `dags/` in it.
        folder: The stack's own files; its path is short, for the sake of Ray's sockets.
        ports: The ports on 127.0.0.1, by the names of `PORTS`.
    """

    root: Path
    folder: Path
    ports: dict[str, int]

    def translate(self, text: str) -> str:
        """Replace the hosts and paths of the containers by those of this machine."""
        here = {
            "http://s3:8333": self.url("s3"),
            "http://ray-head:8265": self.url("dashboard"),
            "http://airflow-api-server:8080": self.url("airflow"),
            "@postgres/": f"@{LOOPBACK}:{self.ports['postgres']}/",
            "/etc/fleetcast/make_bucket.py": str(INFRA / "compose" / "make_bucket.py"),
            "/etc/fleetcast/connections": str(self.folder / "secrets" / "connections"),
            "/etc/fleetcast": str(self.folder),
            "/opt/airflow": str(self.folder / "airflow"),
        }
        for there, local in here.items():
            text = text.replace(there, local)
        return text

    def url(self, name: str) -> str:
        """Return the URL of a service."""
        return f"http://{LOOPBACK}:{self.ports[name]}"


def find_programs(place: Place, postgres: Postgres, *, num_cpus: int, num_bytes: int) -> list[Program]:
    """Return the programs of a stack.

    Args:
        place: Where it runs.
        postgres: Its PostgreSQL.
        num_cpus: Cores of each Ray worker.
        num_bytes: Memory of each Ray worker.

    Returns:
        The programs, in no order; each names those that it waits for.
    """
    text = (INFRA / "compose" / "compose.yaml").read_text(encoding="utf-8")
    text = _interpolate(text, {"AIRFLOW_PORT": str(place.ports["airflow"])})
    for name, secret in yaml.safe_load(text)["secrets"].items():
        text = re.sub(rf"/run/secrets/{name}\b", str(place.folder / secret["file"]), text)
    services = yaml.safe_load(place.translate(text))["services"]
    s3 = (sys.executable, "-m", "infra.local.s3_server", str(place.ports["s3"]))
    found = [
        Program("postgres", postgres.command(place.ports["postgres"]), {}, user=postgres.owner),
        Program("s3", s3, {"PYTHONPATH": str(INFRA.parent)}),
    ]
    for name, service in services.items():
        if name.startswith("airflow-"):
            found.append(_airflow(name, service, place))
        elif name in ("bucket", "ray-head"):
            found.append(_ray(name, service, place, {}))
        elif name == "ray-worker":
            size = {"--num-cpus": str(num_cpus), "--memory": str(num_bytes)}
            found += [_ray(worker, service, place, size) for worker in RAY_WORKERS]
    return found


def _interpolate(text: str, values: dict[str, str]) -> str:
    """Fill in variables as Compose does: the given value, or the default."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: values.get(found[1], found[2]), text)


def _airflow(name: str, service: dict[str, Any], place: Place) -> Program:
    environment = service["environment"] | {
        "AIRFLOW_HOME": str(place.folder / "airflow"),
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__PORT": str(place.ports["airflow"]),
        "AIRFLOW__CORE__DAGS_FOLDER": str(place.root / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(place.folder / "airflow" / "logs"),
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": LOOPBACK,
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(place.ports["scheduler"]),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    # All components see one folder of logs, so none has to serve them, on all addresses, as their servers do.
    extra = ["--skip-serve-logs"] if name in ("airflow-scheduler", "airflow-triggerer") else []
    return _program(name, service, [*service["command"], *extra], environment)


def _ray(name: str, service: dict[str, Any], place: Place, size: dict[str, str]) -> Program:
    keys = (place.folder / "secrets" / "store.env").read_text(encoding="utf-8").split()
    environment = service["environment"] | dict(line.split("=", 1) for line in keys)
    environment |= HEAD_SETTINGS | client_settings(on_loopback=True) | {"PATH": path_with_python()}
    environment["RAY_agent_register_timeout_ms"] = "120000"  # a busy machine needs more than the half minute of Ray
    command = service["command"]
    if name != "bucket":
        options = {
            "--node-ip-address": LOOPBACK,
            "--temp-dir": str(place.folder / name.removeprefix("ray-")),
            "--metrics-export-port": "0",
            "--min-worker-port": "0",
            "--max-worker-port": "0",
            "--dashboard-agent-listen-port": str(place.ports[name]),
            "--object-store-memory": str(256 << 20),
            **size,
        }
        if name == "ray-head":
            options |= {
                "--port": str(place.ports["gcs"]),
                "--dashboard-host": LOOPBACK,
                "--dashboard-port": str(place.ports["dashboard"]),
            }
        else:
            options |= {"--address": f"{LOOPBACK}:{place.ports['gcs']}"}
        command = ["python", str(INFRA / "local" / "ray_node.py"), *command[1:]]
        command = [word for word in command if word.partition("=")[0] not in options]
        command += [f"{option}={value}" for option, value in options.items()]
    return _program(name, service, command, environment)


def _program(name: str, service: dict[str, Any], command: list[str], environment: dict[str, str]) -> Program:
    beside = Path(sys.executable).with_name(command[0])
    program = str(beside if beside.exists() else shutil.which(command[0]))
    is_task = service["restart"].startswith("on-failure")
    return Program(name, (program, *command[1:]), environment, tuple(service["depends_on"]), is_task)
