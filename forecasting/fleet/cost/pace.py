"""How long a fleet takes: sizes in, seconds out; good enough to balance and to size shards, not to promise an hour.

Constants were measured on one core of an AMD EPYC with AVX-512, torch 2.13; another processor scales them together.
"""

from forecasting.fleet.cost.sizes import FleetSizes

BLOCK = 64
"""Points that are smoothed together, at most (`forecasting.fleet.smoothing`)."""
LANES = 16
"""Numbers that the engine works on at once; sizes are padded to it."""

# One step of the CPU engine: least squares over 22 sizes of LSTM and GRU (H 8 to 64, T 4 to 48, B 8 to 32, O 24 to
# 2,184); half of them within 4 %, the worst 21 % off.
FLOPS = 236e9
SECONDS_PER_GATE = 0.38e-9
SECONDS_PER_WEIGHT = 0.64e-9
SECONDS_PER_STEP = 1.2e-6

# One step in torch operations, which memory bounds, or in small fleets the operations' number: 14 sizes, within 15 %.
TORCH_SECONDS_PER_GATE = 9.4e-9
KEPT_PER_GATE = 4
"""Numbers that a gate's way keeps for its gradient, by which networks of other kinds are counted as gates."""
TORCH_SECONDS_PER_WEIGHT = 11e-9
SECONDS_PER_LOOKUP = 12e-9
"""A number of a category's vector: looked up, averaged over its segment, and its gradient added up."""
TORCH_SECONDS_PER_RECURRENT_STEP = 90e-6
GPU_SPEEDUP = 400
"""A GPU over torch operations on one core: 220 to 660 over eight sizes on an H200, in fleets of a thousand series."""

# What smoothing adds to a step: to a block of points, however few the series, to each point of a series, and to each
# that a window reads, for its gradient. Five sizes, within 40 %.
SMOOTHING_SECONDS_PER_BLOCK = 0.7e-3
SMOOTHING_SECONDS_PER_POINT = 0.25e-6
SMOOTHING_SECONDS_PER_READ = 0.08e-6
USUAL_POINTS = 1000
"""Of the longest series, whose blocks are counted."""

# A fit beside its steps: Lightning's trainer and a look; what is copied per series, weight and point.
SECONDS_PER_FIT = 0.04
SECONDS_PER_LOOK = 0.004
SECONDS_PER_FITTED_SERIES = 20e-6
SECONDS_PER_FITTED_WEIGHT = 50e-9
SECONDS_PER_FITTED_POINT = 0.3e-6

SECONDS_PER_SHARD = 0.15
"""Reading a shard's slice of the tables and staging what comes of it, however small."""
SECONDS_PER_LOADED_WEIGHT = 8e-9
SECONDS_PER_FORECAST_POINT = 0.1e-6
SECONDS_PER_FORECAST_VALUE = 60e-9
"""Per quantile of a model and step: forecasting, comparing and staging it."""
SECONDS_PER_PATH_POINT = 0.6e-6
"""Per point of a sample path: drawing and staging it."""


def step_seconds(sizes: FleetSizes) -> float:
    """Predict what one series adds to an optimiser step, on one thread."""
    config = sizes.config
    if sizes.in_engine:
        return _engine_seconds(sizes, config.batch_windows, passes=3) + SECONDS_PER_WEIGHT * sizes.num_weights
    num_gates = sizes.batch_windows * sizes.wiring.count_kept(sizes.dimensions) / KEPT_PER_GATE
    num_looked_up = sizes.batch_windows * sizes.num_looked_up
    seconds = TORCH_SECONDS_PER_GATE * num_gates + TORCH_SECONDS_PER_WEIGHT * sizes.num_weights
    seconds += SECONDS_PER_LOOKUP * num_looked_up
    return seconds / (GPU_SPEEDUP if sizes.on_gpu else 1)


def fit_seconds(sizes: FleetSizes, *, num_points: int) -> float:
    """Predict what one series of so many grid points adds to a fit that takes all its steps."""
    config = sizes.config
    # A look runs the validation windows forward, which is a third of a step.
    judged = config.validation_windows
    if sizes.wiring.is_stream:  # all of it is read
        judged = num_points // (config.segment_length * config.context_segments) + 1
    looks = sizes.num_passes * judged / (3 * sizes.batch_windows)
    step = step_seconds(sizes) + _smoothing_seconds(sizes, num_points)
    steps = (config.max_steps + looks) * step / sizes.num_threads
    copies = SECONDS_PER_FITTED_WEIGHT * sizes.num_weights + SECONDS_PER_FITTED_POINT * num_points
    return SECONDS_PER_FITTED_SERIES + copies + steps


def fixed_fit_seconds(sizes: FleetSizes) -> float:
    """Predict what a fit takes however few its series are."""
    num_launched = 0 if sizes.kernel == "cpu" else sizes.wiring.count_launched(sizes.dimensions)
    launches = TORCH_SECONDS_PER_RECURRENT_STEP * num_launched * sizes.config.max_steps
    if sizes.smoothed is not None:
        num_blocks = (USUAL_POINTS + sizes.padding) / min((BLOCK, *sizes.smoothed))
        launches += SMOOTHING_SECONDS_PER_BLOCK * num_blocks * sizes.config.max_steps
    return SECONDS_PER_FIT + SECONDS_PER_LOOK * sizes.num_passes + launches


def _smoothing_seconds(sizes: FleetSizes, num_points: int) -> float:
    if sizes.smoothed is None:
        return 0.0
    num_read = sizes.num_rows(sizes.batch_windows) * sizes.config.segment_length
    seconds = SMOOTHING_SECONDS_PER_POINT * (num_points + sizes.padding) + SMOOTHING_SECONDS_PER_READ * num_read
    return seconds / (GPU_SPEEDUP if sizes.on_gpu else 1)


def _engine_seconds(sizes: FleetSizes, num_windows: int, *, passes: int) -> float:
    """Predict recurrence and head; three passes are one forward, and the two products of the way back."""
    units, rows = _pad(sizes.config.hidden_size), sizes.num_rows(num_windows)
    # Nobody asks for the gradient of the inputs: their product has a pass less.
    recurrent = 2 * rows * units * sizes.num_gates * (passes * units + (passes - 1) * sizes.num_inputs)
    head = 2 * passes * num_windows * sizes.config.hidden_size * _pad(sizes.num_outputs)
    return (recurrent + head) / FLOPS + SECONDS_PER_GATE * rows * sizes.num_gates * units + SECONDS_PER_STEP


def _pad(size: int) -> int:
    return -(-size // LANES) * LANES
