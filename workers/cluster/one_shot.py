"""The cluster side of `fleetcast forecast --ray`: a forecast without a store, computed on Ray actors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic

import ray

from forecasting.fleet.options import FitOptions
from forecasting.flow import one_shot
from forecasting.flow.one_shot import OneShot
from forecasting.flow.outcome import Keeps, PriorFiles, ShardResult, spread
from forecasting.series.inputs import Input
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec
from workers.cluster.local_ray import local_ray
from workers.cluster.pool import plan_resources, run_units
from workers.cluster.worker import Result
from workers.settings import WorkerSettings


def forecast_on_ray(
    spec: Spec,
    given: Input,
    *,
    cutoff: datetime | int | None = None,
    options: FitOptions = FitOptions(),
    keeps: Keeps = Keeps(),
    on_shard: Callable[[int, int], None] | None = None,
) -> OneShot:
    """Forecast every series of an input on the cluster of RAY_ADDRESS, or on a local Ray without one.

    Args:
        spec: What to forecast.
        given: The observations.
        cutoff: The last `ds` that the forecast may know; the newest observation by default.
        options: How networks are fitted.
        keeps: What is kept besides the forecasts.
        on_shard: Called with the number of series that are done and of all series.

    Returns:
        What `one_shot.forecast` returns.

    Raises:
        ClusterError: Ray cannot be reached, or a shard keeps failing.
        FleetcastError: `one_shot.forecast` raised it.
    """
    settings = WorkerSettings.load()
    with local_ray():
        return one_shot.forecast(
            spec,
            rows=given.scan(spec.clock, static=spec.static_columns),
            covariates=given.scan_covariates(spec.clock, spec.covariates.of_source, spec.covariates.tables),
            cutoff=cutoff,
            shard_size=settings.shard_size,
            num_workers=plan_resources(settings).num_workers,
            options=options,
            keeps=keeps,
            on_shard=on_shard,
            run_shards=_run_on_actors,
            run_calls=_call_on_actors,
            storage_options=given.storage_options,
        )


def _run_on_actors(
    task: Callable[[Panel], ShardResult], panels: Sequence[Panel], on_shard: Callable[[int, int], None]
) -> list[ShardResult]:
    resources = plan_resources(WorkerSettings.load())
    panels = spread(panels, resources.num_workers)
    units = [_PanelUnit(number, len(panel.unique_ids), ray.put(panel)) for number, panel in enumerate(panels)]
    num_series = sum(unit.size for unit in units)
    num_done = 0

    def count(unit: _PanelUnit, result: ShardResult) -> None:
        nonlocal num_done
        num_done += unit.size
        on_shard(num_done, num_series)

    return run_units(_PanelTask(task), units, name="forecast", resources=resources, on_done=count)


def _call_on_actors(calls: Sequence[Callable[[], PriorFiles | None]]) -> list[PriorFiles | None]:
    units = [_PriorCall(number, ray.put(call)) for number, call in enumerate(calls)]
    resources = plan_resources(WorkerSettings.load())
    return run_units(_make_call, units, name="forecast", resources=resources, noun="priors")


@dataclass(frozen=True)
class _PriorCall:
    """The training of one prior; `call` refers to it in Ray's object store."""

    number: int
    call: Any
    size: int = 1

    @property
    def description(self) -> str:
        return f"prior {self.number}"


def _make_call(unit: _PriorCall) -> PriorFiles | None:
    result: PriorFiles | None = ray.get(unit.call)()
    return result


@dataclass(frozen=True)
class _PanelUnit:
    """One shard; `panel` refers to its panel in Ray's object store.

    The reference travels with each call: references in the constructor of an actor may be gone when it is restarted,
    and Ray warns of them.
    """

    number: int
    size: int
    panel: Any

    @property
    def description(self) -> str:
        return f"shard {self.number} ({self.size} series)"


@dataclass(frozen=True)
class _PanelTask(Generic[Result]):
    """Fetches a shard's panel from Ray's object store, so that each panel travels to one actor only."""

    task: Callable[[Panel], Result]

    def __call__(self, unit: _PanelUnit) -> Result:
        return self.task(ray.get(unit.panel))
