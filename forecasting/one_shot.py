"""A forecast without a store: a spec in; forecasts of every series, backtests, champions and rejects out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
import polars as pl

from forecasting.fleet.options import FitOptions
from forecasting.ingest import ingest, panel_of
from forecasting.pipeline import backtest_shard, predict_shard, train_shard
from forecasting.series.panel import Panel
from forecasting.spec import Spec

ShardResult = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
"""Forecasts, backtests and champions of one shard."""

RunShards = Callable[
    [Callable[[Panel], ShardResult], Sequence[Panel], Callable[[int, int], None]], Sequence[ShardResult]
]
"""Runs a task over panels, tells the series done and in all, and returns the results in the panels' order."""


@dataclass(frozen=True)
class OneShot:
    """What a forecast without a store leaves: forecasts of every candidate, backtests, champions and rejects."""

    forecasts: pl.DataFrame
    backtests: pl.DataFrame
    champions: pl.DataFrame
    rejects: pl.DataFrame


def forecast(
    spec: Spec,
    *,
    cutoff: datetime | int | None = None,
    shard_size: int = 32,
    options: FitOptions = FitOptions(),
    on_shard: Callable[[int, int], None] | None = None,
    run_shards: RunShards | None = None,
) -> OneShot:
    """Forecast every series of a source at once, without a store: the same steps as the jobs, shard after shard.

    `on_shard` is told the series done and the series in all; `run_shards` runs shards elsewhere than in this process.
    """
    ingested = ingest(spec, cutoff=cutoff)
    unique_ids = ingested.unique_ids
    panels = [
        panel_of(ingested.features, spec, unique_ids[first : first + shard_size], run_cutoff=ingested.cutoff)
        for first in range(0, len(unique_ids), shard_size)
    ]
    run = run_shards or run_shards_here
    results = run(partial(forecast_shard, spec=spec, options=options), panels, on_shard or _tell_nobody)
    forecasts, backtests, champions = (pl.concat(frames) for frames in zip(*results, strict=True))
    return OneShot(forecasts, backtests, champions, ingested.rejects)


def run_shards_here(
    task: Callable[[Panel], ShardResult], panels: Sequence[Panel], on_shard: Callable[[int, int], None]
) -> list[ShardResult]:
    """Run shards one after the other in this process."""
    num_series, num_done, results = sum(len(panel.unique_ids) for panel in panels), 0, []
    on_shard(num_done, num_series)
    for panel in panels:
        results.append(task(panel))
        num_done += len(panel.unique_ids)
        on_shard(num_done, num_series)
    return results


def spread(panels: Sequence[Panel], num_workers: int) -> list[Panel]:
    """Cut panels where there are fewer of them than workers; the series keep their order."""
    num_parts = -(-num_workers // max(1, len(panels)))
    return [
        panel.select(part)
        for panel in panels
        for part in np.array_split(np.arange(len(panel.unique_ids)), min(num_parts, len(panel.unique_ids)))
    ]


def forecast_shard(panel: Panel, *, spec: Spec, options: FitOptions = FitOptions()) -> ShardResult:
    """Train, backtest, choose and forecast one shard; returns its forecasts, backtests and champions."""
    fleets = train_shard(panel, spec, networks=spec.models, options=options)
    candidates = [fleet for fleet in fleets if fleet.role == "candidate"]
    serving = [fleet for fleet in fleets if fleet.role == "serving"]
    backtests, champions = backtest_shard(panel, spec, candidates, networks=spec.models, kernel=options.kernel)
    forecasts = predict_shard(panel, spec, serving, champions, networks=spec.models, kernel=options.kernel)
    return forecasts, backtests, champions


def _tell_nobody(num_done: int, num_series: int) -> None:
    pass
