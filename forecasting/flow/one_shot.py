"""Forecast every series of an input at once, without a store."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import polars as pl

from forecasting.classical.trees import check_installed
from forecasting.errors import DataWarning
from forecasting.evaluate.conformal import find_factors
from forecasting.evaluate.dependence import find_correlations
from forecasting.fleet.cost.cost import TrainingCost, count_shards, prior_worker_bytes
from forecasting.fleet.cost.pace import prior_seconds
from forecasting.fleet.cost.sizes import sizes_of
from forecasting.fleet.options import FitOptions
from forecasting.fleet.plan import prior_series, required_length
from forecasting.flow.admissible import calibrate
from forecasting.flow.calls import finish_shard, fit_member, fit_priors, fit_statistics, run_shard
from forecasting.flow.covariate_use import check_regressions, describe_short
from forecasting.flow.fleet_trees import NOT_FITTED, fit_tree_files, series_of_trees
from forecasting.flow.forecast_checks import mark_failing
from forecasting.flow.members import MemberKey, members_of, members_with_prior
from forecasting.flow.outcome import FittedShard, Keeps, PriorFiles, ShardResult, ShardTask
from forecasting.flow.processes import SECONDS_TO_LOAD, Crew
from forecasting.flow.statistics_choice import CostWithStatistics, statistics_seconds
from forecasting.series.budget import RowCounts, mark_unserved
from forecasting.series.checks import check_measurements
from forecasting.series.covariate_tables import JoinedTable
from forecasting.series.covariates import CovariateRows
from forecasting.series.freshness import current_time
from forecasting.series.ingest import Ingested, ingest, later_observations, panel_of
from forecasting.series.lost import describe_lost
from forecasting.series.panel import Panel
from forecasting.series.verdicts import describe_warnings, join_verdicts, no_verdicts
from forecasting.series.zone import clock_of_rows, clock_zone
from forecasting.spec.checks import FreshnessCheck
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from forecasting.spec.training import KernelName

MOST_BYTES = 2 << 30
"""Memory of a process that a shard may need, as far as it can be predicted."""

RunShards = Callable[["ShardTask", Sequence[Panel], Callable[[int, int], None]], Sequence[ShardResult]]
"""Runs a task over panels, reports series done and in all, and returns the results in the order of the series."""

RunCalls = Callable[[Sequence[Callable[[], PriorFiles | None]]], Sequence[PriorFiles | None]]
"""Makes calls, and returns their results in the calls' order."""

FEWEST_SERIES = 16
"""With fewer series, processes share the members of their networks instead of the series."""
WORTH_PROCESSES = 3
"""Times that the work on few series takes longer than loading libraries, for processes to be started for it."""


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
        trees: The serving trees, where networks were kept, as a file; None where the spec has none.
        counts: What became of the rows of the source; None of a loaded fleet.
        set_aside: Why a series was not forecast, by its name. Its rows are among the observations only if a check, and
            not refused rows, set it aside.
        ended: Why another series was not forecast, by its name: it has ended.
        later: Accepted rows after a cutoff that nobody requested, where networks were kept.
        checks: The verdicts of the spec's checks.
        usual_rows: How many rows the periods of a series usually have, where rows are aggregated.
        covariates: Values of covariates before and after the cutoff, where networks were kept; None without any.
        tables: Values of tables of covariates, where networks were kept.
        joined: A line about the rows of each table of covariates.
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
    trees: bytes | None = None
    counts: RowCounts | None = None
    set_aside: Mapping[str, str] = field(default_factory=dict)
    ended: Mapping[str, str] = field(default_factory=dict)
    later: pl.DataFrame | None = None
    checks: pl.DataFrame = field(default_factory=no_verdicts)
    usual_rows: Mapping[str, float] = field(default_factory=dict)
    covariates: pl.DataFrame | None = None
    tables: tuple[JoinedTable, ...] = ()
    joined: tuple[str, ...] = ()


