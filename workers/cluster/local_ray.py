"""A local Ray and its life: `local_ray()` for a `with` block, and commands that run a head for other processes.

python -m workers.cluster.local_ray run -- COMMAND…  a head for one command; returns its exit code
python -m workers.cluster.local_ray up | down        a head in the background, addresses in .fleetcast/ray/environment
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from argparse import REMAINDER, ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from forecasting.errors import ClusterError
from workers.cluster.ray_head import (
    LOOPBACK,
    START_TIMEOUT,
    STOP_TIMEOUT,
    client_settings,
    path_with_python,
    ray_head,
    run_with_owner,
)
from workers.commands import exit_code_of

STATE_FOLDER = Path(".fleetcast/ray")
DASHBOARD_PORT = 8265


@dataclass(frozen=True)
class Cluster:
    """The Ray that this process is connected to.

    Attributes:
        address: Address of the head.
        jobs_url: URL of its Jobs API; None where it is not known or not running.
        is_own: Whether it was started for this process and ends with it.
    """

    address: str
    jobs_url: str | None
    is_own: bool


@contextmanager
def local_ray(
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    dashboard: bool = False,
    log_to_driver: bool = False,
) -> Iterator[Cluster]:
    """Connect to the Ray of RAY_ADDRESS, or else to one on loopback that lives as long as the `with` block.

    The Ray of RAY_ADDRESS is left running. A Ray that this process is already connected to is used as it is. SIGTERM
    ends the block as an exception does.

    Args:
        num_cpus: Cores of a Ray that is started here; all by default.
        num_gpus: GPUs of a Ray that is started here; all by default.
        dashboard: Whether a Ray that is started here has a dashboard with the Jobs API.
        log_to_driver: Whether workers' output is printed here.

    Yields:
        The connection.

    Raises:
        ClusterError: Ray does not start, or cannot be reached.
    """
    given = os.environ.get("RAY_ADDRESS")
    ray = _import_ray(on_loopback=given is None or _place(given)[0] == LOOPBACK)
    if ray.is_initialized():
        yield Cluster(ray.get_runtime_context().gcs_address, None, is_own=False)
        return
    with _exit_on_sigterm():
        if given:
            with _connection(given, log_to_driver):
                yield Cluster(given, None, is_own=False)
            return
        with (
            ray_head(num_cpus=num_cpus, num_gpus=num_gpus, dashboard=dashboard) as head,
            _connection(head.address, log_to_driver),
        ):
            yield Cluster(head.address, head.jobs_url, is_own=True)


def _import_ray(*, on_loopback: bool) -> Any:
    """Import Ray with a client's settings in the environment, even if it was imported without them before."""
    os.environ.update(client_settings(on_loopback=on_loopback))
    import ray

    if not ray.is_initialized():
        ray._raylet.Config.initialize("")
        if on_loopback:
            ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    return ray


@contextmanager
def _connection(address: str, log_to_driver: bool) -> Iterator[None]:
    import ray

    _require_listener(address)
    try:
        ray.init(address=address, log_to_driver=log_to_driver, logging_level="warning")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray at {address} cannot be reached: {error}") from error
    try:
        with _exit_on_sigterm():  # again, because ray.init replaces what SIGTERM does
            yield
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Raise ClusterError where no process listens; Ray itself would try for many minutes."""
    host, port = _place(address)
    if host is None or port is None:
        return
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise ClusterError(f"Ray at {address} cannot be reached: {error.strerror or error}") from error


def _place(address: str) -> tuple[str | None, int | None]:
    """Return host and port of an address such as 10.0.0.1:6379 or ray://head:10001; None for what it lacks."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        port = parts.port
    except ValueError as error:
        raise ClusterError(f"RAY_ADDRESS '{address}' must be an address such as 10.0.0.1:6379: {error}") from error
    return parts.hostname, port


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Make SIGTERM unwind the stack as Ctrl-C does, so that every `finally` runs; this needs the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(command: Sequence[str], *, num_cpus: int | None = None, num_gpus: int | None = None) -> int:
    """Run a command with a head of its own.

    Args:
        command: The command; its environment has the addresses of the head.
        num_cpus: Cores of the head; all by default.
        num_gpus: GPUs of the head; all by default.

    Returns:
        The command's exit code.

    Raises:
        ClusterError: The head does not start, or the command cannot be run.
    """
    with _exit_on_sigterm(), ray_head(num_cpus=num_cpus, num_gpus=num_gpus, dashboard=True) as head:
        try:
            environment = {**os.environ, **head.environment, "PATH": path_with_python()}
            process = subprocess.Popen(run_with_owner(command), env=environment)
        except OSError as error:
            raise ClusterError(f"'{command[0]}' cannot be run: {error.strerror}") from error
        try:
            code = process.wait()
        except BaseException:
            # Ctrl-C reaches the command as well; SIGTERM reaches this process alone.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
            process.kill()
            process.wait()
            raise
    return code if code >= 0 else 128 - code


