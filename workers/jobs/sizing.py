"""What the shards of a run will cost, predicted from its spec and the workers' resources."""

from collections.abc import Mapping

from forecasting.errors import SpecError
from forecasting.fleet.cost.cost import Cost, ForecastCost, TrainingCost, prior_worker_bytes
from forecasting.fleet.cost.memory import MIB
from forecasting.fleet.cost.pace import prior_seconds
from forecasting.fleet.cost.sizes import FleetSizes, sizes_of
from forecasting.fleet.plan import prior_series, required_length
from forecasting.flow.statistics_choice import CostWithStatistics
from forecasting.spec.recipes import configure
from workers.cluster.worker import Resources
from workers.jobs.run import Run


def cost_of(run: Run, resources: Resources) -> Cost:
    """Return the cost model of a run's job; a score job counts as a backtest of one origin."""
    sizes = _sizes_of(run, resources)
    if run.arguments.job == "train":
        needed = required_length(configure(run.spec), horizon=run.spec.horizon)
        return TrainingCost(sizes, needed, is_warm=not run.arguments.from_scratch)
    num_origins = {"backtest": run.spec.backtest.origins, "score": 1}.get(run.arguments.job, 0)
    num_paths = 0 if run.arguments.job == "score" else run.spec.paths
    cost = ForecastCost(sizes, num_origins, num_paths)
    return cost if run.arguments.job == "score" else CostWithStatistics(cost, run.spec, max(1, num_origins))


def predict_work(cost: Cost, num_points: Mapping[str, int]) -> tuple[float, int]:
    """Return the seconds in which one worker does all work of a job, and the memory that it then needs.

    Args:
        cost: The cost model of the job.
        num_points: Grid points by series.

    Returns:
        Seconds, and bytes of the whole process if one shard has all series.
    """
    lengths = num_points.values()
    seconds = cost.fixed_seconds + sum(cost.series_seconds(length) for length in lengths)
    return seconds, cost.worker_bytes(len(num_points), max(lengths, default=0), sum(lengths))


def predict_prior_work(run: Run, resources: Resources, num_points: Mapping[str, int]) -> tuple[float, int]:
    """Return the same of the training of all priors of a run.

    Args:
        run: The run.
        resources: What the worker gets.
        num_points: Grid points of the series that they are trained on.

    Returns:
        Seconds, and bytes of the whole process.
    """
    sizes, total = _sizes_of(run, resources), sum(num_points.values())
    seconds = sum(
        prior_seconds(each, num_series=len(num_points), num_points=total)
        for each in sizes
        if each.config.start == "prior"
    )
    return seconds, prior_worker_bytes(sizes, len(num_points), max(num_points.values(), default=0), total)


def choose_prior_series(run: Run, resources: Resources, num_points: Mapping[str, int]) -> list[str]:
    """Return the series that a run's priors are trained on; print a warning where a worker's memory limits them."""
    sizes = _sizes_of(run, resources)
    wanted = prior_series(num_points)
    names = prior_series(num_points, fits=lambda *some: prior_worker_bytes(sizes, *some) <= resources.num_bytes)
    if len(names) < len(wanted):
        print(
            f"{run.arguments.job}: warning: priors are trained on {len(names)} of {len(wanted)} series, because a"
            f" worker has {resources.num_bytes // MIB} MiB; raise memory_per_worker_mb to train them on more",
            flush=True,
        )
    return names


def _sizes_of(run: Run, resources: Resources) -> list[FleetSizes]:
    return sizes_of(
        run.spec,
        run.networks,
        kernel=run.fleet.kernel,
        has_gpu=resources.num_gpus > 0,
        num_threads=resources.num_threads,
    )


def refuse_too_little(cost: Cost, resources: Resources) -> None:
    """Refuse workers whose memory cannot even hold what they need before their first series.

    Args:
        cost: Predicts the memory of a worker.
        resources: What a worker gets.

    Raises:
        SpecError: A worker needs more memory.
    """
    needed = cost.worker_bytes(0, 0, 0)
    if needed > resources.num_bytes:
        allowed = f"memory_per_worker_mb = {resources.num_bytes // MIB}"
        raise SpecError("settings [workers]", [f"{allowed}: a worker needs {needed // MIB} before its first series"])