def forecast(
    spec: Spec,
    *,
    rows: pl.LazyFrame | None = None,
    covariates: CovariateRows | None = None,
    cutoff: datetime | int | None = None,
    shard_size: int | None = None,
    num_workers: int = 1,
    options: FitOptions = FitOptions(),
    keeps: Keeps = Keeps(),
    on_shard: Callable[[int, int], None] | None = None,
    run_shards: RunShards | None = None,
    run_calls: RunCalls | None = None,
    crew: Crew | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> OneShot:
    """Forecast every series of a source without a store, in the same steps as the jobs, shard after shard.

    Args:
        spec: What to forecast.
        rows: Rows of `scan_source` or `scan_frame`; the spec's own source where not given.
        covariates: Rows of the spec's covariates; the spec's own source where not given.
        cutoff: The last time that may be known; the newest period of most live series where not given.
        shard_size: Series per shard; where not given, as many as fit their work and `num_workers`, within
            `MOST_BYTES` each.
        num_workers: Workers that share the shards.
        options: Where and how fits run.
        keeps: What is kept besides the forecasts.
        on_shard: Called with the series done and in all.
        run_shards: Runs the shards; in this process, one after the other, where not given.
        run_calls: Trains the priors; in this process where not given.
        crew: Processes that share the work on few series, if these have started or the work is worth it.
        storage_options: Options of the object store that holds the source.

    Returns:
        The forecasts, with the backtests, champions and data behind them.

    Raises:
        SourceError: Nothing can be read or forecast.
        SpecError: The cutoff lies after the newest measurement.
        CheckFailed: Measurements or forecasts fail a check of the spec that stops the run.
    """
    if spec.has_trees:
        check_installed("regressions")
    ingested = ingest(spec, cutoff=cutoff, rows=rows, covariates=covariates, storage_options=storage_options)
    checked = check_measurements(ingested, spec, moment=_moment(spec, rows) if cutoff is None else None)
    checked.refuse()
    lost_series, ingested = ingested.set_aside, checked.ingested
    num_rows = 0 if ingested.counts is None else ingested.counts.read
    lost = describe_lost(ingested.rejects, lost_series, num_rows=num_rows)
    short = describe_short(spec, ingested.lengths)
    for note in (*lost, *describe_warnings(checked.verdicts), *ingested.unused, *ingested.notes, *short):
        warnings.warn(note, DataWarning, stacklevel=2)
    waits = keeps.networks and cutoff is None and ingested.counts is not None and ingested.counts.after_cutoff > 0
    later = later_observations(rows, spec, ingested) if waits and rows is not None else None
    ingested = ingested.without_ended(spec)
    unique_ids = ingested.unique_ids
    are_few = crew is not None and crew.num_processes > 1 and _are_few(spec, ingested.features, options.kernel)
    shares_members = False
    if crew is not None:
        shares_members = are_few and (crew.has_started or _are_worth_processes(spec, ingested.features, options.kernel))
        crew.stays_here = are_few and not shares_members
    if shares_members:
        shard_size = len(unique_ids)
    elif shard_size is None:
        shard_size = suitable_size(spec, ingested.features, kernel=options.kernel, num_workers=num_workers)
    panels = [
        panel_of(ingested.features, spec, unique_ids[first : first + shard_size], run_cutoff=ingested.cutoff)
        for first in range(0, len(unique_ids), shard_size)
    ]
    of_priors, of_trees = _prior_panel(spec, ingested, options), _tree_panel(spec, ingested)
    if crew is not None and shares_members:
        result, priors, trees = _run_few(
            panels[0], of_priors, of_trees, spec, options, keeps, crew, on_shard or _ignore
        )
        results: Sequence[ShardResult] = [result]
    else:
        priors, trees = _fit_for_all(of_priors, of_trees, spec, options, run_calls or _make_calls_here)
        task = partial(run_shard, spec=spec, priors=priors, trees=trees, options=options, keeps=keeps)
        results = (run_shards or run_shards_here)(task, panels, on_shard or _ignore)
    if spec.has_trees and trees is None:
        warnings.warn(NOT_FITTED, DataWarning, stacklevel=2)
    factors = find_factors(pl.concat(result.ratios for result in results), horizon=spec.horizon)
    forecasts = calibrate(pl.concat(result.forecasts for result in results), factors, spec)
    for note in check_regressions(spec, forecasts.lazy(), ingested.lengths, ingested.features.lazy()):
        warnings.warn(note, DataWarning, stacklevel=2)
    forecasts = mark_unserved(forecasts, ingested.unserved)
    forecasts, of_forecasts = mark_failing(forecasts, ingested.features, spec, stacklevel=2)
    return OneShot(
        forecasts=forecasts,
        backtests=pl.concat(result.backtests for result in results),
        champions=pl.concat(result.champions for result in results),
        rejects=ingested.rejects,
        observations=ingested.observations.filter(~pl.col("unique_id").is_in(list(lost_series))),
        features=ingested.features,
        cutoff=ingested.cutoff,
        factors=factors,
        correlations=find_correlations((result.products for result in results), horizon=spec.horizon),
        fitted=tuple(result.fitted for result in results if result.fitted is not None),
        priors=tuple(each.serving for each in priors.values()) if keeps.networks else (),
        trees=trees.serving if keeps.networks and trees is not None else None,
        counts=ingested.counts,
        set_aside=ingested.set_aside,
        ended=ingested.ended,
        later=later,
        checks=join_verdicts([checked.verdicts, of_forecasts]),
        usual_rows=ingested.usual_rows,
        covariates=ingested.covariates.collect() if keeps.networks and ingested.covariates is not None else None,
        tables=ingested.tables if keeps.networks else (),
        joined=ingested.joined,
    )


def suitable_size(spec: Spec, features: pl.DataFrame, *, kernel: KernelName = "auto", num_workers: int = 1) -> int:
    """Return the number of series per shard that balances work, fixed costs and memory on `num_workers` workers."""
    cost, lengths = _cost_of(spec, kernel), _lengths_in(features)
    seconds = sum(map(cost.series_seconds, lengths))
    size = -(-len(lengths) // count_shards(seconds, cost, num_series=len(lengths), num_workers=num_workers))
    while size > 1 and cost.worker_bytes(size, max(lengths), size * max(lengths)) > MOST_BYTES:
        size //= 2
    return size


def _moment(spec: Spec, rows: pl.LazyFrame | None) -> datetime | None:
    """Return the current time on the clock of ds, where a check of freshness needs it."""
    if not any(isinstance(check, FreshnessCheck) for check in spec.checks):
        return None
    if rows is None:
        return current_time(spec, clock_zone(spec.source, spec.clock, spec.freq))
    return current_time(spec, clock_of_rows(rows, spec.source, spec.clock, spec.freq))


def _are_few(spec: Spec, features: pl.DataFrame, kernel: KernelName) -> bool:
    """Return whether the series are few, and fit into one process together."""
    lengths = _lengths_in(features)
    needed = _cost_of(spec, kernel).worker_bytes(len(lengths), max(lengths), sum(lengths))
    return len(lengths) < FEWEST_SERIES and needed <= MOST_BYTES


def _are_worth_processes(spec: Spec, features: pl.DataFrame, kernel: KernelName) -> bool:
    """Return whether the forecast of few series takes much longer than processes take to load libraries."""
    cost, lengths = _cost_of(spec, kernel), _lengths_in(features)
    seconds = cost.fixed_seconds + sum(map(cost.series_seconds, lengths))
    for key in members_with_prior(spec, spec.models):
        sizes = sizes_of(spec, [key.model], kernel=kernel)[key.number]
        seconds += prior_seconds(sizes, num_series=len(lengths), num_points=sum(lengths))
    return seconds > WORTH_PROCESSES * SECONDS_TO_LOAD


def _cost_of(spec: Spec, kernel: KernelName) -> CostWithStatistics:
    needed = required_length(configure(spec), horizon=spec.horizon)
    training = TrainingCost(sizes_of(spec, spec.models, kernel=kernel), needed)
    return CostWithStatistics(training, spec, num_fits=spec.backtest.origins + 1)


def _lengths_in(features: pl.DataFrame) -> list[int]:
    return features.group_by("unique_id").len()["len"].to_list() or [0]


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


def _prior_panel(spec: Spec, ingested: Ingested, options: FitOptions) -> Panel | None:
    """Return the series that priors are trained on; None where no member begins from one."""
    if not members_with_prior(spec, spec.models):
        return None
    lengths = dict(ingested.features.group_by("unique_id").len().iter_rows())
    sizes = sizes_of(spec, spec.models, kernel=options.kernel)
    names = prior_series(
        {name: lengths.get(name, 0) for name in ingested.unique_ids},
        fits=lambda *wanted: prior_worker_bytes(sizes, *wanted) <= MOST_BYTES,
    )
    return panel_of(ingested.features, spec, names, run_cutoff=ingested.cutoff)


def _tree_panel(spec: Spec, ingested: Ingested) -> Panel | None:
    """Return the series that trees are fitted to; None where the spec has none."""
    if not spec.has_trees:
        return None
    lengths = dict(ingested.features.group_by("unique_id").len().iter_rows())
    names = series_of_trees({name: lengths.get(name, 0) for name in ingested.unique_ids})
    return panel_of(ingested.features, spec, names, run_cutoff=ingested.cutoff)


def _fit_for_all(
    panel: Panel | None, of_trees: Panel | None, spec: Spec, options: FitOptions, run_calls: RunCalls
) -> tuple[dict[MemberKey, PriorFiles], PriorFiles | None]:
    """Fit what all series share: the priors of each member, and the trees."""
    members = [] if panel is None else members_with_prior(spec, spec.models)
    calls: list[Callable[[], PriorFiles | None]] = []
    longest_first: list[MemberKey] = []
    if panel is not None:
        # The longest first, so that processes end together.
        longest_first = sorted(members, key=lambda member: -_prior_seconds(panel, spec, member, options.kernel))
        calls += [partial(fit_priors, panel, spec, member, options) for member in longest_first]
    if of_trees is not None:
        calls.append(partial(fit_tree_files, of_trees, spec))
    fitted = run_calls(calls) if calls else []
    trained = dict(zip(longest_first, fitted, strict=False))
    priors = {member: priors for member in members if (priors := trained[member]) is not None}
    return priors, fitted[-1] if of_trees is not None else None


def _run_few(
    panel: Panel,
    of_priors: Panel | None,
    of_trees: Panel | None,
    spec: Spec,
    options: FitOptions,
    keeps: Keeps,
    crew: Crew,
    on_shard: Callable[[int, int], None],
) -> tuple[ShardResult, dict[MemberKey, PriorFiles], PriorFiles | None]:
    """Forecast few series: priors, members and statistical models are calls of their own, which wait for no other.

    A member that begins from a prior follows its prior. The last call puts all together.
    """
    num_series = len(panel.unique_ids)
    on_shard(0, num_series)
    members, having = members_of(spec, spec.models), members_with_prior(spec, spec.models)
    priors_of: dict[int, MemberKey] = {}
    member_of: dict[int, MemberKey] = {}
    if of_priors is not None:
        for key in having:
            call = partial(fit_priors, of_priors, spec, key, options)
            priors_of[crew.submit(call, seconds=_prior_seconds(of_priors, spec, key, options.kernel))] = key
    num_fits, lengths = spec.backtest.origins + 1, [int(length) for length in panel.length_S]
    of_statistics = num_fits * sum(statistics_seconds(spec, length) for length in lengths)
    statistics_call = crew.submit(
        partial(fit_statistics, panel, spec, of_trees), kind="statistics", seconds=of_statistics
    )
    seconds_of = {key: _member_seconds(spec, key, lengths, options.kernel) for key in members}
    for key in members:
        if key not in having:
            fit = partial(fit_member, panel, spec, key, None, options)
            member_of[crew.submit(fit, seconds=seconds_of[key], reports=True)] = key
    priors: dict[MemberKey, PriorFiles] = {}
    fleets: dict[MemberKey, tuple[bytes, ...]] = {}
    for number, made in crew.results():
        if number == statistics_call:
            statistics = made
        elif number in member_of:
            fleets[member_of[number]] = made
        elif made is not None:
            key = priors_of[number]
            priors[key] = made
            fit = partial(fit_member, panel, spec, key, made, options)
            member_of[crew.submit(fit, seconds=seconds_of[key], reports=True)] = key
    in_order = [file for key in members for file in fleets.get(key, ())]
    crew.submit(partial(finish_shard, panel, spec, in_order, statistics, options, keeps), seconds=0.0)
    ((_, result),) = crew.results()
    on_shard(num_series, num_series)
    return result, {key: priors[key] for key in having if key in priors}, statistics.trees


def _prior_seconds(panel: Panel, spec: Spec, key: MemberKey, kernel: KernelName) -> float:
    """Predict the seconds of one member's priors."""
    sizes = sizes_of(spec, [key.model], kernel=kernel)[key.number]
    return prior_seconds(sizes, num_series=len(panel.unique_ids), num_points=int(panel.length_S.sum()))


def _member_seconds(spec: Spec, key: MemberKey, lengths: Sequence[int], kernel: KernelName) -> float:
    """Predict the seconds of one member's fits."""
    sizes = sizes_of(spec, [key.model], kernel=kernel)[key.number]
    cost = TrainingCost([sizes], required_length(configure(spec), horizon=spec.horizon))
    return cost.fixed_seconds + sum(map(cost.series_seconds, lengths))


def _make_calls_here(calls: Sequence[Callable[[], PriorFiles | None]]) -> list[PriorFiles | None]:
    return [call() for call in calls]


def _ignore(num_done: int, num_series: int) -> None:
    pass
