"""Predict the seconds in which a GPU, an NVIDIA H200, trains the networks of a workload by compiled programs.

The constants are fitted to whole fits of 1,024 series of LSTM and GRU in four sizes (docs/benchmarks.md, `gpu`), all
within 6 %. A step that is captured as a graph takes the same time for one series as for a few hundred small ones, so
that its constant counts once per step.
"""

from dataclasses import replace

from forecasting.fleet.cost.pace import SECONDS_PER_FIT, SECONDS_PER_PASS, SECONDS_PER_SHARD, count_steps
from forecasting.fleet.cost.sizes import FleetSizes
from forecasting.flow.network_seconds import USUAL_STEPS
from forecasting.flow.workload import Workload

SECONDS_PER_STEP = 0.57e-3
SECONDS_PER_GATE = 1.07e-11
SECONDS_PER_WEIGHT = 2.5e-10


def has_programs(work: Workload) -> bool:
    """Return whether all networks of a workload have programs for GPUs, whose seconds are known.

    Args:
        work: The spec and its series.

    Returns:
        False if any network is trained in torch operations there, which was not measured in whole fits.
    """
    on_gpu = replace(work, has_gpu=True)
    return all(sizes.kernel == "gpu" and sizes.smoothed is None for sizes in on_gpu.networks)


def gpu_training_seconds(work: Workload, *, num_shards: int) -> float:
    """Return the seconds of all fits: a candidate and a serving network of each series and member.

    Args:
        work: The spec and its series.
        num_shards: Shards into which the series are divided.

    Returns:
        Seconds of one GPU.
    """
    if not work.has_networks:
        return num_shards * SECONDS_PER_SHARD
    fits = sum(2 * _fit_seconds(sizes, work, num_shards=num_shards) for sizes in work.networks)
    return num_shards * SECONDS_PER_SHARD + fits


def gpu_priors_seconds(work: Workload) -> float:
    """Return the seconds of the priors of all members that begin from one.

    Args:
        work: The spec and its series.

    Returns:
        Seconds of one GPU.
    """
    seconds = 0.0
    for sizes in work.networks:
        config = sizes.config
        if config.start == "prior":
            num_steps = config.prior_steps * (1 + config.warm_share)
            seconds += num_steps * (SECONDS_PER_STEP + _seconds_of_series(sizes, config.prior_windows))
    return seconds


def _fit_seconds(sizes: FleetSizes, work: Workload, *, num_shards: int) -> float:
    share = USUAL_STEPS if sizes.config.start == "random" else 1.0
    num_steps = share * count_steps(sizes, num_points=work.num_points)
    of_steps = num_shards * SECONDS_PER_STEP + work.num_series * _seconds_of_series(sizes, sizes.batch_windows)
    return num_shards * (SECONDS_PER_FIT + SECONDS_PER_PASS * sizes.num_passes) + num_steps * of_steps


def _seconds_of_series(sizes: FleetSizes, num_windows: int) -> float:
    """Return what a series adds to a step."""
    num_gates = sizes.num_rows(num_windows) * sizes.num_gates * sizes.config.hidden_size
    return SECONDS_PER_GATE * num_gates + SECONDS_PER_WEIGHT * sizes.num_weights
