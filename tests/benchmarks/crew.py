"""Processes that are started beforehand and work on command, so that their start does not count.

A crew consists of workers (`worker.py`) of one interpreter. Each prepares its own share first. Then all start together,
and the clock runs until the last answer.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
BENCH_PYTHON = ROOT / "build" / "bench-venv" / "bin" / "python"
"""The interpreter of the peers that `make bench-setup` installs."""


def peers_are_installed() -> bool:
    return (BENCH_PYTHON.parents[1] / "ready").exists()


TUNING_PREFIXES = ("BLIS_", "GOMP_", "KMP_", "MKL_", "OMP_", "OPENBLAS_")
"""Variables that a shell may set to tune or limit mathematical libraries; workers do not inherit them."""


class WorkerFailed(Exception):
    """A worker raised; the message is its traceback."""


class Crew:
    """Workers in processes of their own, which end with the `with` block."""

    def __init__(
        self, num_workers: int, *, python: Path = Path(sys.executable), environment: Mapping[str, str] | None = None
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(TUNING_PREFIXES)}
        self._workers = [
            subprocess.Popen(
                [python, "-m", "tests.benchmarks.worker"],
                cwd=ROOT,
                env=inherited | dict(environment or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for _ in range(num_workers)
        ]
        self._working: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.close()
            worker.stdout.close()
            if kind is not None:
                worker.kill()
            worker.wait()

    def prepare(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Let the first workers prepare one request each; the others stay idle."""
        self._working = self._workers[: len(requests)]
        assert len(self._working) == len(requests)
        for worker, request in zip(self._working, requests, strict=True):
            _send(worker, request)
        for worker in self._working:
            _receive(worker)

    def run(self) -> tuple[float, list[dict[str, Any]]]:
        """Start all prepared workers together; return the seconds until the last is done, and their answers."""
        began = time.perf_counter()
        for worker in self._working:
            _send(worker, {})
        answers = [_receive(worker) for worker in self._working]
        return time.perf_counter() - began, answers


def _send(worker: subprocess.Popen[str], request: Mapping[str, Any]) -> None:
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(request) + "\n")
    worker.stdin.flush()


def _receive(worker: subprocess.Popen[str]) -> dict[str, Any]:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise WorkerFailed(f"a worker ended with exit code {worker.wait()}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise WorkerFailed(answer["error"])
    return answer
