"""Predicted seconds of a fleet's fit: accurate enough to balance and size shards.

Constants were measured on one core of an AMD EPYC with AVX-512 and torch 2.13; another processor scales them
together.
"""

from forecasting.fleet.cost.sizes import FleetSizes
from forecasting.fleet.native import PART_WINDOWS
from forecasting.fleet.plan import GAINS_SERIES

BLOCK = 64
"""Largest number of points that are smoothed together (`forecasting.fleet.smoothing`)."""
LANES = 16
"""Numbers that the engine processes at once; sizes are padded to a multiple of it."""

# One step of the CPU engine: least squares over 22 sizes of LSTM and GRU (H 8 to 64, T 4 to 48, B 8 to 32, O 24 to
# 2,184); half of them within 4 %, the worst 21 % off.
FLOPS = 236e9
SECONDS_PER_GATE = 0.38e-9
SECONDS_PER_WEIGHT = 0.64e-9
SECONDS_PER_STEP = 1.2e-6
SHARE_PER_PART = 0.1
"""Clearing and adding up a part of a prior's gradient, over the optimiser's update."""

# One step in torch operations, bound by memory, or by the number of operations in small fleets: 14 sizes, within 15 %.
TORCH_SECONDS_PER_GATE = 9.4e-9
KEPT_PER_GATE = 4
"""Numbers that a gate keeps for its gradient; other kinds of networks are converted to gates by it."""
TORCH_SECONDS_PER_WEIGHT = 11e-9
SECONDS_PER_LOOKUP = 12e-9
"""Per number of a category's vector: look-up, average over its segment, and gradient."""
TORCH_SECONDS_PER_RECURRENT_STEP = 90e-6
GPU_SPEEDUP = 400
"""Speed of a GPU over torch operations on one core: 220 to 660 on an H200, for eight sizes of 1,000 series."""

# Smoothing adds to a step: per block of points regardless of the number of series, per point of a series, and per
# point that a window reads, for its gradient. Five sizes, within 40 %.
SMOOTHING_SECONDS_PER_BLOCK = 0.7e-3
SMOOTHING_SECONDS_PER_POINT = 0.25e-6
SMOOTHING_SECONDS_PER_READ = 0.08e-6
USUAL_POINTS = 1000
"""Assumed length of the longest series, which determines the number of blocks."""

# A fit besides its steps: Lightning's trainer, validation passes, and copies per series, weight and point.
SECONDS_PER_FIT = 0.04
SECONDS_PER_PASS = 0.004
SECONDS_PER_FITTED_SERIES = 20e-6
SECONDS_PER_FITTED_WEIGHT = 50e-9
SECONDS_PER_FITTED_POINT = 0.3e-6

SECONDS_PER_SHARD = 0.15
"""Reading a shard's slice of the tables and staging its results, regardless of size."""
SECONDS_PER_LOADED_WEIGHT = 8e-9
SECONDS_PER_FORECAST_POINT = 0.1e-6
SECONDS_PER_FORECAST_VALUE = 60e-9
"""Per quantile of a model and step: forecasting, scoring and staging it."""
SECONDS_PER_PATH_POINT = 0.6e-6
"""Per point of a sample path: drawing and staging it."""


def step_seconds(sizes: FleetSizes) -> float:
    """Return the seconds that one series adds to an optimiser step, on one thread."""
    config = sizes.config
    if sizes.in_engine:
        return _engine_seconds(sizes, config.batch_windows, passes=3) + SECONDS_PER_WEIGHT * sizes.num_weights
    num_gates = sizes.batch_windows * sizes.wiring.count_kept(sizes.dimensions) / KEPT_PER_GATE
    num_looked_up = sizes.batch_windows * sizes.num_looked_up
    seconds = TORCH_SECONDS_PER_GATE * num_gates + TORCH_SECONDS_PER_WEIGHT * sizes.num_weights
    seconds += SECONDS_PER_LOOKUP * num_looked_up
    return seconds / (GPU_SPEEDUP if sizes.on_gpu else 1)


def fit_seconds(sizes: FleetSizes, *, num_points: int) -> float:
    """Return the seconds that one series of `num_points` grid points adds to a fit that takes all its steps."""
    step = step_seconds(sizes) + _smoothing_seconds(sizes, num_points)
    steps = count_steps(sizes, num_points=num_points) * step / sizes.num_threads
    copies = SECONDS_PER_FITTED_WEIGHT * sizes.num_weights + SECONDS_PER_FITTED_POINT * num_points
    return SECONDS_PER_FITTED_SERIES + copies + steps


