"""Forecast every series of an input at once, without a store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

import numpy as np
import polars as pl

from forecasting.evaluate.conformal import find_factors
from forecasting.evaluate.dependence import find_correlations
from forecasting.fleet.cost.cost import TrainingCost, count_shards, prior_worker_bytes
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.fleet.options import FitOptions
from forecasting.fleet.plan import prior_series, required_length
from forecasting.flow.learn import Priors, PriorsByMember, members_with_prior, train_priors, train_shard
from forecasting.flow.shards import FittedShard, Keeps, ShardResult, backtest_shard, calibrate, predict_shard
from forecasting.flow.statistics_choice import CostWithStatistics
from forecasting.series.ingest import Ingested, ingest, panel_of, refuse_later_cutoff
from forecasting.series.panel import Panel
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName

MOST_BYTES = 2 << 30
"""Memory of a process that a shard may need, as far as it can be predicted."""

RunShards = Callable[["ShardTask", Sequence[Panel], Callable[[int, int], None]], Sequence[ShardResult]]
"""Runs a task over panels, reports series done and in all, and returns the results in the order of the series."""

RunCalls = Callable[[Sequence[Callable[[], Priors | None]]], Sequence[Priors | None]]
"""Makes calls, and returns their results in the calls' order."""


class ShardTask(Protocol):
    """A task that trains and forecasts the series of a panel; `on_validation` gets the steps at each validation."""

    def __call__(self, panel: Panel, *, on_validation: Callable[[int], None] | None = None) -> ShardResult:
        """Return the result of one shard."""
        ...


@dataclass(frozen=True)
class OneShot:
    """Everything that a forecast without a store returns, on the clock of the pipeline.

    Attributes:
        forecasts: Calibrated forecasts of every candidate, in the columns of that table.
        backtests: Scores at rolling origins.
        champions: The serving model of each series.
        rejects: Refused rows of the source.
        observations: Accepted rows up to the cutoff.
        features: The same on even grids.
        cutoff: The last time that was known.
        factors: Factors that intervals are stretched by (`evaluate.conformal`).
        correlations: Correlations that `sample_paths` draws by; without rows where none were kept.
        fitted: Serving networks of each shard, where they were kept.
        priors: Serving priors, where networks were kept, as files of weights.
    """

    forecasts: pl.DataFrame
    backtests: pl.DataFrame
    champions: pl.DataFrame
    rejects: pl.DataFrame
    observations: pl.DataFrame
    features: pl.DataFrame
    cutoff: datetime | int
    factors: pl.DataFrame
    correlations: pl.DataFrame
    fitted: tuple[FittedShard, ...] = ()
    priors: tuple[bytes, ...] = ()


def forecast(
    spec: Spec,
    *,
    rows: pl.LazyFrame | None = None,
    cutoff: datetime | int | None = None,
    shard_size: int | None = None,
    num_workers: int = 1,
    options: FitOptions = FitOptions(),
    keeps: Keeps = Keeps(),
    on_shard: Callable[[int, int], None] | None = None,
    run_shards: RunShards | None = None,
    run_calls: RunCalls | None = None,
) -> OneShot:
    """Forecast every series of a source without a store, in the same steps as the jobs, shard after shard.

    Args:
        spec: What to forecast.
        rows: Rows of `scan_source` or `scan_frame`; the spec's own source where not given.
        cutoff: The last time that may be known; the newest observation where not given.
        shard_size: Series per shard; where not given, as many as fit their work and `num_workers`, within
            `MOST_BYTES` each.
        num_workers: Workers that share the shards.
        options: Where and how fits run.
        keeps: What is kept besides the forecasts.
        on_shard: Called with the series done and in all.
        run_shards: Runs the shards; in this process, one after the other, where not given.
        run_calls: Trains the priors; in this process where not given.

    Returns:
        The forecasts, with the backtests, champions and data behind them.

    Raises:
        SourceError: Nothing can be read or forecast.
        SpecError: The cutoff lies after the newest measurement.
    """
    ingested = ingest(spec, cutoff=cutoff, rows=rows)
    refuse_later_cutoff(ingested, spec)
    unique_ids = ingested.unique_ids
    if shard_size is None:
        shard_size = suitable_size(spec, ingested.features, kernel=options.kernel, num_workers=num_workers)
    panels = [
        panel_of(ingested.features, spec, unique_ids[first : first + shard_size], run_cutoff=ingested.cutoff)
        for first in range(0, len(unique_ids), shard_size)
    ]
    priors = _train_priors(spec, ingested, options, run_calls or _make_calls_here)
    task = partial(run_shard, spec=spec, priors=priors, options=options, keeps=keeps)
    results = (run_shards or run_shards_here)(task, panels, on_shard or _ignore)
    factors = find_factors(pl.concat(result.ratios for result in results), horizon=spec.horizon)
    return OneShot(
        forecasts=calibrate(pl.concat(result.forecasts for result in results), factors, spec),
        backtests=pl.concat(result.backtests for result in results),
        champions=pl.concat(result.champions for result in results),
        rejects=ingested.rejects,
        observations=ingested.observations,
        features=ingested.features,
        cutoff=ingested.cutoff,
        factors=factors,
        correlations=find_correlations((result.products for result in results), horizon=spec.horizon),
        fitted=tuple(result.fitted for result in results if result.fitted is not None),
        priors=tuple(each.serving.to_bytes() for each in priors.values()) if keeps.networks else (),
    )