def up(folder: Path = STATE_FOLDER) -> str:
    """Start a head in the background unless one is up.

    Args:
        folder: Where the head's process id and addresses are kept.

    Returns:
        The addresses, as lines for a shell.

    Raises:
        ClusterError: The head does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = folder / "environment"
    if _owner_pid(folder) is None:
        environment.unlink(missing_ok=True)
        with (folder / "owner.log").open("wb") as log:
            owner = subprocess.Popen(
                [sys.executable, "-m", "workers.cluster.local_ray", "own", "--folder", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not environment.exists() and owner.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
    if not environment.exists():
        raise ClusterError(f"a local Ray did not start:\n{(folder / 'owner.log').read_text(errors='replace')}")
    return environment.read_text()


def down(folder: Path = STATE_FOLDER) -> bool:
    """End the head that `up` started, with everything on it.

    Args:
        folder: The folder that `up` was given.

    Returns:
        Whether a head was up.

    Raises:
        ClusterError: The head does not end.
    """
    pid = _owner_pid(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_TIMEOUT
    while _owner_pid(folder) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(f"the local Ray's owner, process {pid}, did not end; see {folder / 'owner.log'}")
        time.sleep(0.1)
    return True


def _own(folder: Path) -> None:
    """Hold a head until SIGTERM; the lock on owner.pid shows that this process lives, even if its id is reused."""
    with _exit_on_sigterm(), (folder / "owner.pid").open("a+") as pid_file:
        fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pid_file.truncate(0)
        pid_file.write(str(os.getpid()))
        pid_file.flush()
        environment = folder / "environment"
        with ray_head(dashboard=True, dashboard_port=DASHBOARD_PORT) as head:
            draft = folder / "environment.draft"
            draft.write_text("".join(f"{name}={value}\n" for name, value in head.environment.items()))
            draft.replace(environment)
            try:
                signal.pause()
            finally:
                environment.unlink(missing_ok=True)


def _owner_pid(folder: Path) -> int | None:
    """Return the living owner's process id; an unlocked file was left behind by a killed owner."""
    try:
        with (folder / "owner.pid").open() as pid_file:
            try:
                fcntl.flock(pid_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(pid_file.read())
    except FileNotFoundError:
        pass
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands of this module; return its exit code."""
    parser = ArgumentParser(prog="python -m workers.cluster.local_ray", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="run a command with a local Ray of its own")
    run_parser.add_argument("--num-cpus", type=int)
    run_parser.add_argument("--num-gpus", type=int)
    run_parser.add_argument("argv", nargs=REMAINDER, metavar="-- COMMAND…")
    for name, description in (("up", "start a local Ray"), ("down", "end it"), ("own", "hold it; `up` calls this")):
        commands.add_parser(name, help=description).add_argument("--folder", type=Path, default=STATE_FOLDER)
    options = parser.parse_args(arguments)
    if options.command == "run":
        argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
        if not argv:
            parser.error("run needs a command: run -- COMMAND…")
        return exit_code_of(lambda: run(argv, num_cpus=options.num_cpus, num_gpus=options.num_gpus))
    return exit_code_of(lambda: _hold_or_end(options.command, options.folder))


def _hold_or_end(command: str, folder: Path) -> None:
    if command == "up":
        print(up(folder), end="")
    elif command == "down":
        print("the local Ray has ended" if down(folder) else "no local Ray was up")
    else:
        _own(folder)


if __name__ == "__main__":
    sys.exit(main())
