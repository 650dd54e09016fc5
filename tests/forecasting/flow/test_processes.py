import multiprocessing
import os
import threading
import time
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from forecasting.errors import ServiceError
from forecasting.flow import processes
from forecasting.flow.processes import Crew, run_on_crew
from forecasting.series.panel import Panel


def panel_of(*names: str) -> Panel:
    ds_SN = np.repeat(np.arange(12)[None], len(names), axis=0)
    calendar_SNC = np.zeros((*ds_SN.shape, 0), np.float32)
    return Panel(names, np.ones((len(names), 10)), np.full(len(names), 10), calendar_SNC, ds_SN, 2)


def describe(panel: Panel, *, on_validation: Callable[[int], None] | None = None) -> pl.DataFrame:
    assert on_validation is not None
    on_validation(len(panel.unique_ids))
    import torch

    return pl.DataFrame({"unique_id": panel.unique_ids, "pid": os.getpid(), "threads": torch.get_num_threads()})


def die(panel: Panel, *, on_validation: Callable[[int], None] | None = None) -> pl.DataFrame:
    os._exit(9)


def die_while_reporting(panel: Panel, *, on_validation: Callable[[int], None] | None = None) -> pl.DataFrame:
    processes._passes._wlock.acquire()
    os._exit(9)


def refuse(panel: Panel, *, on_validation: Callable[[int], None] | None = None) -> pl.DataFrame:
    raise ValueError(panel.unique_ids[0])


@pytest.fixture
def run() -> Callable[..., list[pl.DataFrame]]:
    def run(task: Callable[..., pl.DataFrame], panels: list[Panel], **options: object) -> list[pl.DataFrame]:
        counts, on_validation = options.pop("counts", []), options.pop("on_validation", None)
        with Crew(options.pop("num_processes", 2), on_validation=on_validation) as crew:  # type: ignore[arg-type]
            return run_on_crew(
                task,  # type: ignore[arg-type]
                panels,
                lambda *each: counts.append(each),  # type: ignore[attr-defined]
                crew=crew,
            )

    return run


def test_one_large_shard_is_shared_by_single_threaded_processes_and_keeps_its_order(run: Callable) -> None:
    counts: list[tuple[int, int]] = []
    passes: list[tuple[int, int]] = []
    panels = [panel_of("c", "a", "b")]
    results = run(describe, panels, counts=counts, on_validation=lambda *each: passes.append(each))
    together = pl.concat(results)
    assert together["unique_id"].to_list() == ["c", "a", "b"]
    assert together["threads"].unique().to_list() == [1]
    assert os.getpid() not in together["pid"].to_list()
    assert counts[0] == (0, 3)
    assert counts[-1] == (3, 3)
    assert sorted(passes) == [(0, 2), (1, 1)]


def test_a_process_that_dies_is_reported_and_leaves_nothing_behind(run: Callable) -> None:
    with pytest.raises(ServiceError, match="a process of this forecast died"):
        run(die, [panel_of("a"), panel_of("b")])
    deadline = time.monotonic() + 10  # the pool's own thread may be about to note an end that it has awaited
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


def test_a_process_that_dies_while_it_reports_does_not_block_the_end(run: Callable) -> None:
    errors: list[ServiceError] = []

    def end() -> None:
        with pytest.raises(ServiceError) as error:
            run(die_while_reporting, [panel_of("a"), panel_of("b")])
        errors.append(error.value)

    caller = threading.Thread(target=end, daemon=True)
    caller.start()
    caller.join(timeout=60)
    assert errors


def test_processes_of_others_are_left_alone(run: Callable) -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        with pytest.raises(ServiceError):
            run(die, [panel_of("a"), panel_of("b")])
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def test_an_error_in_a_shard_is_raised_as_it_is(run: Callable) -> None:
    with pytest.raises(ValueError, match="a"):
        run(refuse, [panel_of("a")])


def test_a_single_process_is_this_one(run: Callable) -> None:
    counts: list[tuple[int, int]] = []
    passes: list[tuple[int, int]] = []
    panels = [panel_of("a", "b")]
    (result,) = run(describe, panels, num_processes=1, counts=counts, on_validation=lambda *each: passes.append(each))
    assert result["pid"].unique().to_list() == [os.getpid()]
    assert (counts, passes) == ([(0, 2), (2, 2)], [(0, 2)])


def name_process() -> int:
    time.sleep(0.2)  # long enough for the other process to be asked too
    return os.getpid()


def test_processes_stay_and_get_the_calls_that_they_have_loaded_for() -> None:
    with Crew(2) as crew:
        crew.start("networks", "statistics")
        first, second = crew.submit(name_process, kind="statistics"), crew.submit(name_process)
        before = dict(crew.results())
        assert before[first] != before[second]
        later = [crew.submit(name_process), crew.submit(name_process, kind="statistics")]
        after = dict(crew.results())
    assert [after[number] for number in later] == [before[second], before[first]]
    assert not multiprocessing.active_children()


def test_calls_may_be_queued_while_others_run() -> None:
    with Crew(2) as crew:
        crew.submit(name_process)
        numbers = []
        for number, _ in crew.results():
            numbers.append(number)
            if len(numbers) < 3:
                crew.submit(name_process)
    assert numbers == [0, 1, 2]


def test_a_crew_that_stays_here_starts_no_process() -> None:
    with Crew(2) as crew:
        crew.stays_here = True
        crew.submit(os.getpid)
        assert dict(crew.results()) == {0: os.getpid()}
        assert not crew.has_started
