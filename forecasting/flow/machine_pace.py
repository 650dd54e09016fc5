"""The pace of this machine: CPU seconds of some work over those that it takes on the reference core.

Networks run in the CPU engine, other work in Python and Polars; a processor may be faster at one than at the other. The
reference is one core of an AMD EPYC of 2022 (Zen 4, 2.6 GHz).
"""

import resource
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import polars as pl

from forecasting.fleet.options import FitOptions
from forecasting.series.ingest import ingest, panel_of
from forecasting.series.panel import Panel
from forecasting.series.read import scan_frame
from forecasting.spec.spec import Spec

NETWORK_SECONDS, OTHER_SECONDS = 0.71, 0.34
"""CPU seconds of the two pieces of work on the reference core."""
NUM_SERIES, NUM_POINTS, SEASON = 64, 300, 24
NUM_RUNS = 2
RECIPE = {
    "patience": 10_000,
    "max_steps": 150,
    "batch_windows": 8,
    "prior_steps": 300,
    "tuning_steps": 10,
    "members": ({"start": "random"}, {"start": "prior"}),
}
"""A fleet of small networks, and a prior of a larger one whose matrix products take most of its time."""
OTHER_WORK = """
import polars as pl
rows = pl.select(value=pl.int_range(600_000) * 7919 % 600_011, group=pl.int_range(600_000) % 5_000)
rows.sort("value").group_by("group").agg(pl.col("value").mean())
sum(number * number for number in range(1_500_000))
"""


class Pace(NamedTuple):
    """Factors of CPU seconds, such as 2 for a machine that takes twice as long.

    Attributes:
        network: Of the training of networks.
        other: Of everything else.
    """

    network: float
    other: float


def measure_pace() -> Pace:
    """Measure both factors on one thread; besides loading torch, this takes about three seconds.

    Returns:
        The factors. The least of two runs counts, because other work on the machine only adds to it.
    """
    spec = _make_spec()
    panel = _make_panel(spec)
    of_networks = min(_train_seconds(panel, spec) for _ in range(NUM_RUNS))
    of_others = min(_other_seconds() for _ in range(NUM_RUNS))
    return Pace(of_networks / NETWORK_SECONDS, of_others / OTHER_SECONDS)


def _train_seconds(panel: Panel, spec: Spec) -> float:
    import torch  # loads for seconds

    from forecasting.flow.learn import train_member, train_priors

    num_threads, options = torch.get_num_threads(), FitOptions(accelerator="cpu", show_progress=False)
    torch.set_num_threads(1)
    began = time.process_time()
    try:
        list(train_member(panel, spec, spec.models[0], 0, options=options))
        train_priors(panel, spec, spec.models[0], 1, options=options)
    finally:
        torch.set_num_threads(num_threads)
    return time.process_time() - began


def _other_seconds() -> float:
    """Return the CPU seconds of a process of its own, because to start one and to load libraries is a part of them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", OTHER_WORK], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _make_spec() -> Spec:
    return Spec(
        name="pace",
        source={"uri": "waves"},
        freq=1,
        season_lengths=(SEASON,),
        horizon=SEASON,
        models=("gru",),
        statistics=(),
        overrides=RECIPE,
    )


def _make_panel(spec: Spec) -> Panel:
    rng, points_N = np.random.default_rng(0), np.arange(NUM_POINTS)
    y_SN = np.sin(2 * np.pi * points_N / SEASON) + rng.normal(0, 0.3, (NUM_SERIES, NUM_POINTS))
    rows = pl.DataFrame(
        {
            "unique_id": np.repeat([f"s{number}" for number in range(NUM_SERIES)], NUM_POINTS),
            "ds": np.tile(points_N, NUM_SERIES),
            "y": y_SN.ravel(),
        }
    )
    ingested = ingest(spec, rows=scan_frame(rows, spec.source, spec.clock))
    return panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff)
