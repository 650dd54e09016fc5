"""The cluster side of `fleetcast forecast --ray`: a spec goes in; its forecasts, computed on Ray actors, come out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ray

from forecasting.fleet.options import FitOptions
from forecasting.flow import one_shot
from forecasting.flow.learn import Priors
from forecasting.flow.one_shot import OneShot
from forecasting.flow.shards import ShardResult
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec
from workers.cluster.local_ray import local_ray
from workers.cluster.pool import plan_resources, run_shards
from workers.cluster.shards import Shard
from workers.settings import WorkerSettings


def forecast_on_ray(
    spec: Spec,
    *,
    cutoff: datetime | int | None = None,
    options: FitOptions = FitOptions(),
    on_shard: Callable[[int, int], None] | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> OneShot:
    """Do what `one_shot.forecast` does with its shards spread over the cluster of RAY_ADDRESS, or over a local Ray.

    `on_shard` is told the series done and in all. Raises ClusterError where Ray cannot be reached or a shard keeps
    failing, and whatever `one_shot.forecast` raises.
    """
    settings = WorkerSettings.load()
    with local_ray():
        return one_shot.forecast(
            spec,
            cutoff=cutoff,
            shard_size=settings.shard_size,
            num_workers=plan_resources(settings).num_workers,
            options=options,
            on_shard=on_shard,
            run_shards=_run_on_actors,
            run_calls=_call_on_actors,
            storage_options=storage_options,
        )


def _run_on_actors(
    task: Callable[[Panel], ShardResult], panels: Sequence[Panel], on_shard: Callable[[int, int], None]
) -> list[ShardResult]:
    resources = plan_resources(WorkerSettings.load())
    panels = one_shot.spread(panels, resources.num_workers)
    shards = [
        _PanelShard(n, panel.unique_ids, int(panel.length_S.sum()), ray.put(panel)) for n, panel in enumerate(panels)
    ]
    num_series = sum(len(shard.unique_ids) for shard in shards)
    num_done = 0

    def count(shard: Shard, status: Mapping[str, Any]) -> None:
        nonlocal num_done
        num_done += len(shard.unique_ids)
        on_shard(num_done, num_series)

    statuses = run_shards(_PanelTask(task), shards, name="forecast", resources=resources, on_done=count)
    return [status["result"] for status in statuses]


def _call_on_actors(calls: Sequence[Callable[[], Priors | None]]) -> list[Priors | None]:
    shards = [_Call(number, ("",), 0, ray.put(call)) for number, call in enumerate(calls)]
    resources = plan_resources(WorkerSettings.load())
    return [
        status["result"]
        for status in run_shards(_make_call, shards, name="forecast", resources=resources, unit="priors")
    ]


@dataclass(frozen=True)
class _Call(Shard):
    """Names what is to be called in Ray's object store."""

    call: Any

    def __str__(self) -> str:
        return f"prior {self.number}"


def _make_call(shard: Shard) -> Mapping[str, Any]:
    assert isinstance(shard, _Call)
    return {"result": ray.get(shard.call)()}


@dataclass(frozen=True)
class _PanelShard(Shard):
    """Names its panel in Ray's object store, and travels with each call.

    References in the constructor of an actor may be gone when it is restarted, and Ray warns of them.
    """

    panel: Any


@dataclass(frozen=True)
class _PanelTask:
    """Fetches a shard's panel from Ray's object store, so that each panel travels to one actor only."""

    task: Callable[[Panel], ShardResult]

    def __call__(self, shard: Shard) -> Mapping[str, Any]:
        assert isinstance(shard, _PanelShard)
        return {"result": self.task(ray.get(shard.panel))}
