"""Run shards of a one-shot forecast on the cores of this machine: one process per core, each with one thread.

Small networks gain nothing from several threads in one process: the threads wait for each other at every operation,
and on a busy machine they stall.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from forecasting.errors import ServiceError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from forecasting.flow.one_shot import ShardTask
    from forecasting.flow.shards import ShardResult
    from forecasting.series.panel import Panel

Result = TypeVar("Result")

FEWEST_SERIES = 16
"""This process forecasts fewer series sooner than others start and load torch."""
SECONDS_TO_END = 5
SECONDS_BETWEEN_CHECKS = 0.2

_lock = threading.RLock()
"""Held while a setting of the whole process is changed, because threads of a caller may forecast side by side."""
_threads_before: list[int] = []
"""The caller's number of torch threads, once and once more for each block that needs a single thread."""
_passes: Any = None
"""In a worker process: the queue that its validation passes are reported on."""


def run_on_processes(
    task: "ShardTask",
    panels: "Sequence[Panel]",
    on_shard: Callable[[int, int], None],
    *,
    num_processes: int,
    on_validation: Callable[[int, int], None] | None = None,
    on_end: Callable[[int], None] | None = None,
) -> "list[ShardResult]":
    """Run a task over panels on several processes; no process is left behind, however the run ends.

    Args:
        task: Trains and forecasts a panel; it must pickle.
        panels: The panels; where there are fewer of them than processes, they are cut.
        on_shard: Called with the series done and in all.
        num_processes: Processes to use. Fewer than `FEWEST_SERIES` series run in this process.
        on_validation: Called from a thread of its own with a shard's number and the optimiser steps of its current
            fit, at each validation pass.
        on_end: Called with a shard's number when it is done.

    Returns:
        The results in the order of the series.

    Raises:
        ServiceError: A process died.
    """
    from forecasting.flow.one_shot import run_shards_here, spread

    num_series, num_done = sum(len(panel.unique_ids) for panel in panels), 0
    if num_processes == 1 or num_series < FEWEST_SERIES:
        return run_shards_here(_Observed(task, on_validation), panels, _count_shards(on_shard, on_end))
    on_shard(num_done, num_series)
    panels = spread(panels, num_processes)
    passes = multiprocessing.get_context("spawn").SimpleQueue()
    results: dict[int, ShardResult] = {}
    with _listen(passes, on_validation):
        jobs = [partial(_run_one, task, panel, number) for number, panel in enumerate(panels)]
        for number, result in _run_in_pool(jobs, num_processes, passes):
            results[number] = result
            num_done += len(panels[number].unique_ids)
            if on_end is not None:
                on_end(number)
            on_shard(num_done, num_series)
    return [results[number] for number in range(len(panels))]


def call_on_processes(
    calls: Sequence[Callable[[], Result]],
    *,
    num_processes: int,
    on_done: Callable[[int, int], None],
) -> list[Result]:
    """Make calls on several processes; no process is left behind, however the run ends.

    Args:
        calls: The calls, which must pickle.
        num_processes: Processes to use; with 1, or a single call, this process makes them.
        on_done: Called with the calls done and in all.

    Returns:
        The results in the calls' order.

    Raises:
        ServiceError: A process died.
    """
    on_done(0, len(calls))
    results: dict[int, Result] = {}
    runs_here = num_processes == 1 or len(calls) <= 1
    made = _make_here(calls) if runs_here else _run_in_pool(calls, num_processes, None)
    for number, result in made:
        results[number] = result
        on_done(len(results), len(calls))
    return [results[number] for number in range(len(calls))]


def _make_here(calls: Sequence[Callable[[], Result]]) -> Iterator[tuple[int, Result]]:
    for number, call in enumerate(calls):
        with _one_thread():
            result = call()
        yield number, result