def count_steps(sizes: FleetSizes, *, num_points: int) -> float:
    """Return the optimiser steps of a fit that takes all its steps, and as many as its validation passes take."""
    config = sizes.config
    # A validation pass runs its windows forward only, which is a third of a step.
    judged = config.validation_windows
    if sizes.wiring.is_stream:  # validation reads the whole stream
        judged = num_points // (config.segment_length * config.context_segments) + 1
    return config.max_steps + sizes.num_passes * judged / (3 * sizes.batch_windows)


def product_seconds(sizes: FleetSizes, num_windows: int) -> float:
    """Return the seconds of `step_seconds` in which the engine multiplies matrices; 0 of torch operations.

    Args:
        sizes: The network.
        num_windows: Windows of the step.

    Returns:
        Seconds of one series, or of a prior's step, on one thread.
    """
    return _product_seconds(sizes, num_windows, passes=3) if sizes.in_engine else 0.0


def prior_seconds(sizes: FleetSizes, *, num_series: int, num_points: int) -> float:
    """Return the seconds in which both priors of a member are trained and its gains are measured.

    Args:
        sizes: The member's network.
        num_series: Series of the panel.
        num_points: Grid points of all series together.

    Returns:
        Seconds with all steps; few windows take fewer.
    """
    config, num_threads = sizes.config, sizes.num_threads
    num_steps = config.prior_steps * (1 + config.warm_share)
    if sizes.in_engine:
        num_parts = -(-config.prior_windows // PART_WINDOWS)
        step = _engine_seconds(sizes, config.prior_windows, passes=3) / min(num_threads, num_parts)
        step += SECONDS_PER_WEIGHT * (1 + SHARE_PER_PART * num_parts) * sizes.num_weights
    else:
        num_gates = config.prior_windows * sizes.wiring.count_kept(sizes.dimensions) / KEPT_PER_GATE
        step = TORCH_SECONDS_PER_GATE * num_gates + TORCH_SECONDS_PER_WEIGHT * sizes.num_weights
        step += SECONDS_PER_LOOKUP * config.prior_windows * sizes.num_looked_up
        step += TORCH_SECONDS_PER_RECURRENT_STEP * sizes.wiring.count_launched(sizes.dimensions)
    num_tuned = min(num_series, GAINS_SERIES)
    gains = fixed_fit_seconds(sizes) + num_tuned * fit_seconds(sizes, num_points=num_points // max(num_series, 1))
    copies = 2 * SECONDS_PER_FITTED_POINT * num_points
    return num_steps * step + gains + copies


def fixed_fit_seconds(sizes: FleetSizes) -> float:
    """Return the seconds that a fit takes regardless of its number of series."""
    num_launched = 0 if sizes.kernel == "cpu" else sizes.wiring.count_launched(sizes.dimensions)
    launches = TORCH_SECONDS_PER_RECURRENT_STEP * num_launched * sizes.config.max_steps
    if sizes.smoothed is not None:
        num_blocks = (USUAL_POINTS + sizes.padding) / min((BLOCK, *sizes.smoothed))
        launches += SMOOTHING_SECONDS_PER_BLOCK * num_blocks * sizes.config.max_steps
    return SECONDS_PER_FIT + SECONDS_PER_PASS * sizes.num_passes + launches


def _smoothing_seconds(sizes: FleetSizes, num_points: int) -> float:
    if sizes.smoothed is None:
        return 0.0
    num_read = sizes.num_rows(sizes.batch_windows) * sizes.config.segment_length
    seconds = SMOOTHING_SECONDS_PER_POINT * (num_points + sizes.padding) + SMOOTHING_SECONDS_PER_READ * num_read
    return seconds / (GPU_SPEEDUP if sizes.on_gpu else 1)


def _engine_seconds(sizes: FleetSizes, num_windows: int, *, passes: int) -> float:
    """Return the seconds of recurrence and head; three passes are one forward and the two backward products."""
    units, rows = _pad(sizes.config.hidden_size), sizes.num_rows(num_windows)
    products = _product_seconds(sizes, num_windows, passes=passes)
    return products + SECONDS_PER_GATE * rows * sizes.num_gates * units + SECONDS_PER_STEP


def _product_seconds(sizes: FleetSizes, num_windows: int, *, passes: int) -> float:
    units, rows = _pad(sizes.config.hidden_size), sizes.num_rows(num_windows)
    # The inputs have no gradient, so their product has one pass less.
    recurrent = 2 * rows * units * sizes.num_gates * (passes * units + (passes - 1) * sizes.num_inputs)
    head = 2 * passes * num_windows * sizes.config.hidden_size * _pad(sizes.num_outputs)
    return (recurrent + head) / FLOPS


def _pad(size: int) -> int:
    return -(-size // LANES) * LANES
