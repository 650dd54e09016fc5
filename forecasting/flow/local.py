"""Run a forecast on the cores of this machine, or on a Ray cluster, and show its progress."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import polars as pl

from forecasting.errors import ClusterError, naming_extras
from forecasting.fleet.options import FitOptions
from forecasting.flow import one_shot
from forecasting.flow.outcome import Keeps
from forecasting.flow.processes import Crew, call_on_crew, count_processes, run_on_crew
from forecasting.flow.progress import FitProgress
from forecasting.series.inputs import Input
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName

if TYPE_CHECKING:
    from forecasting.flow.one_shot import OneShot
    from forecasting.flow.outcome import ShardResult, ShardTask
    from forecasting.flow.predict import RunPredictions
    from forecasting.series.panel import Panel

RUNNERS = "fleetcast.runners"
"""Entry points that run a forecast elsewhere, with the signature of `forecast_here`."""


def forecast_here(
    spec: Spec,
    given: Input,
    *,
    cutoff: datetime | int | None = None,
    options: FitOptions = FitOptions(),
    keeps: Keeps = Keeps(),
    processes: int | None = None,
    progress: bool | None = None,
    crew: Crew | None = None,
) -> "OneShot":
    """Forecast every series of an input on the cores of this machine.

    Args:
        spec: What to forecast.
        given: The observations.
        cutoff: The last time that may be known; the newest period of most live series where not given.
        options: Where and how fits run.
        keeps: What is kept besides the forecasts.
        processes: Processes of one thread each; as many as there are cores where not given.
        progress: How progress is shown; see `FitProgress`.
        crew: Processes that have been started; others where not given, which start if the work is worth it.

    Returns:
        The forecasts, with the backtests, champions and data behind them.

    Raises:
        SourceError: Nothing can be read or forecast.
        ServiceError: A process died.
    """
    config = configure(spec)
    with FitProgress(is_shown=progress) as bar, contextlib.ExitStack() as stack:
        if crew is None:
            crew = stack.enter_context(Crew(count_processes(processes)))
        crew.on_validation, num_processes = bar.on_validation, crew.num_processes
        bar.expect(shard_size=None, num_fits=2 * len(spec.models) * len(config.members), max_steps=config.max_steps)

        def run(task: "ShardTask", panels: "Sequence[Panel]", on_shard: Any) -> "list[ShardResult]":
            num_series = sum(len(panel.unique_ids) for panel in panels)
            bar.expect(
                shard_size=-(-num_series // max(len(panels), num_processes)),
                num_fits=2 * len(spec.models) * len(config.members),
                max_steps=config.max_steps,
            )
            return run_on_crew(task, panels, on_shard, crew=crew, on_end=bar.on_end)

        return one_shot.forecast(
            spec,
            rows=given.scan(spec.clock, static=spec.static_columns),
            covariates=given.scan_covariates(spec.clock, spec.covariates.of_source, spec.covariates.tables),
            cutoff=cutoff,
            num_workers=num_processes,
            options=replace(options, show_progress=False),  # the bar here counts all fits
            keeps=keeps,
            on_shard=bar.on_shard,
            run_shards=run,
            run_calls=partial(call_on_crew, crew=crew, on_done=bar.on_prior),
            crew=crew,
            storage_options=given.storage_options,
        )


def forecast_on_ray(spec: Spec, given: Input, **options: Any) -> "OneShot":
    """Forecast every series of an input on the cluster of RAY_ADDRESS, or on a local Ray.

    Args:
        spec: What to forecast.
        given: The observations.
        **options: As those of `forecast_here`, without `processes` and `progress`.

    Returns:
        The forecasts, with the backtests, champions and data behind them.

    Raises:
        ClusterError: Ray or Fleetcast's workers are not installed, or the cluster cannot be used.
    """
    found = entry_points(group=RUNNERS, name="ray")
    if not found:
        raise ClusterError(
            f"a forecast on Ray needs the entry point {RUNNERS!r} of the package fleetcast, which is not installed"
        )
    with naming_extras(ClusterError):
        run: Any = next(iter(found)).load()
    # The pool prints its own progress; stdout stays free for what a script may read.
    with contextlib.redirect_stdout(sys.stderr):
        outcome: OneShot = run(spec, given, **options)
    return outcome


def find_problems(*, processes: Any, kernel: Any) -> list[str]:
    """Return what is wrong with arguments that set how work runs, one sentence for each."""
    problems = []
    is_number = isinstance(processes, (int, np.integer)) and not isinstance(processes, bool) and processes >= 1
    if processes is not None and not is_number:
        problems.append(f"processes = {processes!r}: must be a whole number of 1 or more")
    if kernel not in get_args(KernelName):
        problems.append(f"kernel = {kernel!r}: must be {', '.join(get_args(KernelName))}")
    return problems


def predict_here(*, num_series: int, processes: int | None, progress: bool | None) -> "RunPredictions":
    """Return a function that makes calls for predictions on the cores of this machine and shows their progress."""
    num_processes = 1 if num_series < one_shot.FEWEST_SERIES else count_processes(processes)

    def run(calls: Any) -> list[pl.DataFrame]:
        with FitProgress(is_shown=progress) as bar, Crew(num_processes) as crew:

            def count(num_done: int, num_calls: int) -> None:
                bar.on_shard(num_series * num_done // max(num_calls, 1), num_series)

            return call_on_crew(calls, crew=crew, on_done=count)

    return run
