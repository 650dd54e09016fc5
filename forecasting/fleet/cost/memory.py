"""Predicted memory of a worker in bytes, counted from the code that allocates it.

`tests/benchmarks/bench_memory.py` compares the predictions with the peaks of real jobs.
"""

# S series · R rows, the points of all series · N grid points of the longest · C calendar features · W weights

import math

from forecasting.classical.covariate_effect import effect_cost
from forecasting.fleet.cost.sizes import FleetSizes
from forecasting.fleet.native import PART_WINDOWS
from forecasting.fleet.plan import GAINS_SERIES

MIB = 1 << 20
TRAINER_MIB, FORECASTER_MIB = 670, 435
"""Peak of a Ray worker that trains, or forecasts, a single series: Python, torch, Polars, Lightning. Measured with
torch 2.13 for CPUs on x86 Linux."""
CUDA_MIB = 1250
"""Host memory that torch's CUDA build and CUDA add: 1,225 MiB measured with torch 2.11 for CUDA 13 on an H200."""
FRAME_FACTOR = 2.7
"""Memory of frames of forecasts over their own bytes: arrays, sorting, joining, compression. Fitted to ten jobs."""

STATE_VECTORS = 4
"""Vectors of a network's parameters in the engine: their values, two moments, and the average."""

LOOKUP_BYTES = 16
"""Bytes per number of a looked-up vector: its index, its value, the concatenated copy, and its gradient."""

BYTES_PER_PATH_POINT = 200
"""Bytes per row of sample paths until it is sorted and staged: 181 to 204 in four measured shards."""
BYTES_PER_PRODUCT = 48
"""Bytes per pair of steps in the sums of correlations until they are staged: two integers, three copies."""


def reading_bytes(
    *, num_series: int, longest: int, num_points: int, horizon: int, num_known: int, num_static: int = 0
) -> int:
    """Return the peak while a panel is filled: the frame of all rows, the place of each row, and the panel."""
    row = 32 + 4 * num_known  # unique_id's view, ds, y
    if num_static:  # a list's offset, and views of names and values
        row += 8 + 32 * num_static
    places = 32  # two arrays of int64, and temporary copies of both
    return num_points * (row + places) + panel_bytes(num_series, longest + horizon, num_known=num_known)


def panel_bytes(num_series: int, num_columns: int, *, num_known: int) -> int:
    """Return the size of a panel: y, ds, calendar and codes of categories."""
    return num_series * num_columns * (16 + 4 * num_known)


def covariate_bytes(sizes: FleetSizes, *, num_series: int, longest: int) -> int:
    """Return the size of a panel's covariates, of a copy of these, and of the series without their effects.

    Effects are estimated from one series at a time.

    Args:
        sizes: A network of the spec.
        num_series: Series of the panel.
        longest: Grid points of the longest series.

    Returns:
        Bytes; 0 without covariates.
    """
    if not (sizes.num_covariates and num_series):
        return 0
    values = 2 * 8 * num_series * (longest + sizes.horizon) * sizes.num_covariates
    remainders = 2 * 8 * num_series * longest
    _, estimating = effect_cost(longest, sizes.num_covariates, season=sizes.season_lengths[0])
    return values + remainders + estimating


def fitting_bytes(sizes: FleetSizes, *, num_series: int, longest: int, is_warm: bool = False) -> int:
    """Return the peak, beside the panel, while candidates and then serving networks are fitted.

    Args:
        sizes: The network.
        num_series: Series of the shard.
        longest: Grid points of the longest series.
        is_warm: Whether networks may start from earlier weights, which are held until the end.

    Returns:
        Bytes.
    """
    cells, columns = num_series * longest, num_series * (longest + sizes.padding)
    weights = 4 * sizes.num_weights * num_series
    candidates_y = 8 * cells
    windows, preparing = _windows_bytes(sizes, cells=cells, columns=columns)
    # The network, its best weights, Adam's two moments, and the average where there is one.
    trainer = weights * (4 + bool(sizes.config.weight_average))
    # At the end the best weights are copied, and one parameter at a time is searched for values that are not finite.
    ending = weights + 7 * num_series * max(sizes.parameters.values())
    if sizes.config.start == "prior":  # weights between the prior and the tuned network, then those of every series
        ending += 2 * weights
    stepping = num_series * activation_bytes(sizes) + sizes.num_threads * scratch_bytes(sizes)
    if not sizes.in_engine:
        stepping += columns * smoothing_bytes(sizes)
        stepping += 3 * weights  # gradients, and temporaries of clipping and Adam
    starts = 2 * weights if is_warm and sizes.config.start == "random" else 0
    return starts + candidates_y + windows + weights + max(preparing, trainer + max(ending, stepping))


def prior_bytes(sizes: FleetSizes, *, num_series: int, longest: int) -> int:
    """Return the peak, beside the panel, while a prior is trained on it and its gains are measured."""
    cells, columns = num_series * longest, num_series * (longest + sizes.padding)
    sound = panel_bytes(num_series, longest + sizes.horizon, num_known=sizes.num_known)
    windows, preparing = _windows_bytes(sizes, cells=cells, columns=columns)
    gains = 8 * cells + fitting_bytes(sizes, num_series=min(num_series, GAINS_SERIES), longest=longest)
    return max(sound + windows + max(preparing, prior_step_bytes(sizes)), gains)


