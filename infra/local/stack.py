"""The stack of the compose file as processes of this machine, without a container engine.

    python -m infra.local.stack up       start everything in order, wait until it is ready, print URLs and the login
    python -m infra.local.stack login    print them again
    python -m infra.local.stack down     end everything; its database and its object store end with it

Supervisor starts the programs again that end. README.md beside this file has the details.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import httpx
import psutil  # type: ignore[import-untyped]
from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from forecasting.errors import ServiceError, UserError
from infra.compose.make_secrets import make_secrets
from infra.local.postgres import Postgres, find_programs
from infra.local.programs import INFRA, PORTS, Place, Program
from infra.local.programs import find_programs as find_stack
from workers.airflow.standalone import LOOPBACK, check_port, marked_processes, unhealthy_components
from workers.cluster.ray_head import free_port
from workers.commands import exit_code_of

MARK = "FLEETCAST_STACK"
"""Environment variable of every process of a stack, by which they are found and ended without their parents."""
START_TIMEOUT = 300.0
STOP_TIMEOUT = 60.0
AIRFLOW_PORT, RAY_PORT = 8080, 8265
_NOT_INHERITED = ("AIRFLOW", "AWS_", "FLEETCAST_", "RAY_")
_STORES = {"postgres": 1, "s3": 1}
"""Priorities of the programs that end last."""
_COMPONENTS = {"airflow-api-server": "metadatabase"} | {
    f"airflow-{name}": name.replace("-", "_") for name in ("scheduler", "triggerer", "dag-processor")
}


def up(root: Path, *, airflow_port: int = AIRFLOW_PORT, ray_port: int = RAY_PORT) -> str:
    """Start the stack of a checkout unless it is up, and wait until all of it is ready.

    Args:
        root: The checkout, with `dags/` in it.
        airflow_port: Port of Airflow's interface on 127.0.0.1; 0 takes a free one.
        ray_port: Port of Ray's dashboard and Jobs API; 0 takes a free one.

    Returns:
        URLs and login, as text.

    Raises:
        UserError: PostgreSQL is not installed, or a port is taken.
        ServiceError: A program does not get ready; the message has the end of its log.
    """
    if place := find_place(root):
        return login(place)
    programs = find_programs()
    if programs is None:
        raise UserError("the stack needs PostgreSQL's programs; on Debian: apt install postgresql")
    given = {"airflow": airflow_port, "dashboard": ray_port}
    for name, port in given.items():
        if port:
            check_port(port, option=f"--{'airflow' if name == 'airflow' else 'ray'}-port")
    home = _home(root)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="fleetcast-stack-", dir="/tmp"))  # Ray's sockets need a short path
    place = Place(root.resolve(), folder, {name: given.get(name) or free_port() for name in PORTS})
    _write(home / "stack.json", json.dumps({"folder": str(folder), "ports": place.ports}))
    try:
        stack = _lay_out(place, programs, home / "logs")
        _start(place, stack, home / "logs")
    except BaseException:
        down(root)
        raise
    return login(place)


def down(root: Path) -> bool:
    """End the stack of a checkout, and remove its files except the logs.

    Args:
        root: The checkout.

    Returns:
        Whether any process was running.
    """
    state = _home(root) / "stack.json"
    if not state.exists():
        return False
    folder = Path(json.loads(state.read_text())["folder"])
    running = marked_processes(MARK, folder)
    with suppress(OSError), supervisor_of(folder) as supervisor:
        for program in supervisor.getAllProcessInfo():
            if program["name"] not in _STORES and program["statename"] == "RUNNING":
                supervisor.stopProcess(program["name"], False)
        supervisor.shutdown()  # stops those of the highest priority first
    psutil.wait_procs(running, timeout=STOP_TIMEOUT)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        left = marked_processes(MARK, folder)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                end(process)
        psutil.wait_procs(left, timeout=10)
    shutil.rmtree(folder, ignore_errors=True)
    state.unlink()
    return bool(running)


def login(place: Place) -> str:
    """Return the URLs and the login of a running stack."""
    password = json.loads((place.folder / "secrets" / "airflow_passwords.json").read_text())["admin"]
    return (
        f"Airflow: {place.url('airflow')}  user: admin  password: {password}\n"
        f"Ray: {place.url('dashboard')}  token: {place.folder / 'secrets' / 'ray_token'}\n"
        f"Variables of commands that read its tables: {place.folder / 'environment'}\n"
        f"Logs: {_home(place.root) / 'logs'}"
    )


def find_place(root: Path) -> Place | None:
    """Return where the running stack of a checkout is; None where none runs."""
    with suppress(FileNotFoundError):
        state = json.loads((_home(root) / "stack.json").read_text())
        place = Place(root.resolve(), Path(state["folder"]), state["ports"])
        if marked_processes(MARK, place.folder):
            return place
        down(root)  # what a stack has left that was killed, or whose machine was switched off
    return None


@contextmanager
def supervisor_of(folder: Path) -> Iterator[Any]:
    """Connect to the supervisor of a stack; yields its remote interface: startProcess, getProcessInfo and the like."""
    transport = SupervisorTransport(None, None, serverurl=f"unix://{folder / 'supervisor.sock'}")
    with ServerProxy("http://127.0.0.1", transport=transport) as server:
        yield server.supervisor


def _home(root: Path) -> Path:
    return root.resolve() / ".fleetcast" / "stack"


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _lay_out(place: Place, programs: Path, logs: Path) -> list[Program]:
    """Write secrets, settings, the database and the supervisor's configuration."""
    folder = place.folder
    for path in make_secrets(folder / "secrets"):
        path.chmod(0o600)
        path.write_text(place.translate(path.read_text()))
    _write(folder / "settings.toml", place.translate((INFRA / "settings" / "compose.toml").read_text()))
    variables = f"FLEETCAST_SETTINGS={folder / 'settings.toml'}\n"
    _write(folder / "environment", variables + (folder / "secrets" / "store.env").read_text())
    postgres = Postgres(programs, folder / "postgres")
    if postgres.owner is not None:
        folder.chmod(0o711)  # another user's server has its files in there
    password = (folder / "secrets" / "postgres_password").read_text()
    postgres.make(user="airflow", password=password, database="airflow")
    cores, memory = psutil.cpu_count() or 1, psutil.virtual_memory().available
    stack = find_stack(place, postgres, num_cpus=max(1, cores // 2), num_bytes=memory // 3)
    logs.mkdir(mode=0o700, exist_ok=True)
    _write(folder / "supervisord.conf", _configuration(folder, stack, logs))
    return stack


def _configuration(folder: Path, stack: Sequence[Program], logs: Path) -> str:
    """Return Supervisor's configuration. It expands `%`, and starts nothing by itself."""
    socket_file = folder / "supervisor.sock"
    lines = [
        "[supervisord]",
        f"pidfile={folder / 'supervisord.pid'}",
        f"logfile={logs / 'supervisord.log'}",
        f"childlogdir={logs}",
        "umask=077",
        *(["user=root"] if os.geteuid() == 0 else []),
        "[unix_http_server]",
        f"file={socket_file}",
        "chmod=0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in stack:
        variables = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
        lines += [
            f"[program:{program.name}]",
            f"command={shlex.join(program.command)}".replace("%", "%%"),
            f"environment={variables}".replace("%", "%%"),
            *([f"user={program.user}"] if program.user else []),
            f"priority={_STORES.get(program.name, 999)}",
            f"stopsignal={'INT' if program.name == 'postgres' else 'TERM'}",  # with TERM, it waits for its clients
            "autostart=false",
            f"autorestart={str(not program.is_task).lower()}",
            f"startsecs={0 if program.is_task else 1}",
            f"stopwaitsecs={STOP_TIMEOUT / 3:.0f}",
            "stopasgroup=true",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={logs / program.name}.log",
            "stdout_logfile_backups=1",
        ]
    return "\n".join(lines) + "\n"


def _start(place: Place, stack: Sequence[Program], logs: Path) -> None:
    """Start each program when those that it waits for are ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(place.folder / "supervisord.conf")]
    with (logs / "start.log").open("wb") as log:
        settings = kept | {MARK: str(place.folder)}
        subprocess.run(
            command, env=settings, cwd=place.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
        )
    deadline = time.monotonic() + START_TIMEOUT
    ready: set[str] = set()
    with supervisor_of(place.folder) as supervisor:
        while len(ready) < len(stack):
            # All are asked again each time, because a program that ends is started again.
            states = {info["name"]: info for info in supervisor.getAllProcessInfo()}
            ready = {each.name for each in stack if _is_ready(each, states[each.name], place)}
            started = {name for name, info in states.items() if info["start"]}
            if started <= ready:  # one after the other, since many processes that load at once delay each other
                due = (each for each in stack if each.name not in started and ready.issuperset(each.waits_for))
                if program := next(due, None):
                    with suppress(Fault):  # it ended at once; the supervisor starts it again
                        supervisor.startProcess(program.name, False)
            if time.monotonic() > deadline:
                late = sorted({each.name for each in stack} - ready)
                ends = "\n".join(f"{name}: {_end_of_log(logs / f'{name}.log')}" for name in late)
                raise ServiceError(f"the stack is not ready after {START_TIMEOUT:.0f} s; the ends of the logs:\n{ends}")
            time.sleep(0.5)


def _is_ready(program: Program, info: dict[str, Any], place: Place) -> bool:
    name, state = program.name, info["statename"]
    if info["start"] == 0:
        return False
    if state == "FATAL" or (program.is_task and state == "EXITED" and info["exitstatus"] != 0):
        raise ServiceError(f"{name} does not start; the end of its log:\n{_end_of_log(Path(info['stdout_logfile']))}")
    if program.is_task:
        return bool(state == "EXITED" and info["exitstatus"] == 0)
    if state != "RUNNING":
        return False
    if name.startswith("ray-"):
        return _answers(f"{place.url(name)}/api/local_raylet_healthz")
    if name.startswith("airflow-"):
        return _COMPONENTS[name] not in unhealthy_components(place.ports["airflow"])
    if name == "postgres":
        client = str(Path(program.command[0]).with_name("pg_isready"))
        asked = [client, "--quiet", "-h", LOOPBACK, "-p", str(place.ports[name])]
        return subprocess.run(asked, check=False).returncode == 0
    with socket.socket() as connection:
        return connection.connect_ex((LOOPBACK, place.ports[name])) == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _end_of_log(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else "(no log)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands of this module; return its exit code."""
    parser = ArgumentParser(prog="python -m infra.local.stack", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("up", "login", "down"))
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout, with dags/ in it")
    for name, port, what in (("airflow", AIRFLOW_PORT, "interface"), ("ray", RAY_PORT, "dashboard and Jobs API")):
        parser.add_argument(f"--{name}-port", type=int, default=port, help=f"port of its {what}; 0 takes a free one")
    options = parser.parse_args(arguments)
    return exit_code_of(lambda: print(_answer(options.command, options.root, options.airflow_port, options.ray_port)))


def _answer(command: str, root: Path, airflow_port: int, ray_port: int) -> str:
    if command == "up":
        return up(root, airflow_port=airflow_port, ray_port=ray_port)
    if command == "down":
        return "the stack has ended" if down(root) else "no stack was up"
    place = find_place(root)
    if place is None:
        raise UserError("the stack is not up; start it with `make up-stack`")
    return login(place)


if __name__ == "__main__":
    sys.exit(main())
