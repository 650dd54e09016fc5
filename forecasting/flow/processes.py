"""Make the calls of a forecast on the cores of this machine: one process per core, each with one thread.

Small networks gain nothing from several threads in one process: the threads wait for each other at every operation,
and on a busy machine they stall.
"""

import math
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar

from forecasting.errors import ServiceError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from forecasting.flow.outcome import ShardResult, ShardTask
    from forecasting.series.panel import Panel
    from forecasting.spec.spec import Spec

Result = TypeVar("Result")
Kind = Literal["networks", "statistics"]
"""What a call needs a process to have loaded: torch, or statsforecast; each takes seconds."""

SECONDS_TO_LOAD = 3.0
"""About what either kind takes to load."""
SECONDS_TO_END = 5
SECONDS_BETWEEN_CHECKS = 0.2

_lock = threading.RLock()
"""Held while a setting of the whole process is changed, because threads of a caller may forecast side by side."""
_threads_before: list[int] = []
"""While a block needs a single thread of torch: the caller's number, once and once more for each such block."""
_passes: Any = None
"""In a worker process: the queue that its validation passes are reported on."""


class Crew:
    """Processes that stay for one forecast or several, so that each loads libraries once; none is left behind.

    With one process all calls are made in this process.

    Args:
        num_processes: Processes to use.
        on_validation: Called from a thread of its own with a call's number and the optimiser steps of its current fit,
            at each validation pass; may be replaced while no call runs.
    """

    def __init__(self, num_processes: int, *, on_validation: Callable[[int, int], None] | None = None) -> None:
        self.num_processes = num_processes
        self.on_validation = on_validation
        self.stays_here = False
        """Whether calls are made in this process, because they take less time than others need to load."""
        self._workers: list[_Worker] = []
        self._queue: deque[_Queued] = deque()
        self._num_calls = 0
        self._passes: Any = None
        self._listener: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Processes that end by themselves take half a second to unload their libraries.
        _end({process for worker in self._workers for process in worker.processes})
        for worker in self._workers:
            worker.pool.shutdown(wait=False, cancel_futures=True)
        if self._listener is not None:
            # Not by a last message: a worker that was killed while it reported still holds the lock of messages.
            self._passes._writer.close()
            self._listener.join(timeout=5)

    @property
    def has_started(self) -> bool:
        """Whether there are processes that wait for calls."""
        return bool(self._workers)

    def start(self, *kinds: Kind) -> None:
        """Start the processes, which load what calls of these kinds need, one kind each in turn."""
        if self.num_processes == 1 or self._workers:
            return
        context = multiprocessing.get_context("spawn")
        self._passes = context.SimpleQueue()
        with _without_main():
            for number in range(self.num_processes):
                pool = ProcessPoolExecutor(1, mp_context=context, initializer=_prepare, initargs=(self._passes,))
                worker = _Worker(pool)
                self._workers.append(worker)
                if kinds:
                    worker.loaded.add(kinds[number % len(kinds)])
                pool.submit(_load, next(iter(worker.loaded), None))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def submit(
        self, call: Callable[..., Any], *, kind: Kind = "networks", seconds: float = math.inf, reports: bool = False
    ) -> int:
        """Queue a call; `results` makes it.

        Args:
            call: The call; it and its result must pickle.
            kind: What it needs to have loaded.
            seconds: What it will take, as far as that can be predicted.
            reports: Whether it takes `on_validation`, to be called with the steps of its current fit.

        Returns:
            The number of the call, from 0.
        """
        self._queue.append(_Queued(self._num_calls, call, kind, seconds, reports))
        self._num_calls += 1
        return self._num_calls - 1

    def results(self) -> Iterator[tuple[int, Any]]:
        """Make the queued calls, and those that are queued meanwhile.

        Yields:
            A call's number and its result, as calls end.

        Raises:
            ServiceError: A process died.
        """
        if self.num_processes == 1 or self.stays_here:
            while self._queue:
                yield from self._make_here(self._queue.popleft())
            return
        self.start()
        running: dict[Future[Any], tuple[int, _Worker]] = {}
        try:
            while running or self._queue:
                for worker in self._workers:
                    if not worker.is_busy and (queued := self._take_for(worker)):
                        worker.loaded.add(queued.kind)
                        running[worker.pool.submit(_make, queued)] = queued.number, worker
                        worker.is_busy = True
                # A wait without an end would not be interrupted by Ctrl-C.
                done, _ = wait(running, timeout=SECONDS_BETWEEN_CHECKS, return_when=FIRST_COMPLETED)
                for future in done:
                    number, worker = running.pop(future)
                    worker.is_busy = False
                    yield number, future.result()
        except BrokenProcessPool as error:
            lost = "a process of this forecast died, possibly because memory ran out; nothing is written"
            raise ServiceError(lost) from error

    def _make_here(self, queued: "_Queued") -> Iterator[tuple[int, Any]]:
        call = queued.call
        if queued.reports and self.on_validation is not None:
            call = partial(call, on_validation=partial(self.on_validation, queued.number))
        with _one_thread():
            result = call()
        yield queued.number, result

    def _take_for(self, worker: "_Worker") -> "_Queued | None":
        """Take the next call for a worker: one that it has loaded for, else one that no other has, else any.

        What others have loaded for is left to them where that takes no longer than loading it here.
        """
        elsewhere = {kind for other in self._workers if other is not worker for kind in other.loaded}
        left = {kind: sum(queued.seconds for queued in self._queue if queued.kind == kind) for kind in elsewhere}
        ranks = [
            (queued.kind not in worker.loaded, queued.kind in elsewhere, place)
            for place, queued in enumerate(self._queue)
            if queued.kind in worker.loaded or left.get(queued.kind, math.inf) > SECONDS_TO_LOAD
        ]
        if not ranks:
            return None
        *_, place = min(ranks)
        queued = self._queue[place]
        del self._queue[place]
        return queued

    def _listen(self) -> None:
        while True:
            try:
                reported = self._passes.get()
            except (EOFError, OSError):  # no process can write any more; the last message may be cut
                return
            if self.on_validation is not None:
                self.on_validation(*reported)


