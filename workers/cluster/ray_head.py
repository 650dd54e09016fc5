"""The head of a local Ray on loopback.

The head is a child process of its owner, in a session of its own: `ray start --head --block`. It ends on SIGTERM, or
when its owner dies in any way. It binds 127.0.0.1 only, takes free ports, keeps its files in a temporary folder,
reports no usage, and requires Ray's token from every client.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from forecasting.errors import ClusterError
from forecasting.settings import SETTINGS_FILE_VARIABLE, Settings
from forecasting.temporary import PREFIX, remove_leftovers, temporary_folder

LOOPBACK = "127.0.0.1"
START_TIMEOUT = 180.0
STOP_TIMEOUT = 20.0
_PREFIX = f"{PREFIX}ray-"
_MARK = "FLEETCAST_LOCAL_RAY"
"""Environment variable of the head and of every process under it, by which they are found and ended."""

_OWN_PORTS = range(20_000, 32_000)

_CLIENT_SETTINGS = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
# Ray replaces 127.0.0.1 by the address of the network card, unless this setting makes it take clusters for
# unsupported here. On 127.0.0.1 it binds its own servers to loopback only.
_LOOPBACK_SETTINGS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
HEAD_SETTINGS = {
    # Without this, a head waits up to half a minute for running tasks before it ends.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # Ports of metrics that are not read here; 0 takes a free one.
    "AUTOSCALER_METRIC_PORT": "0",
    "DASHBOARD_METRIC_PORT": "0",
}


@dataclass(frozen=True)
class Head:
    """A running head.

    Attributes:
        address: Where drivers connect.
        jobs_url: Where jobs are submitted; None without a dashboard.
        folder: Its temporary files.
    """

    address: str
    jobs_url: str | None
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a process that uses this Ray."""
        jobs = {"FLEETCAST_RAY_JOBS_URL": self.jobs_url} if self.jobs_url else {}
        return {**client_settings(on_loopback=True), "RAY_ADDRESS": self.address, **jobs}


@contextmanager
def ray_head(
    *, num_cpus: int | None = None, num_gpus: int | None = None, dashboard: bool = False, dashboard_port: int = 0
) -> Iterator[Head]:
    """Run a head for the duration of a `with` block; afterwards no process and no file of it is left.

    Args:
        num_cpus: Cores that Ray counts; all by default.
        num_gpus: GPUs that Ray counts; all by default.
        dashboard: Whether to start the dashboard with the Jobs API.
        dashboard_port: Its port, if that is free; else a free one is taken.

    Yields:
        The running head.

    Raises:
        ClusterError: Ray does not start; the message has the end of its log.
    """
    write_token_if_missing()
    parent = _short_temporary_folder()
    remove_leftovers(_PREFIX, parent=parent, is_used=lambda folder: bool(processes_of(folder)))
    for is_last_try in (False, False, True):
        with (
            temporary_folder(_PREFIX, parent=parent) as folder,
            _head_process(folder, num_cpus, num_gpus, dashboard, dashboard_port) as head,
        ):
            if head is not None:
                yield head
                return
            if is_last_try:
                raise ClusterError(f"a local Ray did not start; the end of its log:\n{_end_of_log(folder)}")


def write_token_if_missing() -> None:
    """Write Ray's token where it is missing, readable by its owner only; two processes may do so at once.

    Raises:
        ClusterError: The file cannot be written.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(draft, path)
        os.unlink(draft)
    except OSError as error:
        raise ClusterError(f"Ray's token cannot be written to {path}: {error.strerror}; set RAY_AUTH_TOKEN") from error


def path_with_python() -> str:
    """Return PATH with this interpreter's folder first, so that `python` is this one in any environment."""
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])


def run_with_owner(command: Sequence[str]) -> list[str]:
    """Return a command that runs `command` and gets SIGTERM when this process dies (Linux; elsewhere unchanged)."""
    if sys.platform != "linux":
        return list(command)
    share_fate = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15, 0, 0, 0); "
        "os.getppid() == int(sys.argv[1]) or sys.exit(143); os.execvp(sys.argv[2], sys.argv[2:])"
    )
    return [sys.executable, "-c", share_fate, str(os.getpid()), *command]


