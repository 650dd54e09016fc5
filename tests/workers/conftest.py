import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def ray_cluster(shared_ray_head):
    """The connection of this process to the shared Ray head, for the whole session."""
    from workers.cluster.local_ray import local_ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", shared_ray_head.address)
        with local_ray() as cluster:
            patch.undo()
            yield cluster


@pytest.fixture
def run_python(tmp_path):
    """Run Python code or a module in a process of its own, in a temporary folder and a changed environment."""

    def run(*arguments, timeout=120, **environment):
        try:
            return subprocess.run(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env=clean_environment(environment),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            pytest.fail(f"{arguments} took more than {timeout} s; its stderr:\n{(error.stderr or b'').decode()}")

    return run


@pytest.fixture
def start_python(tmp_path):
    """Start Python in a process of its own; it is killed at the end of the test. A failed test shows its stderr."""
    processes, logs = [], []

    def start(*arguments, **environment):
        log = tmp_path / f"stderr-{len(logs)}.txt"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env=clean_environment(environment),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        processes.append(process)
        logs.append(log)
        return process

    yield start
    for process, log in zip(processes, logs, strict=True):
        process.kill()
        process.wait()
        process.stdout.close()
        print(f"{log.name}:\n{log.read_text(errors='replace')}")


@pytest.fixture
def wait_until_gone():
    """Wait until no process of a head's folder is left; return those that stay."""
    from workers.cluster.ray_head import processes_of

    def wait(folder, seconds=30):
        deadline = time.monotonic() + seconds
        while (left := processes_of(Path(folder))) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    return wait


def clean_environment(changes):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("FLEETCAST_") and name != "RAY_ADDRESS"
    }
    return kept | {name: str(value) for name, value in changes.items()}