def start_crew(spec: "Spec", processes: int | None) -> Crew:
    """Return a crew whose processes load what a forecast needs while this process reads the data.

    Args:
        spec: What to forecast.
        processes: Processes to use; as many as this process may use cores where not given.

    Returns:
        The crew, to be entered as a context.
    """
    from forecasting.spec.recipes import configure

    crew = Crew(count_processes(processes))
    has_priors = any(member.start == "prior" for member in configure(spec).members)
    kinds: list[Kind] = ["networks"] if has_priors or spec.statistics == () else ["networks", "statistics"]
    crew.start(*kinds)
    return crew


class _Queued(NamedTuple):
    number: int
    call: Callable[..., Any]
    kind: Kind
    seconds: float
    reports: bool


@dataclass
class _Worker:
    """A pool of one process, so that a call can be given to the process that is ready for it."""

    pool: ProcessPoolExecutor
    loaded: set[Kind] = field(default_factory=set)
    is_busy: bool = False

    @property
    def processes(self) -> "set[BaseProcess]":
        return set((self.pool._processes or {}).values())


def run_on_crew(
    task: "ShardTask",
    panels: "Sequence[Panel]",
    on_shard: Callable[[int, int], None],
    *,
    crew: Crew,
    on_end: Callable[[int], None] | None = None,
) -> "list[ShardResult]":
    """Run a task over panels.

    Args:
        task: Trains and forecasts a panel; it must pickle.
        panels: The panels; where there are fewer of them than processes, they are cut.
        on_shard: Called with the series done and in all.
        crew: The processes.
        on_end: Called with a call's number when it is done.

    Returns:
        The results in the order of the series.

    Raises:
        ServiceError: A process died.
    """
    from forecasting.flow.outcome import spread

    panels = spread(panels, 1 if crew.stays_here else crew.num_processes)
    num_series, num_done = sum(len(panel.unique_ids) for panel in panels), 0
    on_shard(num_done, num_series)
    place_of = {crew.submit(partial(task, panel), reports=True): place for place, panel in enumerate(panels)}
    results: dict[int, ShardResult] = {}
    for number, result in crew.results():
        place = place_of[number]
        results[place] = result
        num_done += len(panels[place].unique_ids)
        if on_end is not None:
            on_end(number)
        on_shard(num_done, num_series)
    return [results[place] for place in range(len(panels))]


def call_on_crew(
    calls: Sequence[Callable[[], Result]], *, crew: Crew, on_done: Callable[[int, int], None] | None = None
) -> list[Result]:
    """Make calls.

    Args:
        calls: The calls, which must pickle.
        crew: The processes.
        on_done: Called with the calls done and in all.

    Returns:
        The results in the calls' order.

    Raises:
        ServiceError: A process died.
    """
    if on_done is not None:
        on_done(0, len(calls))
    place_of = {crew.submit(call): place for place, call in enumerate(calls)}
    results: dict[int, Result] = {}
    for number, result in crew.results():
        results[place_of[number]] = result
        if on_done is not None:
            on_done(len(results), len(calls))
    return [results[place] for place in range(len(calls))]


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


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not run the caller's script again.

    A spawned process imports `__main__` of its parent, so that a script without `if __name__ == "__main__"` would
    forecast in every worker. Workers need nothing from it: every call is defined in this package.
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
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = "1"


def _load(kind: Kind | None) -> None:
    """Import what calls of a kind need, while the parent reads the data."""
    if kind == "networks":
        from forecasting.flow import learn, shards  # noqa: F401
    elif kind == "statistics":
        from forecasting.classical.statistics import load_library
        from forecasting.flow import statistics_choice  # noqa: F401

        load_library()


def _make(queued: _Queued) -> Any:
    if queued.reports:
        return queued.call(on_validation=partial(_report_pass, queued.number))
    return queued.call()


def _report_pass(number: int, num_steps: int) -> None:
    _passes.put((number, num_steps))