class _Observed:
    """Runs a task in this process with one thread, and reports its validation passes as those of shard 0."""

    def __init__(self, task: "ShardTask", on_validation: Callable[[int, int], None] | None) -> None:
        self._task = task
        self._on_validation = None if on_validation is None else partial(on_validation, 0)

    def __call__(self, panel: "Panel", *, on_validation: Callable[[int], None] | None = None) -> "ShardResult":
        with _one_thread():
            return self._task(panel, on_validation=on_validation or self._on_validation)


def _count_shards(
    on_shard: Callable[[int, int], None], on_end: Callable[[int], None] | None
) -> Callable[[int, int], None]:
    def count(num_done: int, num_series: int) -> None:
        if on_end is not None:
            on_end(0)
        on_shard(num_done, num_series)

    return count


def count_processes(wanted: int | None) -> int:
    """Return how many processes a forecast may use.

    Args:
        wanted: The requested number; as many as this process may use cores where not given.

    Returns:
        The number; 1 within a daemonic process, which may not start others.
    """
    if multiprocessing.current_process().daemon:
        return 1
    return wanted or len(os.sched_getaffinity(0))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Give torch one thread for as long as the block runs; the caller's own number of threads comes back."""
    import torch

    with _lock:
        if not _threads_before:
            _threads_before.append(torch.get_num_threads())
        _threads_before.append(_threads_before[0])  # one more block needs a single thread
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            before = _threads_before.pop()
            if len(_threads_before) == 1:
                _threads_before.clear()
                torch.set_num_threads(before)


def _run_in_pool(jobs: Sequence[Callable[[], Result]], num_processes: int, passes: Any) -> Iterator[tuple[int, Result]]:
    """Yield jobs' numbers and results as they end."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(num_processes, len(jobs)), mp_context=context, initializer=_prepare, initargs=(passes,)
    ) as pool:
        try:
            with _without_main():
                futures = {pool.submit(job): number for number, job in enumerate(jobs)}
            pending = set(futures)
            while pending:
                # A wait without an end would not be interrupted by Ctrl-C.
                done, pending = wait(pending, timeout=SECONDS_BETWEEN_CHECKS, return_when=FIRST_COMPLETED)
                for future in done:
                    yield futures[future], future.result()
        except BaseException as error:
            _end(set((pool._processes or {}).values()))
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                lost = "a process of this forecast died, possibly because memory ran out; nothing is written"
                raise ServiceError(lost) from error
            raise


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the caller's script again.

    A spawned process imports `__main__` of its parent, so that a script without `if __name__ == "__main__"` would
    forecast in every worker. Workers need nothing from it: every job is defined in this package.
    """
    with _lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _end(processes: "set[BaseProcess]") -> None:
    """End processes and wait for their end: first by a signal that they may answer, then by one that they cannot."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(SECONDS_TO_END)
        if process.is_alive():
            process.kill()
            process.join(SECONDS_TO_END)


def _prepare(passes: Any) -> None:
    """Set up a worker process before it imports anything that starts threads."""
    global _passes
    _passes = passes
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    os.environ["OMP_NUM_THREADS"] = os.environ["POLARS_MAX_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _run_one(task: "ShardTask", panel: "Panel", number: int) -> "ShardResult":
    return task(panel, on_validation=partial(_report_pass, number))


def _report_pass(number: int, num_steps: int) -> None:
    _passes.put((number, num_steps))


@contextmanager
def _listen(passes: Any, on_validation: Callable[[int, int], None] | None) -> Iterator[None]:
    def drain() -> None:
        while True:
            try:
                reported = passes.get()
            except (EOFError, OSError):  # no process can write any more; the last message may be cut
                return
            if on_validation is not None:
                on_validation(*reported)

    listener = threading.Thread(target=drain, daemon=True)
    listener.start()
    try:
        yield
    finally:
        # Not by a last message: a worker that was killed while it reported still holds the lock of messages.
        passes._writer.close()
        listener.join(timeout=5)
