"""Shards of a one-shot forecast over the cores of this machine: one process per core, each with one thread.

Small networks gain nothing from several threads in one process: the threads wait for each other at every operation,
and on a busy machine they stall.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from forecasting.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess

    from forecasting.flow.shards import ShardResult
    from forecasting.series.panel import Panel

Result = TypeVar("Result")

FEWEST_SERIES = 16
"""Fewer series are done in this process before others have started and loaded torch."""
SECONDS_TO_END = 5

_looks: Any = None
"""In a worker process: where it tells its looks at validation."""


def run_on_processes(
    task: "Callable[[Panel], ShardResult]",
    panels: "Sequence[Panel]",
    on_shard: Callable[[int, int], None],
    *,
    num_processes: int,
    on_validation: Callable[[int, int], None] | None = None,
    on_end: Callable[[int], None] | None = None,
) -> "list[ShardResult]":
    """Run a task over panels on so many processes; results come back in the order of the series.

    `task` is a partial of `one_shot.run_shard` and must pickle. `on_validation` gets, from a thread of its
    own, a shard's number and the optimiser steps of its current fit at each validation pass; `on_end` its number
    when it is done. Fewer than `FEWEST_SERIES` series run in this process. Raises ServiceError where a process dies.
    No process is left behind, whatever happens.
    """
    from forecasting.flow.one_shot import spread

    num_series, num_done = sum(len(panel.unique_ids) for panel in panels), 0
    if num_processes == 1 or num_series < FEWEST_SERIES:
        return _run_here(task, panels, on_shard, on_validation, on_end)
    on_shard(num_done, num_series)
    panels = spread(panels, num_processes)
    looks = multiprocessing.get_context("spawn").SimpleQueue()
    results: dict[int, ShardResult] = {}
    with _listen(looks, on_validation):
        jobs = [partial(_run_one, task, panel, number) for number, panel in enumerate(panels)]
        for number, result in _run_in_pool(jobs, num_processes, looks):
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
    """Make calls, which must pickle, on so many processes; results come back in the calls' order.

    `on_done` is told the calls done and in all. Raises ServiceError where a process dies, and leaves none behind.
    """
    on_done(0, len(calls))
    results: dict[int, Result] = {}
    if num_processes == 1 or len(calls) == 1:
        import torch

        torch.set_num_threads(1)
        made: Iterator[tuple[int, Result]] = ((number, call()) for number, call in enumerate(calls))
    else:
        made = _run_in_pool(calls, num_processes, None)
    for number, result in made:
        results[number] = result
        on_done(len(results), len(calls))
    return [results[number] for number in range(len(calls))]


def _run_in_pool(
    jobs: Sequence[Callable[[], Result]], num_processes: int, looks: Any
) -> "Iterator[tuple[int, Result]]":
    """Yield jobs' numbers and results as they end."""
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(num_processes, len(jobs)), mp_context=context, initializer=_prepare, initargs=(looks,)
    ) as pool:
        futures = {pool.submit(job): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException as error:
            _end(set(multiprocessing.active_children()) - others)
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                lost = "a process of this forecast died, perhaps for want of memory; nothing is written"
                raise ServiceError(lost) from error
            raise


def _end(processes: "set[BaseProcess]") -> None:
    """End processes and wait for their end: first asked, then killed."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(SECONDS_TO_END)
        if process.is_alive():
            process.kill()
            process.join(SECONDS_TO_END)


def _run_here(
    task: Any,
    panels: "Sequence[Panel]",
    on_shard: Callable[[int, int], None],
    on_validation: Callable[[int, int], None] | None,
    on_end: Callable[[int], None] | None,
) -> "list[ShardResult]":
    import torch

    from forecasting.flow.one_shot import run_shards_here

    torch.set_num_threads(1)
    if on_validation is not None:
        task = partial(task, options=replace(task.keywords["options"], on_validation=partial(on_validation, 0)))

    def count(num_done: int, num_series: int) -> None:
        if on_end is not None:
            on_end(0)
        on_shard(num_done, num_series)

    return run_shards_here(task, panels, count)


def _prepare(looks: Any) -> None:
    """Set up a worker process before it imports anything that starts threads."""
    global _looks
    _looks = looks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    os.environ["OMP_NUM_THREADS"] = os.environ["POLARS_MAX_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _run_one(task: Any, panel: "Panel", number: int) -> "ShardResult":
    options = replace(task.keywords["options"], on_validation=partial(_tell_look, number))
    result: ShardResult = partial(task, options=options)(panel)
    return result


def _tell_look(number: int, num_steps: int) -> None:
    _looks.put((number, num_steps))


@contextmanager
def _listen(looks: Any, on_validation: Callable[[int, int], None] | None) -> "Iterator[None]":
    def drain() -> None:
        while (told := looks.get()) is not None:
            if on_validation is not None:
                on_validation(*told)

    listener = threading.Thread(target=drain, daemon=True)
    listener.start()
    try:
        yield
    finally:
        looks.put(None)
        listener.join(timeout=5)