def client_settings(*, on_loopback: bool) -> dict[str, str]:
    """Return the environment variables that a client sets before it imports Ray; those that are set already stay.

    Args:
        on_loopback: Whether the head is one that this module started, not a cluster of several machines.

    Returns:
        Values by name of the variable.
    """
    kept = {name: os.environ.get(name, value) for name, value in _CLIENT_SETTINGS.items()}
    return kept | (_LOOPBACK_SETTINGS if on_loopback else {})


@contextmanager
def _head_process(
    folder: Path, num_cpus: int | None, num_gpus: int | None, dashboard: bool, dashboard_port: int
) -> Iterator[Head | None]:
    port = free_port(dashboard_port) if dashboard else None
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(
            run_with_owner(_start_command(folder, num_cpus, num_gpus, port)),
            env=_head_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = _wait_for_address(process, folder)
        yield Head(address, f"http://{LOOPBACK}:{port}" if port else None, folder) if address else None
    finally:
        _stop(process, folder)


def _start_command(folder: Path, num_cpus: int | None, num_gpus: int | None, port: int | None) -> list[str]:
    dashboard = [f"--dashboard-host={LOOPBACK}", f"--dashboard-port={port}"] if port else []
    return [
        sys.executable,
        "-P",
        str(Path(__file__).with_name("ray_start.py")),
        "start",
        "--head",
        "--block",
        "--disable-usage-stats",
        f"--node-ip-address={LOOPBACK}",
        f"--temp-dir={folder}",
        "--port=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--dashboard-agent-listen-port=0",
        f"--ray-client-server-port={free_port()}",
        f"--include-dashboard={str(bool(port)).lower()}",
        *dashboard,
        *([] if num_cpus is None else [f"--num-cpus={num_cpus}"]),
        *([] if num_gpus is None else [f"--num-gpus={num_gpus}"]),
    ]


def _head_environment(folder: Path) -> dict[str, str]:
    """Return this process's environment for jobs on the head: with `python` on the path, and absolute paths."""
    environment = {**os.environ, **client_settings(on_loopback=True), **HEAD_SETTINGS, _MARK: str(folder)}
    environment.pop("RAY_ADDRESS", None)
    environment["PATH"] = path_with_python()
    if settings_file := os.environ.get(SETTINGS_FILE_VARIABLE):
        environment[SETTINGS_FILE_VARIABLE] = os.path.abspath(settings_file)
    store = Settings.load().store
    environment["FLEETCAST_STORE"] = store if "://" in store else os.path.abspath(store)
    return environment


def _wait_for_address(process: subprocess.Popen[bytes], folder: Path) -> str | None:
    """Return the head's address once it has written it; None where it ended or took too long."""
    deadline = time.monotonic() + START_TIMEOUT
    address_file = folder / "ray_current_cluster"
    while time.monotonic() < deadline and process.poll() is None:
        if address_file.exists() and (address := address_file.read_text().strip()):
            return address
        time.sleep(0.1)
    return None


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the head and everything under it; processes that do not end in time are killed."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 3
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in processes_of(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes_of(folder: Path) -> list[int]:
    """List the living processes under the head of this folder; only Linux can see them, elsewhere the list is empty."""
    mark = f"{_MARK}={folder}".encode()
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


def free_port(preferred: int = 0) -> int:
    """Return `preferred` where no process listens there, else a free port.

    Free ports come from below the range that the kernel gives to outgoing connections: one of those could take the
    port in the seconds until Ray binds it, and `ray start --block` ends all of Ray where one of its servers cannot.

    Args:
        preferred: The port that is tried first; 0 for any.

    Returns:
        The port.

    Raises:
        ClusterError: A hundred ports are all taken.
    """
    candidates = (secrets.choice(_OWN_PORTS) for _ in range(100))
    for port in (preferred, *candidates) if preferred else candidates:
        with socket.socket() as listener, suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((LOOPBACK, port))
            return port
    raise ClusterError(f"no free port on {LOOPBACK} between {_OWN_PORTS.start} and {_OWN_PORTS.stop}")


def _short_temporary_folder() -> str | None:
    """Ray's socket paths must stay under 107 bytes, of which it needs some 65 itself."""
    return "/tmp" if len(tempfile.gettempdir()) > 12 and os.path.isdir("/tmp") else None


def _end_of_log(folder: Path) -> str:
    lines = (folder / "start.log").read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines[-15:] if line.strip())