def prior_step_bytes(sizes: FleetSizes) -> int:
    """Return the bytes that one step of a prior keeps for its gradient: inputs, gates and states of all windows.

    In the CPU engine a thread keeps those of one part of the windows at a time, and every part has its gradient.

    Args:
        sizes: The network.

    Returns:
        Bytes.
    """
    if sizes.in_engine:
        num_parts = -(-sizes.config.prior_windows // PART_WINDOWS)
        num_batches = min(sizes.num_threads, num_parts)
        batch = _batch_floats(sizes, -(-sizes.config.prior_windows // num_parts))
        return 4 * ((STATE_VECTORS + num_parts) * _vector_floats(sizes) + num_batches * batch)
    num_inputs = sizes.config.context_segments * sizes.num_inputs
    kept = 3 * num_inputs + sizes.wiring.count_kept(sizes.dimensions)
    return sizes.config.prior_windows * (4 * kept + LOOKUP_BYTES * sizes.num_looked_up)


def scratch_bytes(sizes: FleetSizes) -> int:
    """Return the working memory of one engine thread: a series' weights, windows, states, gates and gradients."""
    if not sizes.in_engine:
        return 0
    vector = _vector_floats(sizes)
    training = (STATE_VECTORS + 1) * vector + _batch_floats(sizes, sizes.config.batch_windows)
    return 4 * max(training, vector + sizes.config.validation_windows * _window_floats(sizes))


def _vector_floats(sizes: FleetSizes) -> int:
    """Return the numbers of the engine's vector of a network's parameters."""
    gates, hidden = sizes.num_gates, sizes.config.hidden_size
    recurrent = (sizes.num_inputs + hidden + 2) * gates * _pad(hidden)
    vectors = sum(math.prod(shape) for shape in sizes.embeddings.values())
    return recurrent + (hidden + 1) * _pad(sizes.num_outputs) + vectors


def _window_floats(sizes: FleetSizes) -> int:
    """Return the numbers of a window in the engine, without what its gradient needs."""
    gathered = sizes.config.context_segments * sizes.num_inputs + sizes.horizon * (4 + len(sizes.references))
    return gathered + _pad(sizes.num_outputs) + 4 * _pad(sizes.config.hidden_size)


def _batch_floats(sizes: FleetSizes, num_windows: int) -> int:
    """Return the numbers that the engine needs for the gradient of a batch, besides the network's vectors."""
    steps, units, gates = sizes.config.context_segments, _pad(sizes.config.hidden_size), sizes.num_gates
    num_looked_up = sum(size for _, size in sizes.embeddings.values())
    kept = steps * (units * (1 + {1: 1, 3: 4, 4: 6}[gates]) + num_looked_up)
    gate_gradients = max(num_windows, 64) * 4 * units
    transposed = gates * units * (units + _pad(num_looked_up))
    return transposed + num_windows * (_window_floats(sizes) + kept) + gate_gradients


def activation_bytes(sizes: FleetSizes) -> int:
    """Return the bytes of a series' step that are kept for its gradient; the CPU engine keeps none between series.

    On a GPU these bytes, the network and its moments lie in the GPU's memory. They are still counted with the rest,
    which keeps shards small enough for both memories. On an H200 the peak allocation of six sizes of one to four GiB
    was 7 % below to 6 % above the prediction; of two sizes of 190 MiB it was 200 MiB above.

    Args:
        sizes: The network.

    Returns:
        Bytes per series.
    """
    if sizes.in_engine:
        return 0
    config, hidden, inputs = sizes.config, sizes.config.hidden_size, sizes.num_inputs
    rows = sizes.num_rows(sizes.batch_windows)
    columns = 24 * sizes.batch_windows * config.context_segments * config.segment_length
    columns += LOOKUP_BYTES * sizes.batch_windows * sizes.num_looked_up
    num_outputs_at = sizes.batch_windows * (config.context_segments if sizes.wiring.is_dense else 1)
    judging = 24 * num_outputs_at * sizes.num_outputs
    if sizes.kernel == "gpu":  # as forecasting.fleet.kernels.gpu allocates, and the gathered inputs
        return columns + judging + 4 * rows * (10 * hidden + 3 * inputs)
    kept = sizes.wiring.count_kept(sizes.dimensions)
    return columns + judging + 4 * (2 * rows * inputs + sizes.batch_windows * kept)


def smoothing_bytes(sizes: FleetSizes) -> int:
    """Return the bytes a step keeps of a smoothed point: level, season, error, indices, and their gradients."""
    return 0 if sizes.smoothed is None else 4 * 2 * (5 + 2 * len(sizes.smoothed))


def forecast_bytes(*, num_rows: int, num_quantiles: int) -> int:
    """Return the size of frames of forecasts, or of forecasts with actuals, until they are staged."""
    return int(FRAME_FACTOR * num_rows * (72 + 8 * num_quantiles))


def _windows_bytes(sizes: FleetSizes, *, cells: int, columns: int) -> tuple[int, int]:
    """Return the bytes of a panel in scaled units, and the peak while it is scaled, filled and padded."""
    windows = columns * (8 + 4 * sizes.num_known)
    return windows, max(40 * cells, columns * (20 + 8 * sizes.num_known))


def _pad(size: int) -> int:
    return -(-size // 16) * 16
