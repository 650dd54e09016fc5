"""A run and the workers' resources go in; what its shards will cost comes out."""

from forecasting.errors import SpecError
from forecasting.fleet.cost import Cost, ForecastCost, TrainingCost
from forecasting.fleet.memory import MIB
from forecasting.fleet.plan import required_length
from forecasting.fleet.sizes import sizes_of
from forecasting.recipes import configure
from forecasting.statistics_choice import CostWithStatistics
from workers.jobs.run import Run
from workers.pool import Resources


def cost_of(run: Run, resources: Resources) -> Cost:
    """Return the cost model of a run's job; a score job is taken for a backtest of one origin."""
    sizes = sizes_of(
        run.spec,
        run.networks,
        kernel=run.fleet.kernel,
        has_gpu=resources.num_gpus > 0,
        num_threads=resources.num_threads,
    )
    if run.arguments.job == "train":
        return TrainingCost(sizes, required_length(configure(run.spec), horizon=run.spec.horizon))
    num_origins = {"backtest": run.spec.backtest.origins, "score": 1}.get(run.arguments.job, 0)
    cost = ForecastCost(sizes, num_origins)
    return cost if run.arguments.job == "score" else CostWithStatistics(cost, run.spec, max(1, num_origins))


def refuse_too_little(cost: Cost, resources: Resources) -> None:
    """Raise SpecError where a worker may not even hold what it needs before its first series."""
    needed = cost.worker_bytes(0, 0, 0)
    if needed > resources.num_bytes:
        allowed = f"memory_per_worker_mb = {resources.num_bytes // MIB}"
        raise SpecError("settings [workers]", [f"{allowed}: a worker needs {needed // MIB} before its first series"])
