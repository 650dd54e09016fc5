"""The calls of a one-shot forecast that processes make: priors, members, statistical models, and whole shards.

The module does not import torch; the calls do when they are made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from forecasting.evaluate.backtest import Forecaster
from forecasting.fleet.options import FitOptions
from forecasting.flow.fleet_trees import FleetTrees, fit_fleet_trees
from forecasting.flow.members import MemberKey, origins_of
from forecasting.flow.outcome import FittedShard, Keeps, PriorFiles, ShardResult
from forecasting.flow.statistics_choice import StatisticsAhead, forecast_statistics_ahead, known_forecasters
from forecasting.series.panel import Panel
from forecasting.spec.spec import Spec

if TYPE_CHECKING:
    from forecasting.fleet.fitted import FittedFleet

OnValidation = Callable[[int], None]


def fit_priors(panel: Panel, spec: Spec, member: MemberKey, options: FitOptions) -> PriorFiles | None:
    """Train the priors of one member.

    Args:
        panel: Series to train on.
        spec: What to forecast.
        member: The member.
        options: How to train.

    Returns:
        Both priors; None where no series can be trained on.
    """
    from forecasting.flow.learn import train_priors

    trained = train_priors(panel, spec, member.model, member.number, options=options)
    return None if trained is None else PriorFiles(trained.candidate.to_bytes(), trained.serving.to_bytes())


def fit_member(
    panel: Panel,
    spec: Spec,
    member: MemberKey,
    priors: PriorFiles | None,
    options: FitOptions,
    *,
    on_validation: OnValidation | None = None,
) -> tuple[bytes, ...]:
    """Train one member of a network for every series.

    Args:
        panel: The series.
        spec: What to forecast.
        member: The member.
        priors: What it begins from, if it begins from a prior.
        options: How to train.
        on_validation: Called with the optimiser steps of the current fit at each validation pass.

    Returns:
        Candidates and serving networks, as files.
    """
    from forecasting.flow.learn import Priors, train_member

    read = None if priors is None else Priors.from_files(priors)
    fleets = train_member(
        panel, spec, member.model, member.number, priors=read, options=_report_to(on_validation, options)
    )
    return tuple(fleet.to_bytes() for fleet in fleets)


class FittedStatistics(NamedTuple):
    """Forecasts of statistical models and regressions, and the trees that some of them are by."""

    ahead: StatisticsAhead
    trees: PriorFiles | None


def fit_statistics(panel: Panel, spec: Spec, of_trees: Panel | None) -> FittedStatistics:
    """Forecast with the statistical models of every series, at each origin of the backtests and after the cutoff.

    Args:
        panel: The series.
        spec: What to forecast.
        of_trees: The series that trees are fitted to; None where the spec has none.

    Returns:
        The forecasts.
    """
    trees = None if of_trees is None else fit_fleet_trees(of_trees, spec)
    ahead = forecast_statistics_ahead(panel, spec, origins_of(panel, spec), trees)
    return FittedStatistics(ahead, None if trees is None else trees.to_files())


def finish_shard(
    panel: Panel,
    spec: Spec,
    fleets: Sequence[bytes],
    statistics: FittedStatistics,
    options: FitOptions,
    keeps: Keeps,
) -> ShardResult:
    """Backtest, choose and forecast series whose networks and statistical models are fitted.

    Args:
        panel: The series.
        spec: What to forecast.
        fleets: Candidates and serving networks, as files.
        statistics: Forecasts of the statistical models, and the trees.
        options: Where forecasts run.
        keeps: What is kept besides the forecasts.

    Returns:
        The shard's result; its forecasts are not calibrated yet.
    """
    from forecasting.fleet.fitted import FittedFleet

    read = [FittedFleet.from_bytes(content) for content in fleets]
    return _finish(panel, spec, read, options, keeps, known_forecasters(statistics.ahead), statistics.trees)


def run_shard(
    panel: Panel,
    *,
    spec: Spec,
    priors: Mapping[MemberKey, PriorFiles],
    trees: PriorFiles | None = None,
    options: FitOptions = FitOptions(),
    keeps: Keeps = Keeps(),
    on_validation: OnValidation | None = None,
) -> ShardResult:
    """Train, backtest, choose and forecast one shard.

    Args:
        panel: The series of the shard.
        spec: What to forecast.
        priors: Priors by member.
        trees: The trees of the fleet, where the spec has some.
        options: How to train.
        keeps: What is kept besides the forecasts.
        on_validation: Called with the optimiser steps of the current fit at each validation pass.

    Returns:
        The shard's result; its forecasts are not calibrated yet.
    """
    from forecasting.flow.learn import Priors, train_shard

    read = {member: Priors.from_files(files) for member, files in priors.items()}
    options = _report_to(on_validation, options)
    fleets = train_shard(panel, spec, networks=spec.models, priors=read, options=options)
    return _finish(panel, spec, fleets, options, keeps, None, trees)


def _finish(
    panel: Panel,
    spec: Spec,
    fleets: Sequence["FittedFleet"],
    options: FitOptions,
    keeps: Keeps,
    statistics: Mapping[str, Forecaster] | None,
    trees: PriorFiles | None,
) -> ShardResult:
    from forecasting.flow.shards import backtest_shard, predict_shard

    candidates = [fleet for fleet in fleets if fleet.role == "candidate"]
    serving = [fleet for fleet in fleets if fleet.role == "serving"]
    of_fleet = None if trees is None else FleetTrees.from_files(trees)
    backtested = backtest_shard(
        panel,
        spec,
        candidates,
        networks=spec.models,
        statistics=statistics,
        trees=of_fleet and of_fleet.candidate,
        kernel=options.kernel,
        keeps_correlations=keeps.correlations,
    )
    forecasts = predict_shard(
        panel,
        spec,
        serving,
        backtested.champions,
        networks=spec.models,
        statistics=statistics,
        trees=of_fleet and of_fleet.serving,
        kernel=options.kernel,
    )
    fitted = None
    if keeps.networks:
        fitted = FittedShard(panel.unique_ids, tuple(fleet.to_bytes() for fleet in serving))
    return ShardResult(forecasts, *backtested, fitted)


def _report_to(on_validation: OnValidation | None, options: FitOptions) -> FitOptions:
    return options if on_validation is None else replace(options, on_validation=on_validation)
