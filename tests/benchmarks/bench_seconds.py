"""Compare the seconds that the cost model predicts for priors and for fits of fleets with those that they take.

Both sides are one process with one thread and the CPU engine, with all steps: nothing stops early. The model's
constants are those of one processor, and another one scales them together. Predictions are therefore multiplied by the
median of measured over predicted seconds on this machine, which is printed. Settings differ from those that the
constants were measured with.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch

from forecasting.fleet.cost.pace import fit_seconds, fixed_fit_seconds, prior_seconds
from forecasting.fleet.cost.sizes import FleetSizes, sizes_of
from forecasting.fleet.options import FitOptions
from forecasting.flow.learn import train_member, train_priors
from forecasting.series.ingest import ingest, panel_of
from forecasting.series.panel import Panel
from forecasting.series.read import scan_frame
from forecasting.spec.recipes import configure
from forecasting.spec.spec import Spec
from tests.benchmarks.figures import Figure, describe_machine, rounded

TARGET = "<=1.3"
NUM_SERIES = 100
NEVER_EARLY = {"patience": 10_000}
SETTINGS: dict[str, dict[str, Any]] = {
    "hourly": {"num_points": 700, "freq": "1h", "season_lengths": (24, 168), "horizon": 48},
    "daily": {"num_points": 400, "freq": "1d", "season_lengths": (7,), "horizon": 30},
    "weekly": {"num_points": 150, "freq": "1w", "season_lengths": (52,), "horizon": 8},
    "monthly": {"num_points": 250, "freq": "1mo", "season_lengths": (12,), "horizon": 24},
}
MODELS = ("gru", "lstm")
OPTIONS = FitOptions(accelerator="cpu", kernel="cpu", show_progress=False)


def main(arguments: list[str]) -> int:
    """Print a figure per setting, network and kind of fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="both networks instead of one")
    models = MODELS if parser.parse_args(arguments).full else MODELS[:1]
    print(describe_machine())
    torch.set_num_threads(1)
    found: dict[str, tuple[float, float]] = {}
    for name, setting in SETTINGS.items():
        spec, panel = _make_panel(**setting)
        for what, predicted, fit in _fits(spec, panel, models):
            began = time.perf_counter()
            fit()
            found[f"{what}, {name}: {NUM_SERIES} series of {setting['num_points']} points"] = (
                predicted,
                time.perf_counter() - began,
            )
    pace = statistics.median(measured / predicted for predicted, measured in found.values())
    print(f"this machine takes {pace:.2f} times the seconds of the one that the constants were measured on")
    for what, (predicted, measured) in found.items():
        _print(what, pace * predicted, measured)
    return 0


def _fits(spec: Spec, panel: Panel, models: tuple[str, ...]) -> Iterator[tuple[str, float, Callable[[], object]]]:
    """Yield a member's priors and a member's fleets of each network: their predicted seconds, and how to train them."""
    members = configure(spec).members
    of_prior = next(number for number, member in enumerate(members) if member.start == "prior")
    of_random = next(number for number, member in enumerate(members) if member.start == "random")
    for model in models:
        sizes = sizes_of(spec, [model], kernel="cpu")
        total = int(panel.length_S.sum())
        seconds = prior_seconds(sizes[of_prior], num_series=NUM_SERIES, num_points=total)
        yield f"priors of {model}", seconds, partial(train_priors, panel, spec, model, of_prior, options=OPTIONS)
        seconds = _seconds_of_fleets(sizes[of_random], num_points=total // NUM_SERIES)
        yield f"fleets of {model}", seconds, partial(_train_fleets, panel, spec, model, of_random)


def _train_fleets(panel: Panel, spec: Spec, model: str, member: int) -> None:
    for _ in train_member(panel, spec, model, member, options=OPTIONS):
        pass


def _print(what: str, predicted: float, measured: float) -> None:
    ratio = max(predicted / measured, measured / predicted)
    unit, peer = "seconds predicted", "measured"
    Figure("seconds", what, rounded(predicted), unit, peer, rounded(measured), rounded(ratio), TARGET).print()


def _seconds_of_fleets(sizes: FleetSizes, *, num_points: int) -> float:
    """Return the seconds of a candidate's and a serving fleet."""
    return 2 * (fixed_fit_seconds(sizes) + NUM_SERIES * fit_seconds(sizes, num_points=num_points))


def _make_panel(*, num_points: int, freq: str, season_lengths: tuple[int, ...], horizon: int) -> tuple[Spec, Panel]:
    """Return noisy waves of one season."""
    fields: dict[str, Any] = {
        "freq": freq,
        "season_lengths": season_lengths,
        "horizon": horizon,
        "overrides": NEVER_EARLY,
    }
    spec = Spec(name="bench", source={"uri": "waves"}, statistics=(), **fields)
    ds = pl.datetime_range(datetime(1990, 1, 1), datetime(2030, 1, 1), freq, eager=True).head(num_points)
    rng, points_N = np.random.default_rng(0), np.arange(num_points)
    phase_S1 = 2 * np.pi * rng.random((NUM_SERIES, 1))
    y_SN = (
        10 + np.sin(2 * np.pi * points_N / season_lengths[0] + phase_S1) + rng.normal(0, 0.3, (NUM_SERIES, num_points))
    )
    ids = np.repeat([f"s{number:03d}" for number in range(NUM_SERIES)], num_points)
    rows = pl.DataFrame({"unique_id": ids, "ds": pl.concat([ds] * NUM_SERIES), "y": y_SN.ravel()})
    ingested = ingest(spec, rows=scan_frame(rows, spec.source, spec.clock))
    return spec, panel_of(ingested.features, spec, ingested.unique_ids, run_cutoff=ingested.cutoff)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
