"""Predict what the flows of a spec need before they run: CPU seconds and wall time by part, memory, and cores.

A flow is what a DAG runs. Seconds and memory of shards are those by which a run is divided (`forecasting.fleet.cost`,
`forecasting.flow.statistics_choice`).
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from forecasting.fleet.cost.cost import ForecastCost, TrainingCost
from forecasting.flow.fleet_trees import trees_seconds
from forecasting.flow.gpu_seconds import gpu_training_seconds
from forecasting.flow.job_parts import TRAINS, FlowParts, Library, Machine, Needs, PartName, Team
from forecasting.flow.network_seconds import training_seconds
from forecasting.flow.statistics_choice import CostWithStatistics, statistics_seconds
from forecasting.flow.workload import Workload

SECONDS_PER_STORED_WEIGHT, SECONDS_PER_STORED_NETWORK = 10e-9, 0.5e-3
"""CPU seconds in which a number of a network is hashed and written, and a network is registered."""
SECONDS_PER_SCORED_RUN, SECONDS_PER_SCORE = 0.1, 130e-6
"""CPU seconds of each earlier run that is scored, and of a series' forecast by one model in it."""
MOST_CORES = 4096
"""Most cores that `find_cores` tries."""
Flow = Literal["train", "forecast"]
Predict = Callable[[Workload, Machine], Needs]


def predict_train(work: Workload, machine: Machine) -> Needs:
    """Predict what a training from scratch needs: features, priors, networks and backtests.

    Args:
        work: The spec and its series.
        machine: What they are trained on.

    Returns:
        The needs of one run.
    """
    flow, spec, num_series = FlowParts(work, machine), work.spec, work.num_series
    flow.read()
    flow.begin("train")
    has_workers = not flow.is_here(TrainingCost(work.networks, work.required_length))
    flow.train_priors(is_connected=has_workers)
    if spec.has_trees:
        num_points = work.num_prior_series * work.num_points
        flow.spread("statistics", Team(1, 1), trees_seconds(spec, work.num_prior_series, num_points))
        flow.write(1, num_rows=2)
    num_gpus = machine.num_gpus if has_workers else 0
    trained = replace(work, has_gpu=num_gpus > 0)
    training = TrainingCost(trained.networks, work.required_length)
    team = flow.gather(training, TRAINS, is_connected=has_workers, num_gpus=num_gpus)
    seconds_of = gpu_training_seconds if num_gpus else training_seconds
    flow.spread("networks", team, seconds_of(trained, num_shards=team.num_shards))
    of_series = SECONDS_PER_STORED_WEIGHT * work.num_weights + SECONDS_PER_STORED_NETWORK * len(work.networks)
    flow.spread("storage", team, 2 * num_series * of_series)
    flow.write(1, num_rows=2 * num_series * len(work.networks))
    flow.begin("backtest")
    origins = spec.backtest.origins
    _forecast(flow, work, "backtest", num_origins=origins)
    flow.write(3 + bool(spec.paths), num_rows=num_series * (1 + origins * work.num_models))
    return flow.needs()


def predict_forecast(work: Workload, machine: Machine) -> Needs:
    """Predict what a forecast by trained networks needs: features, forecasts, and scores of earlier ones.

    Args:
        work: The spec and its series.
        machine: What they are forecast on.

    Returns:
        The needs of one run.
    """
    flow, spec, num_series = FlowParts(work, machine), work.spec, work.num_series
    flow.read()
    flow.begin("predict")
    _forecast(flow, work, "forecasts", num_origins=0)
    flow.write(1 + bool(spec.paths), num_rows=num_series * spec.horizon * (work.num_models + spec.paths))
    flow.begin("score")
    num_scores = work.num_scored * num_series * work.num_models
    team = flow.gather(ForecastCost(work.networks, 1), {"utilsforecast"})
    flow.spread("scores", team, SECONDS_PER_SCORED_RUN * work.num_scored + SECONDS_PER_SCORE * num_scores)
    flow.write(1, num_rows=num_scores)
    return flow.needs()


PREDICTIONS: Mapping[Flow, Predict] = {"train": predict_train, "forecast": predict_forecast}


def find_cores(predict: Predict, work: Workload, machine: Machine, *, seconds: float) -> int | None:
    """Return the fewest cores with which a flow takes no longer than some seconds.

    Args:
        predict: `predict_train` or `predict_forecast`.
        work: The spec and its series.
        machine: The machine, whose number of cores does not matter.
        seconds: The limit.

    Returns:
        The number; None if `MOST_CORES` are not enough.
    """

    def is_enough(num_cores: int) -> bool:
        return predict(work, replace(machine, num_cores=num_cores)).wall_seconds <= seconds

    if not is_enough(MOST_CORES):
        return None
    return bisect_left(range(1, MOST_CORES), True, key=is_enough) + 1


def _forecast(flow: FlowParts, work: Workload, name: PartName, *, num_origins: int) -> None:
    """Add the forecasts of all models: at the origins of a backtest, or after the cutoff if there are none."""
    plain, num_fits = ForecastCost(work.networks, num_origins, work.spec.paths), max(1, num_origins)
    libraries: set[Library] = {"torch"}
    if num_origins:
        libraries.add("utilsforecast")
    if work.statistics:
        libraries.add("statsforecast")
    team = flow.gather(CostWithStatistics(plain, work.spec, num_fits), libraries, held=plain)
    of_shards = team.num_shards * plain.fixed_seconds
    flow.spread(name, team, of_shards + work.num_series * plain.series_seconds(work.num_points))
    if work.statistics:
        of_series = num_fits * statistics_seconds(work.spec, work.num_points)
        flow.spread("statistics", team, work.num_series * of_series)