def suitable_size(spec: Spec, features: pl.DataFrame, *, kernel: KernelName = "auto", num_workers: int = 1) -> int:
    """Return the number of series per shard that balances work, fixed costs and memory on `num_workers` workers."""
    training = TrainingCost(
        sizes_of(spec, spec.models, kernel=kernel), required_length(configure(spec), horizon=spec.horizon)
    )
    cost = CostWithStatistics(training, spec, num_fits=spec.backtest.origins + 1)
    lengths = features.group_by("unique_id").len()["len"].to_list() or [0]
    seconds = sum(map(cost.series_seconds, lengths))
    size = -(-len(lengths) // count_shards(seconds, cost, num_series=len(lengths), num_workers=num_workers))
    while size > 1 and cost.worker_bytes(size, max(lengths), size * max(lengths)) > MOST_BYTES:
        size //= 2
    return size


def run_shards_here(
    task: ShardTask, panels: Sequence[Panel], on_shard: Callable[[int, int], None]
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


def run_shard(
    panel: Panel,
    *,
    spec: Spec,
    priors: PriorsByMember,
    options: FitOptions = FitOptions(),
    keeps: Keeps = Keeps(),
    on_validation: Callable[[int], None] | None = None,
) -> ShardResult:
    """Train, backtest, choose and forecast one shard.

    Args:
        panel: The series of the shard.
        spec: What to forecast.
        priors: Priors by network and member.
        options: Where and how fits run.
        keeps: What is kept besides the forecasts.
        on_validation: Called with the optimiser steps of the current fit at each validation pass.

    Returns:
        The shard's result; its forecasts are not calibrated yet.
    """
    if on_validation is not None:
        options = replace(options, on_validation=on_validation)
    fleets = train_shard(panel, spec, networks=spec.models, priors=priors, options=options)
    candidates = [fleet for fleet in fleets if fleet.role == "candidate"]
    serving = [fleet for fleet in fleets if fleet.role == "serving"]
    backtested = backtest_shard(
        panel, spec, candidates, networks=spec.models, kernel=options.kernel, keeps_correlations=keeps.correlations
    )
    champions = backtested.champions
    forecasts = predict_shard(panel, spec, serving, champions, networks=spec.models, kernel=options.kernel)
    fitted = None
    if keeps.networks:
        fitted = FittedShard(panel.unique_ids, tuple(fleet.to_bytes() for fleet in serving))
    return ShardResult(forecasts, *backtested, fitted)


def _train_priors(spec: Spec, ingested: Ingested, options: FitOptions, run_calls: RunCalls) -> PriorsByMember:
    members = members_with_prior(spec, spec.models)
    if not members:
        return {}
    lengths = dict(ingested.features.group_by("unique_id").len().iter_rows())
    sizes = sizes_of(spec, spec.models, kernel=options.kernel)
    names = prior_series(
        {name: lengths.get(name, 0) for name in ingested.unique_ids},
        fits=lambda *wanted: prior_worker_bytes(sizes, *wanted) <= MOST_BYTES,
    )
    panel = panel_of(ingested.features, spec, names, run_cutoff=ingested.cutoff)
    calls = [partial(train_priors, panel, spec, network, member, options=options) for network, member in members]
    trained = zip(members, run_calls(calls), strict=True)
    return {member: priors for member, priors in trained if priors is not None}


def _make_calls_here(calls: Sequence[Callable[[], Priors | None]]) -> list[Priors | None]:
    return [call() for call in calls]


def _ignore(num_done: int, num_series: int) -> None:
    pass
