"""A whole Airflow on this machine: UI, scheduler, triggerer and DAG processor, with SQLite.

    python -m workers.airflow.standalone up [--port 8080]    start it in the background, print the URL and the login
    python -m workers.airflow.standalone login | down        print them again; end it, with everything it started

Its files lie under `.fleetcast/airflow` of the checkout: database, configuration, logs, password.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]

from forecasting.errors import ServiceError, UserError
from forecasting.settings import Settings
from workers.commands import exit_code_of

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8080
USER = "admin"
START_TIMEOUT = 240.0
STOP_TIMEOUT = 45.0
_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
_MARK = "FLEETCAST_AIRFLOW"
"""Environment variable of every process that `up` starts, by which they are found and ended without their parents."""


def airflow_home(root: Path) -> Path:
    """Return Airflow's folder in a checkout."""
    return root.resolve() / ".fleetcast" / "airflow"


def airflow_environment(root: Path, *, port: int = DEFAULT_PORT) -> dict[str, str]:
    """Return the environment variables of any `airflow` command of a checkout.

    Args:
        root: Root of the checkout.
        port: Port of the UI and the API.

    Returns:
        Values by name of the variable, to be added to the environment.
    """
    home, store = airflow_home(root), Settings.load().store
    url = f"http://{LOOPBACK}:{port}"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root.resolve() / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        # A new spec in the folder appears within seconds.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "workers.airflow.sqlite_wait.CONNECT_ARGS",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": "workers.airflow.sqlite_wait.CONNECT_ARGS_ASYNC",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "FLEETCAST_LAST_GOOD": str(home / "last_good"),
        # All processes name the tables by the same URIs.
        "FLEETCAST_STORE": store if "://" in store else os.path.abspath(store),
        # A supervisor that misses its task's end, as on a busy machine, checks again after this many seconds.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # `airflow standalone` starts its components as `airflow`, from the path.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def up(root: Path, *, port: int = DEFAULT_PORT) -> str:
    """Start Airflow unless it is up already, and wait until it is healthy.

    Args:
        root: Root of the checkout.
        port: Port of the UI on 127.0.0.1.

    Returns:
        URL and login, as text.

    Raises:
        UserError: The port is taken.
        ServiceError: Airflow does not become healthy.
    """
    home = airflow_home(root)
    if _main_process(home):
        return login(root)
    check_port(port)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell makes its background commands ignore SIGINT; Airflow would inherit that and never end.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with (home / "standalone.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env={**os.environ, **airflow_environment(root, port=port), _MARK: str(home), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _state_file(home).write_text(json.dumps({"pid": process.pid, "port": port}))
    try:
        _wait_until_healthy(process, home, port)
    except BaseException:
        down(root)
        raise
    process.returncode = 0  # it outlives this process on purpose; Popen would warn of that
    return login(root)


def down(root: Path) -> bool:
    """End Airflow and everything that it started, and wait for their end.

    Args:
        root: Root of the checkout.

    Returns:
        Whether any process was running.
    """
    home = airflow_home(root)
    main, everything = _main_process(home), _processes(home)
    if main:
        main.send_signal(signal.SIGINT)  # the only signal on which standalone ends its components in order
        psutil.wait_procs([main], timeout=STOP_TIMEOUT)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in (left := _processes(home)):
            end(process)
        psutil.wait_procs(left, timeout=5)
    _state_file(home).unlink(missing_ok=True)
    return bool(everything)


def login(root: Path) -> str:
    """Return the URL and the login of a running Airflow.

    Args:
        root: Root of the checkout.

    Returns:
        URL and login, as text.

    Raises:
        UserError: Airflow is not up.
    """
    home = airflow_home(root)
    if not _main_process(home):
        raise UserError("Airflow is not up; start it with `make up`")
    return f"Airflow: http://{LOOPBACK}:{_state(home)['port']}  user: {USER}  password: {password(root)}"


def password(root: Path) -> str:
    """Return the password that Airflow generated for its one user."""
    return str(json.loads((airflow_home(root) / "simple_auth_manager_passwords.json.generated").read_text())[USER])


def _wait_until_healthy(process: subprocess.Popen[bytes], home: Path, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServiceError(f"Airflow ended while it started; the end of its log:\n{_end_of_log(home)}")
        if not unhealthy_components(port):
            return
        time.sleep(0.5)
    raise ServiceError(f"Airflow is not healthy after {START_TIMEOUT:.0f} s; the end of its log:\n{_end_of_log(home)}")


def unhealthy_components(port: int) -> set[str]:
    """Return the components that the Airflow of a port does not report as healthy: all of them where none answers."""
    try:
        health = httpx.get(f"http://{LOOPBACK}:{port}/api/v2/monitor/health", timeout=5, trust_env=False).json()
        return {component for component in _COMPONENTS if health[component]["status"] != "healthy"}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return set(_COMPONENTS)


def check_port(port: int, *, option: str = "--port") -> None:
    """Raise UserError where a port of loopback is taken; the message has the option that chooses another."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except (OSError, OverflowError) as error:
            raise UserError(
                f"port {port} on {LOOPBACK} cannot be used ({error}); choose another with {option}"
            ) from error


def _state_file(home: Path) -> Path:
    return home / "standalone.json"


def _state(home: Path) -> dict[str, int]:
    try:
        return dict(json.loads(_state_file(home).read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _main_process(home: Path) -> psutil.Process | None:
    """Return the standalone process, or None where its process id is free or reused."""
    pid = _state(home).get("pid")
    return next((process for process in _processes(home) if process.pid == pid), None)


def _processes(home: Path) -> list[psutil.Process]:
    return marked_processes(_MARK, home)


def marked_processes(mark: str, folder: Path) -> list[psutil.Process]:
    """List the living processes of which a variable of the environment has a folder as its value."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(mark) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def _end_of_log(home: Path) -> str:
    return "\n".join((home / "standalone.log").read_text(errors="replace").splitlines()[-15:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands of this module; return its exit code."""
    parser = ArgumentParser(prog="python -m workers.airflow.standalone", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("up", "down", "login"))
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="port of the UI on 127.0.0.1")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout, with dags/ in it")
    options = parser.parse_args(arguments)
    return exit_code_of(lambda: print(_answer(options.command, options.root, port=options.port)))


def _answer(command: str, root: Path, *, port: int) -> str:
    if command == "up":
        return up(root, port=port)
    if command == "login":
        return login(root)
    return "Airflow has ended" if down(root) else "no Airflow was up"


if __name__ == "__main__":
    sys.exit(main())
